"""The ways to share label pixels out: a row of a table each; nothing else knows their names.

A row is all that a split needs. What draws a split calls its `assign`; what checks options, sets
guards, compares over seeds or writes a report reads its other columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from bandweave.errors import ConfigError
from bandweave.schema import nearest

if TYPE_CHECKING:
    import numpy as np

    from bandweave.data.splits.assign import Drawing

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


# ------------------------------------------------------------------------------------------ options

BLOCK = 64  # px of the label grid: side of a block, where none is asked for and the scene is large

Context = Literal["transductive", "inductive"]


@dataclass(frozen=True)
class SplitConfig:
    """The options of a split.

    name        official: a benchmark's masks; given: the roles that came with the labels; blocks:
                square blocks, objects: polygons, parts: whole parts of a scene, each shared out so
                that every class stands on both sides; random: single pixels of each class, which
                leaks through neighbours; all: train on everything
    seed        of every draw
    size        px of the label grid: side of a block; None is 64, or less where the labels of a
                small scene would lie in fewer than 6 blocks
    guard       px of the label grid; None is 8 between training and test pixels of blocks and
                objects, 0 in the other splits, and 8 between training and validation pixels
    train       fraction of blocks, objects, parts, or of each class's pixels, that trains
    per_class   random only: training pixels of each class, in place of `train`
    validation  fraction of the training side, drawn by part, object or block
    context     inductive: test and guard pixels are hidden from training inputs and statistics;
                transductive: images are seen whole, test labels never
    drop        leave out classes that cannot stand on both sides, instead of refusing
    """

    name: str = "blocks"
    seed: int = 0
    size: int | None = None
    guard: int | None = None
    train: float = 0.5
    per_class: int | None = None
    validation: float = 0.0
    context: Context = "transductive"
    drop: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in SPLITS:
            raise ConfigError(f"there is no split {self.name!r}{nearest(self.name, SPLITS)}")
        if self.context not in get_args(Context):
            raise ConfigError(f"context is {self.context!r}, not one of {get_args(Context)}")
        if self.side < 1 or (self.guard or 0) < 0 or self.seed < 0:
            raise ConfigError(
                f"size {self.side} must be at least 1, guard {self.guard} and seed {self.seed} "
                "at least 0"
            )
        if not 0 < self.train < 1 or not 0 <= self.validation < 1:
            raise ConfigError(
                f"train {self.train} must lie between 0 and 1, validation {self.validation} from 0 "
                "to below 1; to train on everything use the split 'all'"
            )
        if self.per_class is not None and self.per_class < 1:
            raise ConfigError(f"per_class is {self.per_class}; it must be at least 1")
        self._refuse_idle_options()

    def _refuse_idle_options(self) -> None:
        idle = {"train", "per_class", "drop"} - self.protocol.options
        if not self.has_blocks:
            idle.add("size")
        for option in fields(self):
            if option.name == "size" and self.side == BLOCK:  # as it stands in older runs
                continue
            if option.name in idle and getattr(self, option.name) != option.default:
                raise ConfigError(
                    f"the split {self.name!r} has no use for {option.name}="
                    f"{getattr(self, option.name)}; leave it out"
                )

    @property
    def protocol(self) -> Protocol:
        """The split's row in SPLITS."""
        return SPLITS[self.name]

    @property
    def side(self) -> int:
        """Side of a block in label px; BLOCK while the scene has not been looked at."""
        return BLOCK if self.size is None else self.size

    @property
    def has_blocks(self) -> bool:
        """Sides or validation are drawn by block, so that `size` matters."""
        return "size" in self.protocol.options or (self.unit == "block" and self.validation > 0)

    @property
    def test_guard(self) -> int:
        """Width in label px between training and test pixels."""
        if self.guard is not None:
            return self.guard
        return self.protocol.guard

    @property
    def validation_guard(self) -> int:
        """Width in label px between training and validation pixels."""
        return GUARD_WIDTH if self.guard is None else self.guard

    @property
    def unit(self) -> str:
        """The unit that stays together when the training side is drawn or divided."""
        return self.protocol.unit
