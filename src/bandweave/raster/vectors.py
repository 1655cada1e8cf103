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
from bandweave.raster.facts import Facts
from bandweave.raster.reader import TableReader, VectorReader

_LOOKED_AT = 16 * 2**20  # bytes of a table's text that tell its encoding
_ANSI = (b"\x03", b"\x57")  # a dBASE table's byte for the code page of western Windows
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Vector:
    """Features of a vector file.

    shapes  geometries without a third dimension, None where a feature has none
    fields  the values of each attribute
    crs     None where the file states none, or one that its coordinates cannot be in
    note    how its text was read where the file does not say; '' where it does
    whole   attributes of whole numbers, which are floats here where some features have none
    """

    shapes: np.ndarray
    fields: dict[str, np.ndarray]
    crs: CRS | None
    note: str = ""
    whole: frozenset[str] = frozenset()


class OgrReader(VectorReader):
    """A format that OGR reads from one file and its sidecars, without following other addresses.

    begins  a regular expression of a file's first bytes
    dbf     attributes lie in a dBASE table beside the file
    """

    def __init__(
        self, noun: str, endings: tuple[str, ...], begins: bytes, *, dbf: bool = False
    ) -> None:
        self.noun, self.endings = noun, endings
        self._begins, self._dbf = re.compile(begins), dbf

    def read(
        self,
        path: Path,
        layer: str | None = None,
        *,
        encoding: str | None = None,
        crs: CRS | None = None,
    ) -> Vector:
        import pyogrio

        self._check(path)
        try:
            codecs.lookup(encoding or "utf-8")
        except LookupError:
            raise FileError(
                f"{path}: `encoding: {encoding}` is no encoding that is known"
            ) from None
        note, given = "", encoding
        if encoding is None:
            encoding, note = self._find_encoding(path)
        with self._convert_failures(path, given):
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
        whole = {
            name
            for name, kind in zip(fields, meta["dtypes"], strict=True)
            if np.dtype(kind).kind in "iu"
        }
        crs = _choose_crs(path, shapes, stated, crs)
        return Vector(shapes, fields, crs, note, frozenset(whole))

    def read_fields(self, path: Path) -> dict[str, np.ndarray]:
        self._check(path)
        with self._convert_failures(path):
            return _read_columns(path, self._find_encoding(path)[0])

    def describe(self, path: str) -> Facts:
        import pyogrio

        self._check(Path(path), "polygons")
        with self._convert_failures(Path(path)):
            info = pyogrio.read_info(path)
        names = zip(info["fields"], info["dtypes"], strict=True)
        return [
            ("driver", info["driver"]),
            ("features", f"{info['features']} {info['geometry_type'] or 'rows'}"),
            ("CRS", str(info["crs"] or "no CRS")),
            ("fields", ", ".join(f"{name} ({kind})" for name, kind in names) or "none"),
        ]

    def _check(self, path: Path, content: str = VectorReader.content) -> None:
        """Raise FileError unless a file begins as the format's do."""
        with check_input_file(path).open("rb") as file:
            head = file.read(2048)
        if not self._begins.match(head):
            found = f"it begins with {head[:20]!r}" if head else "it is empty"
            raise FileError(f"{path} cannot be read as {content}: it is no {self.noun}, {found}")

    def _find_encoding(self, path: Path) -> tuple[str | None, str]:
        return _find_dbf_encoding(_find_sibling(path, ".dbf")) if self._dbf else (None, "")

    @contextmanager
    def _convert_failures(self, path: Path, encoding: str | None = None) -> Iterator[None]:
        """Convert whatever reading raises into a FileError that names the file."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (FileError, MemoryError):
            raise
        except UnicodeDecodeError as error:
            said = f"`encoding: {encoding}`" if encoding else f"UTF-8{_say_sidecar(path)}"
            raise FileError(
                f"{path}: its text is not in {said} (byte {error.object[error.start]:#04x}); add "
                "`encoding:` to the labels, for instance `encoding: latin1`"
            ) from error
        except Exception as error:  # readers raise whatever the damage leads to
            text = " ".join(str(error).split())[:300]
            if "crs" in type(error).__name__.lower() or isinstance(error, UnboundLocalError):
                sidecar = path.with_suffix(".prj").name if self._dbf else "its CRS"
                raise FileError(f"{path}: {sidecar} is damaged and names no CRS: {text}") from error
            raise FileError(f"{path} cannot be read as vector data: {text}") from error


def read_dbf(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a dBASE table that stands alone."""
    check_input_file(path)
    try:
        return _read_columns(path, _find_dbf_encoding(path)[0])
    except (FileError, MemoryError):
        raise
    except Exception as error:  # readers raise whatever the damage leads to
        text = " ".join(str(error).split())[:300]
        raise FileError(f"{path} cannot be read as a dBASE table: {text}") from error


def _read_columns(path: Path, encoding: str | None) -> dict[str, np.ndarray]:
    import pyogrio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meta, _, _, values = pyogrio.raw.read(path, read_geometry=False, encoding=encoding)
    return dict(zip(map(str, meta["fields"]), values, strict=True))


def _find_sibling(path: Path, suffix: str) -> Path:
    """Find the file of the same name with another ending, in small letters or in large."""
    return next(
        (other for each in (suffix, suffix.upper()) if (other := path.with_suffix(each)).is_file()),
        path.with_suffix(suffix),
    )


def _find_dbf_encoding(path: Path) -> tuple[str | None, str]:
    """Find the encoding of a dBASE table, and a note where it was guessed; None is as it says.

    Its sidecar (.cpg) or a byte of its own says it, or nothing does. Text of Latin letters that can
    be UTF-8 is UTF-8, whatever was said: many programs lose the sidecar or write a wrong one.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LOOKED_AT)
        sidecar = _find_sibling(path, ".cpg")
        said = sidecar.read_bytes()[:64].decode("ascii", "replace").strip("\0 \r\n\t")
    except FileNotFoundError:
        said = ""
        if not path.is_file():
            return None, ""
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    codec = _find_codec(said) or ("iso8859-1" if raw[29:30] in _ANSI else None)
    if not said and codec is None and raw[29:30] not in (b"", b"\0"):
        return None, ""  # a code page that GDAL knows
    text = raw[int.from_bytes(raw[8:10], "little") :]
    if codec == "utf-8":
        return codec, ""
    if text.isascii() or (codec is not None and not codec.startswith(("iso8859", "cp125"))):
        return None, ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        if codec is not None:
            return None, ""
        what = (
            f"{sidecar.name} says {said!r}, which is no encoding" if said else "no encoding is said"
        )
        return "iso8859-1", (
            f"{path.name}: {what}; its text was read as ISO-8859-1 (Latin letters); state another "
            "with `encoding:` in the labels"
        )
    return "utf-8", ""


def _find_codec(name: str) -> str | None:
    """Find Python's name of an encoding as .cpg files call it: UTF-8, 1252, ISO 88591, 65001."""
    plain = name.lower().replace("ansi", "").replace("oem", "").strip()
    tries = [plain, f"cp{plain}", plain.replace(" ", "-"), plain.replace("88591", "8859-1")]
    for each in ["utf-8"] if plain == "65001" else tries:
        try:
            return codecs.lookup(each).name if plain else None
        except (LookupError, ValueError):
            continue
    return None


def _say_sidecar(path: Path) -> str:
    sidecar = path.with_suffix(".cpg")
    return f", whatever its {sidecar.name} says" if sidecar.exists() else ""


def _choose_crs(
    path: Path, shapes: np.ndarray, stated: CRS | None, given: CRS | None
) -> CRS | None:
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
    """Rows of a table of text, each by the names of its columns.

    note  how the text was read where its encoding was guessed; '' where it is plain
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    note: str = ""


class CsvReader(TableReader):
    """Tables of text, whatever stands between their values."""

    noun, endings = "CSV", (".csv",)

    def read(self, path: Path) -> Table:
        return read_table(path)


def read_table(
    path: Path, key: str | None = None, *, encoding: str | None = None, wanted: str | None = None
) -> Table:
    """Read a table of text with a header, with commas, semicolons, tabs or bars between.

    key       a column that the header holds; the delimiter under which it does is meant. Without
              it, or where none does, the one that gives the most columns
    encoding  of the text; UTF-8, UTF-16 or Windows' Latin letters are found without it
    wanted    another column that will be used

    Raises FileError for what cannot be read as a table, with the line where rows have more values
    than the header has columns, and for a used column whose name stands twice.
    """
    check_input_file(path)
    try:
        text, note = _decode(path, encoding)
        lines = _split(text, key, path)
    except (OSError, csv.Error) as error:
        raise FileError(f"{path} cannot be read as a CSV table: {error}") from error
    columns = tuple(name.strip() for name in lines[0]) if lines else ()
    for name in (key, wanted):
        if name is not None and columns.count(name) > 1:
            raise FileError(f"{path} has {columns.count(name)} columns of the name {name!r}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if any(cell.strip() for cell in line[len(columns) :]):
            raise FileError(
                f"{path}, row {number}: {len(line)} values for {len(columns)} columns; put values "
                "that hold the delimiter in quotes (decimal commas between commas, for instance)"
            )
        if any(line):
            rows.append(dict(zip(columns, line, strict=False)))
    return Table(columns, rows, note)


def _split(text: str, key: str | None, path: Path) -> list[list[str]]:
    """Split text into rows by its delimiter, which a first line `sep=;` (Excel's) may say."""
    if said := re.match(r'"?sep=(.)"?\s*\r?\n', text):
        text = text[said.end() :]
    text = text.lstrip("\r\n")
    headers = {
        mark: [name.strip() for name in next(_read_rows(text, mark), [])]
        for mark in ([said[1]] if said else _DELIMITERS)
    }
    fitting = [mark for mark, names in headers.items() if key is not None and key in names]
    if key is not None and not fitting and not said and max(map(len, headers.values())) < 2:
        first = next(iter(text.splitlines()), "")[:60]
        raise FileError(
            f"{path} cannot be read as a CSV table: its first line, {first!r}, has neither "
            f"the column {key!r} nor a comma, semicolon, tab or bar"
        )
    mark = max(fitting or headers, key=lambda each: len(headers[each]))
    return list(_read_rows(text, mark, strict=True))  # quotes that do not end are no text of a cell


def _read_rows(text: str, mark: str, strict: bool = False) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=strict)


def _decode(path: Path, encoding: str | None) -> tuple[str, str]:
    """Decode the text of a file, with a note where its encoding is a guess."""
    raw = path.read_bytes()
    if raw.startswith(b"PK\x03\x04"):
        raise FileError(f"{path} is a spreadsheet or an archive; save it as CSV (UTF-8)")
    note = ""
    try:
        if encoding is not None:
            text = raw.decode(encoding).removeprefix("\ufeff")
        elif raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = raw.decode("utf-16")
        elif wide := _detect_utf16(raw):
            text = raw.decode(wide)
        else:
            text = raw.decode("utf-8-sig")
    except LookupError:
        raise FileError(f"{path}: `encoding: {encoding}` is no encoding that is known") from None
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise FileError(
                f"{path}: its text is not in `encoding: {encoding}` (byte {error.start})"
            ) from None
        text = raw.decode("cp1252", errors="replace")
        note = (
            f"{path.name} is not in UTF-8; read as Windows-1252 (Latin letters); state another "
            "with `encoding:` in the join"
        )
    if "\0" in text:
        raise FileError(f"{path} cannot be read as a CSV table: it is no text")
    return text, note


def _detect_utf16(raw: bytes) -> str | None:
    """Detect UTF-16 without a mark at its beginning: every other byte of Latin letters is 0."""
    if raw[1:2] == b"\0" and raw[3:4] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if raw[:1] == b"\0" and raw[2:3] == b"\0" else None


# --------------------------------------------------------------------------------------- geometries


def pick_usable_parts(shape: Any) -> tuple[Any, int]:
    """Pick the polygons of a geometry, or else its points; and count the pieces that are neither.

    Collections are opened, however deep. None for what has neither polygons nor points, and for
    coordinates that are not finite.
    """
    if shape is None or shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        return None, 0
    if shape.geom_type in ("Polygon", "MultiPolygon", "Point", "MultiPoint"):
        return shape, 0
    pieces = _list_pieces(shape)
    areas = [piece for piece in pieces if piece.geom_type == "Polygon"]
    points = [piece for piece in pieces if piece.geom_type == "Point"]
    if areas:
        return shapely.multipolygons(areas), len(pieces) - len(areas)
    return (shapely.multipoints(points) if points else None), len(pieces) - len(points)


def _list_pieces(shape: Any) -> list[Any]:
    """List the single geometries in a collection, however deep they lie; empty ones left out."""
    pieces, waiting = [], [shape]
    while waiting:
        one = waiting.pop()
        if hasattr(one, "geoms"):
            waiting += reversed(list(one.geoms))
        elif not one.is_empty:
            pieces.append(one)
    return pieces
