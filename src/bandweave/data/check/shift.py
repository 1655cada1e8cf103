"""Findings on shifted layers: the place where the edges of one fit those of another best.

    g      gradient magnitude of a layer's first principal component on the scene's grid
    r(s)   correlation of g of two layers, one of them moved by s pixels; over all windows together

A shift is told where r is at least 0.3 at its best and 0.1 above r(0), and where two halves of the
windows (or, of one, its two halves) agree within a pixel. Layers without edges in common say
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bandweave.data.check.findings import Finding
from bandweave.data.check.layers import spread_over
from bandweave.data.scene import Layer, Part, Scene
from bandweave.errors import BandweaveError
from bandweave.raster.grid import Window
from bandweave.raster.source import read_nan

FARTHEST = 8  # px of the grid that are tried to each side
LEAST = 0.3  # correlation at the best shift
GAIN = 0.1  # of it over no shift
BUDGET = 2**24  # values of a layer that are read
ENOUGH = 1024  # px that a correlation is taken from


def look_at_shifts(scene: Scene) -> Iterator[Finding]:
    """A problem for every layer of files that lies a pixel or more beside the reference layer."""
    for name, layer in scene.layers.items():
        if name != scene.reference and not layer.derived:
            try:
                found = _find_shift(scene, name)
            except BandweaveError:
                continue  # said at its layer
            if found:
                yield found


def _find_shift(scene: Scene, name: str) -> Finding | None:
    halves = [_Surface(), _Surface()]
    turn = 0
    for part in scene.parts[:64]:
        bands = max(scene.layers[name].bands, scene.layers[scene.reference].bands)
        finest = max(scene.layers[name].ratio, 1)
        windows, _ = spread_over(part.grid, bands * finest**2, BUDGET // min(len(scene.parts), 64))
        pieces = windows if len(windows) > 1 or len(scene.parts) > 1 else _halve(windows[0])
        for window in pieces:
            one = _find_edges(part, scene.reference, window)
            other = _find_edges(part, name, window)
            if one is not None and other is not None:
                halves[turn % 2].add(one, other)
                turn += 1
    whole = halves[0].join(halves[1])
    best, gain, value = whole.best()
    agree = all(
        half.pixels >= ENOUGH and max(abs(np.subtract(half.best()[0], best))) <= 1
        for half in halves
    )
    if not agree or value < LEAST or gain < GAIN or max(map(abs, best)) < 1:
        return None
    down, right = -best[0], -best[1]
    directions = [
        f"{abs(n)} px {one if n > 0 else other}"
        for n, one, other in ((down, "down", "up"), (right, "right", "left"))
        if n
    ]
    pixel = scene.parts[0].grid
    metres = ""
    if pixel.unit == "m":
        width, height = pixel.pixel_size
        metres = f" ({math.hypot(best[0] * height, best[1] * width):.3g} m)"
    return Finding(
        f"layer '{name}' lies about {' and '.join(directions)} of '{scene.reference}'{metres}: "
        f"their edges fit there with a correlation of {value:.2f}, as they lie of "
        f"{value - gain:.2f}; move one of the files to its place (the pixels are of the grid)",
        problem=True,
    )


def _halve(window: Window) -> list[Window]:
    """Divide a window into its upper and its lower half."""
    half = window.height // 2
    return [
        window._replace(height=half),
        window._replace(row=window.row + half, height=window.height - half),
    ]


def _find_edges(part: Part, name: str, window: Window) -> np.ndarray | None:
    """Gradient magnitude (h, w) of a layer on the grid, NaN where it has no data; None without."""
    layer: Layer = part.layers[name]
    values = read_nan(layer.source, window.finer(layer.ratio))
    if layer.ratio > 1:
        bands, height, width = values.shape
        ratio = layer.ratio
        values = values.reshape(bands, height // ratio, ratio, width // ratio, ratio)
        values = values.mean(axis=(2, 4))
    flat = values.reshape(len(values), -1)
    has = np.isfinite(flat).all(axis=0)
    if has.sum() < 64:
        return None
    centred = flat[:, has] - flat[:, has].mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    centred = centred / np.where(spread > 0, spread, 1)
    _, axes = np.linalg.eigh(np.cov(centred) if len(centred) > 1 else np.ones((1, 1)))
    picture = np.full(flat.shape[1], np.nan)
    picture[has] = axes[:, -1] @ centred
    rows, cols = np.gradient(picture.reshape(values.shape[1:]))
    return np.hypot(rows, cols)


class _Surface:
    """Sums from which correlations at all shifts are taken: (n, Σa, Σb, Σaa, Σbb, Σab)."""

    def __init__(self) -> None:
        self.sums = np.zeros((6, 2 * FARTHEST + 1, 2 * FARTHEST + 1))

    @property
    def pixels(self) -> float:
        """Pixels at no shift."""
        return float(self.sums[0, FARTHEST, FARTHEST])

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Add the edges (h, w) of a window."""
        height, width = one.shape
        most_rows, most_cols = min(FARTHEST, height // 4), min(FARTHEST, width // 4)
        for down in range(-most_rows, most_rows + 1):
            for right in range(-most_cols, most_cols + 1):
                a = one[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
                b = other[
                    max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
                ]
                both = np.isfinite(a) & np.isfinite(b)
                a, b = a[both], b[both]
                self.sums[:, down + FARTHEST, right + FARTHEST] += (
                    a.size, a.sum(), b.sum(), a @ a, b @ b, a @ b
                )  # fmt: skip

    def join(self, other: _Surface) -> _Surface:
        """Add the sums of both."""
        both = _Surface()
        both.sums = self.sums + other.sums
        return both

    def best(self) -> tuple[tuple[int, int], float, float]:
        """The shift (rows, columns) of the highest correlation, its gain over none, and itself."""
        number, a, b, aa, bb, ab = self.sums
        count = np.maximum(number, 1)
        variance = np.maximum((aa - a * a / count) * (bb - b * b / count), 0)
        correlation = np.where(
            (number >= ENOUGH / 2) & (variance > 0),
            (ab - a * b / count) / np.sqrt(np.where(variance > 0, variance, 1)),
            -1,
        )
        row, col = np.unravel_index(int(correlation.argmax()), correlation.shape)
        value = float(correlation[row, col])
        return (
            (int(row) - FARTHEST, int(col) - FARTHEST),
            value - float(correlation[FARTHEST, FARTHEST]),
            value,
        )
