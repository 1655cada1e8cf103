"""Names and colours of classes that a label raster itself, or a file beside it, gives.

GDAL reads lists of names and attribute tables from many places: its own sidecar (x.tif.aux.xml, as
QGIS and ArcGIS write it too), ERDAS Imagine files, virtual rasters. It shows them all in one
way, as the description (VRT) of a raster. An ENVI header and a table x.tif.vat.dbf are read here.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from bandweave.errors import FileError, printable
from bandweave.raster.formats.gdal import envi
from bandweave.raster.formats.gdal.source import open_dataset
from bandweave.raster.vectors import read_dbf

_USAGES = {"2": "name", "3": "value", "5": "value", "6": "red", "7": "green", "8": "blue"}  # GFU_…
_WORDS = {  # what a column without a usage is called, the likelier before
    "value": ("value", "pixelvalue", "code", "classcode", "classid", "dn", "gridcode", "id"),
    "name": ("classname", "classnames", "name", "label", "category", "class", "landcover"),
    "red": ("red", "r"),
    "green": ("green", "g"),
    "blue": ("blue", "b"),
}
_TEXT = "2"  # GFT_String


@dataclass(frozen=True)
class Categories:
    """Names and colours of the codes in a label file; codes without are left out.

    colors  '#rrggbb'
    """

    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, str] = field(default_factory=dict)


def read_categories(path: Path) -> Categories:
    """The names and colours of a label raster's codes.

    Raises FileError for a sidecar that is damaged.
    """
    bands = [band for band in (_read_sidecar(path), _describe_band(path)) if band is not None]
    colors = {code: color for band in bands for code, color in _read_colors(band).items()}
    for found in (
        _read_envi(path),
        _read_vat(path),
        *(_read_table(band) for band in bands),
        *(_read_list(band) for band in bands),
    ):
        if found.names:
            return Categories(found.names, found.colors or colors)
    return Categories({}, colors)


def _read_sidecar(path: Path) -> ElementTree.Element | None:
    """Read the first band in x.tif.aux.xml: GDAL passes over sidecars with an XML declaration."""
    sidecar = Path(f"{path}.aux.xml")
    if not sidecar.is_file():
        return None
    try:
        bands = ElementTree.parse(sidecar).getroot().findall("PAMRasterBand")
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise FileError(
            f"{sidecar} is no readable XML: {error}; mend it, or remove it and name the classes "
            "in `classes`"
        ) from None
    return next((band for band in bands if band.get("band", "1") == "1"), None)


def _describe_band(path: Path) -> ElementTree.Element | None:
    """Describe the first band as GDAL does in a VRT, without any pixels; None where it cannot."""
    try:
        with open_dataset(str(path)) as dataset, MemoryFile(ext=".vrt") as memory:
            rasterio.shutil.copy(dataset, memory.name, driver="VRT")
            root = ElementTree.fromstring(_decode(memory.read()))
    except (RasterioError, CPLE_BaseError, ElementTree.ParseError, FileError, ValueError):
        return None
    return root.find("VRTRasterBand")


def _decode(raw: bytes) -> str:
    """UTF-8, or what a sidecar in Latin letters put among it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _read_list(band: ElementTree.Element) -> Categories:
    """Read GDAL's list of names, which counts from 0."""
    names = [element.text for element in band.findall("CategoryNames/Category")]
    return Categories({code: name for code, text in enumerate(names) if (name := class_name(text))})


def _read_colors(band: ElementTree.Element) -> dict[int, str]:
    """Read colours by code; entries that nobody sees (alpha 0) are none."""
    colors = {}
    for code, entry in enumerate(band.findall("ColorTable/Entry")):
        *rgb, alpha = (float(entry.get(f"c{i}", "0")) for i in (1, 2, 3, 4))
        if alpha > 0 and (color := _to_hex(rgb)):
            colors[code] = color
    return colors


def _read_table(band: ElementTree.Element) -> Categories:
    """Read GDAL's attribute table."""
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return Categories()
    columns = [
        _Column(
            each.findtext("Name", ""),
            _USAGES.get(each.findtext("Usage", "").strip()),
            each.findtext("Type", "").strip() == _TEXT,
        )
        for each in table.findall("FieldDefn")
    ]
    rows = [[cell.text or "" for cell in row.findall("F")] for row in table.findall("Row")]
    first, step = (_parse_number(table.get(key, "")) for key in ("Row0Min", "BinSize"))
    return _read_rows(columns, rows, int(first or 0), int(step or 1))


def _read_vat(path: Path) -> Categories:
    """Read the attribute table that ArcGIS and QGIS write beside a raster."""
    beside = (Path(f"{path}{suffix}") for suffix in (".vat.dbf", ".VAT.DBF"))
    file = next((each for each in beside if each.is_file()), None)
    if file is None:
        return Categories()
    fields = read_dbf(file)
    columns = [_Column(name, None, values.dtype == object) for name, values in fields.items()]
    cells = zip(*fields.values(), strict=True)
    rows = [["" if cell is None else str(cell) for cell in row] for row in cells]
    return _read_rows(columns, rows)


def _read_envi(path: Path) -> Categories:
    """Read the `class names` and `class lookup` of an ENVI classification."""
    header = path if envi.is_header(path) else envi.find_header(path)
    if header is None:
        return Categories()
    facts = envi.read_header(header)
    names = [class_name(name) for name in facts.get("class names", "").split(",")]
    lookup = envi.parse_numbers(facts.get("class lookup", "")) or []
    colors = {code: _to_hex(lookup[3 * code : 3 * code + 3]) for code in range(len(lookup) // 3)}
    return Categories(
        {code: name for code, name in enumerate(names) if name},
        {code: color for code, color in colors.items() if color},
    )


# ------------------------------------------------------------------------------- attribute tables


@dataclass(frozen=True)
class _Column:
    """A column of an attribute table: what it is called, is for (if said), and if it holds text."""

    name: str
    use: str | None
    text: bool


def _read_rows(
    columns: Sequence[_Column], rows: Sequence[Sequence[str]], first: int = 0, step: int = 1
) -> Categories:
    """Read the rows of a table, a code each; without a column of codes these are first, first+step…

    Rows whose code is no whole number are left out.
    """
    places = _find_columns(columns)
    if "name" not in places:
        return Categories()
    names, shades = {}, {}
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            continue
        code = _parse_number(row[places["value"]]) if "value" in places else first + step * number
        if code is None or code != int(code):
            continue
        if name := class_name(row[places["name"]]):
            names[int(code)] = name
        rgb = [
            _parse_number(row[places[each]]) for each in ("red", "green", "blue") if each in places
        ]
        shades[int(code)] = [value for value in rgb if value is not None]
    largest = max((value for rgb in shades.values() for value in rgb), default=0)
    scale = 255 if largest <= 1 else 1  # some programs write shares
    colors = {code: _to_hex([value * scale for value in rgb]) for code, rgb in shades.items()}
    return Categories(names, {code: color for code, color in colors.items() if color})


def _find_columns(columns: Sequence[_Column]) -> dict[str, int]:
    """Find the column of each use: as the table says, by its name, or the only one with text."""
    places: dict[str, int] = {}
    for place, column in enumerate(columns):
        if column.use is not None:
            places.setdefault(column.use, place)
    plain = [re.sub(r"[\W_]+", "", column.name).lower() for column in columns]
    for use, words in _WORDS.items():
        known = (plain.index(word) for word in words if word in plain)
        places.setdefault(use, next((place for place in known if place not in places.values()), -1))
    texts = [place for place, column in enumerate(columns) if column.text]
    if places["name"] < 0 and len(texts) == 1:
        places["name"] = texts[0]
    return {use: place for use, place in places.items() if place >= 0}


def class_name(text: str | None) -> str:
    """A name as a class can have it: of one line, control characters escaped."""
    return printable(" ".join((text or "").split()), 200)


def _parse_number(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < 2**53 else None


def _to_hex(rgb: Sequence[float]) -> str | None:
    """'#rrggbb' of three numbers from 0 to 255."""
    if len(rgb) != 3 or not all(0 <= value <= 255 for value in rgb):
        return None
    return "#" + "".join(f"{round(value):02x}" for value in rgb)
