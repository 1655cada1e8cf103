"""Findings on labels: pixels of each class and role, odd codes, labels without data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from bandweave.data.check.findings import Edit, Finding
from bandweave.data.scene import IGNORED, Labels, Part, Scene
from bandweave.data.scenefile.label_codes import code_parts
from bandweave.data.scenefile.schema import Code, SceneFile, label_files
from bandweave.data.splits.masks import labels_with_data
from bandweave.data.splits.roles import ROLES
from bandweave.errors import BandweaveError
from bandweave.raster.polygons import name_shapes

MARKS = (99, 127, 254, 255, 999, 9999, 32767, 65534, 65535, 99999, 2**31 - 1, 2**32 - 1)
MOST_CLASSES = 256  # more codes are numbers of fields, or measurements
BLIND = 0.1  # share of labels without data that is more than a border or a hole
FEW = 1.5  # polygons or points of a class, on average, below which the field numbers them


def look_at_labels(scene: Scene, file: SceneFile | None) -> Iterator[Finding]:
    """Findings on the labels of all parts."""
    labels = [part.labels for part in scene.parts if part.labels is not None]
    if not labels:
        yield Finding("no labels: the scene can be mapped, not trained on or scored")
        return
    yield from _describe_classes(scene, labels)
    total = sum(own.values.size for own in labels)
    none = sum(int((own.values == IGNORED).sum()) for own in labels)
    finer = f", {scene.label_ratio} times finer than the grid" if scene.label_ratio > 1 else ""
    yield Finding(f"labels: {total - none} of {total} px labelled{finer}")
    if none == total:
        yield Finding(
            "no pixel is labelled, so there is nothing to train on or to score", problem=True
        )
    yield from _find_blind(scene, labels)
    counts = _count_codes(scene, file)
    yield from _find_odd_codes(scene, file, counts)
    yield from _find_too_many(scene, file, labels)


# ----------------------------------------------------------------------------------------- classes


def _describe_classes(scene: Scene, labels: list[Labels]) -> Iterator[Finding]:
    roles = [role for role in range(len(ROLES)) if any(_has(own.given, role) for own in labels)]
    number = len(scene.classes)
    pixels = np.sum([_count(own.values, number) for own in labels], axis=0)
    of_role = {
        role: np.sum(
            [
                _count(np.where(own.given == role, own.values, IGNORED), number)
                for own in labels
                if own.given is not None
            ],
            axis=0,
        )
        for role in roles
    }
    objects = _count_objects(labels, number)
    shown = MOST_CLASSES if number > MOST_CLASSES else number
    for index, info in enumerate(scene.classes[:shown]):
        words = [f"{pixels[index]} px"]
        words += [f"{counts[index]} {ROLES[role]}" for role, counts in of_role.items()]
        if objects is not None:
            noun = name_shapes(own.shapes for own in labels)
            words.append(f"{objects[index]} {noun if objects[index] != 1 else noun[:-1]}")
        yield Finding(f"class {info.code} '{info.name}': {', '.join(words)}")
        if not pixels[index]:
            yield Finding(f"class {info.code} '{info.name}' has no pixel", problem=True)
    if number > shown:
        yield Finding(f"and {number - shown} more classes")


def _count(values: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(values[values != IGNORED], minlength=number)


def _count_objects(labels: list[Labels], number: int) -> np.ndarray | None:
    """Count polygons or points with pixels of each class; None where labels come from rasters."""
    counts = [own.count_objects(number) for own in labels]
    known = [count for count in counts if count is not None]
    return np.sum(known, axis=0) if len(known) == len(counts) else None


def _has(given: np.ndarray | None, role: int) -> bool:
    return given is not None and role > 0 and bool((given == role).any())


# ------------------------------------------------------------------------------ labels without data


def _find_blind(scene: Scene, labels: list[Labels]) -> Iterator[Finding]:
    """Find labels without data in the reference layer: a problem if many, or all of a class.

    A hole or a border crosses some labels of most scenes.
    """
    number = len(scene.classes)
    labelled = np.sum([_count(own.values, number) for own in labels], axis=0)
    kept = np.sum([_count_with_data(scene, part) for part in scene.parts], axis=0)
    blind, total = int((labelled - kept).sum()), int(labelled.sum())
    if blind:
        yield Finding(
            f"{blind} labelled px lie where '{scene.reference}' has no data "
            f"({100 * blind / total:.2g} % of the labelled); left out",
            problem=blind >= BLIND * total,
        )
    for info, had, has in zip(scene.classes, labelled, kept, strict=True):
        if had and not has and blind < total:
            yield Finding(
                f"class {info.code} '{info.name}': all of its {had} px lie where "
                f"'{scene.reference}' has no data",
                problem=True,
            )


def _count_with_data(scene: Scene, part: Part) -> np.ndarray:
    """Pixels of each class where the reference layer has data; all where it cannot be read."""
    number = len(scene.classes)
    if part.labels is None:
        return np.zeros(number, np.int64)
    try:
        return _count(labels_with_data(part, scene.reference, part.labels.ratio), number)
    except BandweaveError:
        return _count(part.labels.values, number)  # said at its layer


# ------------------------------------------------------------------------------------------- codes


def _count_codes(scene: Scene, file: SceneFile | None) -> Counter[Code]:
    """Count the pixels of each code in label rasters, those that are no label too."""
    counts: Counter[Code] = Counter()
    for key, entry in label_files(file).items() if file else ():
        if entry.field is None:
            for coded in code_parts(entry, key, file, scene.parts, []):  # type: ignore[arg-type]
                counts.update(coded.counts())
    return counts


def find_no_label_codes(codes: Counter[Code]) -> list[int]:
    """Find codes that most likely stand for no label: below 0, or far above the rest.

    >>> find_no_label_codes(Counter([0, 1, 2, 3, 255]))
    [255]
    >>> find_no_label_codes(Counter([-1, 0, 1]))
    [-1]
    """
    whole = sorted(code for code in codes if isinstance(code, int))
    found = [code for code in whole if code < 0]
    rest = [code for code in whole if code >= 0]
    while len(rest) > 1 and rest[-1] in MARKS and rest[-1] - rest[-2] > max(len(rest), 8):
        found.append(rest.pop())
    return found


def _find_odd_codes(
    scene: Scene, file: SceneFile | None, counts: Counter[Code]
) -> Iterator[Finding]:
    if file is None or not counts:
        return
    odd = find_no_label_codes(counts)
    classes = {info.code: info for info in scene.classes}
    wrong = [code for code in odd if code in classes and _has_no_name(classes[code].name)]
    for code in odd:
        if code in classes and code not in wrong:
            yield Finding(f"code {code} is the class '{classes[code].name}', as the file says")
    lost = [code for code in odd if code < 0] and counts.get(0) and 0 not in classes
    if not wrong:
        return
    ignored = [code for code in file.ignore if code != 0 or not lost]
    if file.classes is None and counts.get(0) and not lost and 0 not in file.ignore:
        ignored.append(0)  # as without `ignore`
    edits = [Edit((), "ignore", sorted({*ignored, *wrong}, key=str) if ignored else wrong)]
    if file.classes is not None:
        edits += [Edit(("classes",), code, None) for code in wrong if code in file.classes]
        edits += [Edit(("classes",), 0, "class 0")] if lost else []
    elif lost:
        kept = sorted(code for code in counts if isinstance(code, int) and code not in wrong)
        edits.append(Edit((), "classes", {code: f"class {code}" for code in kept}))
    several = len(wrong) > 1
    text = (
        f"labels: code{'s' if several else ''} "
        f"{', '.join(f'{code} ({counts[code]} px)' for code in wrong)} "
        + (
            "look like no label and are classes"
            if several
            else "looks like no label and is a class"
        )
    )
    if lost:
        text += f", while 0 ({counts[0]} px), a class beside codes below 0, is none"
    yield Finding(text, True, edits)


def _has_no_name(name: str) -> bool:
    """Tell whether nobody gave the name: 'class 255', '255'."""
    return bool(re.fullmatch(r"(?:class )?-?\d+", name))


def _find_too_many(scene: Scene, file: SceneFile | None, labels: list[Labels]) -> Iterator[Finding]:
    """Find numbers of fields or polygons, or measurements, that were given as labels by mistake."""
    number = len(scene.classes)
    if number < 2 or (file and file.classes is not None):
        return
    objects = _count_objects(labels, number)
    noun = name_shapes(own.shapes for own in labels)
    if objects is not None and number >= 16 and objects.sum() <= FEW * number:
        yield Finding(
            f"labels: {number} classes of {objects.sum()} {noun}: does `field` number "
            "them? Name the field that holds their class, or `classes` if this is it",
            problem=True,
        )
    elif number > MOST_CLASSES:
        yield Finding(
            f"labels: {number} classes: are these numbers of objects, or measurements? Give the "
            "raster or field of classes, or `classes` if this is it",
            problem=True,
        )
