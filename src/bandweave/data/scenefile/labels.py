"""Labels of a scene: from codes in rasters and polygons to class indices and roles.

A code is how files name a class: a number in a raster, a number or a text in a polygon's field. All
codes are found first, over all parts; then the classes are settled; then codes become indices.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bandweave.data.palette import colors
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Part
from bandweave.data.scenefile.label_codes import Coded, code_parts, is_color
from bandweave.data.scenefile.schema import ClassFile, Code, LabelFile, SceneFile, label_files
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.errors import LabelError
from bandweave.raster.formats.gdal.categories import Categories, class_name
from bandweave.raster.polygons import name_shapes

MANY_CLASSES = 100  # so many without names are asked about
FEW_CLASSES = 10  # so many are never taken for identifiers
MOST_CLASSES = int(np.iinfo(np.int16).max)
LARGEST_MAPPED = 2**16 - 1  # codes of a map
NO_CLASS = re.compile(
    r"(?i)\s*(un(class|label|known|defined)|no[ _-]?(data|label|class)|none|back)"
)
_ROLES = {"labels.train": TRAIN, "labels.test": TEST}


@dataclass(frozen=True)
class Labelled:
    """The labels and classes of a scene file.

    classes   in the order of label indices
    labels    of each part; None where the scene file names no labels
    numbered  the classes' codes are numbers from 1 that stand in no file
    doubt     a question that is answered before anything is trained; '' where there is none
    """

    classes: tuple[ClassInfo, ...]
    labels: list[Labels] | None = None
    numbered: bool = False
    doubt: str = ""


def label_scene(file: SceneFile, parts: Sequence[Part], notes: list[str]) -> Labelled:
    """Classes, and the labels of each part; no labels where the scene file gives none."""
    sources = label_files(file)
    if not sources:
        named = file.classes or {}
        return Labelled(tuple(_number_classes(named).values()), numbered=_is_numbered(named))
    coded = {key: code_parts(entry, key, file, parts, notes) for key, entry in sources.items()}
    _check_ratio(coded, parts)
    everything = [one for several in coded.values() for one in several]
    counts: Counter[Code] = Counter()
    for one in everything:
        counts.update(one.counts())
    rasters = [key for key, several in coded.items() if several[0].objects is None]
    if file.classes:
        counts, names = _count_by_code(file.classes, counts)
    else:
        names = {}
    chosen = _settle(file, counts, bool(rasters), [one.known for one in everything], notes)
    if len(chosen) > MOST_CLASSES:
        raise LabelError(
            f"the labels have {len(chosen)} classes, and {MOST_CLASSES} at most are told apart; is "
            "the field, or the raster, one of identifiers?"
        )
    doubt = _ask_about_negative(chosen, counts)
    if not doubt and not file.classes:
        doubt = _ask_about_identifiers(chosen, counts, sources, everything)
    if doubt:
        notes.append(doubt)
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
    numbered = _is_numbered(chosen)
    if numbered and not any(isinstance(code, str) for code in chosen):
        notes.append(
            f"code {max(chosen)} does not fit a map, which holds {LARGEST_MAPPED} at most: maps "
            f"number the classes from 1 to {len(chosen)}"
        )
    return Labelled(tuple(chosen.values()), labels, numbered, doubt)


def _ask_about_negative(chosen: Mapping[Code, ClassInfo], counts: Mapping[Code, int]) -> str:
    """Ask whether a code below 0, which no map holds, is a class; '' without one."""
    below = [code for code in chosen if isinstance(code, int) and code < 0]
    if not below:
        return ""
    return (
        f"code {below[0]} ({counts[below[0]]} px) is below 0, and a map holds codes from 0 to "
        f"{LARGEST_MAPPED}: if it means no label, add `ignore: [{below[0]}]`; if it is a class, "
        "give it another code"
    )


def _ask_about_identifiers(
    chosen: Mapping[Code, ClassInfo],
    counts: Mapping[Code, int],
    sources: Mapping[str, LabelFile],
    coded: Sequence[Coded],
) -> str:
    """Ask whether labels without `classes` are identifiers of objects, '' if they are not.

    Shapes with fewer than two to a class are, and many codes that nothing gives a name.
    """
    if len(chosen) < FEW_CLASSES:
        return ""
    drawn = [one for one in coded if one.objects is not None]
    objects = {
        int(number)
        for one in drawn
        if one.objects is not None
        for number in np.unique(one.objects[one.codes >= 0])
    }
    unnamed = sum(info.name == f"class {code}" for code, info in chosen.items())
    if unnamed < MANY_CLASSES and not (objects and len(chosen) > len(objects) / 2):
        return ""
    fields = {entry.field for entry in sources.values() if entry.field}
    what = f"field '{fields.pop()}'" if fields else "raster"
    pixels = sum(counts[code] for code in chosen)
    each = (
        f"{len(objects)} {name_shapes(one.shapes for one in drawn)}" if objects else f"{pixels} px"
    )
    return (
        f"{len(chosen)} classes in {each}: does the {what} hold identifiers or measured values? "
        "Take the one with the class; if these are classes, name them in `classes`"
    )


def _count_by_code(
    classes: Mapping[Code, ClassFile], counts: Counter[Code]
) -> tuple[Counter[Code], dict[Code, Code]]:
    """Count by code where files name some classes by name; and the code of each such name."""
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


def _settle(
    file: SceneFile,
    counts: Counter[Code],
    rasters: bool,
    known: Sequence[Categories],
    notes: list[str],
) -> dict[Code, ClassInfo]:
    """Settle the classes by code, in label order.

    known  names and colours that each label file gives
    """
    ignore = set(file.ignore)
    if file.classes is None:
        found = {code: n for code, n in counts.items() if code not in ignore}
        names = _collect_names(known, found)
        if rasters and 0 in found and _means_none(names.get(0, "")):
            notes.append(
                f"code 0 ({found.pop(0)} px) taken as no label; name it in `classes` if not"
            )
        ordered = sorted(found, key=lambda code: (isinstance(code, str), code))
        made = {code: _make_class(code, names.get(code, "")) for code in ordered}
        if made:
            named = len(names.keys() & made.keys())
            whence = f", {named} with names from the label file" if named else ""
            notes.append(f"`classes` not given: made {len(made)} from the codes found{whence}")
        return _number_classes(_add_colors(_tell_apart(made), known))
    others = {
        code: n for code, n in counts.items() if code not in file.classes and code not in ignore
    }
    if others and file.others == "error":
        hint = "; 0 often means no label: `ignore: [0]`" if 0 in others else ""
        hint = hint or _suggest_name(others, file.classes)
        raise LabelError(
            f"the labels have {_list_codes(others)}, which `classes` does not name; name them "
            f"there, list them in `ignore`, or say `others: ignore`{hint}"
        )
    if others:
        notes.append(f"others ignored: {_list_codes(others)}")
    return _number_classes(_add_colors(file.classes, known))


def _suggest_name(others: Mapping[Code, int], classes: Mapping[Code, ClassFile]) -> str:
    """Suggest a name for texts that are near one: '; did you mean …?'"""
    names = [entry.name for entry in classes.values()]
    for code in sorted((code for code in others if isinstance(code, str)), key=others.__getitem__):
        if close := difflib.get_close_matches(code, names, n=1):
            return f"; did you mean {close[0]!r} by {code!r}?"
    return ""


def _collect_names(known: Sequence[Categories], found: Mapping[Code, int]) -> dict[Code, str]:
    """Collect the names that the label files give to the codes found.

    Raises LabelError where two files give a code different names.
    """
    names: dict[Code, str] = {}
    for one in known:
        for code, name in one.names.items():
            if code in found and names.setdefault(code, name) != name:
                raise LabelError(
                    f"code {code} is {names[code]!r} in one label file and {name!r} in another; "
                    "if it is one class, name it in `classes`"
                )
    return names


def _add_colors(
    classes: Mapping[Code, ClassFile], known: Sequence[Categories]
) -> dict[Code, ClassFile]:
    """Give classes without a colour the label files' colours; no colour for two of them."""
    colors: dict[Code, str] = {}
    for one in known:
        for code, color in one.colors.items():
            colors.setdefault(code, color)
    shown = {code: entry.color or colors.get(code) for code, entry in classes.items()}
    shown |= {color: color for color in classes if isinstance(color, str) and is_color(color)}
    times = Counter(color.lower() for color in shown.values() if color)
    return {
        code: replace(entry, color=color)
        if entry.color is None and color and times[color.lower()] == 1
        else entry
        for (code, entry), color in zip(classes.items(), shown.values(), strict=True)
    }


def _means_none(name: str) -> bool:
    """Tell whether class 0 has no name of its own, or one that says it is none."""
    return not name or bool(NO_CLASS.match(name))


def _make_class(code: Code, name: str) -> ClassFile:
    """Make a class for a code that `classes` does not name."""
    if isinstance(code, int):
        return ClassFile(name or f"class {code}")
    return ClassFile(class_name(code))


def _tell_apart(classes: Mapping[Code, ClassFile]) -> dict[Code, ClassFile]:
    """Put the codes behind names that several classes share."""
    names = Counter(entry.name for entry in classes.values())
    return {
        code: replace(entry, name=f"{entry.name} ({code})") if names[entry.name] > 1 else entry
        for code, entry in classes.items()
    }


def _list_codes(counts: Mapping[Code, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    shown = ", ".join(f"{code} ({n} px)" for code, n in ordered[:20])
    more = f" and {len(ordered) - 20} more" if len(ordered) > 20 else ""
    return f"code{'s' if len(ordered) > 1 else ''} {shown}{more}"


def _number_classes(classes: Mapping[Code, ClassFile]) -> dict[Code, ClassInfo]:
    """Numbers stay the classes' codes; where one is a text, or fits no map, all are numbered."""
    palette = colors(entry.color for entry in classes.values() if entry.color)
    numbered = _is_numbered(classes)
    return {
        code: ClassInfo(
            number if numbered or isinstance(code, str) else code,
            entry.name,
            (entry.color or next(palette)).lower(),
        )
        for number, (code, entry) in enumerate(classes.items(), 1)
    }


def _is_numbered(classes: Iterable[Code]) -> bool:
    return any(isinstance(code, str) or code > LARGEST_MAPPED for code in classes)


def _merge(coded: Mapping[str, tuple[Coded, Mapping[Code, int]]], part: Part) -> Labels:
    """Merge one label image of a part from its training and test labels, which may not meet."""
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
    return Labels(
        values, ratio, objects, given, name_shapes(one.shapes for one, _ in coded.values())
    )


def _check_ratio(coded: Mapping[str, list[Coded]], parts: Sequence[Part]) -> None:
    first_key = next(iter(coded))
    first = coded[first_key][0].ratio
    for key, several in coded.items():
        for one, part in zip(several, parts, strict=True):
            if one.ratio != first:
                raise LabelError(
                    f"{key} of part '{part.name}' are {one.ratio} times finer than the grid, "
                    f"{first_key} of part '{parts[0].name}' {first} times; give all one `ratio`"
                )
