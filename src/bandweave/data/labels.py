"""Labels of a scene: from codes in rasters and polygons to class indices and roles.

A code is how files name a class: a number in a raster, a number or a text in a polygon's field. All
codes are found first, over all parts; then the classes are settled; then codes become indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from bandweave.data.label_codes import Coded, code_parts
from bandweave.data.palette import colors
from bandweave.data.roles import TEST, TRAIN
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Part
from bandweave.data.scene_schema import ClassFile, Code, SceneFile, label_files
from bandweave.errors import LabelError

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
    chosen = _settle(file, counts, bool(rasters), notes)
    indices = {code: i for i, code in enumerate(chosen)}
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


def _settle(
    file: SceneFile, counts: Counter[Code], rasters: bool, notes: list[str]
) -> dict[Code, ClassInfo]:
    """The classes by code, in label order."""
    ignore = set(file.ignore)
    if file.classes is None:
        found = {code: n for code, n in counts.items() if code not in ignore}
        if rasters and 0 in found:
            notes.append(
                f"code 0 ({found.pop(0)} px) taken as no label; name it in `classes` if not"
            )
        ordered = sorted(found, key=lambda code: (isinstance(code, str), code))
        names = {code: f"class {code}" if isinstance(code, int) else code for code in ordered}
        if names:
            notes.append(f"`classes` not given: made {len(names)} from the codes found")
        return _infos({code: ClassFile(name) for code, name in names.items()})
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
