"""What every classical method must do, one body for all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.sensors import find_sensor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window

METHODS = sorted(CLASSICAL)
KEEP_THE_MEAN = ("gfpca", "gs", "gsa", "hpf", "ihs", "mtf-glp", "mtf-glp-cbd", "pca", "wavelet")


def truth(bands: int, height: int, width: int, grain: float, seed: int = 0) -> np.ndarray:
    """Patches of a few materials with texture, (bands, height, width) between 0 and 1200."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((height, width)), grain) for _ in range(8)]
    spectra = rng.uniform(100, 800, (8, 1)) * rng.uniform(0.7, 1.3, (8, bands))
    texture = gaussian_filter(rng.normal(1, 0.15, (height, width)), 0.5)
    image = spectra[np.argmax(fields, axis=0)].transpose(2, 0, 1) * texture
    return image.astype(np.float32)


def simulated(ratio=4, bands=4, row=0.0, col=0.0, height=12, width=14):
    """The truth, and a pair of it whose PAN is the mean of the true bands."""
    sharp = truth(bands, height * ratio, width * ratio, grain=1.5 * ratio)
    nesting = Nesting(ratio, row, col)
    ms = degrade(sharp, nesting, (height, width), [0.3] * bands)
    return sharp, Pair(ArraySource(sharp.mean(axis=0)), ArraySource(ms), nesting)


def sharpened(name: str, pair: Pair, windows: list[Window] | None = None) -> np.ndarray:
    """The whole result, by windows."""
    method = CLASSICAL[name](pair, find_sensor("generic", pair.bands))
    windows = windows or [pair.grid.window]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        method.fit(pair.read(window, method.margin) for window in windows)
        out = np.full((pair.bands, pair.grid.height, pair.grid.width), np.nan, np.float32)
        for window in windows:
            whole = pair.read(window, method.margin)
            answer = method.apply(whole)
            assert answer.shape == (pair.bands, *whole.pan.shape)
            assert answer.dtype == np.float32
            out[(slice(None), *window.slices())] = answer[(slice(None), *whole.core)]
    assert np.isfinite(out).all()
    return out


def split(pair: Pair, height: int, width: int) -> list[Window]:
    """Windows that cover the grid once; those at the end are smaller."""
    H, W = pair.grid.height, pair.grid.width
    return [
        Window(row, col, min(height, H - row), min(width, W - col))
        for row in range(0, H, height)
        for col in range(0, W, width)
    ]


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    error = image.astype(np.float64) - reference
    return 10 * np.log10(1000**2 / np.mean(error**2))


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
@pytest.mark.parametrize("name", METHODS)
def test_sharper_than_interpolation(name, ratio):
    sharp, pair = simulated(ratio)
    gain = psnr(sharpened(name, pair), sharp) - psnr(sharpened("bicubic", pair), sharp)
    least = {"bicubic": 0.0, "gfpca": 0.5}.get(name, 3.0)  # guided filters blur: Loncan et al. 2015
    assert gain >= least


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=4)
@given(
    ratio=st.sampled_from([2, 3, 4]),
    row=st.floats(-0.5, 0.5),
    col=st.sampled_from([0.0, 0.5]),
    height=st.integers(9, 40),
    width=st.integers(9, 40),
)
def test_windows_give_the_whole_image(name, ratio, row, col, height, width):
    _, pair = simulated(ratio, bands=3, row=row, col=col)
    whole = sharpened(name, pair)
    by_windows = sharpened(name, pair, split(pair, height, width))
    assert np.abs(whole - by_windows).max() < 0.02  # of values to 1200


@pytest.mark.parametrize("name", METHODS)
def test_only_valid_pixels_enter_statistics(name):
    _, pair = simulated()
    method, again = (CLASSICAL[name](pair, find_sensor("generic", 4)) for _ in range(2))
    window, clean = (pair.read(pair.grid.window, method.margin) for _ in range(2))
    hole = np.zeros(window.pan.shape, bool)
    hole[30:42, 25:60] = True
    window.pan_valid &= ~hole
    window.ms_valid[-7:-2, 5:9] = False
    method.fit([window])
    window.pan[~window.pan_valid] = 1e6
    window.ms[:, ~window.ms_valid] = -1e6
    again.fit([window])
    np.testing.assert_array_equal(again.apply(clean), method.apply(clean))
    assert window.ms_valid.sum() > 50


@pytest.mark.parametrize("name", METHODS)
def test_a_flat_pan_leaves_the_interpolated_bands(name):
    _, pair = simulated()
    flat = Pair(ArraySource(np.full((48, 56), 400.0)), pair.ms, Nesting(4))
    np.testing.assert_allclose(sharpened(name, flat), sharpened("bicubic", pair), rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_flat_bands_stay_flat_and_one_flat_band_does_no_harm(name):
    _, pair = simulated()
    ms = np.full((4, 12, 14), 300.0, np.float32)
    flat = Pair(ArraySource(np.full((48, 56), 7.0)), ArraySource(ms), Nesting(4))
    np.testing.assert_allclose(sharpened(name, flat), 300, rtol=1e-6)
    ms = pair.read(pair.grid.window).ms
    ms[2] = 300
    sharpened(name, Pair(pair.pan, ArraySource(ms), Nesting(4)))  # finite, without warnings


@pytest.mark.parametrize("value", [0.0, 300.0])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "sfim"])
def test_flat_bands_stay_flat_under_any_pan(name, value):
    """Not with SFIM, which never asks what the bands hold."""
    _, pair = simulated()
    flat = Pair(pair.pan, ArraySource(np.full((4, 12, 14), value, np.float32)), Nesting(4))
    np.testing.assert_allclose(sharpened(name, flat), value, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_one_band_is_sharpened(name):
    sharp, pair = simulated(bands=1)
    gain = psnr(sharpened(name, pair), sharp) - psnr(sharpened("bicubic", pair), sharp)
    assert gain >= (0 if name == "bicubic" else 1)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_valid_is_finite(name):
    hollow = np.full((4, 12, 14), np.nan, np.float32)
    pair = Pair(ArraySource(np.full((48, 56), np.nan)), ArraySource(hollow), Nesting(4))
    sharpened(name, pair, split(pair, 24, 56))


@pytest.mark.parametrize("name", METHODS)
def test_dark_and_negative_values_stay_in_bounds(name):
    sharp, pair = simulated()
    pan, ms = sharp.mean(axis=0) - 300, pair.read(pair.grid.window).ms - 300
    ms[:, :4], pan[:16] = 0, 0
    answer = sharpened(name, Pair(ArraySource(pan), ArraySource(ms), Nesting(4)))
    assert np.abs(answer).max() < 1e5


@pytest.mark.parametrize("name", KEEP_THE_MEAN)
def test_what_is_added_has_no_mean(name):
    _, pair = simulated()
    answer, interpolated = sharpened(name, pair), sharpened("bicubic", pair)
    np.testing.assert_allclose(answer.mean(axis=(1, 2)), interpolated.mean(axis=(1, 2)), rtol=0.01)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_answer_twice(name):
    _, pair = simulated(ratio=2)
    np.testing.assert_array_equal(sharpened(name, pair), sharpened(name, pair))


@pytest.mark.parametrize("name", METHODS)
def test_the_input_is_left_alone(name):
    _, pair = simulated(ratio=2)
    method = CLASSICAL[name](pair, find_sensor("generic", 4))
    window = pair.read(pair.grid.window, method.margin)
    pan, ms = window.pan.copy(), window.ms.copy()
    method.fit([window])
    method.apply(window)
    np.testing.assert_array_equal(window.pan, pan)
    np.testing.assert_array_equal(window.ms, ms)


def test_regression_spares_a_band_that_pan_does_not_follow():
    """Matched deviations put as much of PAN's detail into it as into the others."""
    rng = np.random.default_rng(3)
    texture, other = (gaussian_filter(rng.standard_normal((192, 192)), 2) for _ in "ab")
    truth = np.stack([500 + 900 * texture, 400 + 900 * other]).astype(np.float32)
    noise = rng.standard_normal((192, 192)) * 20
    sensor, nesting = find_sensor("generic", 2), Nesting(4)
    pair = Pair(
        ArraySource((500 + 900 * texture + noise).astype(np.float32)),
        ArraySource(degrade(truth, nesting, (48, 48), sensor.mtf)),
        nesting,
    )
    error = {}
    for name in ("bicubic", "mtf-glp", "mtf-glp-cbd"):
        method = CLASSICAL[name](pair, sensor)
        window = pair.read(pair.grid.window, method.margin)
        method.fit([window])
        found = method.apply(window)[:, *window.core]
        error[name] = np.sqrt(((found - truth) ** 2).mean(axis=(1, 2)))
    apart = error["bicubic"]
    assert error["mtf-glp"][1] > 1.05 * apart[1]
    assert error["mtf-glp-cbd"][1] <= 1.005 * apart[1]
    assert error["mtf-glp-cbd"][0] < 0.9 * apart[0]


def test_the_guide_lists_the_methods_that_there_are():
    """Its list is written by the table; its scores by scene are of methods in the table."""
    text = (Path(__file__).parents[3] / "docs" / "guide" / "sharpening.md").read_text()
    assert "{{ sharpeners }}" in text.split("## Methods")[1].split("## Train")[0]
    scores = text.split("### Other scenes")[1].split("\n###")[0]
    listed = set(re.findall(r"^\| `([\w-]+)` \|", scores, re.M))
    assert {"gsa"} < listed - {"mmmamba_small"} <= set(CLASSICAL)
    assert all(method.__doc__ and method.source for method in CLASSICAL.values())
