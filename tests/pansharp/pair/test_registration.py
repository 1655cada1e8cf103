"""Shifts are measured to a tenth of a PAN pixel, and not where there is nothing to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.registration import correct_shift, measure_shift
from bandweave.pansharp.simulate import simulated_pair
from bandweave.raster.formats.arrays import ArraySource


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[int, Pair]:
    """By ratio."""
    folder = tmp_path_factory.mktemp("pairs")
    made = {r: simulated_pair(folder / str(r), 5, (260, 300), r) for r in (2, 3, 4)}
    return {ratio: open_pair(one.pan, one.ms) for ratio, one in made.items()}


@given(st.sampled_from([2, 3, 4]), st.floats(-4, 4), st.floats(-4, 4))
@settings(max_examples=15)
def test_a_known_shift_is_found(pairs, ratio, row, col):
    """MS is said to lie (row, col) off where it lies."""
    shift = measure_shift(pairs[ratio].move(-row, -col))
    assert shift.windows >= 1
    assert (shift.row, shift.col) == pytest.approx((row, col), abs=0.1)
    assert shift.after > 0.95
    assert shift.after >= shift.before - 1e-3


def test_noise_clouds_and_contrast_do_not_mislead(pairs):
    """Noise in both, one quarter overcast in MS alone, one band of inverse contrast."""
    rng = np.random.default_rng(0)
    whole = pairs[2].read(pairs[2].grid.window)
    ms = np.concatenate([whole.ms[:2], 2000 - whole.ms[2:3]])
    ms += rng.normal(0, 20, ms.shape)
    ms[:, :60, :70] = 1900 + rng.normal(0, 20, (3, 60, 70))
    pan = whole.pan + rng.normal(0, 20, whole.pan.shape)
    pair = Pair(
        ArraySource(pan.astype(np.float32)), ArraySource(ms.astype(np.float32)), Nesting(2, -1, 1.5)
    )
    shift = measure_shift(pair)
    assert (shift.row, shift.col) == pytest.approx((1, -1.5), abs=0.1)
    assert shift.windows < shift.looked


def test_registered_pairs_lie_in_place(pairs):
    off = pairs[4].move(2.3, -1.2)
    good = correct_shift(off, measure_shift(off))
    assert (good.placed.row, good.placed.col) == pytest.approx((0, 0), abs=0.1)
    assert abs(measure_shift(good).row) < 0.02
    assert good.notes[-1].startswith("registered: on PAN things lie 2.30 PAN pixels higher")
    assert good.grid.transform.a == off.grid.transform.a


@pytest.mark.parametrize("kind", ["flat", "noise", "ramp", "holes", "stripes"])
def test_nothing_to_measure(kind):
    rng = np.random.default_rng(0)
    pan, ms = np.full((240, 240), 7.0), np.full((2, 60, 60), 5.0)
    if kind == "noise":
        pan, ms = pan + rng.normal(size=pan.shape), ms + rng.normal(size=ms.shape)
    if kind == "ramp":
        pan, ms = pan + np.arange(240) / 4, ms + np.arange(60)
    if kind == "stripes":  # nothing tells where along them
        pan, ms = pan + np.arange(240) // 4 % 7, ms + np.arange(60) % 7
    if kind == "holes":
        pan[:] = np.nan
    pair = Pair(ArraySource(pan.astype("f4")), ArraySource(ms.astype("f4")), Nesting(4))
    shift = measure_shift(pair)
    assert not shift.measured
    assert (shift.row, shift.col) == (0, 0)
    assert str(shift).startswith("no shift could be measured: in none of")
    assert correct_shift(pair, shift) is pair


def test_few_windows_are_read_of_a_large_scene(pairs):
    seen = []
    pan = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (40_000, 40_000), (0, 0))
    ms = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (3, 10_000, 10_000), (0, 0, 0))
    pair = Pair(ArraySource(pan), ArraySource(ms), Nesting(4))
    read = pair.read
    pair.read = lambda *args: seen.append(args) or read(*args)  # type: ignore[method-assign]
    measure_shift(pair)
    assert len(seen) == 25


@pytest.mark.parametrize("number", [1, 17])
def test_landsat_7_is_a_pixel_off(real_data, number):
    """Its PAN has to be moved by (1, 1)."""
    folder = real_data("landsat7")
    shift = measure_shift(open_pair(folder / f"{number}_pan.mat", folder / f"{number}_ms.mat"))
    assert (shift.row, shift.col) == pytest.approx((-1, -1), abs=0.15)
    assert shift.windows == shift.looked == 9
    assert shift.after > shift.before + 0.1


# A shift that varies -----------------------------------------------------------------------------


def warped_pair(side: int, ratio: int, down: float, right: float, turn: float = 0.0) -> Pair:
    """A pair whose shift runs from -down to down and -right to right over it, in PAN pixels.

    turn   degrees by which PAN is turned
    """
    rng = np.random.default_rng(0)
    around = 40
    size = side + 2 * around
    noise = rng.standard_normal((size, size))
    scene = 500 + 300 * ndimage.gaussian_filter(noise, 3) + 900 * ndimage.gaussian_filter(noise, 8)
    truth = scene[around:-around, around:-around]
    ms = truth.reshape(side // ratio, ratio, side // ratio, ratio).mean((1, 3))
    y, x = np.indices((side, side)) + around
    along = np.linspace(-1, 1, side)
    angle, middle = np.deg2rad(turn), around + side / 2
    rows = np.cos(angle) * (y - middle) + np.sin(angle) * (x - middle) + middle
    cols = np.cos(angle) * (x - middle) - np.sin(angle) * (y - middle) + middle
    pan = ndimage.map_coordinates(scene, (rows - down * along[None], cols - right * along[:, None]))
    return Pair(ArraySource(pan.astype("f4")), ArraySource(ms[None].astype("f4")), Nesting(ratio))


@pytest.mark.parametrize(
    ("side", "ratio", "down", "right"),
    [(512, 4, 6, 0), (512, 4, 0, 6), (1024, 4, 6, 6), (512, 2, 2, 0), (300, 4, 3, 0)],
)
def test_a_shift_that_varies_is_told(side, ratio, down, right):
    shift = measure_shift(warped_pair(side, ratio, down, right))
    assert shift.varies
    assert 0.3 * 2 * max(down, right) < shift.variation < 2.2 * max(down, right)
    assert f"varies over the scene by {shift.variation:.1f} PAN pixels" in shift.doubt
    assert f"it varies by {shift.variation:.2f} px" in str(shift)


def test_a_turned_pan_is_told():
    assert measure_shift(warped_pair(1024, 4, 0, 0, turn=0.4)).varies


@pytest.mark.parametrize("noise", [0, 40])
def test_one_shift_for_all_is_no_doubt(noise):
    pair = warped_pair(512, 4, 0, 0).move(2.4, -1.3)
    pair.pan._values += np.random.default_rng(1).normal(0, noise, (1, 512, 512)).astype("f4")
    shift = measure_shift(pair)
    assert shift.windows >= 7
    assert not shift.varies
    assert shift.doubt == ""


def test_one_odd_window_is_no_variation(pairs):
    """A cloud that moved between the two images."""
    pair = warped_pair(512, 4, 0, 0)
    pair.pan._values[0, :170, :170] = np.roll(pair.pan._values[0, :170, :170], 9, 0)
    shift = measure_shift(pair)
    assert shift.windows >= 7
    assert not shift.varies
