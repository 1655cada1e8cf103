"""The ways to share label pixels out: a row of a table each; nothing else knows their names.

A row is all that a split needs. What draws a split calls its `assign`; what checks options, sets
guards, compares over seeds or writes a report reads its other columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from bandweave.data.splits.assign import Drawing

UNUSED, TRAIN, VALIDATION, TEST, GUARD = 0, 1, 2, 3, 4
GUARD_WIDTH = 8  # px of the label grid, where none is asked for


@dataclass(frozen=True)
class Protocol:
    """One row of SPLITS.

    assign   the role of every label pixel, one uint8 (H·ratio, W·ratio) a part; raises SplitError
             where the scene has no such split
    unit     what stays together where the training side is drawn or divided: block, object or part
    by_unit  both sides are whole units; `assign` then leaves the guard out too
    guard    px of the label grid between training and test pixels, where none is asked for
    options  of `train`, `per_class`, `size` and `drop`, those that it has a use for
    drawn    every seed draws another one
    tested   it has a test side
    apart    test pixels do not lie among training pixels
    """

    assign: Callable[[Drawing], list[np.ndarray]]
    unit: Literal["block", "object", "part"] = "block"
    by_unit: bool = False
    guard: int = 0
    options: frozenset[str] = frozenset()
    drawn: bool = False
    tested: bool = True
    apart: bool = True

    @property
    def by_block(self) -> bool:
        """Both sides are whole blocks."""
        return self.by_unit and self.unit == "block"


_SHARED = frozenset({"train", "drop"})

SPLITS: dict[str, Protocol] = {
    "official": Protocol(lambda drawing: drawing.assign_official()),
    "given": Protocol(lambda drawing: drawing.assign_given()),
    "blocks": Protocol(
        lambda drawing: drawing.assign_units(),
        by_unit=True,
        guard=GUARD_WIDTH,
        options=_SHARED | {"size"},
        drawn=True,
    ),
    "objects": Protocol(
        lambda drawing: drawing.assign_units(),
        "object",
        by_unit=True,
        guard=GUARD_WIDTH,
        options=_SHARED,
        drawn=True,
    ),
    "parts": Protocol(
        lambda drawing: drawing.assign_units(), "part", by_unit=True, options=_SHARED, drawn=True
    ),
    "random": Protocol(
        lambda drawing: drawing.assign_pixels(),
        options=_SHARED | {"per_class"},
        drawn=True,
        apart=False,
    ),
    "all": Protocol(lambda drawing: drawing.assign_all(), tested=False),
}
