"""Whether a scene fits a run: layers, bands, wavelengths, units; and sources made from others."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from bandweave.data.match import describe_layers, match_layers, with_bands
from bandweave.data.scene import Layer, Part, Scene
from bandweave.errors import SceneMismatch
from bandweave.raster.deriving.source import BandSubset, Rescaled
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid, Window
from bandweave.raster.source import BandInfo

GRID = Grid(4, 5, from_origin(500000, 4000000, 2, 2))


def scene(**layers):
    """A scene of named layers: band count, wavelengths or None, units or None, ratio."""
    made = {}
    for name, (bands, wavelengths, units, ratio) in layers.items():
        grid = GRID.finer(ratio)
        values = np.arange(bands * grid.height * grid.width, dtype=np.float32)
        values = values.reshape(bands, grid.height, grid.width)
        info = BandInfo(wavelengths=wavelengths and tuple(wavelengths), units=units)
        made[name] = Layer(ArraySource(values, grid, info=info), ratio)
    return Scene("town", (Part("town", GRID, made),), next(iter(made)))


HSI = [400.0, 500.0, 600.0, 700.0]
TRAINED = scene(hsi=(4, HSI, "reflectance", 1), rgb=(3, None, None, 2))


def test_what_a_run_keeps_is_json():
    facts = describe_layers(TRAINED)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["hsi"] == {
        **{"bands": 4, "ratio": 1, "wavelengths": HSI, "units": "reflectance"},
        **{"numbers": None, "factor": None, "derived": None},
    }
    assert facts["rgb"] == {
        **{"bands": 3, "ratio": 2, "wavelengths": None, "units": None},
        **{"numbers": None, "factor": None, "derived": None},
    }


def test_a_scene_fits_itself_and_one_with_more_layers():
    run = describe_layers(TRAINED)
    assert match_layers(run, TRAINED) == {"hsi": None, "rgb": None}
    more = scene(sar=(2, None, None, 1), rgb=(3, None, None, 2), hsi=(4, HSI, "reflectance", 1))
    picks = match_layers(run, more)
    assert list(picks) == ["hsi", "rgb"]  # in the run's order
    assert list(with_bands(more, picks).layers) == ["hsi", "rgb", "sar"]  # sar is the reference


def test_wavelengths_within_a_nanometre_are_the_same():
    run = describe_layers(TRAINED)
    near = scene(hsi=(4, [w + 0.9 for w in HSI], None, 1), rgb=(3, None, None, 2))
    assert match_layers(run, near)["hsi"] is None
    unknown = scene(hsi=(4, None, None, 1), rgb=(3, None, None, 2))
    assert match_layers(run, unknown)["hsi"] is None


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"hsi": (4, HSI, None, 1)}, "layer 'rgb' is missing"),
        (
            {"hsi": (5, [*HSI, 800.0], None, 1), "rgb": (3, None, None, 2)},
            r"'hsi' has 5 bands, in the run 4 \(--match-bands takes the nearest\)",
        ),
        (
            {"hsi": (4, [w + 7 for w in HSI], None, 1), "rgb": (3, None, None, 2)},
            r"other wavelengths: 4 of its 4 are more than 1 nm off, at most 7\.0 nm",
        ),
        (
            {"hsi": (4, HSI, "radiance", 1), "rgb": (3, None, None, 2)},
            "'hsi' is in radiance, in the run in reflectance",
        ),
        (
            {"hsi": (4, HSI, None, 1), "rgb": (3, None, None, 4)},
            "'rgb' is 4 times as fine as the grid, in the run 2 times",
        ),
    ],
)
def test_what_differs_is_said_with_both_lists(layers, message):
    with pytest.raises(SceneMismatch, match=message) as error:
        match_layers(describe_layers(TRAINED), scene(**layers))
    text = str(error.value)
    assert "the run:   hsi (4 bands, 400 to 700 nm, in reflectance), rgb (3 bands, ratio 2)" in text
    assert "the scene: hsi (" in text


def test_bands_are_matched_by_wavelength():
    run = describe_layers(TRAINED)
    fine = [395.0, 405.0, 498.0, 503.0, 596.0, 706.0, 800.0]
    other = scene(hsi=(7, fine, None, 1), rgb=(3, None, None, 2))
    picks = match_layers(run, other, match_bands=True)
    assert picks == {"hsi": [0, 2, 4, 5], "rgb": None}
    matched = with_bands(other, picks)
    assert matched.layers["hsi"].info.wavelengths == (395.0, 498.0, 596.0, 706.0)
    values, _ = matched.parts[0].layers["hsi"].read(Window(0, 0, 4, 5))
    whole, _ = other.parts[0].layers["hsi"].read(Window(0, 0, 4, 5))
    np.testing.assert_array_equal(values, whole[[0, 2, 4, 5]])
    assert match_layers(run, matched, match_bands=True)["hsi"] == [0, 1, 2, 3]


def test_no_band_near_is_an_error():
    run = describe_layers(TRAINED)
    far = scene(hsi=(5, [400.0, 500.0, 589.0, 700.0, 800.0], None, 1), rgb=(3, None, None, 2))
    with pytest.raises(SceneMismatch, match=r"no band within 10 nm of 600 nm \(nearest 589\)"):
        match_layers(run, far, match_bands=True)
    blind = scene(hsi=(5, None, None, 1), rgb=(3, None, None, 2))
    with pytest.raises(SceneMismatch, match="the scene has no wavelengths to match them by"):
        match_layers(run, blind, match_bands=True)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_a_subset_is_these_bands_in_this_order(chosen):
    values = np.random.default_rng(0).normal(size=(6, 4, 5)).astype(np.float32)
    values[2, 1, 1] = np.nan
    info = BandInfo(wavelengths=tuple(range(6)), units="m", names=tuple("abcdef"))
    subset = BandSubset(ArraySource(values, GRID, info=info), chosen)
    assert subset.bands == len(chosen)
    assert subset.info.wavelengths == tuple(chosen)
    assert subset.info.units == "m"
    read, valid = subset.read(Window(-1, -1, 4, 4))
    np.testing.assert_array_equal(read[:, 1:, 1:], np.nan_to_num(values[chosen])[:, :3, :3])
    assert valid[2, 2] == any(band != 2 for band in chosen)
    assert not valid[0].any()


def test_a_subset_of_bands_that_are_not_there():
    source = ArraySource(np.ones((2, 4, 5), np.float32), GRID)
    for bands in ([], [2], [-1]):
        with pytest.raises(ValueError, match="of a source with 2"):
            BandSubset(source, bands)


def test_rescaled_values_and_holes():
    stored = np.array([[[1, 2], [-9, 4]]], np.int16)
    grid = Grid(2, 2, GRID.transform)
    values, valid = Rescaled(ArraySource(stored, grid, nodata=-9), 0.5, 3.0).read(grid.window)
    np.testing.assert_allclose(values[0], [[3.5, 4.0], [0.0, 5.0]])
    assert valid.tolist() == [[True, True], [False, True]]
