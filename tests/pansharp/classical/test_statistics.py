"""Statistics that are gathered by windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bandweave.pansharp.classical.statistics import Moments, measure_and_sample, measure_moments
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.sensors import find_sensor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window

SENSOR = find_sensor("generic", 2)


def noisy(seed: int = 0, holes: bool = False) -> tuple[np.ndarray, np.ndarray, Pair]:
    rng = np.random.default_rng(seed)
    pan, ms = rng.uniform(0, 1000, (40, 48)), rng.uniform(0, 1000, (2, 10, 12))
    if holes:
        pan[3:9, :20] = np.nan
        ms[1, 5, 5] = np.nan
    return pan, ms, Pair(ArraySource(pan), ArraySource(ms), Nesting(4))


@given(first=st.integers(0, 20), second=st.integers(0, 20), shift=st.sampled_from([0.0, 1e4]))
def test_merged_moments_are_those_of_all(first, second, shift):
    values = np.random.default_rng(first + 31 * second).normal(shift, 3, (3, first + second))
    one, other = Moments.of(values[:, :first]), Moments.of(values[:, first:])
    merged, whole = one.merge(other), Moments.of(values)
    assert merged.count == whole.count == first + second
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-6, atol=1e-6)


def test_they_are_those_of_the_bands_and_the_degraded_pan():
    pan, ms, pair = noisy()
    seen = degrade(pan[None], Nesting(4), (10, 12), [0.3])
    inner = np.concatenate([ms, seen])[:, 3:-3, 3:-3].reshape(3, -1)  # the edges are invalid's
    windows = [pair.read(Window(12, 12, 16, 24), margin=12)]
    found = measure_moments(windows, SENSOR)
    assert found.count == inner.shape[1] == 24
    np.testing.assert_allclose(found.mean, inner.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(inner, bias=True), rtol=1e-4)


@given(height=st.integers(3, 40), width=st.integers(3, 48))
def test_every_pixel_counts_once_in_any_tiling(height, width):
    _, _, pair = noisy(holes=True)
    whole, drawn = measure_and_sample([pair.read(pair.grid.window, 12)], SENSOR, size=20, seed=3)
    tiles = [
        pair.read(Window(row, col, min(height, 40 - row), min(width, 48 - col)), 12)
        for row in range(0, 40, height)
        for col in range(0, 48, width)
    ]
    found, again = measure_and_sample(tiles, SENSOR, size=20, seed=3)
    assert found.count == whole.count
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-5, atol=1)
    np.testing.assert_array_equal(again, drawn)


def test_a_sample_is_drawn_from_everywhere_and_by_its_seed():
    pan, _, _ = noisy()
    ramp = np.stack([np.repeat(np.arange(10.0), 12).reshape(10, 12)] * 2)
    pair = Pair(ArraySource(pan), ArraySource(ramp), Nesting(4))
    window = pair.read(pair.grid.window, 12)
    draws = [measure_and_sample([window], SENSOR, size=40, seed=seed)[1] for seed in (0, 1)]
    assert draws[0].shape == (2, 40)
    assert len(np.unique(draws[0])) >= 8
    assert (draws[0] != draws[1]).any()


def test_constants_have_no_covariance_whatever_the_rounding():
    values = np.full((2, 1000), 1e4 / 3, np.float32)
    values[0, ::2] += 1e-3
    assert not Moments.of(values).covariance.any()
