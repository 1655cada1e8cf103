"""Names and colours of classes that a label raster itself, or the file beside it, gives."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bandweave.data.scene_schema import ClassFile, Code
from bandweave.errors import FileError
from bandweave.raster import envi
from bandweave.raster.gdal import open_dataset

_USES = {"1": "count", "2": "name", "5": "value", "6": "red", "7": "green", "8": "blue"}  # GFU_…
_RGB = ("red", "green", "blue")
_WORDS = {
    "value": ("value", "code", "id", "pixel", "dn", "class_id"),
    "name": ("class_name", "classname", "class_names", "name", "label", "category", "class"),
    "red": ("red", "r"),
    "green": ("green", "g"),
    "blue": ("blue", "b"),
}


def read_categories(path: Path) -> dict[Code, ClassFile]:
    """The classes by code, from GDAL's sidecar, an ENVI header, or a colour table; {} if none."""
    found = _from_sidecar(path) or _from_envi(path)
    if not found:
        return {}
    colors = _color_table(path)
    return {
        code: ClassFile(entry.name, entry.color or colors.get(code))
        for code, entry in found.items()
        if entry.name
    }


def _from_sidecar(path: Path) -> dict[int, ClassFile]:
    """From x.tif.aux.xml: GDAL's list of names, or a table as GIS programs write it."""
    sidecar = Path(f"{path}.aux.xml")
    if not sidecar.is_file():
        return {}
    try:
        root = ElementTree.parse(sidecar).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise FileError(f"{sidecar} is no readable XML: {error}") from None
    table = root.find(".//GDALRasterAttributeTable")
    if table is not None and (rows := _from_table(table)):
        return rows
    names = [element.text or "" for element in root.findall(".//CategoryNames/Category")]
    return {code: ClassFile(name.strip()) for code, name in enumerate(names) if name.strip()}


def _from_table(table: ElementTree.Element) -> dict[int, ClassFile]:
    columns: dict[str, int] = {}
    for number, definition in enumerate(table.findall("FieldDefn")):
        use = _USES.get(definition.findtext("Usage", "").strip())
        word = definition.findtext("Name", "").strip().lower()
        use = use or next((use for use, words in _WORDS.items() if word in words), None)
        if use is not None:
            columns.setdefault(use, number)
    if "name" not in columns:
        return {}
    classes = {}
    for row_number, row in enumerate(table.findall("Row")):
        cells = [(cell.text or "").strip() for cell in row.findall("F")]
        try:
            code = int(float(cells[columns["value"]])) if "value" in columns else row_number
            rgb = [
                float(cells[columns[each]]) for each in ("red", "green", "blue") if each in columns
            ]
            name = cells[columns["name"]]
        except (ValueError, IndexError, OverflowError):
            continue
        classes[code] = ClassFile(name, _hex(rgb))
    return classes


def _hex(rgb: list[float]) -> str | None:
    """'#rrggbb' of three numbers from 0 to 255, or from 0 to 1 as some programs write them."""
    if len(rgb) != 3 or not all(0 <= value <= 255 for value in rgb):
        return None
    if any(0 < value < 1 for value in rgb):
        rgb = [value * 255 for value in rgb]
    return "#" + "".join(f"{round(value):02x}" for value in rgb)


def _from_envi(path: Path) -> dict[int, ClassFile]:
    """From the `class names` and `class lookup` of an ENVI classification."""
    header = path if path.suffix.lower() == ".hdr" else envi.find_header(path)
    if header is None or not envi.is_header(header):
        return {}
    facts = envi.read_header(header)
    names = [name.strip() for name in facts.get("class names", "").split(",")]
    lookup = envi.numbers(facts.get("class lookup", "")) or []
    return {
        code: ClassFile(name, _hex(lookup[3 * code : 3 * code + 3]))
        for code, name in enumerate(names)
        if name
    }


def _color_table(path: Path) -> dict[Code, str]:
    try:
        with open_dataset(str(path)) as dataset:
            table = dataset.colormap(1)
    except (FileError, ValueError):
        return {}
    return {
        code: f"#{red:02x}{green:02x}{blue:02x}" for code, (red, green, blue, _) in table.items()
    }
