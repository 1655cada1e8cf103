"""Images that ground control points or RPCs place: on a grid when asked for, or refused."""

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from bandweave.cli.main import main
from bandweave.data.scenefile.open import open_scene
from bandweave.errors import GridMismatch
from bandweave.raster.open import open_source

IMAGE = np.arange(1, 401, dtype=np.float32).reshape(20, 20)


def points(left, top, pixel=1.0, crs_corners=((0, 0), (0, 20), (20, 0), (20, 20))):
    return [
        GroundControlPoint(row, col, left + col * pixel, top - row * pixel)
        for row, col in crs_corners
    ]


def write_image(path, crs="EPSG:32617", **kind):
    with rasterio.open(
        path, "w", driver="GTiff", height=20, width=20, count=1, dtype="float32", crs=crs, **kind
    ) as file:
        file.write(IMAGE, 1)
    return str(path)


@pytest.fixture
def grid(write_geotiff):
    return str(write_geotiff("grid.tif", np.ones((2, 20, 20), np.float32)))


def test_an_image_with_control_points_is_never_taken_pixel_by_pixel(tmp_path, grid):
    far = write_image(tmp_path / "far.tif", gcps=points(600_000, 4_000_000))
    with pytest.raises(GridMismatch, match=r"4 ground control points.*add `warp: bilinear`"):
        open_scene({"grid": "a", "layers": {"a": grid, "radar": far}})
    with pytest.raises(GridMismatch, match="is the grid and has no transform"):
        open_scene({"layers": {"radar": far}})
    with pytest.raises(GridMismatch, match="gdalwarp"):
        open_source(far)


def test_it_is_warped_where_its_points_say(tmp_path, grid):
    beside = write_image(tmp_path / "r.tif", gcps=points(500_000 + 5, 4_000_000 - 3))
    layer = {"path": beside, "warp": "nearest", "scale": 2.0}
    scene = open_scene({"grid": "a", "layers": {"a": grid, "radar": layer}})
    values = scene.parts[0].layers["radar"].source.read_nan(scene.parts[0].grid.window)[0]
    np.testing.assert_array_equal(values[3:, 5:], 2 * IMAGE[:-3, :-5])
    assert np.isnan(values[:3]).all()
    assert np.isnan(values[:, :5]).all()
    assert any("placed by its 4 ground control points" in note for note in scene.notes)


def test_points_without_a_crs_take_the_stated_one(tmp_path, grid):
    image = write_image(tmp_path / "r.tif", crs=rasterio.CRS(), gcps=points(500_000, 4_000_000))
    layers = {"a": grid, "radar": {"path": image, "warp": "nearest"}}
    with pytest.raises(GridMismatch, match="have no CRS; state it with `crs:`"):
        open_scene({"grid": "a", "layers": layers})
    stated = {**layers, "radar": {**layers["radar"], "crs": "EPSG:32617"}}
    for scene in ({"layers": stated}, {"layers": layers, "crs": "EPSG:32617"}):
        part = open_scene({"grid": "a", **scene}).parts[0]
        values = part.layers["radar"].source.read_nan(part.grid.window)[0]
        np.testing.assert_array_equal(values, IMAGE)


def test_two_files_of_one_layer_are_placed_by_the_points_of_each(tmp_path, grid):
    vv = write_image(tmp_path / "vv.tif", gcps=points(500_000 + 5, 4_000_000))
    vh = write_image(tmp_path / "vh.tif", gcps=points(500_000 + 5, 4_000_000))
    radar = {"path": [vv, vh], "warp": "nearest", "scale": 2.0}
    scene = open_scene({"grid": "a", "layers": {"a": grid, "radar": radar}})
    source = scene.parts[0].layers["radar"].source
    values = source.read_nan(scene.parts[0].grid.window)
    assert source.info.names == ("vv", "vh")
    np.testing.assert_array_equal(values[:, :, 5:], np.stack([2 * IMAGE[:, :-5]] * 2))
    other = write_image(tmp_path / "hh.tif", gcps=points(500_000, 4_000_000))
    radar["path"] = [vv, other]
    with pytest.raises(GridMismatch, match="points that differ"):
        open_scene({"grid": "a", "layers": {"a": grid, "radar": radar}})


@pytest.mark.parametrize(
    ("gcps", "words"),
    [
        ([GroundControlPoint(i, i, 500_000 + i, 4_000_000 - i) for i in range(5)], "cannot place"),
        (points(float("nan"), 4_000_000), "not all finite"),
        (points(500_000, 4_000_000, crs_corners=((0, 0), (0, 20))), "no transform"),
    ],
)
def test_points_that_place_nothing_are_refused(tmp_path, grid, gcps, words, capfd):
    layer = {"path": write_image(tmp_path / "r.tif", gcps=gcps), "warp": "nearest"}
    with pytest.raises(GridMismatch, match=words):
        open_scene({"grid": "a", "layers": {"a": grid, "b": layer}})
    assert "ERROR" not in capfd.readouterr().err


@pytest.mark.parametrize("layer", [{}, {"warp": "nearest"}])
def test_geolocation_arrays_are_not_followed(tmp_path, grid, layer):
    path = write_image(tmp_path / "r.tif", crs=None)
    (tmp_path / "r.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="GEOLOCATION"><MDI key="X_DATASET">lon.tif</MDI>'
        '<MDI key="Y_DATASET">lat.tif</MDI></Metadata></PAMDataset>'
    )
    with pytest.raises(GridMismatch, match="geolocation arrays") as error:
        open_scene({"grid": "a", "layers": {"a": grid, "b": {"path": path, **layer}}})
    assert "add `warp" not in str(error.value)


def test_labels_with_control_points_are_not_told_to_warp_themselves(tmp_path, grid):
    labels = write_image(tmp_path / "l.tif", gcps=points(500_000, 4_000_000))
    with pytest.raises(GridMismatch, match="Write it to one first"):
        open_scene({"layers": {"a": grid}, "labels": labels})


def test_points_far_away_do_not_overlap_the_grid(tmp_path, grid):
    far = write_image(tmp_path / "far.tif", gcps=points(600_000, 4_000_000))
    with pytest.raises(GridMismatch, match="overlap"):
        open_scene({"grid": "a", "layers": {"a": grid, "b": {"path": far, "warp": "bilinear"}}})


def test_points_of_a_larger_image_say_nothing_of_a_crop(tmp_path):
    stale = points(500_000, 4_000_000, crs_corners=((0, 0), (0, 900), (900, 0), (900, 900)))
    scene = open_scene({"layers": {"a": write_image(tmp_path / "crop.tif", gcps=stale)}})
    assert not scene.parts[0].grid.georeferenced
    assert any("4 ground control points lie outside its 20×20 px" in note for note in scene.notes)


def test_rational_polynomials_are_not_taken_pixel_by_pixel(tmp_path, grid):
    one, line, samp = [1.0] + [0.0] * 19, [0.0, 0.0, 1.0] + [0.0] * 17, [0.0, 1.0] + [0.0] * 18
    rpc = RPC(*(0.0, 1.0, 36.14, 0.001, one, line, 10.0, 10.0, -81.0, 0.001, one, samp, 10.0, 10.0))
    image = write_image(tmp_path / "r.tif", crs=None, rpcs=rpc)
    with pytest.raises(GridMismatch, match="rational polynomial"):
        open_scene({"grid": "a", "layers": {"a": grid, "b": image}})


def test_sharpening_refuses_what_control_points_place(tmp_path, grid, capsys):
    image = write_image(tmp_path / "pan.tif", gcps=points(500_000, 4_000_000))
    out = tmp_path / "out.tif"
    assert main(["sharpen", image, grid, str(out), "--method", "gsa"]) == 2
    assert "gdalwarp" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("number", "words"), [(1, "point is"), (2, "points are")])
def test_too_few_control_points_are_ignored_and_that_is_said(tmp_path, grid, number, words):
    some = points(600_000, 4_000_000)[:number]
    image = write_image(tmp_path / "few.tif", gcps=some)
    scene = open_scene({"grid": "a", "layers": {"a": grid, "radar": image}})
    said = f"layer 'radar': its {number} ground control {words} too few to place it (3 at least)"
    assert any(note.startswith(said) for note in scene.notes)
    values = scene.parts[0].layers["radar"].source.read_nan(scene.parts[0].grid.window)[0]
    np.testing.assert_array_equal(values, IMAGE)
    with pytest.raises(GridMismatch, match="cannot be warped: it has no transform"):
        open_scene(
            {"grid": "a", "layers": {"a": grid, "radar": {"path": image, "warp": "nearest"}}}
        )
