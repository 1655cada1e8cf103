"""The ways to share label pixels out: a row of a table each; nothing else knows their names.

A row is all that a split needs. What draws a split calls its `assign`; what checks options, sets
guards, compares over seeds or writes a report reads its other columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from bandweave.data.scene import IGNORED
from bandweave.errors import SplitError

if TYPE_CHECKING:
    from bandweave.data.splits.assign import Drawing

UNUSED, TRAIN, VALIDATION, TEST, GUARD = 0, 1, 2, 3, 4
GUARD_WIDTH = 8  # px of the label grid, where none is asked for

SplitName = Literal["official", "given", "blocks", "objects", "parts", "random", "all"]


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
        """Whether both sides are whole blocks."""
        return self.by_unit and self.unit == "block"


def assign_units(drawing: Drawing) -> list[np.ndarray]:
    """Whole units on either side, so that each class stands on both."""
    return drawing.by_unit()


def assign_official(drawing: Drawing) -> list[np.ndarray]:
    """The masks that the benchmark publishes. Raises SplitError where there are none."""
    if not drawing.scene.official:
        raise SplitError(
            f"scene {drawing.scene.name!r} has no official masks; use 'given' for the roles that "
            "came with its labels, or 'blocks'"
        )
    return assign_given(drawing)


def assign_given(drawing: Drawing) -> list[np.ndarray]:
    """The roles that came with the labels. Raises SplitError where nothing trains."""
    roles = []
    for part, value in zip(drawing.scene.parts, drawing.values, strict=True):
        role = np.zeros(value.shape, np.uint8)
        if part.labels is not None and part.labels.given is not None:
            given = part.labels.given
            role = np.where(np.isin(given, (TRAIN, VALIDATION, TEST)), given, UNUSED)
        role = role.astype(np.uint8)
        role[value == IGNORED] = UNUSED
        roles.append(role)
    if not any((role == TRAIN).any() for role in roles):
        raise SplitError(
            f"the labels of scene {drawing.scene.name!r} came with no training role; name a "
            "`train:` file under `labels:`, or use the split 'blocks'"
        )
    return roles


def assign_random(drawing: Drawing) -> list[np.ndarray]:
    """Single pixels of each class, at random."""
    flat = np.concatenate([value.ravel() for value in drawing.values])
    roles = np.zeros(flat.size, np.uint8)
    asked = drawing.config.per_class
    for index in range(len(drawing.scene.classes)):
        pixels = drawing.rng.permutation(np.flatnonzero(flat == index))
        if not pixels.size:
            continue
        train = asked or max(1, round(drawing.config.train * pixels.size))
        if not asked and pixels.size > 1:
            train = min(train, pixels.size - 1)
        if train >= pixels.size:
            drawing.drop(
                index,
                f"has {pixels.size} labelled pixel(s), {train} are asked for training and at "
                "least one must be left for the test",
                "ask for fewer",
            )
            continue
        roles[pixels[:train]], roles[pixels[train:]] = TRAIN, TEST
    sizes = np.cumsum([value.size for value in drawing.values])[:-1]
    return [
        role.reshape(value.shape)
        for role, value in zip(np.split(roles, sizes), drawing.values, strict=True)
    ]


def assign_all(drawing: Drawing) -> list[np.ndarray]:
    """Every labelled pixel trains."""
    return [np.where(value == IGNORED, UNUSED, TRAIN).astype(np.uint8) for value in drawing.values]


_SHARED = frozenset({"train", "drop"})

SPLITS: dict[str, Protocol] = {
    "official": Protocol(assign_official),
    "given": Protocol(assign_given),
    "blocks": Protocol(
        assign_units, by_unit=True, guard=GUARD_WIDTH, options=_SHARED | {"size"}, drawn=True
    ),
    "objects": Protocol(
        assign_units, "object", by_unit=True, guard=GUARD_WIDTH, options=_SHARED, drawn=True
    ),
    "parts": Protocol(assign_units, "part", by_unit=True, options=_SHARED, drawn=True),
    "random": Protocol(assign_random, options=_SHARED | {"per_class"}, drawn=True, apart=False),
    "all": Protocol(assign_all, tested=False),
}
