"""Random numbers and smooth random fields of the simulation: the same for the same key."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, part: int, name: str) -> np.random.Generator:
    """A generator of its own for each thing drawn, so that one more draw changes no other."""
    return np.random.default_rng([seed, part, zlib.crc32(name.encode())])


def smooth_field(
    rng: np.random.Generator, extent: tuple[float, float], scale: float, shape: tuple[int, int]
) -> np.ndarray:
    """A random field (h, w) float32 of mean 0 and variance about 1, correlated over `scale`.

    Knots stand every `scale` over `extent` (same unit), blended by cubic B-splines: the same
    generator gives the same field at any sampling `shape`.
    """
    knots = [int(np.ceil(side / scale)) + 4 for side in extent]
    values = rng.standard_normal(knots, np.float32) * 2.09  # blending takes that much off
    down, along = (
        _spline_weights(1.5 + (np.arange(n) + 0.5) / n * side / scale, count)
        for n, side, count in zip(shape, extent, knots, strict=True)
    )
    return down @ values @ along.T


def _spline_weights(positions: np.ndarray, knots: int) -> np.ndarray:
    """Weights (positions, knots) float32 of cubic B-splines that stand on the knots."""
    away = np.abs(positions[:, None] - np.arange(knots))
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)
