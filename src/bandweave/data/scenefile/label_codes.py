"""Reading label files: class codes from rasters and polygons, on each part's grid."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from bandweave.data.scene import Part
from bandweave.data.scenefile.parts import PATTERN
from bandweave.data.scenefile.schema import ClassFile, Code, LabelFile, SceneFile, label_files
from bandweave.errors import BandweaveError, ConfigError, GridMismatch, LabelError
from bandweave.raster.alignment import Finer, Same, relation
from bandweave.raster.formats.array_files import ArrayReader
from bandweave.raster.formats.gdal.categories import Categories
from bandweave.raster.formats.gdal.source import open_dataset
from bandweave.raster.open import assign_crs, open_source
from bandweave.raster.polygons import burn, read_polygons
from bandweave.raster.reader import RasterReader, Reader, VectorReader
from bandweave.raster.readers import recognise
from bandweave.raster.source import Source
from bandweave.raster.warp import WarpedSource

LARGEST_CODE = 2**24  # whole numbers beyond it are not exact in float32
MOST_COLORS = 256


@dataclass(frozen=True)
class Coded:
    """Labels of one part before the classes are settled.

    codes    (H·ratio, W·ratio) int32: index into `names`, or -1 where there is no label
    names    the codes as the files write them
    objects  as in `Labels`
    known    names and colours of codes that the file itself gives
    shapes   as in `Labels`
    """

    codes: np.ndarray
    names: Sequence[Code]
    ratio: int
    objects: np.ndarray | None = None
    known: Categories = field(default_factory=Categories)
    shapes: str = "polygons"

    def counts(self) -> Counter[Code]:
        """Pixels of each code."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        return Counter({name: int(n) for name, n in zip(self.names, found, strict=True) if n})


def code_parts(
    entry: LabelFile, key: str, file: SceneFile, parts: Sequence[Part], notes: list[str]
) -> list[Coded]:
    """Code the labels of a file, or of one file a part, on the grids of the parts."""
    first = entry.path[0].replace(PATTERN, parts[0].name)
    if entry.field is not None or _holds_polygons(first):
        return _code_polygons(entry, key, file, parts, notes)
    if len(entry.path) > 1:
        raise ConfigError(f"{key}.path: {len(entry.path)} rasters; labels are one raster a part")
    return [_code_raster(entry, key, file, part, notes) for part in parts]


def _holds_polygons(path: str) -> bool:
    return os.path.isfile(path) and isinstance(recognise(path, Reader), VectorReader)


# ---------------------------------------------------------------------------------------- polygons


def _code_polygons(
    entry: LabelFile, key: str, file: SceneFile, parts: Sequence[Part], notes: list[str]
) -> list[Coded]:
    if entry.field is None:
        raise ConfigError(
            f"{key}: polygons and points need `field`, the attribute with their class"
        )
    join = vars(entry.join) if entry.join else None
    polygons = read_polygons(
        entry.path,
        entry.field,
        join=join,
        layer=entry.key,
        encoding=entry.encoding,
        crs=_parse_crs(entry, key, file),
    )
    ratio, noun = entry.ratio or 1, polygons.noun
    names = list(dict.fromkeys(polygons.codes))
    index = {name: i for i, name in enumerate(names)}
    coded: list[Coded] = []
    owners: set[int] = set()
    near: set[int] = set()
    overlapped = 0
    for part in parts:
        burned = burn(
            polygons,
            part.grid.finer(ratio),
            overlap=entry.overlap,
            all_touched=entry.all_touched,
        )
        numbers = np.array([0, *(number + 1 for number in burned.numbers)], np.int32)
        codes = burned.values(index).astype(np.int32)
        coded.append(Coded(codes, names, ratio, numbers[burned.objects], shapes=noun))
        owners.update(burned.numbers)
        near.update(burned.near)
        overlapped += burned.counts["overlapped_pixels"]
    counts = polygons.counts
    notes += [f"{key}: {note}" for note in polygons.notes]
    notes.append(
        f"{key}: {counts['read']} {noun} read, "
        f"{counts['without_row']} without a row in the CSV, "
        f"{counts['without_code']} without a value of '{entry.field}', "
        f"{len(polygons.codes) - len(near)} outside the scene, "
        f"{len(near) - len(owners)} without a pixel (too small, or under others), "
        f"{len(owners)} with pixels"
    )
    if counts["repeated_rows"]:
        notes.append(f"{key}: {counts['repeated_rows']} repeated rows in the CSV; the first counts")
    if counts["unusable"]:
        notes.append(
            f"{key}: {counts['unusable']} geometries that are neither polygons nor points left out"
        )
    notes.append(
        f"{key}: {_say_ownership(noun, entry)}; {overlapped} px in several: "
        f"{_say_rule(noun, entry)}"
    )
    return coded


def _parse_crs(entry: LabelFile, key: str, file: SceneFile) -> CRS | None:
    crs = entry.crs or file.crs
    try:
        return CRS.from_user_input(crs) if crs is not None else None
    except (CRSError, ValueError) as error:
        raise ConfigError(f"{key}.crs: {crs!r} names no CRS: {error}") from None


def _say_ownership(noun: str, entry: LabelFile) -> str:
    """Say which pixels are a shape's own."""
    if noun == "points":
        return "points own the pixel they lie in"
    touched = "every pixel they touch" if entry.all_touched else "pixels whose centre they hold"
    also = ", points the one they lie in" if noun == "shapes" else ""
    return f"{noun} own {touched}{also}"


def _say_rule(noun: str, entry: LabelFile) -> str:
    """Say whose a pixel in several is; points are all alike in size, and the last counts."""
    rule, one = entry.overlap, noun.removesuffix("s")
    if rule == "ignore":
        return "nobody's"
    if noun == "points" and rule != "first":
        rule = "last"
    return f"the {rule} {one}'s" + (" in the file" if rule in ("first", "last") else "")


# ----------------------------------------------------------------------------------------- rasters


def find_label_shape(file: SceneFile, part: str) -> tuple[int, int] | None:
    """Find rows and columns of the grid by label rasters: they tell how a MATLAB cube lies."""
    for entry in label_files(file).values():
        path = entry.path[0].replace(PATTERN, part)
        if entry.warp or not os.path.isfile(path):
            continue
        if isinstance(recognise(path, Reader), ArrayReader):
            grid = open_source(path, key=entry.key, axis=entry.axis).grid
            ratio = entry.ratio or 1
            return grid.height // ratio, grid.width // ratio
    return None


def _code_raster(
    entry: LabelFile, key: str, file: SceneFile, part: Part, notes: list[str]
) -> Coded:
    path = entry.path[0].replace(PATTERN, part.name)
    if PATTERN in entry.path[0] and not os.path.exists(path):
        notes.append(f"{key}: part '{part.name}' has no file {Path(path).name}: unlabelled")
        ratio = entry.ratio or 1
        empty = np.full((part.grid.height * ratio, part.grid.width * ratio), -1, np.int32)
        return Coded(empty, (), ratio)
    ratio = entry.ratio or 1
    fine = part.grid.finer(ratio)
    source: Source = open_source(
        path,
        key=entry.key,
        nodata=entry.nodata,
        crs=entry.crs,
        axis=entry.axis,
        shape=None if entry.warp else (fine.height, fine.width),
    )
    if source.grid.crs is None and file.crs is not None:
        source.grid = assign_crs(source.grid, file.crs, path)
    if entry.warp:
        source = WarpedSource(source, fine, entry.warp)
        notes.append(f"{key}: warped to {source.grid}, {entry.warp}")
    else:
        found = relation(source.grid, part.grid)
        if not isinstance(found, Same | Finer):
            raise GridMismatch(
                f"{key} of '{part.name}': {source.grid}, the grid '{file.grid}' is {part.grid} "
                f"({found.reason}); "
                "add `warp: nearest` to the labels to warp them"
            )
        ratio = found.ratio if isinstance(found, Finer) else 1
        if entry.ratio not in (None, ratio):
            raise GridMismatch(
                f"{key}: {source.grid}, {ratio} times as fine as the grid '{file.grid}', "
                f"{part.grid}, not {entry.ratio} times; leave out `ratio`"
            )
        if entry.ratio is None and ratio > 1:
            notes.append(f"{key}: {ratio} times finer than the grid '{file.grid}'")
    if source.bands > 1:
        return _code_bands(source, key, path, ratio, file)
    known = recognise(path, RasterReader).read_categories(path) or Categories()
    return replace(_code_band(source, key, path, ratio), known=known)


def _code_band(source: Source, key: str, path: str, ratio: int) -> Coded:
    """Read all codes of a raster, window by window."""
    height, width = source.grid.height, source.grid.width
    stored = np.zeros((height, width), np.int32)
    labelled = np.zeros((height, width), bool)
    for inside in source.grid.window.divide(1024):
        values, valid = source.read(inside)
        odd = valid & (values[0] != np.round(values[0]))
        if odd.any():
            raise LabelError(
                f"{key}: {path} holds {values[0][odd][0]:g}, and class codes are whole numbers; "
                "is it the right file, or the right `key`?"
            )
        large = valid & (np.abs(values[0]) >= LARGEST_CODE)
        if large.any():
            row, col = np.argwhere(large)[0].tolist()
            value = _read_stored(
                source, path, inside.row + row, inside.col + col, values[0, row, col]
            )
            raise LabelError(_say_too_large(key, path, value))
        rows, cols = inside.slices()
        stored[rows, cols], labelled[rows, cols] = values[0], valid
    names, index = np.unique(stored[labelled], return_inverse=True)
    codes = np.full((height, width), -1, np.int32)
    codes[labelled] = index
    return Coded(codes, [int(name) for name in names], ratio)


def _read_stored(source: Source, path: str, row: int, col: int, read: np.floating) -> int | float:
    """Read the value of a pixel as the file holds it, which float32 may have rounded."""
    try:
        if isinstance(source, WarpedSource):
            return float(read)
        with open_dataset(path) as dataset:
            return dataset.read(1, window=((row, row + 1), (col, col + 1))).item()
    except (BandweaveError, RasterioError):  # an array, which GDAL does not read
        return float(read)


def _say_too_large(key: str, path: str, value: int | float) -> str:
    """Say what a code beyond the largest is, with the line that most likely mends it."""
    text = f"{value:.0f}" if isinstance(value, float) and abs(value) < 1e15 else repr(value)
    return (
        f"{key}: {path} holds {text}, and class codes lie below {LARGEST_CODE}; if it marks "
        f"pixels without a label, add `nodata: {text}` to the labels; if it is a class, give it "
        "another code"
    )


def _code_bands(source: Source, key: str, path: str, ratio: int, file: SceneFile) -> Coded:
    """Code labels of several bands: a colour a class in three, or a band of 0 and 1 a class."""
    classes = file.classes or {}
    largest = _find_hot_value(source)
    if len(classes) == source.bands and largest == 1:
        return _code_one_hot(source, ratio, list(classes))
    colored = not classes or bool(_map_colors(classes))
    if source.bands in (3, 4) and source.dtype.kind in "ui" and colored:
        return _code_colors(source, key, path, ratio, classes)
    if len(classes) == source.bands and largest is not None:
        return _code_one_hot(source, ratio, list(classes))
    raise LabelError(
        f"{key}: {path} has {source.bands} bands and `classes` {len(classes) or 'no'} entries; "
        "labels are one band of codes, three of colours (0 to 255, with a `color` in each of "
        "`classes`), or for each of `classes` a band of 0 and 1 with one 1 a pixel"
    )


def _map_colors(classes: Mapping[Code, ClassFile]) -> dict[str, Code]:
    """Find the code of each colour '#rrggbb', which may itself be the code."""
    colors = {code: entry.color or str(code) for code, entry in classes.items()}
    return {color.lower(): code for code, color in colors.items() if is_color(color)}


def is_color(text: str) -> bool:
    """Tell whether a text is written as '#rrggbb'."""
    return bool(re.fullmatch(r"#[0-9a-fA-F]{6}", text))


def _code_colors(
    source: Source, key: str, path: str, ratio: int, classes: Mapping[Code, ClassFile]
) -> Coded:
    """Code the classes whose colours the pixels have; other colours are codes '#rrggbb'.

    A fourth band says with 0 where there is no label.
    """
    height, width = source.grid.height, source.grid.width
    stored = np.full((height, width), -1, np.int32)
    for inside in source.grid.window.divide(1024):
        values, valid = source.read(inside)
        if (values < 0).any() or (values[:3] > 255).any():
            raise LabelError(
                f"{key}: {path} holds {values.min():g} to {values.max():g}, and colours are of "
                "0 to 255; is it an image?"
            )
        red, green, blue = values[:3].astype(np.int32)
        seen = valid if len(values) == 3 else valid & (values[3] > 0)
        rows, cols = inside.slices()
        stored[rows, cols] = np.where(seen, (red << 16) + (green << 8) + blue, -1)
    found, index, counts = np.unique(stored, return_inverse=True, return_counts=True)
    if len(found) > MOST_COLORS:
        raise LabelError(
            f"{key}: {path} has {len(found)} colours, and labels one a class; is it an image, or "
            "written with loss (JPEG)?"
        )
    by_color = _map_colors(classes)
    names: list[Code] = []
    unnamed: Counter[str] = Counter()
    table = np.full(len(found), -1, np.int32)
    for i, value in enumerate(found):
        color = f"#{value:06x}"
        if value < 0 or (color == "#000000" and color not in by_color):
            continue  # black is how such files write "none"
        table[i] = len(names)
        names.append(by_color.get(color, color))
        unnamed[color] += int(counts[i])
    if not classes:
        shown = ", ".join(f"{color} ({n} px)" for color, n in unnamed.most_common(12))
        first = unnamed.most_common(1)[0][0] if unnamed else "#ffffff"
        raise LabelError(
            f"{key}: {path} has {source.bands} bands of {len(unnamed)} colours ({shown}); name the "
            f'class of each: `classes: {{1: {{name: …, color: "{first}"}}, …}}`'
        )
    return Coded(table[index].reshape(stored.shape), names, ratio)


def _find_hot_value(source: Source) -> int | None:
    """Find the value, 1 or 255, that bands hold once a pixel at most beside 0; None if not."""
    largest = 1
    for inside in source.grid.window.divide(1024):
        values, valid = source.read(inside)
        values = values[:, valid]
        if not np.isin(values, (0, 1, 255)).all() or ((values > 0).sum(axis=0) > 1).any():
            return None
        largest = max(largest, int(values.max(initial=0)))
    return largest


def _code_one_hot(source: Source, ratio: int, names: Sequence[Code]) -> Coded:
    """Code the band that is 1 (or 255) at each pixel; none where all are 0."""
    codes = np.full((source.grid.height, source.grid.width), -1, np.int32)
    for inside in source.grid.window.divide(1024):
        values, valid = source.read(inside)
        hot = values > 0
        rows, cols = inside.slices()
        codes[rows, cols] = np.where(valid & hot.any(axis=0), hot.argmax(axis=0), -1)
    return Coded(codes, list(names), ratio)
