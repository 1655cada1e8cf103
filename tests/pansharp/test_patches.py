"""Patches by Wald's protocol: what they are made of, how they are drawn, how they are scaled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.errors import ConfigError, FileError, GridMismatch, RunError
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.value_scale import ValueScale, fit_scale
from bandweave.pansharp.pair.wald import reduce_window
from bandweave.pansharp.patches import PatchConfig, PatchSampler
from bandweave.pansharp.sensors import find_sensor
from bandweave.raster.formats.arrays import ArraySource

SENSOR = find_sensor("generic", 3)
UNIT = ValueScale(100.0, 50.0, "a test")


def a_pair(seed=0, rows=24, cols=30, ratio=2, corner=(0.0, 0.0), holes=False, dtype=np.uint16):
    random = np.random.default_rng(seed)
    pan = random.uniform(1, 1000, (rows * ratio, cols * ratio)).astype(dtype)
    ms = random.uniform(1, 2000, (3, rows, cols)).astype(dtype)
    if holes:
        ms[:, :, : cols // 2] = 0
    source = ArraySource(ms, nodata=0 if holes else None)
    return Pair(ArraySource(pan), source, Nesting(ratio, *corner))


def sampler(pairs, seed=0, scale=UNIT, **config):
    return PatchSampler(
        pairs, SENSOR, scale, PatchConfig(**{"patch": 4, "batch": 3, **config}), seed
    )


def equal(one, two):
    return one.keys() == two.keys() and all(
        np.array_equal(one[name], two[name], equal_nan=True) for name in one
    )


@given(
    ratio=st.integers(2, 4),
    patch=st.integers(1, 3),
    corner=st.tuples(*[st.floats(-0.5, 0.5)] * 2),
    step=st.integers(0, 99),
)
@settings(max_examples=25)
def test_shapes_of_any_ratio_and_phase(ratio, patch, corner, step):
    batch = sampler([a_pair(ratio=ratio, corner=corner)], patch=patch).batch(step)
    assert {name: array.shape for name, array in batch.items()} == {
        "ms": (3, 3, patch, patch),
        "pan": (3, 1, patch * ratio, patch * ratio),
        "target": (3, 3, patch * ratio, patch * ratio),
    }
    assert all(array.dtype == np.float32 for array in batch.values())


def test_a_patch_is_cut_from_the_whole_pair_made_coarser():
    """So its borders know what lies around them; its place is where the target says it is."""
    pair = a_pair(rows=25, cols=31, corner=(0.3, -0.2))
    assert pair.ms_shape == (24, 30)
    whole = reduce_window(pair.read(pair.grid.window, 40), SENSOR.mtf, SENSOR.mtf_pan)
    drawn = sampler([pair], flips=False, rotations=False, less_blur=0)
    phases = set()
    for step in range(8):
        batch = drawn.batch(step)
        for ms, pan, target in zip(batch["ms"], batch["pan"], batch["target"], strict=True):
            values = target * 100
            found = [
                (row, col)
                for row in range(whole.target.shape[1] - 7)
                for col in range(whole.target.shape[2] - 7)
                if np.allclose(whole.target[:, row : row + 8, col : col + 8], values)
            ]
            (row, col), *others = found
            assert not others
            there = slice(row, row + 8), slice(col, col + 8)
            np.testing.assert_allclose(pan[0] * 50, whole.pan[there], rtol=1e-4)
            phases.add((row % 2, col % 2))
            if row % 2 == col % 2 == 0:
                coarse = whole.ms[:, row // 2 : row // 2 + 4, col // 2 : col // 2 + 4]
                np.testing.assert_allclose(ms * 100, coarse, rtol=1e-4)
    assert len(phases) == 4, "patches begin at any MS pixel"


def test_a_pure_function_of_seed_step_and_rank():
    pairs = [a_pair(0), a_pair(1, rows=17, cols=19)]
    one, again = sampler(pairs), sampler(pairs)
    later = [one.batch(step) for step in (5, 0, 3)]
    assert all(
        equal(again.batch(step), batch) for step, batch in zip((5, 0, 3), later, strict=True)
    )
    assert not equal(sampler(pairs, seed=1).batch(0), later[1])
    double = sampler(pairs, batch=6).batch(2)
    halves = [one.batch(2, rank, 2) for rank in (0, 1)]
    joined = {name: np.concatenate([half[name] for half in halves]) for name in double}
    assert equal(double, joined)


def test_the_blur_of_ms_and_of_pan_varies_from_the_sensors_down():
    """Of eight strengths each, drawn apart; place and target are those drawn without."""
    pair, still = a_pair(), {"patch": 4, "batch": 3, "flips": False, "rotations": False}
    drawn = PatchSampler([pair], SENSOR, UNIT, PatchConfig(**still, less_blur=0.7))
    fixed = []
    for share in 1 - 0.7 * np.arange(8) / 7:
        sensor = dataclasses.replace(
            SENSOR, mtf=tuple(g**share for g in SENSOR.mtf), mtf_pan=SENSOR.mtf_pan**share
        )
        fixed.append(PatchSampler([pair], sensor, UNIT, PatchConfig(**still, less_blur=0)))
    found = []
    for step in range(12):
        batch, others = drawn.batch(step), [one.batch(step) for one in fixed]
        assert np.array_equal(batch["target"], others[0]["target"])
        for place in range(3):
            strengths = [
                [i for i, o in enumerate(others) if np.allclose(o[n][place], batch[n][place])]
                for n in ("ms", "pan")
            ]
            assert [len(one) for one in strengths] == [1, 1]
            found.append((strengths[0][0], strengths[1][0]))
    assert {ms for ms, _ in found} == {pan for _, pan in found} == set(range(8))
    assert len(set(found)) > 20, "drawn apart"
    with pytest.raises(ConfigError, match="less_blur 1 is a share"):
        PatchConfig(less_blur=1)


def test_files_in_memory_or_read_by_window_give_the_same():
    pairs = [a_pair(0, holes=True, corner=(0.5, 0.5))]
    for step in range(3):
        assert equal(sampler(pairs).batch(step), sampler(pairs, cache_mb=0).batch(step))


def test_flips_and_turns_keep_the_three_together():
    """A patch is one of the eight views of the one that is drawn without them."""
    pairs = [a_pair()]
    plain, turned = sampler(pairs, flips=False, rotations=False), sampler(pairs)
    seen = set()
    for step in range(12):
        one, two = plain.batch(step), turned.batch(step)
        for place in range(3):
            views = [
                (flip, turns)
                for flip in (False, True)
                for turns in range(4)
                if all(
                    np.array_equal(_view(one[n][place], flip, turns), two[n][place]) for n in one
                )
            ]
            assert len(views) == 1
            seen |= set(views)
    assert len(seen) == 8


def _view(array, flip, turns):
    return np.rot90(array[..., ::-1] if flip else array, turns, axes=(-2, -1))


def test_what_is_not_known_teaches_nothing():
    holed = sampler([a_pair(holes=True)])
    known = [np.isfinite(holed.batch(step)["target"]).mean((1, 2, 3)) for step in range(10)]
    assert (np.concatenate(known) > 0.49).all(), "another place is drawn instead"
    assert (np.concatenate(known) < 1).any()
    empty = Pair(a_pair().pan, ArraySource(np.zeros((3, 24, 30)), nodata=0), Nesting(2))
    assert not np.isfinite(sampler([empty]).batch(0)["target"]).any(), "and it ends"


def test_pairs_are_drawn_by_their_size():
    small, large = a_pair(0, 8, 8), a_pair(1, 40, 50)
    large.ms._values[:] = 7
    drawn = sampler([small, large])
    share = np.mean(
        [np.ptp(drawn.batch(step)["target"], axis=(1, 2, 3)) == 0 for step in range(60)]
    )
    assert share > 0.97  # 33 × 43 places of 33 × 43 + 1


def test_a_pair_smaller_than_a_patch_is_named():
    with pytest.raises(GridMismatch, match=r"24×30 MS pixels.* takes 26.*`patch` to 12 or less"):
        sampler([a_pair()], patch=13)
    with pytest.raises(ConfigError, match="batch 0 must be at least 1"):
        PatchConfig(batch=0)


# The scale ----------------------------------------------------------------------------------------


def scaled(pan, ms, sensor="worldview-2", dtype=np.uint16):
    one = np.full((32, 32), pan, dtype), np.full((8, 8, 8), ms, dtype)
    pair = Pair(ArraySource(one[0]), ArraySource(one[1]), Nesting(4))
    return fit_scale([pair], find_sensor(sensor, 8))


def test_the_bits_count_where_the_files_bear_them_out():
    assert scaled(1500, 900) == ValueScale(2047, 2047, "worldview-2's 11 bits")
    for pan, ms, dtype in ((1500, 3000, "uint16"), (100, 900, "uint16"), (0.5, 0.25, "float32")):
        scale = scaled(pan, ms, dtype=dtype)
        assert (scale.pan, scale.ms) == (pan, ms)
        assert "99.9%" in scale.source
    assert scaled(1500, 900, "generic").ms == 900


def test_a_robust_maximum_of_the_brightest_band():
    ms = np.ones((3, 50, 50), np.float32)
    ms[1] = 8
    ms[2, 0, 0] = 1e6  # one bad pixel
    pair = Pair(ArraySource(np.full((100, 100), 4.0)), ArraySource(ms), Nesting(2))
    assert fit_scale([pair, pair], SENSOR) == fit_scale([pair], SENSOR)
    assert (fit_scale([pair], SENSOR).ms, fit_scale([pair], SENSOR).pan) == (8, 4)


def test_a_scale_comes_back_from_a_run():
    assert ValueScale.from_dict(UNIT.to_dict()) == UNIT
    for wrong in ({}, {"ms": 0, "pan": 1, "source": ""}, {"ms": "x", "pan": 1, "source": ""}):
        with pytest.raises(RunError, match="train again"):
            ValueScale.from_dict(wrong)


def test_pairs_without_anything_to_scale():
    zeros = np.zeros((3, 24, 30))
    for nodata, told in ((0, "no valid pixel"), (None, "nothing above 0")):
        pair = Pair(a_pair().pan, ArraySource(zeros, nodata=nodata), Nesting(2))
        with pytest.raises(FileError, match=told):
            fit_scale([pair], SENSOR)
