"""Colours of a land-cover report: of classes, of what is right and wrong, of confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bandweave.data.scene import ClassInfo
from bandweave.landcover.maps.files import RIGHT, WRONG
from bandweave.report.pictures import paint_indices

SPARSE = 0.01  # share of a picture below which what is drawn is sought by eye in vain
DOTS = 150  # dots side by side in a picture
RIM = (40, 40, 40, 255)  # of a dot
RIGHT_COLOUR, WRONG_COLOUR = "#3b7ea6", "#e4572e"  # apart for any eye


def colour_classes(indices: np.ndarray, classes: Sequence[ClassInfo]) -> np.ndarray:
    """Colour class indices, (h, w, 4) uint8; transparent where there is none."""
    return paint_indices(indices, [each.color for each in classes])


def colour_verdict(verdict: np.ndarray) -> np.ndarray:
    """Colour RIGHT and WRONG, (h, w, 4) uint8; transparent elsewhere."""
    return paint_indices(verdict, [{RIGHT: RIGHT_COLOUR, WRONG: WRONG_COLOUR}[i] for i in range(2)])


def add_markers(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    """Draw pieces of a sparse picture (h, w, 4) that are smaller than a dot as dots with a rim.

    Returns the picture, and whether there are dots. A picture that is small, and so shown enlarged,
    or that has much to show, stays as it is.
    """
    from scipy.ndimage import find_objects, label

    drawn = rgba[..., 3] > 0
    size = round(max(drawn.shape) / DOTS)  # px: of a dot
    if size < 2 or not 0 < drawn.mean() < SPARSE:
        return rgba, False
    marked, dots = rgba.copy(), 0
    rows, cols = np.ogrid[: drawn.shape[0], : drawn.shape[1]]
    for piece in find_objects(label(drawn, np.ones((3, 3)))[0]):
        if max(side.stop - side.start for side in piece) >= size:
            continue
        dots += 1
        row, col = ((side.start + side.stop - 1) // 2 for side in piece)
        near = tuple(slice(max(at - size, 0), at + size + 1) for at in (row, col))
        away = np.hypot(rows[near[0]] - row, cols[:, near[1]] - col)
        inside = rgba[piece][rgba[piece][..., 3] > 0][0]
        marked[near][away <= size / 2 + 1] = RIM
        marked[near][away <= size / 2] = inside
    return marked, dots > 0


def colour_confidence(values: np.ndarray, lowest: float) -> np.ndarray:
    """Colour confidence from `lowest` to 1, (h, w, 4) uint8; transparent where NaN."""
    scaled = (values - lowest) / max(1 - lowest, 1e-6)
    rgba = _load_colour_map()(np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)
    rgba[np.isnan(values)] = 0
    return rgba


def confidence_ramp(steps: int = 9) -> list[str]:
    """List the colours of `colour_confidence`, '#rrggbb', from its lowest value to 1."""
    table = _load_colour_map()(np.linspace(0, 1, steps), bytes=True)
    return ["#" + "".join(f"{int(value):02x}" for value in row[:3]) for row in table]


def _load_colour_map() -> Any:
    from matplotlib import colormaps

    return colormaps["cividis"]
