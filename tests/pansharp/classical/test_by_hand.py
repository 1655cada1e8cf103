"""The methods' arithmetic, done by hand on a few numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bandweave.pansharp.classical.contract import GlobalSharpener
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.classical.multiresolution import a_trous_reach
from bandweave.pansharp.classical.statistics import Moments
from bandweave.pansharp.classical.unmixing import find_endmembers, sharpen_abundances, unmix
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade, upsample
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.sensors import find_sensor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window

SENSOR = find_sensor("generic", 2)

# Four pixels: two bands without covariance, means 4 and 2, variances 16 and 4; and
# PAN = 3/8 band 1 + 1/4 band 2 + 1, with mean 3, variance 2.5, covariances 6 and 1.
PIXELS = np.array([[0, 0, 8, 8], [0, 4, 0, 4], [1, 2, 4, 5]], np.float32)


def window(pan: np.ndarray, ms: tuple[float, ...] = (10, 30), ratio: int = 2) -> PairWindow:
    """Flat bands, so that interpolation is no matter, under a PAN."""
    height, width = pan.shape
    bands = np.tile(np.float32(ms)[:, None, None], (1, height // ratio, width // ratio))
    valid = np.ones(pan.shape, bool), np.ones(bands.shape[1:], bool)
    place = Window(0, 0, height, width)
    return PairWindow(place, 0, Nesting(ratio), pan.astype(np.float32), bands, *valid)


def answer(name: str, pair: PairWindow, sensor=SENSOR) -> np.ndarray:
    whole = Pair(ArraySource(pair.pan), ArraySource(pair.ms), Nesting(2))
    method = CLASSICAL[name](whole, sensor)
    if isinstance(method, GlobalSharpener):
        method.fit_moments(Moments.of(PIXELS))
    return method.apply(pair)


MATCHED = 17 * math.sqrt(2) + 3  # P′ of PAN 20: (20 - 3) · √(5 / 2.5) + 3; I = (10 + 30) / 2 = 20


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bicubic", (10, 30)),
        ("brovey", (10 * MATCHED / 20, 30 * MATCHED / 20)),
        ("ihs", (10 + MATCHED - 20, 30 + MATCHED - 20)),
        # var(I) = 16/4 + 4/4 = 5; gains 8/5 and 2/5
        ("gs", (10 + 1.6 * (MATCHED - 20), 30 + 0.4 * (MATCHED - 20))),
        # the first component is band 1: matched to its mean 4 and deviation 4
        ("pca", (4 + (20 - 3) * 4 / math.sqrt(2.5), 30)),
        # I = 3/8 · 10 + 1/4 · 30 + 1 = 12.25, PAN - I = 7.75, var(I) = 2.5; gains 6/2.5 and 1/2.5
        ("gsa", (10 + 2.4 * 7.75, 30 + 0.4 * 7.75)),
    ],
)
def test_substitution(name, expected):
    found = answer(name, window(np.full((4, 4), 20)))
    np.testing.assert_allclose(found[:, 1, 2], expected, rtol=1e-6)


def test_bands_outside_pan_have_no_weight():
    sensor = find_sensor("landsat-7", ["nir", "swir1"])  # weights 1 and 0: I = band 1, mean 4
    matched = 4 + (20 - 3) * 4 / math.sqrt(2.5)
    pair = window(np.full((4, 4), 20))
    for name, expected in {
        "ihs": (matched, 30 + matched - 10),
        "brovey": (matched, 30 * matched / 10),
        "gs": (matched, 30),  # cov(I, band 2) = 0
    }.items():
        np.testing.assert_allclose(answer(name, pair, sensor)[:, 0, 0], expected, rtol=1e-6)


def peak() -> np.ndarray:
    """PAN of 90 with one pixel of 180."""
    pan = np.full((16, 16), 90.0)
    pan[8, 8] = 180
    return pan


def test_sfim():
    found = answer("sfim", window(peak()))[0]
    # a box of 3 × 3 has the mean 100 wherever the peak is in it
    assert found[8, 8] == pytest.approx(10 * 180 / 100)
    assert found[7, 9] == pytest.approx(10 * 90 / 100)
    assert found[6, 8] == pytest.approx(10)


SCALES = 4 / math.sqrt(2.5), 2 / math.sqrt(2.5)  # deviations of the bands over PAN's


def test_hpf():
    found = answer("hpf", window(peak()))
    np.testing.assert_allclose(found[:, 8, 8], (10 + 80 * SCALES[0], 30 + 80 * SCALES[1]), 1e-6)
    np.testing.assert_allclose(found[:, 9, 8], (10 - 10 * SCALES[0], 30 - 10 * SCALES[1]), 1e-6)


def test_wavelet():
    found = answer("wavelet", window(peak()))
    detail = 90 - 90 * (6 / 16) ** 2, -90 * (4 / 16) * (6 / 16)  # one level: 1 4 6 4 1 over 16
    for (row, col), value in {(8, 8): detail[0], (8, 7): detail[1]}.items():
        expected = 10 + value * SCALES[0], 30 + value * SCALES[1]
        np.testing.assert_allclose(found[:, row, col], expected, rtol=1e-5)


def test_pyramids():
    sensor = find_sensor("quickbird", ["blue", "green"])  # gains 0.34 and 0.32
    pan = peak()
    nesting = Nesting(2)
    low = upsample(degrade(np.stack([pan, pan]), nesting, (8, 8), [0.34, 0.32]), nesting, (16, 16))
    added = answer("mtf-glp", window(pan), sensor)
    times = answer("mtf-glp-hpm", window(pan), sensor)
    gains = answer("mtf-glp-cbd", window(pan), sensor)
    for k, (band, gain) in enumerate(((10, 6 / 2.5), (30, 1 / 2.5))):  # covariance over variance
        np.testing.assert_allclose(gains[k], band + gain * (pan - low[k]), rtol=1e-5)
    for k, (band, mean) in enumerate(((10, 4), (30, 2))):
        np.testing.assert_allclose(added[k], band + SCALES[k] * (pan - low[k]), rtol=1e-5)
        matched, blurred = (SCALES[k] * (image - 3) + mean for image in (pan, low[k]))
        np.testing.assert_allclose(times[k], band * matched / blurred, rtol=1e-5)


def test_wavelet_levels_follow_the_ratio():
    assert [a_trous_reach(ratio) for ratio in (2, 3, 4, 5, 8)] == [2, 6, 6, 6, 14]


def test_abundances_of_pixels_that_are_mixtures():
    spectra = np.array([[1.0, 0.2, 0.1], [0.3, 0.9, 0.1]])
    mixed = np.array([[0.5, 0.2], [0.3, 0.7], [0.2, 0.1]])
    found = unmix(spectra @ mixed, spectra, 5000)
    np.testing.assert_allclose(found, mixed, atol=0.01)


def test_endmembers_are_the_corners_of_a_triangle():
    rng = np.random.default_rng(0)
    corners = np.array([[1.0, 0.2, 0.6], [0.2, 0.9, 0.1]])
    sample = corners @ np.concatenate([np.eye(3), rng.dirichlet([1, 1, 1], 500).T], axis=1)
    found = find_endmembers(sample)
    apart = np.linalg.norm(found[:, :, None] - corners[:, None, :], axis=0)
    assert sorted(apart.argmin(axis=0)) == [0, 1, 2]
    assert apart.min(axis=0).max() < 0.1


def test_pan_brightens_the_bright_endmember():
    seen = np.array([2.0, 0.5], np.float32)
    before = np.full((2, 1), 0.5, np.float32)
    after = sharpen_abundances(before, np.array([1.7], np.float32), seen)
    # 2 a + 0.5 b = 1.7 and a + b = 1: a = 0.8, b = 0.2
    np.testing.assert_allclose(after[:, 0], (0.8, 0.2), atol=0.05)
    same = sharpen_abundances(before, seen @ before, seen)
    np.testing.assert_allclose(same, before, rtol=1e-5)
