"""Layers that a scene file derives: what it may say, what they are, and what does not fit."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.data.check.scene import check_scene
from bandweave.data.match import describe_layers, match_layers, with_bands
from bandweave.data.scenefile.open import open_scene
from bandweave.data.scenefile.schema import read_scene_file
from bandweave.data.splits.hidden import blind_derived_layers
from bandweave.data.splits.splitting import split
from bandweave.errors import ConfigError, SceneMismatch
from bandweave.raster.grid import Window

RNG = np.random.default_rng(0)
BANDS = [480, 560, 660, 840, 1600]


def write(path, values, pixel=2.0, crs="EPSG:32617"):
    place = {} if pixel is None else {"transform": from_origin(5e5, 4e6, pixel, pixel), "crs": crs}
    count, height, width = values.shape
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype="float32", **place) as file:
        file.write(values.astype(np.float32))


@pytest.fixture
def folder(tmp_path):
    """hsi of 5 bands on 12×16 px with a hole, lidar twice as fine, labels."""
    hsi = RNG.uniform(0.1, 0.9, (5, 12, 16))
    hsi[:, 2:4, 2:4] = np.nan
    write(tmp_path / "hsi.tif", hsi)
    write(tmp_path / "lidar.tif", RNG.normal(size=(1, 24, 32)), pixel=1.0)
    labels = np.zeros((1, 12, 16))
    labels[0, :, ::5], labels[0, :, 1::5] = 1, 2
    np.save(tmp_path / "labels.npy", labels[0].astype(np.uint8))
    return tmp_path


def content(wavelengths=BANDS, **derived):
    hsi = {"path": "hsi.tif"} | ({"wavelengths": wavelengths} if wavelengths else {})
    layers = {"hsi": hsi, "lidar": {"path": "lidar.tif", "ratio": 2}}
    return {"grid": "hsi", "layers": layers, "labels": "labels.npy", "derived": derived}


ALL = {
    "steep": {"slope": True, "of": "smooth"},  # of a layer that stands below
    "smooth": {"gaussian": 2.5, "of": "lidar"},
    "ndvi": {"index": "ndvi", "of": "hsi"},
    "means": {"gaussian": [1, 2], "of": "hsi", "bands": [3, 1]},
    "profile": {"profile": [1, 2], "of": "lidar"},
}


def test_derived_layers_stand_behind_those_of_files(folder):
    scene = open_scene(content(**ALL), folder)
    facts = {name: (info.bands, info.ratio, info.reach) for name, info in scene.layers.items()}
    assert list(facts) == ["hsi", "lidar", *ALL]
    assert facts == {
        "hsi": (5, 1, 0),
        "lidar": (1, 2, 0),
        "steep": (1, 2, 6),  # 10 px and 1 px of a grid twice as fine
        "smooth": (1, 2, 5),
        "ndvi": (1, 1, 0),
        "means": (4, 1, 8),
        "profile": (5, 2, 17),
    }
    assert scene.reach(["ndvi", "means"]) == 8
    assert scene.layers["steep"].info.units == "degree"
    layers = scene.parts[0].layers
    hsi, valid = layers["hsi"].read(Window(0, 0, 12, 16))
    ndvi, known = layers["ndvi"].read(Window(0, 0, 12, 16))
    np.testing.assert_allclose(ndvi, (hsi[3:4] - hsi[2:3]) / (hsi[3] + hsi[2]).clip(1e-9), 1e-5)
    assert (known == valid).all()
    assert not valid.all()
    assert layers["steep"].read(Window(3, 2, 4, 5))[0].shape == (1, 8, 10)
    assert "layer 'ndvi': ndvi of bands 4 and 3 of 'hsi'" in scene.notes


def test_the_check_says_what_they_are_and_repeats_no_problem_of_their_source(folder):
    spoilt = np.where(RNG.random((1, 24, 32)) < 0.1, -9999, RNG.normal(size=(1, 24, 32)))
    write(folder / "lidar.tif", spoilt, pixel=1.0)
    lines = check_scene(content(smooth=ALL["smooth"]), folder)
    (line,) = [line for line in lines if line.startswith("layer 'smooth': 1 band")]
    assert "derived by {gaussian: [2.5], of: lidar}, from all within 5 px of the grid" in line
    assert not any("problem" in line and "smooth" in line for line in lines)
    assert any("problem: layer 'lidar'" in line for line in lines)


def test_bands_stand_for_wavelengths(folder):
    with pytest.raises(ConfigError, match=r"derived\.ndvi\.index: layer 'hsi' has no wavelengths"):
        open_scene(content(None, ndvi={"index": "ndvi", "of": "hsi"}), folder)
    by_bands = {
        "ndvi": {"index": "ndvi", "of": "hsi", "bands": [4, 3]},
        "nd": {"index": "nd", "of": "hsi", "bands": [4, 3]},
    }
    scene, named = open_scene(content(None, **by_bands), folder), open_scene(content(**ALL), folder)
    one, two, three = (
        each.parts[0].layers[name].read(Window(0, 0, 12, 16))[0]
        for each, name in ((scene, "ndvi"), (scene, "nd"), (named, "ndvi"))
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)
    match_layers(describe_layers(named, ["ndvi"]), scene)  # which bands they are is the scene's


@pytest.mark.parametrize(
    ("derived", "words"),
    [
        ({"of": "hsj", "index": "ndvi"}, r"derived\.x\.of: no layer is named 'hsj'; did.*'hsi'"),
        ({"of": "hsi"}, "x: has none; a layer is one of index, gaussian, profile or slope"),
        ({"of": "hsi", "index": "ndvi", "slope": True}, "derived.x: has index and slope; a layer"),
        ({"of": "hsi", "index": "ndvy"}, r"derived\.x\.index: no index .* 'ndvy'; did.*'ndvi'"),
        ({"of": "hsi", "index": "nd"}, r"derived\.x: `index: nd` needs `bands: \[a, b\]`"),
        ({"of": "hsi", "index": "nd", "bands": [1, 2, 2]}, r"an index is of two bands"),
        ({"of": "hsi", "index": "nd", "bands": [2, 2]}, r"an index is of two bands"),
        ({"of": "hsi", "gaussian": [1, 0]}, r"derived\.x\.gaussian: 0 px; .* above 0 and at most"),
        ({"of": "hsi", "gaussian": float("nan")}, r"derived\.x\.gaussian: nan px"),
        ({"of": "hsi", "gaussian": []}, r"derived\.x\.gaussian: is an empty list"),
        ({"of": "hsi", "profile": 99}, r"derived\.x\.profile: 99 px; .* at most 32"),
        ({"of": "hsi", "profile": [2, 2]}, r"derived\.x\.profile: a number stands twice"),
        ({"of": "hsi", "profile": 2.5}, r"derived\.x\.profile: expected"),
        ({"of": "hsi", "profile": 2, "bands": [0]}, r"derived\.x\.bands: \[0\]; bands are counted"),
        ({"of": "hsi", "gaussian": 2, "pixel": 3}, r"derived\.x\.pixel: 3; .* for `slope` alone"),
        ({"of": "hsi", "gausian": 2}, r"derived\.x\.gausian: no such option; did.*'gaussian'"),
        ({"of": "x", "gaussian": 2}, r"derived\.x\.of: a circle, x of x"),
    ],
)
def test_what_a_derived_layer_may_not_be(derived, words):
    with pytest.raises(ConfigError, match=words):
        read_scene_file(content(x=derived))


def test_names_circles_and_the_grid():
    slope = {"slope": True, "of": "lidar"}
    with pytest.raises(ConfigError, match=r"derived\.lidar: `layers` has a layer of this name"):
        read_scene_file(content(lidar={**slope, "of": "hsi"}))
    with pytest.raises(ConfigError, match=r"derived: the name 'a b' may hold letters"):
        read_scene_file(content(**{"a b": slope}))
    with pytest.raises(ConfigError, match=r"derived\.a\.of: a circle, a of b of a"):
        read_scene_file(content(a={**slope, "of": "b"}, b={**slope, "of": "a"}))
    with pytest.raises(ConfigError, match="grid: 'steep' is derived; name a layer that has files"):
        read_scene_file({**content(steep=slope), "grid": "steep"})


@pytest.mark.parametrize(
    ("derived", "words"),
    [
        ({"of": "hsi", "gaussian": 2, "bands": [6]}, r"x\.bands: 6; layer 'hsi' has 5 bands"),
        ({"of": "hsi", "profile": [1, 2]}, r"x\.profile: .* 5 bands, whose profiles are 25 values"),
        (
            {"of": "hsi", "index": "nbr"},
            r"480 to 1600 nm and none within 2080 to 2350 nm; or name the",
        ),
    ],
)
def test_what_a_layer_does_not_have(folder, derived, words):
    with pytest.raises(ConfigError, match=words):
        open_scene(content(x=derived), folder)


def test_a_slope_asks_for_the_size_of_a_pixel(folder):
    np.save(folder / "heights.npy", np.arange(30.0).reshape(5, 6))
    scene = {"layers": {"lidar": "heights.npy"}, "derived": {"s": {"slope": True, "of": "lidar"}}}
    with pytest.raises(ConfigError, match=r"derived\.s\.slope: no file says .* `pixel:`"):
        open_scene(scene, folder)
    scene["derived"]["s"]["pixel"] = 2
    values, _ = open_scene(scene, folder).parts[0].layers["s"].read(Window(0, 0, 5, 6))
    np.testing.assert_allclose(values, np.degrees(np.arctan(np.hypot(0.5, 3))), rtol=1e-5)
    write(folder / "placed.tif", np.ones((1, 5, 6)), crs=None)
    scene = {"layers": {"lidar": "placed.tif"}, "derived": {"s": {"slope": True, "of": "lidar"}}}
    (note,) = open_scene(scene, folder).notes
    assert note.endswith("pixels of 2×2 without a CRS, taken to be in the unit of the heights")


def test_a_run_wants_the_same_derivation(folder):
    run = describe_layers(open_scene(content(**ALL), folder))
    scene = open_scene(content(**ALL), folder)
    picks = match_layers(run, scene)
    assert set(picks.values()) == {None}
    others = open_scene(content(**{**ALL, "smooth": {"gaussian": 3, "of": "lidar"}}), folder)
    with pytest.raises(SceneMismatch, match=r"as \{gaussian: \[3\], of: lidar\}, in the run"):
        match_layers(run, others)
    with pytest.raises(SceneMismatch, match=r"'ndvi' is missing;.*`derived: \{steep: "):
        match_layers(run, open_scene(content(), folder))
    assert with_bands(scene, {"means": [1]}).layers["means"].reach == 8


def test_an_inductive_split_hides_test_pixels_from_derived_layers(folder):
    def seen(context, change):
        scene = open_scene(content(**ALL), folder)
        drawn = split(scene, "blocks", size=4, guard=1, context=context)
        if change:
            hidden = split(scene, "blocks", size=4, guard=1, context="inductive").hidden(0)
            for name, ratio in (("hsi", 1), ("lidar", 2)):
                path = folder / f"{name}.tif"
                with rasterio.open(path) as file:
                    values = file.read()
                values[:, hidden.repeat(ratio, 0).repeat(ratio, 1)] += 1
                write(path, values, pixel=2.0 / ratio)
            scene = open_scene(content(**ALL), folder)
        layers = blind_derived_layers(scene, drawn).parts[0].layers
        return {n: layers[n].read(Window(0, 0, 12, 16))[0] for n in ("steep", "means", "profile")}

    shown, changed = seen("inductive", False), seen("inductive", True)
    for name, values in shown.items():
        np.testing.assert_array_equal(values, changed[name])
        assert values.any()
    open_now = seen("transductive", True)
    assert all((open_now[name] != values).any() for name, values in changed.items())
