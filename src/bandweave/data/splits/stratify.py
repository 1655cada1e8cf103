"""Units of a scene (blocks, objects, parts) and their assignment to two sides, class by class.

A unit is a set of label pixels that stay together. Units are numbered over all parts; arrays of
units have one number for each label pixel, and NO_UNIT where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bandweave.data.scene import IGNORED

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NO_UNIT = -1
RESTARTS = 16  # random starts of a search
STEPS = 500  # flips a start may take


def number_blocks(shapes: list[tuple[int, int]], size: int) -> list[np.ndarray]:
    """Number square blocks of `size` px from each part's first corner; (H, W) int32 a part."""
    units, first = [], 0
    for height, width in shapes:
        rows, cols = np.arange(height) // size, np.arange(width) // size
        across = -(-width // size)
        units.append((first + rows[:, None] * across + cols[None, :]).astype(np.int32))
        first += -(-height // size) * across
    return units


def number_parts(shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Number one unit a part."""
    return [np.full(shape, number, np.int32) for number, shape in enumerate(shapes)]


def number_objects(objects: list[np.ndarray]) -> list[np.ndarray]:
    """Number one unit an object of a part; objects are numbered from 1 in the input, 0 is none."""
    units, first = [], 0
    for numbers in objects:
        found, inverse = np.unique(numbers, return_inverse=True)
        inverse = inverse.reshape(numbers.shape)
        if found.size and found[0] == 0:
            unit, count = np.where(inverse == 0, NO_UNIT, inverse - 1 + first), found.size - 1
        else:
            unit, count = inverse + first, found.size
        units.append(unit.astype(np.int32))
        first += count
    return units


def count_units(units: list[np.ndarray], values: list[np.ndarray], classes: int) -> np.ndarray:
    """Count the pixels of each class in each unit: (units, classes) int64."""
    number = 1 + max((int(unit.max(initial=NO_UNIT)) for unit in units), default=NO_UNIT)
    table = np.zeros(number * classes, np.int64)
    for unit, value in zip(units, values, strict=True):
        here = (value != IGNORED) & (unit != NO_UNIT)
        pairs = unit[here].astype(np.int64) * classes + value[here]
        table += np.bincount(pairs, minlength=table.size)
    return table.reshape(number, classes)


def find_neighbours(units: list[np.ndarray]) -> np.ndarray:
    """Find pairs (P, 2) of blocks that touch, at a corner too; `units` are of `number_blocks`."""
    pairs = []
    for unit in units:
        starts = [np.flatnonzero(np.diff(line, prepend=-1)) for line in (unit[:, 0], unit[0])]
        blocks = unit[np.ix_(*starts)]
        for one, other in (
            (blocks[:, :-1], blocks[:, 1:]),
            (blocks[:-1], blocks[1:]),
            (blocks[:-1, :-1], blocks[1:, 1:]),
            (blocks[:-1, 1:], blocks[1:, :-1]),
        ):
            pairs.append(np.stack([one.ravel(), other.ravel()], axis=1))
    return np.concatenate(pairs)


def balance_sides(
    table: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
    both: bool = True,
    pairs: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Find assignments (units,) bool of units to the first side, the best first.

    From random starts, the unit whose flip helps most is flipped until none does. What is minimised
    is the squared deviation of each class's share of pixels, and of the share of units, from
    `fraction`; before that, no class may miss on the first side, and with `both`, nor on the second
    where it stands in more than one unit.

    table  (units, classes): pixels. Units without pixels stay on the second side.
    pairs  (P, 2) neighbouring units: their share that is cut counts too, more from start to start,
           so that sides come in fewer and larger pieces and leave more behind a wide guard
    """
    counted = np.flatnonzero(table.sum(axis=1))
    counts = table[counted][:, table.sum(axis=0) > 0].astype(np.float64)
    share = counts / counts.sum(axis=0)
    touching = _adjacency(pairs, counted, len(table))
    found: dict[bytes, tuple[float, int, np.ndarray]] = {}
    for start in range(RESTARTS):
        weight = 0.0 if pairs is None else 0.1 * 1.5**start
        first, cost = _descend(share, fraction, rng, 10.0 if both else 0.05, touching * weight)
        sides = np.zeros(len(table), bool)
        sides[counted] = first
        found.setdefault(sides.tobytes(), (cost, start, sides))
    return [sides for _, _, sides in sorted(found.values(), key=lambda entry: entry[:2])]


def _adjacency(pairs: np.ndarray | None, counted: np.ndarray, number: int) -> csr_array:
    """Symmetric (n, n) of the counted units, the sum of its entries 2; empty without pairs."""
    from scipy.sparse import csr_array  # slow to import, not for `--help`

    place = np.full(number, NO_UNIT)
    place[counted] = np.arange(counted.size)
    ends = place[pairs if pairs is not None else np.zeros((0, 2), int)]
    ends = ends[(ends != NO_UNIT).all(axis=1)]
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    values = np.full(rows.size, 1 / max(len(ends), 1))
    return csr_array((values, (rows, columns)), shape=(counted.size, counted.size))


def _descend(
    share: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
    absence: float,
    touching: csr_array,
) -> tuple[np.ndarray, float]:
    """Descend from a random start: the first side (n,) bool, and its cost.

    absence   cost of a class that misses on the second side
    touching  (n, n) cost of two units on different sides
    """
    number = len(share)
    has = (share > 0).astype(np.int64)
    several = has.sum(axis=0) > 1
    first = np.zeros(number, bool)
    first[rng.permutation(number)[: max(1, round(fraction * number))]] = True
    cost = float("inf")
    for _ in range(STEPS):
        spin = np.where(first, 1, -1)
        bonds = spin * (touching @ spin)  # what each unit's neighbours add when it flips
        sums = share[first].sum(axis=0) - spin[:, None] * share  # (n, classes), after each flip
        units = has[first].sum(axis=0) - spin[:, None] * has
        size = first.sum() - spin
        flipped = ((sums - fraction) ** 2).sum(axis=1) + (size / number - fraction) ** 2
        flipped += 10.0 * (units == 0).sum(axis=1)
        flipped += absence * ((units == has.sum(axis=0)) & several).sum(axis=1)
        flipped += 100.0 * ((size == 0) | (size == number))
        flipped += bonds + (touching.sum() - spin @ (touching @ spin)) / 4
        best = int(flipped.argmin())
        if flipped[best] > cost - 1e-9:
            break
        cost, first[best] = float(flipped[best]), ~first[best]
    return first, cost


def draw_sides(
    table: np.ndarray, fraction: float, rng: np.random.Generator, both: bool = True
) -> Iterator[np.ndarray]:
    """Draw assignments (units,) bool to the first side: `fraction` of each class's units.

    A unit's class is that of most of its pixels. A class of two or more units has at least one on
    the first side and, with `both`, one on the second; a class of one has it on the first.
    """
    counted = np.flatnonzero(table.sum(axis=1))
    kinds = table[counted].argmax(axis=1)
    for _ in range(RESTARTS):
        sides = np.zeros(len(table), bool)
        for kind in np.unique(kinds):
            members = rng.permutation(counted[kinds == kind])
            most = members.size - 1 if both and members.size > 1 else members.size
            sides[members[: min(max(1, round(fraction * members.size)), most)]] = True
        yield sides
