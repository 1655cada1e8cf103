"""An interval on overall accuracy that does not take pixels of one place for independent.

Source: Field and Welsh 2007, "Bootstrapping clustered data".

    u      a unit: an object (polygon), a block or a part, drawn whole
    r_u    test pixels of u on which the map is right
    n_u    test pixels of u
    OA     Σ r_u / Σ n_u
    the interval: the 2.5th and 97.5th percentile of OA over draws of as many units with replacement
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandweave.data.scene import IGNORED, Scene
from bandweave.data.splits.splitting import TEST, Split
from bandweave.data.splits.stratify import number_blocks, number_objects, number_parts
from bandweave.landcover.maps.files import RIGHT

DRAWS = 2000
TOGETHER = 1 << 16  # units of several draws, in one array
FEWEST = 10  # units with test pixels, below which percentiles of a bootstrap are too narrow
ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Units:
    """The unit of every label pixel: (H, W) int32 a part, from 0; -1 where there is none."""

    kind: str
    numbers: list[np.ndarray]


@dataclass
class UnitCounts:
    """Test pixels of each unit, and those on which the map is right, both (units,) int64."""

    kind: str
    right: np.ndarray
    tested: np.ndarray

    @classmethod
    def zeros(cls, units: Units) -> UnitCounts:
        """No pixels yet; the last place stands for pixels without a unit."""
        number = 2 + max(int(each.max(initial=-1)) for each in units.numbers)
        return cls(units.kind, np.zeros(number, np.int64), np.zeros(number, np.int64))

    def add(self, numbers: np.ndarray, judged: np.ndarray) -> None:
        """Count a part: its units and its verdict, (H, W) both."""
        for counts, mask in ((self.right, judged == RIGHT), (self.tested, judged != IGNORED)):
            counts += np.bincount(numbers[mask] % len(counts), minlength=len(counts))

    @property
    def units(self) -> int:
        """How many units hold test pixels."""
        return int((self.tested > 0).sum())


def number_units(scene: Scene, split: Split) -> Units:
    """Number the units whose pixels are taken for dependent: those of the split.

    A split by pixels (random, given, official) has the labels' objects, or
    blocks of its size where labels are a raster; of blocks and objects the fewer are taken.
    """
    shapes = [roles.shape for roles in split.roles]
    if split.config.unit == "part":
        return Units("part", number_parts(shapes))
    found = []
    labels = [part.labels for part in scene.parts]
    if any(each is not None and each.objects is not None for each in labels):
        objects = [
            np.zeros(shape, np.int32) if each is None or each.objects is None else each.objects
            for each, shape in zip(labels, shapes, strict=True)
        ]
        found.append(Units("object", number_objects(objects)))
    if split.config.protocol.by_block or not found:
        found.append(Units("block", number_blocks(shapes, split.config.side)))
    return min(found, key=lambda units: _count_tested(units, split))


def _count_tested(units: Units, split: Split) -> int:
    """Count the units that hold test pixels."""
    pairs = zip(units.numbers, split.roles, strict=True)
    return len(np.unique(np.concatenate([number[role == TEST] for number, role in pairs])))


def bootstrap_interval(counts: UnitCounts, seed: int = 0) -> tuple[float, float] | None:
    """Estimate the 95 % interval of overall accuracy, 0 to 1; None below `FEWEST` units."""
    return _bootstrap(counts.right, counts.tested, seed)


def bootstrap_difference(
    counts: UnitCounts, other: UnitCounts, seed: int = 0
) -> tuple[float, float] | None:
    """Estimate the 95 % interval of how much larger the overall accuracy of one map is.

    Both maps are counted on the same draws of units. None with fewer than `FEWEST` units, or where
    they were not tested on the same.
    """
    if not np.array_equal(counts.tested, other.tested):
        return None
    return _bootstrap(counts.right - other.right, counts.tested, seed)


def _bootstrap(right: np.ndarray, tested: np.ndarray, seed: int) -> tuple[float, float] | None:
    held = tested > 0
    right, tested = right[held], tested[held]
    if len(tested) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    accuracies = np.empty(DRAWS)
    rows = max(TOGETHER // len(tested), 1)
    for start in range(0, DRAWS, rows):
        some = accuracies[start : start + rows]
        drawn = rng.integers(0, len(tested), (len(some), len(tested)))
        some[:] = right[drawn].sum(1) / tested[drawn].sum(1)
    low, high = np.quantile(accuracies, ENDS)
    return float(low), float(high)
