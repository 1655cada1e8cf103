"""Labels of a scene: from codes in rasters and polygons to class indices and roles.

A code is how files name a class: a number in a raster, a number or a text in a polygon's field. All
codes are found first, over all parts; then the classes are settled; then codes become indices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bandweave.data.label_codes import Coded, code_parts
from bandweave.data.palette import colors
from bandweave.data.roles import TEST, TRAIN
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Part
from bandweave.data.scene_schema import ClassFile, Code, SceneFile, label_files
from bandweave.errors import LabelError

MANY_CLASSES = 100  # so many are asked about
MOST_CLASSES = int(np.iinfo(np.int16).max)
NO_CLASS = re.compile(
    r"(?i)\s*(un(class|label|known|defined)|no[ _-]?(data|label|class)|none|back)"
)
_ROLES = {"labels.train": TRAIN, "labels.test": TEST}


def label_scene(
    file: SceneFile, parts: Sequence[Part], notes: list[str]
) -> tuple[tuple[ClassInfo, ...], list[Labels] | None]:
    """Classes, and the labels of each part; no labels where the scene file gives none."""
    sources = label_files(file)
    if not sources:
        named = {code: entry for code, entry in (file.classes or {}).items()}
        return tuple(_infos(named).values()), None
    coded = {key: code_parts(entry, key, file, parts, notes) for key, entry in sources.items()}
    _one_ratio(coded, parts)
    counts: Counter[Code] = Counter()
    for several in coded.values():
        for one in several:
            counts.update(one.counts())
    rasters = [key for key, several in coded.items() if several[0].objects is None]
    if file.classes:
        counts, names = _by_name(file.classes, counts)
    else:
        names = {}
    known: dict[Code, ClassFile] = {}
    for several in coded.values():
        for one in several:
            known.update(one.known)
    chosen = _settle(file, counts, bool(rasters), known, notes)
    _look_at_number(chosen, counts, coded, notes)
    indices = {code: i for i, code in enumerate(chosen)}
    indices |= {name: indices[code] for name, code in names.items() if code in indices}
    labels = [
        _merge({key: (several[i], indices) for key, several in coded.items()}, part)
        for i, part in enumerate(parts)
    ]
    for code, info in chosen.items():
        if not counts[code]:
            notes.append(f"class '{info.name}' (code {code}) has no pixel: absent")
    if not any((own.values != IGNORED).any() for own in labels):
        notes.append("the labels hold no labelled pixel")
    return tuple(chosen.values()), labels


def _by_name(
    classes: Mapping[Code, ClassFile], counts: Counter[Code]
) -> tuple[Counter[Code], dict[Code, Code]]:
    """Counts by code where files name some classes by name; and the code of each such name."""
    codes = {entry.name.strip().casefold(): code for code, entry in classes.items()}
    names: dict[Code, Code] = {
        code: codes[code.strip().casefold()]
        for code in counts
        if isinstance(code, str) and code not in classes and code.strip().casefold() in codes
    }
    joined: Counter[Code] = Counter()
    for code, count in counts.items():
        joined[names.get(code, code)] += count
    return joined, names


def _look_at_number(
    chosen: Mapping[Code, ClassInfo],
    counts: Counter[Code],
    coded: Mapping[str, list[Coded]],
    notes: list[str],
) -> None:
    """Note labels that look like an identifier; raise LabelError for more than an index holds."""
    if len(chosen) > MOST_CLASSES:
        raise LabelError(
            f"the labels have {len(chosen)} classes, and {MOST_CLASSES} at most are told apart; is "
            "the field, or the raster, one of identifiers?"
        )
    if len(chosen) < MANY_CLASSES:
        return
    drawn = [
        one.objects for several in coded.values() for one in several if one.objects is not None
    ]
    polygons = sum(len(np.unique(objects)) - 1 for objects in drawn)
    pixels = sum(counts.values())
    each = f"{polygons} polygons" if polygons else f"{pixels} px"
    notes.append(
        f"{len(chosen)} classes in {each}: are these identifiers of objects in place of classes? "
        "Name the classes in `classes`, or take another field or file"
    )


def _settle(
    file: SceneFile,
    counts: Counter[Code],
    rasters: bool,
    known: Mapping[Code, ClassFile],
    notes: list[str],
) -> dict[Code, ClassInfo]:
    """The classes by code, in label order.

    known  names and colours that the label files give
    """
    ignore = set(file.ignore)
    if file.classes is None:
        found = {code: n for code, n in counts.items() if code not in ignore}
        if rasters and 0 in found and _means_none(known.get(0)):
            notes.append(
                f"code 0 ({found.pop(0)} px) taken as no label; name it in `classes` if not"
            )
        ordered = sorted(found, key=lambda code: (isinstance(code, str), code))
        made = {code: known.get(code) or _unnamed(code) for code in ordered}
        named = sum(code in known for code in made)
        if made:
            whence = f", {named} with names from the label file" if named else ""
            notes.append(f"`classes` not given: made {len(made)} from the codes found{whence}")
        return _infos(_told_apart(made))
    others = {
        code: n for code, n in counts.items() if code not in file.classes and code not in ignore
    }
    if others and file.others == "error":
        hint = "; 0 often means no label: `ignore: [0]`" if 0 in others else ""
        raise LabelError(
            f"the labels have {_listing(others)}, which `classes` does not name; name them there, "
            f"list them in `ignore`, or say `others: ignore`{hint}"
        )
    if others:
        notes.append(f"others ignored: {_listing(others)}")
    return _infos(file.classes)


def _means_none(entry: ClassFile | None) -> bool:
    """A class 0 that has no name of its own, or one that says it is none."""
    return entry is None or not entry.name or bool(NO_CLASS.match(entry.name))


def _unnamed(code: Code) -> ClassFile:
    if isinstance(code, int):
        return ClassFile(f"class {code}")
    return ClassFile(code, code if re.fullmatch(r"#[0-9a-f]{6}", code) else None)


def _told_apart(classes: Mapping[Code, ClassFile]) -> dict[Code, ClassFile]:
    """The same, names that several classes share with their codes behind."""
    names = Counter(entry.name for entry in classes.values())
    return {
        code: replace(entry, name=f"{entry.name} {code}") if names[entry.name] > 1 else entry
        for code, entry in classes.items()
    }


def _listing(counts: Mapping[Code, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    shown = ", ".join(f"{code} ({n} px)" for code, n in ordered[:20])
    more = f" and {len(ordered) - 20} more" if len(ordered) > 20 else ""
    return f"code{'s' if len(ordered) > 1 else ''} {shown}{more}"


def _infos(classes: Mapping[Code, ClassFile]) -> dict[Code, ClassInfo]:
    """Numbers stay the classes' codes; texts are numbered from 1."""
    palette = colors(entry.color for entry in classes.values() if entry.color)
    texts = any(isinstance(code, str) for code in classes)
    return {
        code: ClassInfo(
            number if texts or isinstance(code, str) else code,
            entry.name,
            (entry.color or next(palette)).lower(),
        )
        for number, (code, entry) in enumerate(classes.items(), 1)
    }


def _merge(coded: Mapping[str, tuple[Coded, Mapping[Code, int]]], part: Part) -> Labels:
    """One label image of a part from its training and test labels, which may not meet."""
    layers = []
    for key, (one, indices) in coded.items():
        table = np.array([indices.get(name, IGNORED) for name in one.names] + [IGNORED], np.int16)
        layers.append((key, table[one.codes], one.objects))
    first, values, objects = layers[0]
    given = (
        np.where(values != IGNORED, _ROLES[first], 0).astype(np.uint8) if first in _ROLES else None
    )
    for key, more, more_objects in layers[1:]:
        new = more != IGNORED
        both = int((new & (values != IGNORED)).sum())
        if both:
            raise LabelError(
                f"{both} pixel{'s are' if both > 1 else ' is'} both in {first} and in {key}"
                f"{f' of part {part.name}' if part.name else ''}; a pixel either trains or tests"
            )
        values = np.where(new, more, values)
        assert given is not None  # two label files are those with roles
        given[new] = _ROLES[key]
        if objects is not None and more_objects is not None:
            objects = np.where(new, more_objects + objects.max(initial=0), objects)
        else:
            objects = None
    if objects is not None:
        objects = np.where(values != IGNORED, objects, 0).astype(np.int32)
    ratio = next(iter(coded.values()))[0].ratio
    return Labels(values, ratio, objects, given)


def _one_ratio(coded: Mapping[str, list[Coded]], parts: Sequence[Part]) -> None:
    first_key = next(iter(coded))
    first = coded[first_key][0].ratio
    for key, several in coded.items():
        for one, part in zip(several, parts, strict=True):
            if one.ratio != first:
                raise LabelError(
                    f"{key} of part '{part.name}' are {one.ratio} times finer than the grid, "
                    f"{first_key} of part '{parts[0].name}' {first} times; give all one `ratio`"
                )
