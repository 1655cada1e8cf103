"""Names and colours of classes that label files have themselves, as programs write them."""

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil

from bandweave.data.scenefile.open import open_scene
from bandweave.errors import FileError, LabelError
from bandweave.raster.formats.gdal.categories import read_categories
from bandweave.raster.writing.style import build_vrt

CODES = np.array([[1, 2, 5, 5], [1, 2, 2, 0], [1, 1, 5, 0]], np.uint8)
NAMES = {1: "water, deep", 2: "forêt", 5: "草地"}
COLORS = {1: "#ff0000", 2: "#008000", 5: "#0000ff"}


@pytest.fixture
def labels(write_geotiff):
    """labels(name, fields, rows): a raster of codes with an attribute table beside it."""

    def write(name="l.tif", fields=(), rows=(), attributes="", declaration=""):
        path = write_geotiff(name, CODES)
        heads = "".join(
            f'<FieldDefn index="{i}"><Name>{word}</Name><Type>{kind}</Type>'
            f"<Usage>{usage}</Usage></FieldDefn>"
            for i, (word, kind, usage) in enumerate(fields)
        )
        cells = "".join(
            f'<Row index="{i}">' + "".join(f"<F>{cell}</F>" for cell in row) + "</Row>"
            for i, row in enumerate(rows)
        )
        path.with_name(f"{name}.aux.xml").write_text(
            f'{declaration}<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable '
            f"{attributes}>{heads}{cells}</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>",
            "utf-8",
        )
        return path

    return write


SHARES = [  # ArcGIS: identifiers before the codes, colours as shares of 1
    ("OBJECTID", 0, 0),
    ("ID", 0, 0),
    ("Value", 0, 0),
    ("Count", 0, 0),
    ("Class_Name", 2, 0),
    ("Red", 1, 0),
    ("Green", 1, 0),
    ("Blue", 1, 0),
]
SHARED = [
    (0, 7, 1, 5, "water, deep", 1, 0, 0),
    (1, 8, 2, 3, "forêt", 0, 0.502, 0),
    (2, 9, 5, 3, "草地", 0, 0, 1),
]


def test_a_table_as_arcgis_writes_it(labels):
    found = read_categories(labels("l.tif", SHARES, SHARED))
    assert (found.names, found.colors) == (NAMES, COLORS)


def test_a_table_without_codes_counts_its_rows(labels):
    """ERDAS Imagine: a row a code from 0."""
    fields = [("Histogram", 1, 1), ("Class_Names", 2, 0), ("R", 0, 0), ("G", 0, 0), ("B", 0, 0)]
    rows = [(1, NAMES.get(code, ""), 0, code, 255) for code in range(6)]
    found = read_categories(labels("l.tif", fields, rows, 'Row0Min="0" BinSize="1"'))
    assert found.names == NAMES
    assert found.colors[5] == "#0005ff"


@pytest.mark.parametrize(
    "fields",
    [
        [("Value", 0, 5), ("NLCD Land Cover Class", 2, 0)],
        [("Min", 1, 3), ("Label", 2, 2)],
        [("pixel value", 0, 0), ("land cover", 2, 0)],
        [("DN", 2, 0), ("Name", 2, 0)],
    ],
)
def test_columns_of_many_names(labels, fields):
    assert read_categories(labels("l.tif", fields, NAMES.items())).names == NAMES


def test_a_sidecar_with_an_xml_declaration_is_read(labels):
    """GDAL itself passes over it."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    path = labels("l.tif", [("Value", 0, 5), ("Name", 2, 2)], NAMES.items(), declaration=head)
    assert read_categories(path).names == NAMES


def test_rows_that_are_no_codes_are_left_out(labels):
    rows = [("1", "water\n deep"), ("x", "a"), ("2.5", "b"), ("1e30", "c"), ("5", "草地")]
    found = read_categories(labels("l.tif", [("Value", 2, 5), ("Name", 2, 2)], rows))
    assert found.names == {1: "water deep", 5: "草地"}


@pytest.mark.parametrize("driver", ["HFA", "VRT"])
def test_names_inside_the_file_are_found(labels, tmp_path, driver):
    target = tmp_path / f"l.{'img' if driver == 'HFA' else 'vrt'}"
    rasterio.shutil.copy(labels("l.tif", SHARES, SHARED), target, driver=driver)
    tmp_path.joinpath(f"{target.name}.aux.xml").unlink(missing_ok=True)
    found = read_categories(target)
    assert (found.names, found.colors) == (NAMES, COLORS)


def test_a_table_in_dbase_beside_the_raster(write_geotiff, tmp_path):
    path = write_geotiff("l.tif", CODES)
    columns = [np.array([1, 2, 5], np.int32), np.array(list(NAMES.values()), object)]
    pyogrio.raw.write(
        str(tmp_path / "x.dbf"),
        None,
        columns,
        ["VALUE", "CLASS_NAME"],
        driver="ESRI Shapefile",
        geometry_type=None,
        encoding="UTF-8",
    )
    (tmp_path / "x.dbf").rename(tmp_path / "l.tif.vat.dbf")  # ArcGIS, QGIS; without a .cpg
    assert read_categories(path).names == NAMES


def with_palette(path, table):
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, table)
    return path


def scene_of(write_geotiff, path, **more):
    grid = str(write_geotiff("grid.tif", np.ones((1, 3, 4), np.float32)))
    scene = open_scene({"layers": {"a": grid}, "labels": str(path), **more})
    return {one.code: (one.name, one.color) for one in scene.classes}


def test_a_palette_gives_colours_where_nothing_gives_names(write_geotiff):
    table = {code: (code, 2, 3, 255) for code in range(6)}
    path = with_palette(write_geotiff("l.tif", CODES), table)
    assert scene_of(write_geotiff, path)[5] == ("class 5", "#050203")


def test_colours_of_a_palette_go_with_names_of_the_scene_file(write_geotiff):
    table = {code: (code, 2, 3, 255) for code in range(6)}
    path = with_palette(write_geotiff("l.tif", CODES), table)
    classes = {1: "a", 2: {"name": "b", "color": "#123456"}, 5: "c"}
    found = scene_of(write_geotiff, path, classes=classes, ignore=[0])
    assert found == {1: ("a", "#010203"), 2: ("b", "#123456"), 5: ("c", "#050203")}


def test_a_palette_of_one_colour_is_none(write_geotiff):
    path = with_palette(write_geotiff("l.tif", CODES), dict.fromkeys(range(6), (9, 9, 9, 255)))
    colors = [color for _, color in scene_of(write_geotiff, path).values()]
    assert len(set(colors)) == 3
    assert "#090909" not in colors


def test_a_damaged_sidecar_is_named(labels):
    path = labels("l.tif", SHARES, SHARED)
    sidecar = path.with_name("l.tif.aux.xml")
    sidecar.write_bytes(sidecar.read_bytes()[:300])
    with pytest.raises(FileError, match=r"l\.tif\.aux\.xml is no readable XML.*remove it"):
        read_categories(path)


def test_parts_whose_files_name_a_code_differently_are_asked_about(labels, write_geotiff, tmp_path):
    fields = [("Value", 0, 5), ("Name", 2, 2)]
    labels("l1.tif", fields, NAMES.items())
    labels("l2.tif", fields, {**NAMES, 2: "road"}.items())
    for part in "12":
        write_geotiff(f"g{part}.tif", np.ones((1, 3, 4), np.float32))
    scene = {
        "layers": {"a": str(tmp_path / "g{part}.tif")},
        "labels": str(tmp_path / "l{part}.tif"),
    }
    with pytest.raises(LabelError, match="code 2 is 'forêt' in one label file and 'road'"):
        open_scene(scene)
    assert len(open_scene({**scene, "classes": NAMES, "ignore": 0}).classes) == 3


def test_names_that_stand_twice_are_told_apart(labels, write_geotiff):
    path = labels("l.tif", [("Value", 0, 5), ("Name", 2, 2)], [(1, "a"), (2, "a"), (5, "b")])
    found = scene_of(write_geotiff, path)
    assert [name for name, _ in found.values()] == ["a (1)", "a (2)", "b"]


def test_a_mosaic_of_our_own_maps_names_its_classes(labels, tmp_path):
    from bandweave.data.scene import ClassInfo

    classes = [ClassInfo(code, NAMES[code], COLORS[code]) for code in NAMES]
    (mosaic,) = build_vrt(tmp_path, [labels("l.tif")], categories=classes)
    assert read_categories(mosaic).names == NAMES
