"""Layers and labels reduced to the size of a picture, read window by window.

A picture's pixel is the mean of the layer's pixels it covers, or the commonest class among them. No
more than a window of `MEMORY` bytes is read at once, whatever the size of the scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.data.scene import IGNORED, Layer, LayerInfo, Part
from bandweave.raster.source import read_nan

MEMORY = 2**25  # bytes of a window
TRUE_COLOUR = (660.0, 560.0, 480.0)  # nm shown as red, green and blue
NEAR = 40.0  # nm that a band may lie off them


@dataclass(frozen=True)
class Shown:
    """Which bands of a layer a picture shows, and how to say so."""

    bands: tuple[int, ...]
    words: str


def choose_bands(layer: LayerInfo) -> Shown:
    """Choose three bands as red, green and blue, by wavelength if known; one where there are two.

    Where the file states no wavelengths, those of a known sensor serve, by the names of its bands.

    >>> from bandweave.raster.source import BandInfo
    >>> choose_bands(LayerInfo(4, 1, BandInfo(wavelengths=(480.0, 560.0, 660.0, 840.0))))
    Shown(bands=(2, 1, 0), words='true colour: 660, 560 and 480 nm as red, green and blue')
    """
    number, wavelengths = layer.bands, layer.info.wavelengths
    if number < 3:
        return Shown((0,), "" if number == 1 else f"band 1 of {number}")
    if centres := wavelengths or layer.info.nominal:
        off = np.abs(np.subtract.outer(TRUE_COLOUR, centres))
        off[np.isnan(off)] = np.inf
        nearest = [int(band) for band in off.argmin(axis=1)]
        if len(set(nearest)) == 3 and off.min(axis=1).max() <= NEAR:
            values = [f"{centres[band]:.0f}" for band in nearest]
            return Shown(
                tuple(nearest), f"true colour: {_join_words(values)} nm as red, green and blue"
            )
    spread = (0, 1, 2) if number == 3 else tuple((number - 1) * k // 6 for k in (5, 3, 1))
    if wavelengths:
        values = [f"{wavelengths[band]:.0f} nm" for band in spread]
        return Shown(spread, f"false colour: {_join_words(values)} as red, green and blue")
    values = [str(band + 1) for band in spread]
    kind = "colours as the file has them" if number == 3 else "false colour"
    return Shown(spread, f"{kind}: bands {_join_words(values)} as red, green and blue")


def _join_words(values: Sequence[str]) -> str:
    return f"{', '.join(values[:-1])} and {values[-1]}"


def find_step(height: int, width: int, longest: int) -> int:
    """Find how many pixels one of a picture covers along a side, so that none passes `longest`."""
    return max(math.ceil(max(height, width) / longest), 1)


def read_layer(part: Part, layer: Layer, bands: Sequence[int], longest: int) -> np.ndarray:
    """Read bands of a layer (C, h, w) float32, NaN without data, no side longer than `longest`."""
    grid = part.grid.finer(layer.ratio)
    step = find_step(grid.height, grid.width, longest)
    shape = (len(bands), math.ceil(grid.height / step), math.ceil(grid.width / step))
    picture = np.empty(shape, np.float32)
    side = math.isqrt(MEMORY // (4 * layer.source.bands)) // step * step
    for window in grid.window.divide(max(side, step)):
        values = _average_blocks(read_nan(layer.source, window)[list(bands)], step)
        row, col = window.row // step, window.col // step
        picture[:, row : row + values.shape[1], col : col + values.shape[2]] = values
    return picture


def _average_blocks(values: np.ndarray, step: int) -> np.ndarray:
    """Average step×step blocks of (C, h, w) over what is not NaN."""
    if step == 1:
        return values
    blocks = _cut_blocks(values, step, np.nan)  # (C, h', step, w', step)
    known = np.isfinite(blocks)
    count = known.sum(axis=(2, 4))
    total = np.where(known, blocks, 0).sum(axis=(2, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _cut_blocks(values: np.ndarray, step: int, fill: float) -> np.ndarray:
    """Pad (C, h, w) with `fill` and cut it to (C, h', step, w', step)."""
    number, height, width = values.shape
    rows, cols = math.ceil(height / step), math.ceil(width / step)
    pad = ((0, 0), (0, rows * step - height), (0, cols * step - width))
    return np.pad(values, pad, constant_values=fill).reshape(number, rows, step, cols, step)


def reduce_labels(values: np.ndarray, longest: int) -> np.ndarray:
    """Reduce class indices (H, W), IGNORED for none, to the commonest index of each block.

    A block with any index shows one, so that single labels stay in sight; of two that are equally
    common the smaller wins.
    """
    step = find_step(values.shape[0], values.shape[1], longest)
    if step == 1:
        return values
    strips = []
    some = max(MEMORY // (16 * step * values.shape[1]), 1) * step  # rows
    for row in range(0, values.shape[0], some):
        blocks = _cut_blocks(values[None, row : row + some], step, IGNORED)[0]
        best = np.full((blocks.shape[0], blocks.shape[2]), IGNORED, values.dtype)
        most = np.zeros(best.shape, np.int64)
        for index in np.unique(values[row : row + some]):
            if index != IGNORED:
                count = (blocks == index).sum(axis=(1, 3))
                best[count > most] = index
                most = np.maximum(most, count)
        strips.append(best)
    return np.concatenate(strips)
