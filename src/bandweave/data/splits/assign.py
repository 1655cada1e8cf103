"""The drawing of a split's roles, and the reasons to refuse it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from bandweave.data.scene import IGNORED, Scene
from bandweave.data.splits.masks import distance, labels_with_data
from bandweave.data.splits.protocols import SplitConfig
from bandweave.data.splits.roles import GUARD, ROLES, TEST, TRAIN, UNUSED, VALIDATION
from bandweave.data.splits.stratify import (
    NO_UNIT,
    balance_sides,
    count_units,
    draw_sides,
    find_neighbours,
    number_blocks,
    number_objects,
    number_parts,
)
from bandweave.errors import GridMismatch, LabelError, SplitError

SMALL_SIDE = 0.1  # share of the labelled pixels below which a side is small
FEW_BLOCKS = 6  # with labels, below which chance has the word


class Drawing:
    """A split while it is being drawn: its labels, units, notes and dropped classes."""

    def __init__(self, scene: Scene, config: SplitConfig) -> None:
        self.scene, self.config = scene, config
        self.rng = np.random.default_rng(config.seed)
        self.notes: list[str] = []
        self.dropped: list[int] = []
        self.values = self._labels()
        self.labelled = self._count([value != IGNORED for value in self.values])
        self.units = self._units()

    def draw_roles(self) -> list[np.ndarray]:
        """Draw the role of every label pixel, one uint8 array a part."""
        protocol = self.config.protocol
        roles = protocol.assign(self)
        if not protocol.by_unit:
            roles = _apply_guard(roles, TEST, self.config.test_guard)
        if self.config.validation:
            roles = self._add_validation(roles)
        self._assert_apart(roles)
        return roles

    def count_roles(self, roles: list[np.ndarray]) -> np.ndarray:
        """Count label pixels of each role and class, (5, classes) int64; see Split."""
        counts = np.stack([self._count([role == r for role in roles]) for r in range(len(ROLES))])
        counts[UNUSED] = self.labelled - counts[1:].sum(axis=0)
        self._note_counts(counts)
        return counts

    def count_units_with_labels(self) -> int:
        """Count the units that hold labels in use."""
        table = count_units(self.units, self.values, len(self.scene.classes))
        return int((table > 0).any(axis=1).sum())

    # labels and units

    def _labels(self) -> list[np.ndarray]:
        scene, ratio = self.scene, self.scene.label_ratio
        for part in scene.parts:
            if part.labels is not None and part.labels.ratio != ratio:
                raise GridMismatch(
                    f"the labels of part {part.name!r} are {part.labels.ratio} times finer than "
                    f"the grid, those of the first part {ratio} times; bring them to one grid"
                )
        given = sum(int((p.labels.values != IGNORED).sum()) for p in scene.parts if p.labels)
        if not given or not scene.classes:
            raise LabelError(
                f"scene {scene.name!r} has no labelled pixel in {len(scene.parts)} part(s), so "
                "there is nothing to train on or to score; add `labels:` to the scene "
                "(a map needs none)"
            )
        values = [labels_with_data(part, scene.reference, ratio) for part in scene.parts]
        left = sum(int((value != IGNORED).sum()) for value in values)
        if not left:
            raise LabelError(
                f"all {given} labelled pixels of scene {scene.name!r} lie where its reference "
                f"layer {scene.reference!r} has no data; check the layer's nodata and the place of "
                "the labels"
            )
        if left < given:
            self.notes.append(
                f"{given - left} of {given} labelled pixels lie where the layer "
                f"{scene.reference!r} has no data: unused"
            )
        return values

    def _units(self) -> list[np.ndarray]:
        shapes = [value.shape for value in self.values]
        if self.config.unit == "part":
            return number_parts(shapes)
        if self.config.unit == "block":
            return number_blocks(shapes, self.config.side)
        labels = [part.labels for part in self.scene.parts]
        if not any(label is not None and label.objects is not None for label in labels):
            raise SplitError(
                f"scene {self.scene.name!r} has no objects: its labels come from a raster; use "
                "labels of polygons or points, or the split 'blocks'"
            )
        units = number_objects(
            [
                np.zeros(shape, np.int32)
                if label is None or label.objects is None
                else label.objects
                for label, shape in zip(labels, shapes, strict=True)
            ]
        )
        lost = sum(
            int(((unit == NO_UNIT) & (value != IGNORED)).sum())
            for unit, value in zip(units, self.values, strict=True)
        )
        if lost:
            self.notes.append(f"{lost} labelled pixels belong to no object: unused")
        return units

    def _count(self, masks: list[np.ndarray]) -> np.ndarray:
        """Count label pixels of each class under masks."""
        counts = np.zeros(len(self.scene.classes), np.int64)
        for value, mask in zip(self.values, masks, strict=True):
            here = value[mask]
            counts += np.bincount(here[here != IGNORED], minlength=counts.size)
        return counts

    def _name(self, index: int) -> str:
        return f"class {self.scene.classes[index].name!r}"

    def drop(self, index: int, reason: str, remedy: str) -> None:
        """Leave a class out, or refuse."""
        if not self.config.drop:
            raise SplitError(
                f"{self._name(index)} {reason}; {remedy}, or leave it out (drop: true)"
            )
        self.notes.append(f"{self._name(index)} dropped: {reason}")
        self.dropped.append(index)
        for value in self.values:
            value[value == index] = IGNORED
        if all((value == IGNORED).all() for value in self.values):
            raise SplitError(
                f"every class of scene {self.scene.name!r} had to be dropped, the last one: "
                f"{self._name(index)} {reason}; {remedy}"
            )

    # the sides

    def assign_units(self) -> list[np.ndarray]:
        """Assign whole units to either side, so that each class stands on both, and the guard."""
        config, classes = self.config, len(self.scene.classes)
        table = count_units(self.units, self.values, classes)
        single = (table > 0).sum(axis=0) == 1
        for index in np.flatnonzero(single).tolist():
            where = f"{config.unit} of {config.side} px" if config.unit == "block" else config.unit
            self.drop(
                index,
                f"has its {table[:, index].sum()} pixels in one {where} and cannot stand on both "
                "sides of a split",
                "use smaller blocks" if config.unit == "block" else "use another split",
            )
        table = count_units(self.units, self.values, classes)
        roles, lost = self._choose_best(
            self._draw_candidates(table, config.train), [TRAIN, TEST], None, config.test_guard
        )
        for index in lost:
            self.drop(
                index,
                f"({table[:, index].sum()} pixels in {(table[:, index] > 0).sum()} {config.unit}s) "
                f"has no pixel left on one side with a guard of {config.test_guard} px",
                "use a smaller guard" + (" or another size" if config.unit == "block" else ""),
            )
        for role, value in zip(roles, self.values, strict=True):
            role[value == IGNORED] = UNUSED
        return roles

    def _draw_candidates(
        self, table: np.ndarray, fraction: float, both: bool = True
    ) -> Iterator[np.ndarray]:
        """Draw assignments of units to the first side, to be tried in this order."""
        if self.config.unit == "object":
            yield from draw_sides(table, fraction, self.rng, both)
            return
        yield from balance_sides(table, fraction, self.rng, both)
        if self.config.unit == "block":
            pairs = find_neighbours(self.units)
            yield from balance_sides(table, fraction, self.rng, both, pairs)

    def _choose_best(
        self,
        candidates: Iterable[np.ndarray],
        sides: list[int],
        base: list[np.ndarray] | None,
        width: int,
    ) -> tuple[list[np.ndarray], list[int]]:
        """Choose the first assignment after whose guard no class lacks a side, or the best.

        sides  the roles of the first and the second side
        base   roles to divide (those of the first side), or None for all labels
        """
        best: tuple[list[np.ndarray], list[int]] | None = None
        for assignment in candidates:
            first = np.append(assignment, False)  # NO_UNIT is the last
            roles = []
            for part, (value, unit) in enumerate(zip(self.values, self.units, strict=True)):
                role = np.where(first[unit], sides[0], sides[1]).astype(np.uint8)
                role[(value == IGNORED) | (unit == NO_UNIT)] = UNUSED
                if base is not None:
                    role = np.where(base[part] == sides[0], role, base[part])
                roles.append(role)
            needed = self._count([(role == sides[0]) | (role == sides[1]) for role in roles]) > 0
            roles = _apply_guard(roles, sides[1], width)
            missing = needed & (self._count([role == sides[0] for role in roles]) == 0)
            if base is None:
                missing |= needed & (self._count([role == sides[1] for role in roles]) == 0)
            lost = [int(index) for index in np.flatnonzero(missing)]
            if best is None or len(lost) < len(best[1]):
                best = roles, lost
            if not lost:
                break
        assert best is not None  # both ways of drawing give at least one assignment
        return best

    def assign_official(self) -> list[np.ndarray]:
        """Assign the masks that the benchmark publishes. Raises SplitError where there are none."""
        if not self.scene.official:
            raise SplitError(
                f"scene {self.scene.name!r} has no official masks; use 'given' for the roles that "
                "came with its labels, or 'blocks'"
            )
        return self.assign_given()

    def assign_given(self) -> list[np.ndarray]:
        """Assign the roles that came with the labels. Raises SplitError where nothing trains."""
        roles = []
        for part, value in zip(self.scene.parts, self.values, strict=True):
            role = np.zeros(value.shape, np.uint8)
            if part.labels is not None and part.labels.given is not None:
                given = part.labels.given
                role = np.where(np.isin(given, (TRAIN, VALIDATION, TEST)), given, UNUSED)
            role = role.astype(np.uint8)
            role[value == IGNORED] = UNUSED
            roles.append(role)
        if not any((role == TRAIN).any() for role in roles):
            raise SplitError(
                f"the labels of scene {self.scene.name!r} came with no training role; name a "
                "`train:` file under `labels:`, or use the split 'blocks'"
            )
        return roles

    def assign_pixels(self) -> list[np.ndarray]:
        """Assign single pixels of each class, at random."""
        flat = np.concatenate([value.ravel() for value in self.values])
        roles = np.zeros(flat.size, np.uint8)
        asked = self.config.per_class
        for index in range(len(self.scene.classes)):
            pixels = self.rng.permutation(np.flatnonzero(flat == index))
            if not pixels.size:
                continue
            train = asked or max(1, round(self.config.train * pixels.size))
            if not asked and pixels.size > 1:
                train = min(train, pixels.size - 1)
            if train >= pixels.size:
                self.drop(
                    index,
                    f"has {pixels.size} labelled pixel(s), {train} are asked for training and at "
                    "least one must be left for the test",
                    "ask for fewer",
                )
                continue
            roles[pixels[:train]], roles[pixels[train:]] = TRAIN, TEST
        sizes = np.cumsum([value.size for value in self.values])[:-1]
        return [
            role.reshape(value.shape)
            for role, value in zip(np.split(roles, sizes), self.values, strict=True)
        ]

    def assign_all(self) -> list[np.ndarray]:
        """Let every labelled pixel train."""
        return [np.where(value == IGNORED, UNUSED, TRAIN).astype(np.uint8) for value in self.values]

    def _add_validation(self, roles: list[np.ndarray]) -> list[np.ndarray]:
        config = self.config
        if any((role == VALIDATION).any() for role in roles):
            raise SplitError(
                f"the labels of scene {self.scene.name!r} came with validation pixels, and "
                f"validation={config.validation} asks to draw others; leave one of them out"
            )
        training = [
            np.where(role == TRAIN, value, IGNORED)
            for role, value in zip(roles, self.values, strict=True)
        ]
        table = count_units(self.units, training, len(self.scene.classes))
        units = int((table.sum(axis=1) > 0).sum())
        if units < 2:
            raise SplitError(
                f"the training side holds {units} {config.unit}(s), and validation needs one of at "
                "least two; "
                + ("use smaller blocks" if config.unit == "block" else "set validation: 0")
            )
        roles, lost = self._choose_best(
            self._draw_candidates(table, 1 - config.validation, both=False),
            [TRAIN, VALIDATION],
            roles,
            config.validation_guard,
        )
        if lost:
            raise SplitError(
                f"{self._name(lost[0])} ({table[:, lost[0]].sum()} training pixels) has none left "
                f"after validation={config.validation} and a guard of "
                f"{config.validation_guard} px; use a smaller guard or no validation"
            )
        if not any((role == VALIDATION).any() for role in roles):
            raise SplitError(
                f"validation={config.validation} of {units} {config.unit}s is none; ask for more, "
                "or for none at all"
            )
        return roles

    # what is asserted and said

    def _assert_apart(self, roles: list[np.ndarray]) -> None:
        """Raise SplitError where a block, object or part has pixels on two sides."""
        if not self.config.protocol.by_unit:
            return
        sides = np.zeros((1 + max(int(unit.max(initial=NO_UNIT)) for unit in self.units), 3), bool)
        for role, unit in zip(roles, self.units, strict=True):
            for column, kind in enumerate((TRAIN, VALIDATION, TEST)):
                sides[unit[role == kind], column] = True
        if (sides.sum(axis=1) > 1).any():
            raise SplitError(
                f"{(sides.sum(axis=1) > 1).sum()} {self.config.unit}(s) of the split have pixels "
                "on more than one side; this is a fault of bandweave, please report it"
            )

    def _note_counts(self, counts: np.ndarray) -> None:
        if self.config.protocol.by_block:
            self._note_small_sides(counts)
        if counts[GUARD].any():
            self.notes.append(f"guard: {counts[GUARD].sum()} pixels of the training side unused")
        for index in range(len(self.scene.classes)):
            if index in self.dropped:
                continue
            if not self.labelled[index]:
                self.notes.append(f"{self._name(index)} has no labelled pixel")
            elif not counts[TRAIN, index]:
                self.notes.append(
                    f"{self._name(index)} has no training pixel ({counts[TEST, index]} test pixels)"
                )
            elif not counts[TEST, index] and counts[TEST].any():
                self.notes.append(f"{self._name(index)} has no test pixel")
            elif self.config.validation and not counts[VALIDATION, index]:
                self.notes.append(f"{self._name(index)} has no validation pixel")

    def _note_small_sides(self, counts: np.ndarray) -> None:
        """Say where a side is too small a share, or stands in too few or too narrow blocks."""
        size, total = self.config.side, max(int(self.labelled.sum()), 1)
        shares = [counts[role].sum() / total for role in (TRAIN, TEST)]
        shapes = [value.shape for value in self.values]
        narrow = [edge for shape in shapes for n in shape if 0 < (edge := n % size) < size / 4]
        few = self.count_units_with_labels()
        if min(shares) >= SMALL_SIDE and few >= FEW_BLOCKS:
            return
        height, width = min(shapes, key=lambda shape: shape[0] * shape[1])
        smaller = max(min(height, width) // 6, 2 * self.config.test_guard, 4)
        slivers = f", some only {min(narrow)} px wide" if narrow else ""
        advice = f"; try a smaller block (size {smaller})" if smaller < size else ""
        self.notes.append(
            f"a side is small: {100 * shares[0]:.1f} % of the labelled pixels train and "
            f"{100 * shares[1]:.1f} % test, in {few} blocks of {size} px{slivers}; a score of so "
            f"few says little{advice}"
        )


def _apply_guard(roles: list[np.ndarray], role: int, width: int) -> list[np.ndarray]:
    """Make training pixels within `width` px of a pixel of `role` GUARD."""
    if not width:
        return roles
    guarded = []
    for part in roles:
        if (part == TRAIN).any() and (part == role).any():
            part = np.where((part == TRAIN) & (distance(part == role) <= width), GUARD, part)
        guarded.append(part.astype(np.uint8))
    return guarded
