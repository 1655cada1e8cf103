"""Windows without holes, so that filters may run over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from bandweave.raster.grid import Window


def calm(
    read: Callable[[Window], np.ndarray], window: Window, size: tuple[int, int], reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values (bands, h, w) without holes, and which are valid (h, w), of a window anywhere.

    size    of the grid
    reach   pixels around the window in which the nearest valid one is looked for
    """
    inside = window.clip(*size)
    if inside is None:
        raise ValueError(f"{window} lies outside the grid of {size[0]}×{size[1]} pixels")
    values = read(inside)
    valid = ~np.isnan(values).any(axis=0)
    if not valid.all():
        around = Window(
            inside.row - reach,
            inside.col - reach,
            inside.height + 2 * reach,
            inside.width + 2 * reach,
        ).clip(*size)
        assert around is not None
        rows, cols = inside.slices((around.row, around.col))
        values = _filled(read(around) if around != inside else values)[:, rows, cols]
    if inside == window:
        return values, valid
    above, left = inside.row - window.row, inside.col - window.col
    below = window.row + window.height - inside.row - inside.height
    right = window.col + window.width - inside.col - inside.width
    pads = (above, below), (left, right)
    return np.pad(values, ((0, 0), *pads), mode="edge"), np.pad(valid, pads)


def _filled(values: np.ndarray) -> np.ndarray:
    """(bands, h, w): a pixel with a NaN in any band gets all bands of the nearest one without."""
    holes = np.isnan(values).any(axis=0)
    if holes.all():
        return np.zeros_like(values)
    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    return values[:, nearest[0], nearest[1]]
