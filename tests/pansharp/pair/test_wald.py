"""Wald's protocol: a pair at reduced resolution nests exactly, whatever the pair did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade, gaussian_deviation
from bandweave.pansharp.pair.wald import reduce_window
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window


def place_pair(ratio: int, row: float, col: float) -> Pair:
    """Values tell the place: PAN coordinates 3·row + 2·col at pixel centres."""
    y, x = np.mgrid[: 40 * ratio, : 44 * ratio] + 0.5
    pan = (3 * y + 2 * x).astype(np.float32)
    i, j = np.mgrid[:40, :44] + 0.5
    ms = 3 * (row + ratio * i) + 2 * (col + ratio * j)
    return Pair(ArraySource(pan), ArraySource(ms.astype(np.float32)), Nesting(ratio, row, col))


@given(
    st.integers(2, 5),
    st.sampled_from([-0.5, 0, 0.25, 0.5, 1.75]),
    st.sampled_from([-3.5, 0, 0.5]),
    st.integers(0, 12),
)
def test_all_three_show_the_same_ground(ratio, row, col, margin):
    """PAN and target agree pixel on pixel, and with the means of MS's coarser pixels."""
    pair = place_pair(ratio, row, col)
    made = reduce_window(pair.read(pair.grid.window, margin), [0.3], 0.2)
    h, w = made.ms.shape[1:]
    assert (h, w) == tuple(n // ratio for n in pair.ms_shape)
    assert made.pan.shape == made.valid.shape == made.target.shape[1:] == (h * ratio, w * ratio)
    assert made.nesting == Nesting(ratio)
    edge = int(4 * gaussian_deviation(0.2, ratio) / ratio) + 2
    inner = slice(edge, -edge)
    np.testing.assert_allclose(made.pan[inner, inner], made.target[0][inner, inner], rtol=2e-6)
    means = made.target[0].reshape(h, ratio, w, ratio).mean(axis=(1, 3))
    if min(h, w) > 2 * edge:
        np.testing.assert_allclose(made.ms[0][inner, inner], means[inner, inner], rtol=2e-6)
    assert made.valid.all()


def test_a_margin_shows_the_filters_what_lies_around():
    """With one, a window's reduced pair is that of the whole scene there."""
    rng = np.random.default_rng(0)
    pair = Pair(
        ArraySource(rng.random((160, 160)).astype(np.float32)),
        ArraySource(rng.random((3, 40, 40)).astype(np.float32)),
        Nesting(4, 0.5, -0.25),
    )
    gains = (0.3, 0.25, 0.35)
    everything = reduce_window(pair.read(pair.grid.window, 64), gains, 0.15)
    part = reduce_window(pair.read(Window(48, 32, 64, 64), 64), gains, 0.15)
    np.testing.assert_allclose(part.ms, everything.ms[:, 3:7, 2:6], atol=1e-6)
    np.testing.assert_allclose(part.pan, everything.pan[12:28, 8:24], atol=1e-6)
    np.testing.assert_array_equal(part.target, everything.target[:, 12:28, 8:24])


def test_gains_go_to_their_bands():
    pair = place_pair(2, 0, 0)
    window = pair.read(pair.grid.window)
    rng = np.random.default_rng(0)
    window.ms = np.repeat(rng.random((1, 40, 44)), 2, axis=0).astype(np.float32)
    made = reduce_window(window, (0.2, 0.6), 0.15)
    for band, gain in enumerate((0.2, 0.6)):
        alone = degrade(window.ms[:1], Nesting(2), (20, 22), [gain])[0]
        np.testing.assert_array_equal(made.ms[band], alone)
    assert made.ms[1].std() > made.ms[0].std()


def test_holes_spoil_what_is_made_of_them():
    pair = place_pair(4, 0, 0)
    window = pair.read(Window(0, 0, 64, 64))
    window.ms_valid[0, 0] = False
    window.pan_valid[40, 40] = False
    made = reduce_window(window, [0.3], 0.3)
    assert not made.valid[:4, :4].any()  # of the same coarser pixel
    assert not made.valid[8:12, 8:12].any()
    assert made.valid.sum() == 16 * 16 - 32


def test_a_window_too_small():
    pair = place_pair(4, 0, 0)
    with pytest.raises(ValueError, match="3×3 MS pixels has no pixel 4 times coarser"):
        reduce_window(pair.read(Window(0, 0, 12, 12)), [0.3], 0.15)
