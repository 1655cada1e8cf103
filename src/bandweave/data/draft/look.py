"""The content of files, for the draft of a scene: pixels, labels, polygons or a table."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.formats.array_files import ArrayReader
from bandweave.raster.formats.stored import Entry
from bandweave.raster.grid import Grid
from bandweave.raster.open import open_source
from bandweave.raster.reader import RasterReader, Reader, TableReader, VectorReader
from bandweave.raster.readers import SIDECARS, WRITTEN, recognise
from bandweave.raster.source import Source, read_nan

MOST_FILES = 10_000  # of a folder
MOST_CODES = 64  # more distinct values are measurements, not classes
_END = r"(?=$|[_\W\d])"
HEIGHTS = re.compile(rf"lidar|(?:^|[_\W])(?:n?dsm|dtm|dem|chm|height|elevation){_END}", re.I)
RADAR = re.compile(rf"(?:^|[_\W])(?:sar|radar|vv|vh|hh|hv|sentinel-?1|s1[ab]?){_END}", re.I)
PANS = re.compile(rf"(?:^|[_\W])pan(?:chromatic)?{_END}|_b8$", re.I)
RGB = re.compile(rf"(?:^|[_\W])(?:rgb|orthophoto|ortho){_END}", re.I)
FLAGS = re.compile(r"(?:^|_)(?:B?QA|QA_?\d+|QA_(?:PIXEL|RADSAT|AEROSOL)|SR_CLOUD_QA|ST_QA)$", re.I)
THERMAL = re.compile(rf"(?:^|[_\W])(?:st_b10|thermal|tirs?|lst){_END}", re.I)
_PLACES = re.compile(  # arrays that say where pixels lie, which no model learns from
    r"(?:^|[/.])(?:lat|lon|(?:lat|long)itude|glt_[xy])(?:_(?:vnir|swir|pan))?$", re.I
)
LABELS = re.compile(r"label|lab(?![a-z])|gt|truth|class|clas|mask|train|test|roi", re.I)


@dataclass(frozen=True)
class Raster:
    """A raster, or one array of a file with several."""

    path: str
    reader: RasterReader
    key: str | None
    bands: int
    dtype: np.dtype
    grid: Grid
    wavelengths: tuple[float, ...] | None
    codes: Counter[int] | None  # pixels of each value, where it looks like labels
    names: tuple[str, ...] | None = None  # of the bands, where the file has them

    @property
    def name(self) -> str:
        """File name and key."""
        return f"{Path(self.path).stem} {self.key or ''}".strip()

    @property
    def words(self) -> str:
        """Folder, file name and key: what its kind may be guessed from."""
        return f"{Path(self.path).parent.name} {self.name}"


@dataclass(frozen=True)
class Vector:
    """A vector file; for each field its distinct values."""

    path: str
    fields: dict[str, Counter]


@dataclass(frozen=True)
class Table:
    """A CSV file; for each column its values."""

    path: str
    columns: dict[str, list[str]]


@dataclass
class Looked:
    """All that was found in the files."""

    rasters: list[Raster] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # why a file is of no use


def look(files: Sequence[str | os.PathLike[str]]) -> Looked:
    """Open every file and say what it is; a folder stands for the files in it.

    Raises FileError for a file that does not exist, and for a folder without any.
    """
    found = Looked()
    for file in dict.fromkeys(each for one in files for each in _list_files(os.fspath(one))):
        path = Path(file)
        if not path.is_file():
            raise FileError(f"{file} does not exist")
        if file.lower().endswith(SIDECARS):
            continue
        try:
            reader = recognise(file, Reader)
            if isinstance(reader, VectorReader):
                found.vectors.append(_look_vector(file, reader))
            elif isinstance(reader, TableReader):
                found.tables.append(_look_table(file, reader))
            elif isinstance(reader, RasterReader):
                found.rasters.extend(_drop_twins(_look_rasters(file, reader), found.unused))
        except FileError as error:
            found.unused.append(str(error))
    flat = next((one.grid for one in found.rasters if one.codes), None)
    if flat is not None:  # labels tell which axis of a cube is the bands', as they do on opening
        shape = (flat.height, flat.width)
        found.rasters = [_reopen(one, shape) if one.bands > 1 else one for one in found.rasters]
    return found


def _list_files(name: str) -> list[str]:
    """List a file itself, or the files in a folder and below, without hidden and written ones."""
    if not os.path.isdir(name):
        return [name]
    found = []
    for folder, below, files in os.walk(name):
        below[:] = sorted(each for each in below if not each.startswith("."))
        found += [
            os.path.join(folder, each)
            for each in sorted(files)
            if not each.startswith(".") and not each.lower().endswith((*SIDECARS, *WRITTEN))
        ]
        if len(found) > MOST_FILES:
            raise FileError(
                f"{name} holds more than {MOST_FILES:,} files; name those that belong to the scene"
            )
    if not found:
        raise FileError(f"{name} is a folder without files that a scene can be made of")
    return found


def _reopen(raster: Raster, shape: tuple[int, int]) -> Raster:
    source = open_source(raster.path, key=raster.key, shape=shape)
    return replace(raster, bands=source.bands, grid=source.grid)


def _drop_twins(rasters: list[Raster], unused: list[str]) -> list[Raster]:
    """Drop arrays that hold the same values as one before; they are named as unused."""
    kept: list[Raster] = []
    for raster in rasters:
        twin = next((one for one in kept if _is_twin(raster, one)), None)
        if twin is None:
            kept.append(raster)
        else:
            unused.append(f"{raster.path}:{raster.key} holds the same values as {twin.key}")
    return kept


def _is_twin(raster: Raster, other: Raster) -> bool:
    if (raster.bands, raster.dtype, raster.grid) != (other.bands, other.dtype, other.grid):
        return False
    sources = [open_source(one.path, key=one.key) for one in (raster, other)]
    rows = max(2**22 // (raster.grid.width * raster.bands), 1)
    for window in raster.grid.window.divide(rows, raster.grid.width):
        one, two = (read_nan(source, window) for source in sources)
        if not np.array_equal(one, two, equal_nan=True):
            return False
    return True


def _look_rasters(file: str, reader: RasterReader) -> list[Raster]:
    entries = reader.list_arrays(file)
    keys = _choose_keys(file, entries) if isinstance(reader, ArrayReader) else [None]
    rasters = []
    for key in keys:
        source: Source = open_source(file, key=key)
        rasters.append(
            Raster(
                path=file,
                reader=reader,
                key=key if len(keys) > 1 else None,
                bands=source.bands,
                dtype=source.dtype,
                grid=source.grid,
                wavelengths=source.info.wavelengths,
                codes=_count_codes(source),
                names=source.info.names,
            )
        )
    return rasters


def _choose_keys(path: str, entries: Sequence[Entry]) -> list[str | None]:
    """Choose the keys of arrays that can be rasters: 2-D or 3-D, and no mere list."""
    fits: list[str | None] = [
        entry.key
        for entry in entries
        if entry.is_layer and min(entry.shape[:2]) > 1 and not _PLACES.search(entry.key)
    ]
    if not fits:
        listing = ", ".join(map(str, entries)) or "none"
        raise FileError(f"{path} holds no array that can be a raster: {listing}")
    return fits


def _count_codes(source: Source) -> Counter[int] | None:
    """Count the pixels of each value of one band of integers, if they are few; None otherwise."""
    if source.bands != 1 or source.dtype.kind not in "iub":
        return None
    counts: Counter[int] = Counter()
    rows = max(2**20 // source.grid.width, 1)
    for window in source.grid.window.divide(rows, source.grid.width):
        values, valid = source.read(window)
        found, number = np.unique(values[0][valid].astype(np.int64), return_counts=True)
        counts.update(dict(zip(found.tolist(), number.tolist(), strict=True)))
        if len(counts) > MOST_CODES:
            return None
    return counts


def _look_vector(file: str, reader: VectorReader) -> Vector:
    fields = {
        name: Counter(str(value) for value in values if value is not None)
        for name, values in reader.read_fields(Path(file)).items()
    }
    return Vector(file, fields)


def _look_table(file: str, reader: TableReader) -> Table:
    table = reader.read(Path(file))
    return Table(file, {name: [row.get(name, "") for row in table.rows] for name in table.columns})
