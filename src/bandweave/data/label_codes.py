"""Reading label files: class codes from rasters and polygons, on each part's grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.crs import CRS

from bandweave.data.parts import PATTERN
from bandweave.data.scene import Part
from bandweave.data.scene_schema import Code, LabelFile, SceneFile, label_files
from bandweave.errors import ConfigError, GridMismatch, LabelError
from bandweave.raster.alignment import Finer, Same, relation
from bandweave.raster.array_files import is_array_file
from bandweave.raster.grid import tiles
from bandweave.raster.open import assign_crs, open_source
from bandweave.raster.polygons import burn, read_polygons
from bandweave.raster.source import Source
from bandweave.raster.warp import WarpedSource

VECTORS = (".shp", ".geojson", ".json", ".gpkg", ".fgb", ".gml", ".kml", ".parquet")


@dataclass(frozen=True)
class Coded:
    """Labels of one part before the classes are settled.

    codes    (H·ratio, W·ratio) int32: index into `names`, or -1 where there is no label
    names    the codes as the files write them
    objects  as in `Labels`
    """

    codes: np.ndarray
    names: Sequence[Code]
    ratio: int
    objects: np.ndarray | None = None

    def counts(self) -> Counter[Code]:
        """Pixels of each code."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        return Counter({name: int(n) for name, n in zip(self.names, found, strict=True) if n})


def code_parts(
    entry: LabelFile, key: str, file: SceneFile, parts: Sequence[Part], notes: list[str]
) -> list[Coded]:
    """The codes of a label file, or of one file a part, on the grids of the parts."""
    if entry.field is not None or Path(entry.path[0]).suffix.lower() in VECTORS:
        return _code_polygons(entry, key, file, parts, notes)
    if len(entry.path) > 1:
        raise ConfigError(f"{key}.path: {len(entry.path)} rasters; labels are one raster a part")
    return [_code_raster(entry, key, file, part, notes) for part in parts]


# ---------------------------------------------------------------------------------------- polygons


def _code_polygons(
    entry: LabelFile, key: str, file: SceneFile, parts: Sequence[Part], notes: list[str]
) -> list[Coded]:
    if entry.field is None:
        raise ConfigError(f"{key}: polygons need `field`, the attribute with their class")
    join = {"csv": entry.join.csv, "on": entry.join.on} if entry.join else None
    polygons = read_polygons(entry.path, entry.field, join=join, layer=entry.key)
    crs = entry.crs or file.crs
    if crs is not None and None in polygons.crs:
        filled = tuple(own or CRS.from_user_input(crs) for own in polygons.crs)
        polygons = replace(polygons, crs=filled)
    ratio = entry.ratio or 1
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
        coded.append(Coded(codes, names, ratio, numbers[burned.objects]))
        owners.update(burned.numbers)
        near.update(burned.near)
        overlapped += burned.counts["overlapped_pixels"]
    counts = polygons.counts
    notes.append(
        f"{key}: {counts['read']} polygons or points read, "
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
    touched = "every pixel they touch" if entry.all_touched else "pixels whose centre they hold"
    notes.append(
        f"{key}: polygons own {touched}; {overlapped} px in several: {_RULES[entry.overlap]}"
    )
    return coded


_RULES = {
    "smallest": "the smallest polygon's",
    "largest": "the largest polygon's",
    "first": "the first polygon's in the file",
    "last": "the last polygon's in the file",
    "ignore": "nobody's",
}

# ----------------------------------------------------------------------------------------- rasters


def label_shape(file: SceneFile, part: str) -> tuple[int, int] | None:
    """Rows and columns of the grid, as label rasters have them: tells how a MATLAB cube lies."""
    for entry in label_files(file).values():
        path = Path(entry.path[0].replace(PATTERN, part))
        if not entry.warp and path.is_file() and is_array_file(path):
            grid = open_source(path, key=entry.key).grid
            ratio = entry.ratio or 1
            return grid.height // ratio, grid.width // ratio
    return None


def _code_raster(
    entry: LabelFile, key: str, file: SceneFile, part: Part, notes: list[str]
) -> Coded:
    path = entry.path[0].replace(PATTERN, part.name)
    if PATTERN in entry.path[0] and not Path(path).exists():
        notes.append(f"{key}: part '{part.name}' has no file {Path(path).name}: unlabelled")
        ratio = entry.ratio or 1
        empty = np.full((part.grid.height * ratio, part.grid.width * ratio), -1, np.int32)
        return Coded(empty, (), ratio)
    source: Source = open_source(path, key=entry.key, nodata=entry.nodata, crs=entry.crs)
    if source.bands != 1:
        raise LabelError(f"{key}: {path} has {source.bands} bands; labels are one band of codes")
    if source.grid.crs is None and file.crs is not None:
        source.grid = assign_crs(source.grid, file.crs, path)
    ratio = entry.ratio or 1
    if entry.warp:
        source = WarpedSource(source, part.grid.finer(ratio), entry.warp)
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
    return _coded(source, key, path, ratio)


def _coded(source: Source, key: str, path: str, ratio: int) -> Coded:
    """All codes of a raster, read window by window."""
    height, width = source.grid.height, source.grid.width
    stored = np.zeros((height, width), np.int32)
    labelled = np.zeros((height, width), bool)
    for window in tiles(height, width, 1024):
        inside = window.clip(height, width)
        assert inside is not None
        values, valid = source.read(inside)
        odd = valid & ((values[0] != np.round(values[0])) | (np.abs(values[0]) >= 2**24))
        if odd.any():
            raise LabelError(
                f"{key}: {path} holds {values[0][odd][0]:g}, and class codes are whole numbers; "
                "is it the right file, or the right `key`?"
            )
        rows, cols = inside.slices()
        stored[rows, cols], labelled[rows, cols] = values[0], valid
    names, index = np.unique(stored[labelled], return_inverse=True)
    codes = np.full((height, width), -1, np.int32)
    codes[labelled] = index
    return Coded(codes, [int(name) for name in names], ratio)
