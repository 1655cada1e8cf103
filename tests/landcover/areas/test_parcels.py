import os

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform as warp_points

from bandweave.data.scene import ClassInfo
from bandweave.errors import ConfigError, FileError, GridMismatch, LabelError, OutputError
from bandweave.landcover.areas.parcels import classify_parcels
from bandweave.raster.grid import Grid
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import MapWriter, RasterForm
from bandweave.raster.writing.style import write_styles

UTM = CRS.from_epsg(32617)
CLASSES = (ClassInfo(3, "water", "#0000ff"), ClassInfo(7, "grass", "#00cd00"))
NONE = None, None, None, None, 0


@pytest.fixture
def map_path(tmp_path):
    """20×30 px of 2 m: water, grass from column 10 on, no data from column 20 on."""
    codes = np.full((20, 30), 3, np.uint8)
    codes[:, 10:], codes[:, 20:] = 7, 0
    sure = np.where(codes == 0, np.nan, np.linspace(0.5, 1, 600).reshape(20, 30)).astype("float32")
    grid = Grid(20, 30, from_origin(500_000, 4_000_000, 2, 2), UTM)
    path = tmp_path / "map.tif"
    with OutputSet() as outputs:
        MapWriter(path, grid, RasterForm(nodata=0), outputs=outputs).write(grid.window, codes)
        form = RasterForm(dtype="float32", nodata=np.nan)
        confidence = MapWriter(tmp_path / "map_confidence.tif", grid, form, outputs=outputs)
        confidence.write(grid.window, sure)
        write_styles(path, CLASSES, outputs)
    return path


def box(row, col, height, width):
    """A rectangle of pixels, a fifth of a pixel within its border."""
    left, top = 500_000 + 2 * col, 4_000_000 - 2 * row
    return shapely.box(left + 0.4, top - 2 * height + 0.4, left + 2 * width - 0.4, top - 0.4)


SHAPES = [
    box(2, 2, 4, 5),
    box(4, 8, 6, 5),  # two columns of water, three of grass
    box(4, 8, 6, 4),  # as many of both, and over the last
    box(0, 16, 20, 10),  # four columns of grass, six without data
    box(3, 22, 4, 4),
    shapely.box(500_000.1, 3_999_999.7, 500_000.3, 3_999_999.9),
    box(100, 100, 5, 5),
    shapely.Point(500_010, 3_999_990),
    None,
]
EXPECTED = [
    (3, "water", 1, 20),
    (7, "grass", 0.6, 30),
    (3, "water", 0.5, 24),
    (7, "grass", 1, 80),
    *[(None, None, None, 0)] * 5,
]


def write_parcels(path, shapes, crs=UTM, **fields):
    missing = [fields.pop(f"{name}_missing", None) for name in [*fields]]
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    pyogrio.raw.write(
        path, np.array([shape and shapely.to_wkb(shape) for shape in shapes], object),
        list(fields.values()), list(fields), missing[: len(fields)], crs=crs.to_string(),
        geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown", layer=path.stem,
        layer_options={"SPATIAL_INDEX": "NO"},  # which would sort them
    )  # fmt: skip
    return path


def read_parcels(path):
    meta, _, geometry, values = pyogrio.raw.read(path, layer="parcels")
    return meta, geometry, dict(zip(meta["fields"], values, strict=True))


def plain(value):
    return None if value is None or value != value else value


def test_class_and_confidence_of_each_parcel(map_path, tmp_path):
    owners = np.array([f"owner {n}" if n % 2 else None for n in range(9)], object)
    parcels = write_parcels(tmp_path / "fields.gpkg", SHAPES, id=np.arange(9), owner=owners)
    counts = classify_parcels(map_path, parcels, tmp_path / "out.gpkg")
    assert str(counts) == (
        "9 parcels: 4 with a class, 1 outside of the map, 1 too small for a pixel's centre, "
        "1 without data in the map, 2 that are no polygons"
    )
    meta, geometry, table = read_parcels(tmp_path / "out.gpkg")
    assert CRS.from_user_input(meta["crs"]) == UTM
    names = ("map_code", "map_class", "map_share", "map_pixels")
    for number, expected in enumerate(EXPECTED):
        assert tuple(plain(table[name][number]) for name in names) == pytest.approx(expected)
    with rasterio.open(tmp_path / "map_confidence.tif") as file:
        sure = file.read(1).astype(np.float64)
    means = [sure[2:6, 2:7].mean(), sure[4:10, 8:13].mean(), sure[4:10, 8:12].mean()]
    assert table["map_confidence"][:3] == pytest.approx(means)
    assert table["map_confidence"][3] == pytest.approx(sure[:, 16:20].mean())
    assert np.isnan(table["map_confidence"][4:]).all()
    assert table["id"].tolist() == list(range(9))
    assert table["owner"].tolist() == owners.tolist()
    read = [None if each is None else shapely.from_wkb(each) for each in geometry]
    assert [str(each) for each in read] == [str(shape) for shape in SHAPES]


def test_parcels_in_another_crs_keep_theirs(map_path, tmp_path):
    def move(points):
        return np.column_stack(warp_points(UTM, "EPSG:4326", *points.T))

    shapes = [shapely.transform(shape, move) for shape in SHAPES[:4]]
    shapes[0] = shapely.MultiPolygon([shapes[0]])
    numbers, lacking = np.array([1, 2, 2**40, 4]), np.array([False, True, False, False])
    values = {"fid": numbers, "fid_missing": lacking, "geom": np.array([*"abcd"], object)}
    parcels = write_parcels(tmp_path / "p.fgb", shapes, CRS.from_epsg(4326), **values)
    classify_parcels(map_path, parcels, tmp_path / "out.gpkg")
    meta, geometry, table = read_parcels(tmp_path / "out.gpkg")
    assert CRS.from_user_input(meta["crs"]) == CRS.from_epsg(4326)
    assert meta["geometry_type"] == "MultiPolygon"
    assert table["map_code"].tolist() == [3, 7, 3, 7]
    assert meta["dtypes"][list(meta["fields"]).index("fid")] == "int64"
    assert [plain(value) for value in table["fid"]] == [1, None, 2**40, 4]
    assert table["geom"].tolist() == [*"abcd"]
    assert np.allclose(shapely.bounds(shapely.from_wkb(geometry)), shapely.bounds(shapes))


def test_confidence_of_another_map(map_path, tmp_path, caplog):
    parcels = write_parcels(tmp_path / "p.gpkg", SHAPES[:2], id=np.arange(2))
    os.utime(tmp_path / "map_confidence.tif", (0, 0))
    classify_parcels(map_path, parcels, tmp_path / "out.gpkg")
    assert "map_confidence.tif is older than the map" in caplog.text
    assert np.isnan(read_parcels(tmp_path / "out.gpkg")[2]["map_confidence"]).all()
    other = tmp_path / "map_confidence.tif"
    classify_parcels(map_path, parcels, tmp_path / "b.gpkg", confidence=other)
    assert not np.isnan(read_parcels(tmp_path / "b.gpkg")[2]["map_confidence"]).any()


def test_what_cannot_be(map_path, tmp_path):
    parcels = write_parcels(tmp_path / "p.gpkg", SHAPES[:2], id=np.arange(2))
    out = tmp_path / "out.gpkg"

    def refuse(error, match, *words):
        with pytest.raises(error, match=match):
            classify_parcels(*words)

    refuse(ConfigError, "as a GeoPackage", map_path, parcels, tmp_path / "out.shp")
    refuse(OutputError, "is an input", map_path, parcels, parcels)
    refuse(FileError, "whole numbers", tmp_path / "map_confidence.tif", parcels, out)
    refuse(FileError, "does not exist", map_path, tmp_path / "none.gpkg", out)
    apart = write_parcels(tmp_path / "apart.gpkg", [box(500, 0, 4, 4)], id=np.arange(1))
    refuse(GridMismatch, r"do not touch the map: they lie in x 500000\.4", map_path, apart, out)
    points = write_parcels(tmp_path / "points.gpkg", [SHAPES[7]], id=np.arange(1))
    refuse(FileError, "no polygon", map_path, points, out)
    assert not out.exists()
    classify_parcels(map_path, parcels, out)
    refuse(OutputError, "exists; replace it with --overwrite", map_path, parcels, out)
    refuse(LabelError, "the attribute map_code already", map_path, out, tmp_path / "again.gpkg")
    assert not list(tmp_path.glob(".*"))
