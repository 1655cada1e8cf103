"""Maps of an area, without small patches, and as polygons, from the command line."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.warp
import shapely
from rasterio import features


@pytest.fixture
def aoi(scene_file, tmp_path):
    """A triangle in the scene, as GeoJSON in degrees."""
    with rasterio.open(scene_file.parent / "lidar.tif") as file:
        (left, bottom, right, top), crs = file.bounds, file.crs
    corners = [(left + 3.3, top - 4.1), (right - 9.7, top - 5.2), (left + 8.6, bottom + 9.9)]
    xs, ys = rasterio.warp.transform(crs, "EPSG:4326", *zip(*corners, strict=True))
    path = tmp_path / "aoi.geojson"
    triangle = shapely.Polygon(zip(xs, ys, strict=True))
    path.write_text(shapely.to_geojson(triangle))
    return path


def test_a_map_of_an_area(shell, call, trained, scene_file, aoi, tmp_path):
    out, shapes = tmp_path / "map.tif", tmp_path / "map.gpkg"
    options = ("--within", aoi, "--minimum", 4, "--polygons", shapes)
    mapped = shell("map", trained, scene_file, out, *options)
    assert mapped.status == 0, mapped.err
    assert mapped.out.split() == [str(out), str(shapes)]
    assert f"within {aoi}: 1 polygons hold " in mapped.err
    geometry, values = pyogrio.raw.read(shapes, columns=["code"])[2:]
    with rasterio.open(out) as file:
        pairs = zip(shapely.from_wkb(geometry), values[0].tolist(), strict=True)
        burned = features.rasterize(pairs, out_shape=file.shape, transform=file.transform)
        np.testing.assert_array_equal(burned, file.read(1))
        assert file.shape != (48, 64)
    again = call("map", trained, scene_file, tmp_path / "other.tif", *options)
    assert again.status == 2
    assert f"{shapes} exists; replace it with --overwrite" in again.err
    assert not (tmp_path / "other.tif").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--within", "none.gpkg"), "none.gpkg does not exist"),
        (("--minimum", "0"), "the minimum is 0 px"),
        (("--minimum", "many"), "invalid int value"),
        (("--polygons", "map.shp"), "name it map.shp.gpkg"),
        (("--polygon", "map.gpkg"), "did you mean --polygons?"),
    ],
)
def test_what_cannot_be_is_one_line(refused, trained, scene_file, tmp_path, words, said):
    assert said in refused("map", trained, scene_file, tmp_path / "map.tif", *words)
    assert not list(tmp_path.iterdir())


def test_parcels(call, trained, scene_file, aoi, tmp_path):
    image, out = tmp_path / "map.tif", tmp_path / "parcels.gpkg"
    assert call("map", trained, scene_file, image, "--confidence", "--quiet").status == 0
    found = call("parcels", image, aoi, out)
    assert found.status == 0, found.err
    assert found.out == f"{out}\n1 parcels: 1 with a class\n"
    meta, _, _, values = pyogrio.raw.read(out)
    assert list(meta["fields"])[-5:] == [
        "map_code", "map_class", "map_share", "map_confidence", "map_pixels",
    ]  # fmt: skip
    assert 0 < values[-2][0] <= 1
    assert call("parcels", image, aoi, out).status == 2
    assert call("parcels", image, "none.gpkg", tmp_path / "a.gpkg").status == 2


def test_a_map_is_left_in_pieces(call, refused, trained, scene_file, tmp_path):
    mapped = call("map", trained, scene_file, tmp_path / "tiles", "--tiles", "--quiet")
    assert mapped.status == 0, mapped.err
    assert mapped.out.split()[0] == str(tmp_path / "tiles" / "map.vrt")
    assert call("map", trained, scene_file, tmp_path / "map.tif", "--quiet").status == 0
    with (
        rasterio.open(tmp_path / "tiles" / "map.vrt") as one,
        rasterio.open(tmp_path / "map.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())
    words = ("map", trained, scene_file, tmp_path / "more", "--tiles", "--polygons", "a.gpkg")
    assert "tiles leaves it in pieces" in refused(*words)
    assert "workers is 0" in refused("map", trained, scene_file, tmp_path / "m.tif", "--workers", 0)
