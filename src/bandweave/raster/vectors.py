"""Vector files and tables as people have them: read safely, with the place of what is wrong."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from bandweave.errors import FileError
from bandweave.local_files import check_input_file

# The first bytes of each format that is opened; what leads to other files or a network is none.
_BEGINNINGS = {
    ".shp": re.compile(rb"\x00\x00\x27\x0a"),
    ".gpkg": re.compile(rb"SQLite format 3\x00"),
    ".geojson": re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]"),
    ".json": re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]"),
    ".fgb": re.compile(rb"fgb"),
    ".kml": re.compile(rb"(?s)(?:\xef\xbb\xbf)?\s*<.*?<kml[\s>]|\s*<kml[\s>]"),
}
VECTORS = tuple(_BEGINNINGS)
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Vector:
    """Features of a vector file.

    shapes  geometries without a third dimension, None where a feature has none
    fields  the values of each attribute
    crs     None where the file states none, or one that its coordinates cannot be in
    """

    shapes: np.ndarray
    fields: dict[str, np.ndarray]
    crs: CRS | None


def read_vector(
    path: Path,
    layer: str | None = None,
    *,
    encoding: str | None = None,
    crs: CRS | None = None,
) -> Vector:
    """The features of a layer.

    layer     of a file with several
    encoding  of a shapefile's text, where the file says none or another one
    crs       assigned where the file states none, or one that its coordinates cannot be in

    Raises FileError for a file that is missing, damaged or of another kind, for text in another
    encoding, and for coordinates that are no degrees in a file whose CRS is.
    """
    import pyogrio

    check_vector(path)
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise FileError(f"{path}: `encoding: {encoding}` is no encoding that is known") from None
    with _naming(path, encoding):
        names = [str(name) for name, _ in pyogrio.list_layers(path)]
        if layer is None and len(names) > 1:
            raise FileError(f"{path} has layers {', '.join(names)}; choose one with `key`")
        if layer is not None and layer not in names:
            raise FileError(
                f"{path} cannot be read at layer {layer!r}, which it has not; it has "
                f"{', '.join(names) or 'none'}"
            )
        meta, _, geometry, values = pyogrio.raw.read(path, layer=layer, encoding=encoding)
        if geometry is None:
            raise FileError(f"{path} has no geometries")
        shapes = shapely.force_2d(shapely.from_wkb(geometry, on_invalid="ignore"))
        stated = CRS.from_user_input(meta["crs"]) if meta["crs"] else None
    fields = dict(zip(map(str, meta["fields"]), values, strict=True))
    return Vector(shapes, fields, _crs_of(path, shapes, stated, crs))


def describe_vector(path: Path) -> dict[str, Any]:
    """What a vector file holds: driver, features, crs, fields and more of pyogrio's `read_info`."""
    import pyogrio

    check_vector(path, "polygons")
    with _naming(path, None):
        return pyogrio.read_info(path)


def read_fields(path: Path) -> dict[str, np.ndarray]:
    """The values of each attribute, without the geometries."""
    import pyogrio

    check_vector(path)
    with _naming(path, None):
        meta, _, _, values = pyogrio.raw.read(path, read_geometry=False)
    return dict(zip(map(str, meta["fields"]), values, strict=True))


def check_vector(path: Path, what: str = "vector data") -> None:
    """Raise FileError unless a file is of a format that reads itself and its sidecars alone."""
    check_input_file(path)
    suffix = path.suffix.lower()
    beginning = _BEGINNINGS.get(suffix)
    if beginning is None:
        raise FileError(
            f"{path} cannot be read as {what}: give a shapefile, GeoPackage, GeoJSON, FlatGeobuf "
            "or KML file"
        )
    with path.open("rb") as file:
        head = file.read(2048)
    if not beginning.match(head):
        found = f"it begins with {head[:20]!r}" if head else "it is empty"
        raise FileError(f"{path} cannot be read as {what}: it is no {suffix[1:]} file, {found}")


@contextmanager
def _naming(path: Path, encoding: str | None) -> Iterator[None]:
    """Whatever a reader raises of a vector file, as a FileError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (FileError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        said = f"`encoding: {encoding}`" if encoding else f"UTF-8{_said_by(path)}"
        raise FileError(
            f"{path}: its text is not in {said} (byte {error.object[error.start]:#04x}); add "
            "`encoding:` to the labels, for instance `encoding: latin1`"
        ) from error
    except Exception as error:  # readers raise whatever the damage leads to
        text = " ".join(str(error).split())[:300]
        if "crs" in type(error).__name__.lower() or isinstance(error, UnboundLocalError):
            sidecar = path.with_suffix(".prj").name if path.suffix.lower() == ".shp" else "its CRS"
            raise FileError(f"{path}: {sidecar} is damaged and names no CRS: {text}") from error
        raise FileError(f"{path} cannot be read as vector data: {text}") from error


def _said_by(path: Path) -> str:
    sidecar = path.with_suffix(".cpg")
    return f", whatever its {sidecar.name} says" if sidecar.exists() else ""


def _crs_of(path: Path, shapes: np.ndarray, stated: CRS | None, given: CRS | None) -> CRS | None:
    if stated is None or not stated.is_geographic:
        return stated or given
    bounds = shapely.bounds(shapes)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    if not len(bounds) or (np.abs(bounds[:, [0, 2]]).max() <= 540 and np.abs(bounds).max() <= 540):
        return stated
    if given is not None and not given.is_geographic:
        return given
    left, bottom = bounds[:, 0].min(), bounds[:, 1].min()
    raise FileError(
        f"{path}: its coordinates begin at x {left:.10g}, y {bottom:.10g} and are no degrees, "
        "which GeoJSON's are where it names no other CRS; state theirs with `crs:` in the labels"
    )


# ------------------------------------------------------------------------------------------ tables


@dataclass(frozen=True)
class Table:
    """Rows of a table of text, each by the names of its columns."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read_table(path: Path, key: str | None = None) -> Table:
    """A table of text with a header: commas, semicolons, tabs or bars between, in any encoding.

    key  a column that the header holds; the delimiter under which it does is meant. Without it, or
         where none does, the one that gives the most columns

    Raises FileError for what cannot be read as a table.
    """
    check_input_file(path)
    try:
        text = _decoded(path.read_bytes())
        if "\0" in text:
            raise FileError(f"{path} cannot be read as a CSV table: it is no text")
        header = next(iter(text.splitlines()), "")
        splits = {
            mark: [name.strip() for name in next(csv.reader([header], delimiter=mark), [])]
            for mark in _DELIMITERS
        }
        fitting = [mark for mark, names in splits.items() if key is not None and key in names]
        if key is not None and not fitting and max(map(len, splits.values())) < 2:
            raise FileError(
                f"{path} cannot be read as a CSV table: its first line, {header[:60]!r}, has "
                f"neither the column {key!r} nor a comma, semicolon, tab or bar"
            )
        mark = fitting[0] if fitting else max(splits, key=lambda each: len(splits[each]))
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except (OSError, UnicodeError, csv.Error) as error:
        raise FileError(f"{path} cannot be read as a CSV table: {error}") from error
    columns = tuple(name.strip() for name in lines[0]) if lines else ()
    rows = [dict(zip(columns, line, strict=False)) for line in lines[1:] if any(line)]
    return Table(columns, rows)


def _decoded(raw: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or, failing both, Windows' Latin letters."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    if raw[1:2] == b"\0" and raw[3:4] == b"\0":
        return raw.decode("utf-16-le")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


# --------------------------------------------------------------------------------------- geometries


def usable_parts(shape: Any) -> Any:
    """The polygons of a geometry, or its points where it has none; None for what has neither.

    Collections are opened, however deep. What has coordinates that are not finite is of no use.
    """
    if shape is None or shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        return None
    if shape.geom_type in ("Polygon", "MultiPolygon", "Point", "MultiPoint"):
        return shape
    if shape.geom_type != "GeometryCollection":
        return None
    inside = [part for one in shape.geoms if (part := usable_parts(one)) is not None]
    areas = [part for part in inside if "Polygon" in part.geom_type]
    chosen = areas or inside
    if not chosen:
        return None
    pieces = [piece for part in chosen for piece in getattr(part, "geoms", [part])]
    return shapely.multipolygons(pieces) if areas else shapely.multipoints(pieces)
