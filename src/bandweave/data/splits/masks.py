"""Masks that move between a part's grid, its layers' grids and the labels' grid."""

from __future__ import annotations

from math import lcm

import numpy as np

from bandweave.data.scene import IGNORED, Part


def regrid(mask: np.ndarray, ratio: int, to: int, every: bool = False) -> np.ndarray:
    """Bring a mask (H·ratio, W·ratio) to (H·to, W·to); both ratios are to one grid.

    A pixel is set where any pixel of the mask that it touches is, or with `every`, where all are.
    """
    if ratio == to:
        return mask
    common = lcm(ratio, to)
    up, down = common // ratio, common // to
    if up > 1:
        mask = mask.repeat(up, axis=0).repeat(up, axis=1)
    if down > 1:
        height, width = mask.shape
        cells = mask.reshape(height // down, down, width // down, down)
        mask = (np.logical_and if every else np.logical_or).reduce(cells, axis=(1, 3))
    return mask


def labels_with_data(part: Part, reference: str, ratio: int, size: int = 256) -> np.ndarray:
    """Get a part's labels (H·ratio, W·ratio) int16, IGNORED where the reference is invalid.

    Only windows that hold labels are read. A part without labels is all IGNORED.
    """
    grid = part.grid.finer(ratio)
    if part.labels is None:
        return np.full((grid.height, grid.width), IGNORED, np.int16)
    values = part.labels.values.astype(np.int16, copy=True)
    layer = part.layers[reference]
    for window in part.grid.window.divide(size):
        inside = values[window.finer(ratio).slices()]
        if (inside != IGNORED).any():
            valid = regrid(layer.read(window)[1], layer.ratio, ratio, every=True)
            inside[~valid] = IGNORED
    return values


def distance(mask: np.ndarray) -> np.ndarray:
    """Measure the Chebyshev distance (H, W) int32 to the nearest set pixel; huge if none is set."""
    if not mask.any():
        return np.full(mask.shape, np.iinfo(np.int32).max, np.int32)
    from scipy.ndimage import distance_transform_cdt  # half a second, not for `--help`

    return distance_transform_cdt(~mask, metric="chessboard")
