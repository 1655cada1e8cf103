"""Interpolation and degradation: exact phase, any ratio, the same by window as at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.resample import degrade, gaussian_deviation, lowpass, upsample

fractions = st.integers(-8, 8).map(lambda value: value / 16)
nestings = st.builds(Nesting, st.integers(2, 5), fractions, fractions)
kernels = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])


def centres(nesting: Nesting, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Of MS pixels, in PAN pixels: (h, 1) and (1, w)."""
    r = nesting.ratio
    rows = nesting.row + r * (np.arange(h) + 0.5)
    return rows[:, None], (nesting.col + r * (np.arange(w) + 0.5))[None]


def pan_centres(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5


@given(nestings, kernels, st.integers(1, 9), st.integers(1, 9), st.integers(-10_000, 10_000))
def test_constants_stay(nesting, kernel, h, w, value):
    H, W = h * nesting.ratio, w * nesting.ratio
    ms = np.full((2, h, w), value, np.float32)
    np.testing.assert_allclose(upsample(ms, nesting, (H, W), kernel), value, rtol=1e-6)
    pan = np.full((2, H, W), value, np.float32)
    np.testing.assert_allclose(degrade(pan, nesting, (h, w), (0.3, 0.15)), value, rtol=1e-6)
    np.testing.assert_allclose(lowpass(pan, nesting, (0.3, 0.5)), value, rtol=1e-6)


@given(nestings, st.sampled_from(["bilinear", "bicubic"]))
def test_a_ramp_stays_a_ramp(nesting, kernel):
    h, w, r = 12, 15, nesting.ratio
    down, across = centres(nesting, h, w)
    rows, cols = pan_centres(h * r, w * r)
    out = upsample((3 * down - 2 * across)[None], nesting, (h * r, w * r), kernel)[0]
    inner = slice(2 * r, -2 * r)
    np.testing.assert_allclose(out[inner, inner], (3 * rows - 2 * cols)[inner, inner], atol=2e-4)


@given(nestings)
def test_bicubic_is_exact_on_a_parabola(nesting):
    h, w, r = 12, 12, nesting.ratio
    down, _ = centres(nesting, h, w)
    out = upsample(np.repeat(down**2, w, 1)[None], nesting, (h * r, w * r))[0]
    truth = np.repeat(pan_centres(h * r, 1)[0] ** 2, w * r, 1)
    inner = slice(2 * r, -2 * r)
    np.testing.assert_allclose(out[inner], truth[inner], rtol=1e-5, atol=1e-3)


@given(nestings, st.sampled_from([0.1, 0.3, 0.6, 0.8]))
def test_degrading_a_ramp_reads_it_at_the_ms_centres(nesting, gain):
    h, w, r = 16, 17, nesting.ratio
    rows, cols = pan_centres(h * r, w * r)
    down, across = centres(nesting, h, w)
    out = degrade((rows + 2 * cols)[None], nesting, (h, w), [gain])[0]
    reach = int(4 * gaussian_deviation(gain, r) / r) + 2
    inner = slice(reach, -reach)
    np.testing.assert_allclose(out[inner, inner], (down + 2 * across)[inner, inner], atol=2e-4)


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
@pytest.mark.parametrize("gain", [0.15, 0.3, 0.45])
def test_the_gain_at_nyquist_is_the_one_stated(ratio, gain):
    """A wave of the MS grid's Nyquist frequency keeps `gain` of its height."""
    h = 40
    nesting = Nesting(ratio)
    wave = np.cos(np.pi / ratio * (np.arange(h * ratio) + 0.5 - ratio / 2))  # crests at centres
    image = np.repeat(wave[:, None], 4 * ratio, 1)[None]
    out = degrade(image, nesting, (h, 4), [gain])[0, 10:-10, 1]
    np.testing.assert_allclose(np.abs(out), gain, rtol=0.01)


def test_degrading_is_scipys_gaussian():
    """Of odd ratios MS centres are PAN centres, where SciPy's filter can be read."""
    image = np.random.default_rng(0).random((1, 60, 75)).astype(np.float32)
    deviation = gaussian_deviation(0.3, 3)
    theirs = ndimage.gaussian_filter(image[0].astype(float), deviation, mode="nearest", truncate=4)
    ours = degrade(image, Nesting(3), (20, 25), [0.3])[0]
    np.testing.assert_allclose(ours, theirs[1::3, 1::3], atol=3e-4)


def test_bicubic_of_a_half_pixel_phase_by_hand():
    """At ratio 2 and row ½ every other PAN centre lies on an MS centre... a quarter further on."""
    values = np.array([1.0, 4.0, 2.0, 8.0])
    out = upsample(values[None, None], Nesting(2, 0, 0.5), (1, 8))[0, 0]
    # PAN centre 3.5 is 1.5 MS pixels right of 0.5, so on the MS centre 1
    np.testing.assert_allclose(out[3], 4 + 0 * values[0], rtol=1e-6)
    # PAN centre 4.5 lies half-way between MS centres 1 and 2: weights -1/16, 9/16, 9/16, -1/16
    np.testing.assert_allclose(out[4], values @ np.array([-1, 9, 9, -1]) / 16, rtol=1e-6)


def test_nearest_repeats_pixels():
    ms = np.arange(12.0).reshape(1, 3, 4)
    np.testing.assert_array_equal(
        upsample(ms, Nesting(3), (9, 12), "nearest")[0], np.kron(ms[0], np.ones((3, 3)))
    )


@given(
    nestings, kernels, st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)
)
def test_a_window_is_a_part_of_the_whole(nesting, kernel, row, col, rows, cols):
    """MS pixels with three more around give the whole's PAN pixels; likewise the other way."""
    r, more = nesting.ratio, 8
    h, w = 12 + 2 * more, 14 + 2 * more
    image = np.random.default_rng(row).random((2, h * r, w * r)).astype(np.float32)
    ms = degrade(image, nesting, (h, w), (0.3, 0.2))
    whole = upsample(ms, nesting, (h * r, w * r), kernel)
    pan_part = np.s_[
        :, row * r : (row + rows + 2 * more) * r, col * r : (col + cols + 2 * more) * r
    ]
    ms_part = np.s_[:, row : row + rows + 2 * more, col : col + cols + 2 * more]
    size = (rows + 2 * more) * r, (cols + 2 * more) * r
    inner, fine = np.s_[:, more:-more, more:-more], more * r
    np.testing.assert_allclose(
        upsample(ms[ms_part], nesting, size, kernel)[:, fine:-fine, fine:-fine],
        whole[pan_part][:, fine:-fine, fine:-fine],
        atol=2e-6,
    )
    np.testing.assert_allclose(
        degrade(image[pan_part], nesting, (rows + 2 * more, cols + 2 * more), (0.3, 0.2))[inner],
        ms[ms_part][inner],
        atol=2e-6,
    )


def test_smooth_scenes_come_back_in_phase():
    """Degraded and interpolated waves lie where they lay, at every phase; a shift would show."""
    h = w = 24
    for ratio, row, col in ((2, 0.5, -0.5), (3, 0.25, 0), (4, -0.5, 0.125), (5, 0.4, 0.4)):
        nesting = Nesting(ratio, row, col)
        rows, cols = pan_centres(h * ratio, w * ratio)
        image = (np.sin(rows / ratio / 3) * np.cos(cols / ratio / 4))[None]
        out = lowpass(image, nesting, [0.6])
        edge = 4 * ratio
        inner = np.s_[:, edge:-edge, edge:-edge]
        best = min(
            (float(np.abs(np.roll(image, (dy, dx), (1, 2)) - out)[inner].max()), dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        )
        assert best[1:] == (0, 0)
        assert best[0] < 0.03


def test_wrong_arguments():
    with pytest.raises(ValueError, match="2 gains for 1 channels"):
        degrade(np.zeros((1, 8, 8)), Nesting(2), (4, 4), (0.3, 0.3))
    with pytest.raises(ValueError, match="between 0 and 1"):
        degrade(np.zeros((1, 8, 8)), Nesting(2), (4, 4), (1.2,))
    with pytest.raises(ValueError, match="'cubic'"):
        upsample(np.zeros((1, 8, 8)), Nesting(2), (16, 16), "cubic")  # type: ignore[arg-type]
