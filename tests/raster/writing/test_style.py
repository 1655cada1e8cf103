import ctypes
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import FileError, GridMismatch
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import MapWriter, RasterForm, rgb
from bandweave.raster.writing.style import aux_xml, build_vrt, qml


class Class(NamedTuple):
    code: int
    name: str
    color: str


CLASSES = [
    Class(1, "grass & herbs", "#00cd00"),
    Class(3, "<roof>", "#ff0000"),
    Class(7, "é", "#0a0b0c"),
]
UTM = CRS.from_epsg(32617)


def write_map(path, grid, value, outputs=None, **options):
    with MapWriter(
        path, grid, RasterForm(nodata=0, colors={1: "#00cd00"}), outputs=outputs
    ) as writer:
        writer.write(grid.window, np.full((grid.height, grid.width), value, np.uint8))
        writer.finish()
    return path


def grid(height, width, pixel, left, top, crs=UTM):
    return Grid(height, width, Affine(pixel, 0, 500_000 + left, 0, -pixel, 4_000_000 + top), crs)


@pytest.fixture
def gdal():
    """The GDAL that rasterio brings: rasterio itself does not show names or tables."""
    folder = Path(rasterio.__file__).parent
    found = [*folder.with_name("rasterio.libs").glob("libgdal*"), *folder.glob(".dylibs/libgdal*")]
    if not found:
        pytest.skip("this rasterio brings no GDAL library of its own")
    library = ctypes.CDLL(str(found[0]))
    for name in (
        "GDALOpen",
        "GDALGetRasterBand",
        "GDALGetDefaultRAT",
        "GDALGetRasterCategoryNames",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    library.GDALGetRasterCategoryNames.restype = ctypes.POINTER(ctypes.c_char_p)
    library.GDALRATGetValueAsString.restype = ctypes.c_char_p
    library.GDALAllRegister()
    return library


def band_of(gdal, path):
    dataset = ctypes.c_void_p(gdal.GDALOpen(str(path).encode(), 0))
    assert dataset.value
    return ctypes.c_void_p(gdal.GDALGetRasterBand(dataset, 1))


def category_names(gdal, band):
    names, found = gdal.GDALGetRasterCategoryNames(band), []
    while names and names[len(found)] is not None:
        found.append(names[len(found)].decode())
    return found


def test_gdal_reads_names_and_table(tmp_path, gdal):
    with OutputSet() as outputs:
        write_map(tmp_path / "map.tif", grid(4, 4, 1, 0, 0), 1, outputs)
        outputs.text(tmp_path / "map.tif.aux.xml", aux_xml(CLASSES))
    band = band_of(gdal, tmp_path / "map.tif")
    table = ctypes.c_void_p(gdal.GDALGetDefaultRAT(band))  # GDAL reads the sidecar at this, too
    assert category_names(gdal, band) == ["", "grass & herbs", "", "<roof>", "", "", "", "é"]
    assert gdal.GDALRATGetRowCount(table) == 3
    for row, item in enumerate(CLASSES):
        cells = [gdal.GDALRATGetValueAsString(table, row, i).decode() for i in range(5)]
        assert cells == [str(item.code), item.name, *map(str, rgb(item.color))]
    for code, row in ((1, 0), (3, 1), (7, 2)):  # GDAL finds the row by the pixel's value
        assert gdal.GDALRATGetRowOfValue(table, ctypes.c_double(code)) == row


def test_high_codes_have_a_table_and_no_list():
    text = aux_xml([Class(40_000, "bare", "#010203")])
    assert "CategoryNames" not in text
    assert "<F>40000</F><F>bare</F><F>1</F><F>2</F><F>3</F>" in text


def test_qml_is_a_palette():
    root = ElementTree.fromstring(qml(CLASSES))
    renderer = root.find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.get("type") == "paletted"
    entries = [(e.get("value"), e.get("label"), e.get("color")) for e in root.iter("paletteEntry")]
    assert entries == [(str(c.code), c.name, c.color) for c in CLASSES]


def test_a_mosaic_of_parts(tmp_path, gdal):
    (tmp_path / "parts").mkdir()
    parts = [
        write_map(tmp_path / "parts" / "a & b.tif", grid(4, 6, 1.0, 0, 0), 1),
        write_map(tmp_path / "parts" / "c.tif", grid(3, 2, 1.0, 8, -2), 3),
    ]
    (mosaic,) = build_vrt(tmp_path, parts, categories=CLASSES)
    assert mosaic == tmp_path / "mosaic.vrt"
    expected = np.zeros((5, 10), np.uint8)
    expected[:4, :6], expected[2:5, 8:10] = 1, 3
    with rasterio.open(mosaic) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        assert (dataset.crs, dataset.nodata) == (UTM, 0)
        assert dataset.transform == grid(5, 10, 1.0, 0, 0).transform
        assert dataset.colormap(1)[1] == (0, 205, 0, 255)
    assert category_names(gdal, band_of(gdal, mosaic))[3] == "<roof>"
    moved = tmp_path.rename(tmp_path.with_name("moved"))  # paths are relative
    with rasterio.open(moved / "mosaic.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)


def test_nodata_of_a_later_part_hides_nothing(tmp_path):
    parts = [
        write_map(tmp_path / "a.tif", grid(4, 4, 1.0, 0, 0), 1),
        write_map(tmp_path / "b.tif", grid(4, 4, 1.0, 0, 0), 0),
    ]
    with rasterio.open(build_vrt(tmp_path, parts)[0]) as dataset:
        assert (dataset.read(1) == 1).all()


def test_the_finest_resolution_is_taken(tmp_path):
    parts = [
        write_map(tmp_path / "a.tif", grid(2, 2, 2.0, 0, 0), 1),
        write_map(tmp_path / "b.tif", grid(4, 4, 1.0, 4, 0), 3),
    ]
    with rasterio.open(build_vrt(tmp_path, parts)[0]) as dataset:
        np.testing.assert_array_equal(dataset.read(1), np.repeat([[1, 3]], 4, 0).repeat(4, 1))


def test_one_mosaic_for_each_crs(tmp_path):
    other = CRS.from_epsg(32618)
    parts = [
        write_map(tmp_path / "a.tif", grid(2, 2, 1.0, 0, 0), 1),
        write_map(tmp_path / "b.tif", grid(2, 2, 1.0, 0, 0, other), 3),
    ]
    mosaics = build_vrt(tmp_path, parts, name="map")
    assert [path.name for path in mosaics] == ["map_EPSG32617.vrt", "map_EPSG32618.vrt"]
    for path, crs in zip(mosaics, (UTM, other), strict=True):
        with rasterio.open(path) as dataset:
            assert dataset.crs == crs


def test_a_mosaic_appears_with_its_parts(tmp_path):
    with OutputSet() as outputs:
        part = write_map(tmp_path / "a.tif", grid(2, 2, 1.0, 0, 0), 1, outputs)
        build_vrt(tmp_path, [part], outputs=outputs)
        assert not (tmp_path / "mosaic.vrt").exists()
    with rasterio.open(tmp_path / "mosaic.vrt") as dataset:
        assert (dataset.read(1) == 1).all()


def test_what_makes_no_mosaic(tmp_path):
    fine = write_map(tmp_path / "a.tif", grid(2, 2, 1.0, 0, 0), 1)
    with pytest.raises(GridMismatch, match="not north-up with a transform"):
        build_vrt(tmp_path, [fine, write_map(tmp_path / "b.tif", Grid(2, 2, PIXELS), 1)])
    with MapWriter(tmp_path / "c.tif", grid(2, 2, 1.0, 0, 0), RasterForm(dtype="float32")):
        pass
    with pytest.raises(GridMismatch, match=r"c\.tif has 1 bands of float32"):
        build_vrt(tmp_path, [fine, tmp_path / "c.tif"])
    with pytest.raises(FileError, match=r"none\.tif"):
        build_vrt(tmp_path, [tmp_path / "none.tif"])


def test_control_characters_leave_the_xml_valid_and_letters_as_they_are():
    names = ["bell\x07\x1b[31m", "cut\udcff\ufffe", "nul\x00", "\u0645\u06cc\u200c\u062e", "ça"]
    shown = ["bell\\x07\\x1b[31m", "cut\\udcff\\ufffe", "nul\\x00", *names[3:]]
    classes = [Class(code, name, "#0a0b0c") for code, name in enumerate(names)]
    palette = ElementTree.fromstring(qml(classes)).iter("paletteEntry")
    assert [entry.get("label") for entry in palette] == shown
    table = ElementTree.fromstring(aux_xml(classes))
    assert [name.text for name in table.iter("Category")] == shown
    assert [row.findall("F")[1].text for row in table.iter("Row")] == shown
