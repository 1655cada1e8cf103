"""Colours of a land-cover report: of classes, of what is right and wrong, of confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bandweave.data.scene import ClassInfo
from bandweave.landcover.map_files import RIGHT, WRONG
from bandweave.report.pictures import in_colours

RIGHT_COLOUR, WRONG_COLOUR = "#3b7ea6", "#e4572e"  # apart for any eye


def in_class_colours(indices: np.ndarray, classes: Sequence[ClassInfo]) -> np.ndarray:
    """(h, w, 4) uint8 of class indices; transparent where there is none."""
    return in_colours(indices, [each.color for each in classes])


def in_verdict_colours(verdict: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 of RIGHT and WRONG; transparent elsewhere."""
    return in_colours(verdict, [{RIGHT: RIGHT_COLOUR, WRONG: WRONG_COLOUR}[i] for i in range(2)])


def in_confidence_colours(values: np.ndarray, lowest: float) -> np.ndarray:
    """(h, w, 4) uint8 of confidence from `lowest` to 1; transparent where NaN."""
    scaled = (values - lowest) / max(1 - lowest, 1e-6)
    rgba = _confidence_map()(np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)
    rgba[np.isnan(values)] = 0
    return rgba


def confidence_ramp(steps: int = 9) -> list[str]:
    """Colours of `in_confidence_colours`, '#rrggbb', from its lowest value to 1."""
    table = _confidence_map()(np.linspace(0, 1, steps), bytes=True)
    return ["#" + "".join(f"{int(value):02x}" for value in row[:3]) for row in table]


def _confidence_map() -> Any:
    from matplotlib import colormaps

    return colormaps["cividis"]
