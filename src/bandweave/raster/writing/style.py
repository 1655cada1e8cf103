"""Class names and colours beside a map, where GDAL and QGIS look for them; mosaics of many maps."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rasterio.crs import CRS
from rasterio.io import DatasetReader

from bandweave.errors import FileError, GridMismatch
from bandweave.raster.alignment import same_crs, short_crs
from bandweave.raster.formats.gdal.source import grid_of, open_dataset
from bandweave.raster.grid import Grid
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import GDAL_TYPES, rgb
from bandweave.raster.writing.xml_text import xml_attribute, xml_text

_MOST_NAMES = (
    1024  # GDAL's list of names counts from 0 to the highest code; longer ones are left out
)


class Category(Protocol):
    """A class of a map; `data.scene.ClassInfo` is one."""

    @property
    def code(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def color(self) -> str: ...


def aux_xml(categories: Sequence[Category]) -> str:
    """The text of `map.tif.aux.xml`: category names, and an attribute table with colours."""
    lines = ["<PAMDataset>", '  <PAMRasterBand band="1">', *_list_names(categories)]
    lines.append('    <GDALRasterAttributeTable tableType="thematic">')
    columns = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    for index, (name, kind, usage) in enumerate(columns):
        lines.append(
            f'      <FieldDefn index="{index}"><Name>{name}</Name>'
            f"<Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>"
        )
    for row, category in enumerate(categories):
        cells = (category.code, xml_text(category.name), *rgb(category.color))
        fields = "".join(f"<F>{cell}</F>" for cell in cells)
        lines.append(f'      <Row index="{row}">{fields}</Row>')
    lines += ["    </GDALRasterAttributeTable>", "  </PAMRasterBand>", "</PAMDataset>", ""]
    return "\n".join(lines)


def qml(categories: Sequence[Category]) -> str:
    """The text of `map.qml`: QGIS shows each class in its colour, with its name in the legend."""
    entries = "\n".join(
        f'        <paletteEntry value="{category.code}" color={xml_attribute(category.color)} '
        f'label={xml_attribute(category.name)} alpha="255"/>'
        for category in categories
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.28" styleCategories="Symbology">\n'
        "  <pipe>\n"
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        "      <rasterTransparency/>\n"
        "      <colorPalette>\n"
        f"{entries}\n"
        "      </colorPalette>\n"
        "    </rasterrenderer>\n"
        "  </pipe>\n"
        "</qgis>\n"
    )


def write_styles(path: Path, classes: Sequence[Category], outputs: OutputSet) -> None:
    """Write class names and colours beside a map, for GDAL and for QGIS."""
    texts = {path.with_suffix(".qml"): qml(classes)}
    if path.suffix != ".vrt":  # which has the names in itself
        texts[path.with_name(path.name + ".aux.xml")] = aux_xml(classes)
    for file, text in texts.items():
        outputs.text(file, text, beside=True)


def build_vrt(
    folder: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    name: str = "mosaic",
    categories: Sequence[Category] = (),
    outputs: OutputSet | None = None,
) -> list[Path]:
    """Write a mosaic of many-part maps, by relative paths; one for each CRS among them.

    folder   where `name`.vrt goes; with several CRSs `name`_EPSG32617.vrt and so on
    paths    rasters of one kind (bands, type, nodata); of several resolutions the finest is taken,
             and where they overlap the later lies on top
    outputs  a set to appear with; alone, the mosaics appear at once

    The rasters may be outputs of the same set, once they are finished. Raises FileError for rasters
    that cannot be read, GridMismatch for such as are not north-up, not georeferenced, or of several
    kinds.
    """
    if outputs is None:
        with OutputSet() as alone:
            return build_vrt(folder, paths, name=name, categories=categories, outputs=alone)
    groups: list[tuple[CRS | None, list[_Tile]]] = []
    for path in paths:
        tile = _read_tile(Path(path), outputs)
        for crs, tiles in groups:
            if crs == tile.grid.crs or (crs and tile.grid.crs and same_crs(crs, tile.grid.crs)):
                tiles.append(tile)
                break
        else:
            groups.append((tile.grid.crs, [tile]))
    written: list[Path] = []
    taken: dict[str, int] = defaultdict(int)
    for crs, tiles in groups:
        label = "" if len(groups) == 1 else "_" + _file_label(crs)
        taken[label] += 1
        number = f"_{taken[label]}" if taken[label] > 1 else ""
        target = Path(folder) / f"{name}{label}{number}.vrt"
        outputs.text(target, _compose_mosaic(target.parent, tiles, categories), beside=True)
        written.append(target)
    return written


@dataclass(frozen=True)
class _Tile:
    path: Path  # where it will lie
    grid: Grid
    bands: int
    dtype: str
    nodata: float | None
    colors: dict[int, tuple[int, ...]]

    @property
    def kind(self) -> tuple[int, str, str]:
        return self.bands, self.dtype, str(self.nodata)


def _read_tile(path: Path, outputs: OutputSet) -> _Tile:
    with open_dataset(str(outputs.unfinished(path) or path)) as dataset:
        grid = grid_of(dataset)
        if not grid.georeferenced or grid.transform.b or grid.transform.d or grid.transform.e > 0:
            raise GridMismatch(
                f"{path} is not north-up with a transform; a mosaic has no place for it"
            )
        if dataset.dtypes[0] not in GDAL_TYPES:
            raise FileError(
                f"{path} is of {dataset.dtypes[0]}; mosaics take {', '.join(GDAL_TYPES)}"
            )
        return _Tile(path, grid, dataset.count, dataset.dtypes[0], dataset.nodata, _colors(dataset))


def _colors(dataset: DatasetReader) -> dict[int, tuple[int, ...]]:
    try:
        return dataset.colormap(1)
    except ValueError:  # it has none
        return {}


def _compose_mosaic(folder: Path, tiles: list[_Tile], categories: Sequence[Category]) -> str:
    first = tiles[0]
    for tile in tiles:
        if tile.kind != first.kind:
            raise GridMismatch(
                f"{tile.path} has {tile.bands} bands of {tile.dtype}, nodata {tile.nodata}; "
                f"{first.path} {first.bands} of {first.dtype}, nodata {first.nodata}; "
                "a mosaic is of one kind"
            )
    pixel_x = min(tile.grid.pixel_size[0] for tile in tiles)
    pixel_y = min(tile.grid.pixel_size[1] for tile in tiles)
    boxes = [tile.grid.bounds for tile in tiles]
    left, top = min(box[0] for box in boxes), max(box[3] for box in boxes)
    width = round((max(box[2] for box in boxes) - left) / pixel_x)
    height = round((top - min(box[1] for box in boxes)) / pixel_y)
    lines = [f'<VRTDataset rasterXSize="{max(width, 1)}" rasterYSize="{max(height, 1)}">']
    if first.grid.crs is not None:
        lines.append(f"  <SRS>{xml_text(first.grid.crs.to_wkt())}</SRS>")
    lines.append(
        f"  <GeoTransform>{left!r}, {pixel_x!r}, 0, {top!r}, 0, {-pixel_y!r}</GeoTransform>"
    )
    for band in range(1, first.bands + 1):
        lines.append(f'  <VRTRasterBand dataType="{GDAL_TYPES[first.dtype]}" band="{band}">')
        if first.nodata is not None:
            lines.append(f"    <NoDataValue>{first.nodata!r}</NoDataValue>")
        if first.colors and band == 1:
            lines += ["    <ColorInterp>Palette</ColorInterp>", "    <ColorTable>"]
            for code in range(max(first.colors) + 1):
                r, g, b, a = first.colors.get(code, (0, 0, 0, 255))
                lines.append(f'      <Entry c1="{r}" c2="{g}" c3="{b}" c4="{a}"/>')
            lines.append("    </ColorTable>")
        if categories and band == 1:
            lines += _list_names(categories)
        for tile, box in zip(tiles, boxes, strict=True):
            lines += _source(folder, tile, band, (left, top, pixel_x, pixel_y), box)
        lines.append("  </VRTRasterBand>")
    lines += ["</VRTDataset>", ""]
    return "\n".join(lines)


def _source(
    folder: Path,
    tile: _Tile,
    band: int,
    frame: tuple[float, float, float, float],
    box: tuple[float, float, float, float],
) -> list[str]:
    left, top, pixel_x, pixel_y = frame
    kind = "SimpleSource" if tile.nodata is None else "ComplexSource"
    path = os.path.relpath(os.path.abspath(tile.path), os.path.abspath(folder))
    name = xml_text(Path(path).as_posix())
    lines = [
        f"    <{kind}>",
        f'      <SourceFilename relativeToVRT="1">{name}</SourceFilename>',
        f"      <SourceBand>{band}</SourceBand>",
        f'      <SrcRect xOff="0" yOff="0" xSize="{tile.grid.width}" ySize="{tile.grid.height}"/>',
        f'      <DstRect xOff="{(box[0] - left) / pixel_x!r}" yOff="{(top - box[3]) / pixel_y!r}" '
        f'xSize="{(box[2] - box[0]) / pixel_x!r}" ySize="{(box[3] - box[1]) / pixel_y!r}"/>',
    ]
    if tile.nodata is not None:
        lines.append(f"      <NODATA>{tile.nodata!r}</NODATA>")
    return [*lines, f"    </{kind}>"]


def _list_names(categories: Sequence[Category]) -> list[str]:
    names = {category.code: category.name for category in categories}
    if not names or min(names) < 0 or max(names) > _MOST_NAMES:
        return []
    listed = (xml_text(names.get(code, "")) for code in range(max(names) + 1))
    return [
        "    <CategoryNames>",
        *(f"      <Category>{name}</Category>" for name in listed),
        "    </CategoryNames>",
    ]


def _file_label(crs: CRS | None) -> str:
    return "".join(letter for letter in short_crs(crs) if letter.isalnum())
