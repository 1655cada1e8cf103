import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.data import scaling as module
from bandweave.data.scaling import Scaling, fit
from bandweave.data.scene import ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.scenefile.open import open_scene
from bandweave.data.splits.splitting import TRAIN, split
from bandweave.errors import ConfigError, FileError, RunError, SceneMismatch
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window


def make_scene(*parts: dict[str, np.ndarray]) -> Scene:
    """Parts of layers by name; the first layer gives the grid."""
    made = []
    for number, layers in enumerate(parts):
        height, width = next(iter(layers.values())).shape[1:]
        grid = Grid(height, width, PIXELS)
        values = np.arange(height * width).reshape(height, width) % 2
        made.append(
            Part(
                f"part{number}",
                grid,
                {
                    name: Layer(
                        ArraySource(array, grid.finer(array.shape[1] // height)),
                        array.shape[1] // height,
                    )
                    for name, array in layers.items()
                },
                Labels(values.astype(np.int16)),
            )
        )
    classes = (ClassInfo(1, "a", "#000000"), ClassInfo(2, "b", "#ffffff"))
    return Scene("test", tuple(made), next(iter(parts[0])), classes)


def spectra(bands=6, height=20, width=30, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, 3))
    pixels = rng.normal(size=(3, height * width)) * [[5], [2], [0.5]]
    values = mixing @ pixels + rng.normal(size=(bands, 1)) * 100
    return values.reshape(bands, height, width).astype(np.float32)


@given(
    height=st.integers(1, 25),
    width=st.integers(1, 25),
    window=st.integers(1, 9),
    holes=st.floats(0, 0.9),
)
@settings(max_examples=30, deadline=None)
def test_streamed_statistics_are_those_of_the_whole(height, width, window, holes):
    rng = np.random.default_rng(height)
    arrays = [rng.normal(1e4, 3, (2, height, width)).astype(np.float32) for _ in range(2)]
    for array in arrays:
        array[rng.random(array.shape) < holes] = np.nan
    arrays[0][:, 0, 0] = 1e4
    whole = np.concatenate([array.reshape(2, -1) for array in arrays], axis=1).astype(np.float64)
    before, module.WINDOW = module.WINDOW, window
    try:
        layer = fit(make_scene(*({"hsi": array} for array in arrays))).layers["hsi"]
    finally:
        module.WINDOW = before
    np.testing.assert_allclose(layer.mean, np.nanmean(whole, axis=1), rtol=1e-12)
    std = np.nanstd(whole, axis=1)
    flat = np.nanmin(whole, axis=1) == np.nanmax(whole, axis=1)
    np.testing.assert_allclose(layer.std, np.where(flat, 1, std), rtol=1e-7)


def test_scaled_bands_have_zero_mean_and_unit_variance():
    scene = make_scene({"hsi": spectra(), "rgb": spectra(3, 80, 120)})
    scaling = fit(scene)
    assert scaling.source == "all valid pixels"
    for name, array in (("hsi", spectra()), ("rgb", spectra(3, 80, 120))):
        scaled = scaling.apply(name, array, np.ones(array.shape[1:], bool))
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled.mean(axis=(1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(scaled.std(axis=(1, 2)), 1, atol=1e-4)


def test_holes_are_zero_and_take_no_part():
    array = spectra()
    array[:, :5] = np.nan
    array[2, 7, 7] = np.inf
    layer = make_scene({"hsi": array}).parts[0].layers["hsi"]
    scaling = fit(make_scene({"hsi": array}))
    scaled, valid = scaling.read("hsi", layer, Window(-2, 0, 12, 30))
    assert not valid[:7].any()
    assert valid[7:].all()
    assert (scaled[:, :7] == 0).all()
    assert scaled[2, 9, 7] == 0
    assert (scaled[:2, 9, 7] != 0).all()
    assert np.isfinite(scaled).all()


def test_a_band_without_variance_is_divided_by_one():
    array = spectra()
    array[3] = 0.1  # not exact in binary: the mean of many is not quite this
    for pca in (None, {"hsi": 6}):
        scaling = fit(make_scene({"hsi": array}), pca=pca)
        assert scaling.layers["hsi"].std[3] == 1
        scaled = scaling.apply("hsi", array, np.ones((20, 30), bool))
        assert np.isfinite(scaled).all()
        assert np.abs(scaled).max() < 20


def test_inductive_statistics_come_from_training_pixels_alone():
    array, fine = spectra(), spectra(2, 40, 60, seed=1)
    scene = make_scene({"hsi": array, "rgb": fine})
    inductive = split(scene, "blocks", size=5, guard=1, context="inductive")
    transductive = split(scene, "blocks", size=5, guard=1)
    train = inductive.roles[0] == TRAIN
    scaling = fit(scene, inductive)
    assert scaling.source == "training pixels"
    np.testing.assert_allclose(scaling.layers["hsi"].mean, array[:, train].mean(axis=1), rtol=1e-5)
    finer = train.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(scaling.layers["rgb"].std, fine[:, finer].std(axis=1), rtol=1e-5)
    assert fit(scene, transductive).source == "all valid pixels"
    assert fit(scene, transductive).to_dict() == fit(scene).to_dict()


def test_components_are_uncorrelated_ordered_and_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    array = spectra(8)
    scaling = fit(make_scene({"hsi": array}), pca={"hsi": 3})
    assert scaling.bands("hsi") == 3
    scaled = scaling.apply("hsi", array, np.ones((20, 30), bool)).reshape(3, -1)
    np.testing.assert_allclose(np.cov(scaled, bias=True), np.eye(3), atol=1e-3)
    flat = array.reshape(8, -1).T.astype(np.float64)
    flat = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    expected = PCA(3, whiten=True).fit(flat)
    theirs = expected.transform(flat).T
    signs = np.sign((theirs * scaled).sum(axis=1))
    np.testing.assert_allclose(scaled, theirs * signs[:, None], atol=0.02)
    assert scaling.layers["hsi"].explained == pytest.approx(
        expected.explained_variance_ratio_.sum(), abs=1e-6
    )


def test_components_beyond_the_rank_are_zero_not_noise():
    array = np.repeat(spectra(1), 4, axis=0)
    scaled = fit(make_scene({"hsi": array}), pca={"hsi": 4}).apply(
        "hsi", array, np.ones((20, 30), bool)
    )
    assert scaled[0].std() == pytest.approx(1, abs=1e-3)
    assert (scaled[1:] == 0).all()


def test_zero_is_where_a_dark_pixel_lies():
    array = spectra()
    scaling = fit(make_scene({"hsi": array}), pca={"hsi": 2})
    dark = scaling.apply("hsi", np.zeros_like(array), np.ones((20, 30), bool))
    np.testing.assert_allclose(scaling.zero("hsi"), dark[:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("pca", [None, {"hsi": 2}])
def test_json_brings_back_the_same_numbers(pca):
    scaling = fit(make_scene({"hsi": spectra(), "rgb": spectra(3)}), pca=pca)
    again = Scaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert again.to_dict() == scaling.to_dict()
    for name in ("hsi", "rgb"):
        values = spectra(6 if name == "hsi" else 3)
        valid = np.ones((20, 30), bool)
        np.testing.assert_array_equal(
            again.apply(name, values, valid), scaling.apply(name, values, valid)
        )


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"layers": [], "source": ""},
        {"layers": {"hsi": {"mean": [1]}}, "source": ""},
        {
            "layers": {
                "hsi": {"mean": [1.0], "std": [1.0, 2.0], "components": None, "explained": None}
            },
            "source": "",
        },
        {
            "layers": {"hsi": {"mean": [1.0], "std": ["x"], "components": None, "explained": None}},
            "source": "",
        },
        {
            "layers": {
                "hsi": {
                    "mean": [1.0, 2.0],
                    "std": [1.0, 2.0],
                    "components": [[1.0]],
                    "explained": 1.0,
                }
            },
            "source": "",
        },
    ],
)
def test_a_broken_stored_scaling_is_named(stored):
    with pytest.raises(RunError, match="scaling cannot be read"):
        Scaling.from_dict(stored)


def test_unknown_layers_and_bands_are_refused():
    scaling = fit(make_scene({"hsi": spectra()}))
    valid = np.ones((20, 30), bool)
    with pytest.raises(SceneMismatch, match="5 bands, the scaling was made for 6"):
        scaling.apply("hsi", spectra(5), valid)
    with pytest.raises(SceneMismatch, match="no layer 'sar'"):
        scaling.apply("sar", spectra(), valid)


@pytest.mark.parametrize("pca", [{"sar": 2}, {"hsi": 0}, {"hsi": 7}])
def test_a_pca_that_does_not_fit_is_refused(pca):
    with pytest.raises(ConfigError, match="pca"):
        fit(make_scene({"hsi": spectra()}), pca=pca)


def test_some_layers_can_be_left_out():
    scene = make_scene({"hsi": spectra(), "rgb": spectra(3)})
    assert list(fit(scene, layers=["rgb"]).layers) == ["rgb"]
    with pytest.raises(ConfigError, match="among the scene's: hsi, rgb"):
        fit(scene, layers=["sar"])


def test_a_layer_without_data_is_named():
    scene = make_scene({"hsi": spectra(), "lidar": np.full((1, 20, 30), np.nan, np.float32)})
    with pytest.raises(FileError, match="'lidar'"):
        fit(scene)


@pytest.mark.parametrize(("mark", "told"), [(-9999, True), (-3.4e38, True), (-2, False)])
def test_marks_of_no_value_in_statistics_are_warned_of(tmp_path, caplog, mark, told):
    values = np.random.default_rng(0).random((2, 8, 9), np.float32)
    values[:, 0] = mark
    np.save(tmp_path / "a.npy", values)
    with caplog.at_level("WARNING"):
        fit(open_scene({"layers": {"a": "a.npy"}}, tmp_path))
    assert ("most often mean no data" in caplog.text) == told
