"""Scores without a reference: arithmetic by hand, known answers, windows and degenerate images."""

import math

import numpy as np
import pytest
import sewar
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.resample import (
    degrade,
    gaussian_deviation,
    low_pass_reach,
    reduce_cubic,
    upsample,
)
from bandweave.pansharp.scores.block_quality import block_windows
from bandweave.pansharp.scores.full import (
    FullScorer,
    block_sizes,
    degraded,
    full_scores,
    undecimated,
)
from bandweave.pansharp.scores.names import FULL, SCORES, TOOLBOX, plain
from bandweave.raster.grid import Window

GAINS = (0.35, 0.3, 0.28, 0.27, 0.29, 0.32)
PAN_GAIN = 0.15
NESTING = Nesting(4)


def triple(seed: int, bands: int = 3, size=(64, 96), nesting=NESTING):
    """A sharp image with some noise, its PAN, and its MS."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(bands + 1, *size)), (0, 2, 2))
    truth = 900 + 100 * np.arange(bands)[:, None, None] + 1200 * (smooth[:-1] + smooth[-1])
    pan = truth.mean(axis=0) + 5 * rng.normal(size=size)
    shape = size[0] // nesting.ratio, size[1] // nesting.ratio
    ms = degrade(truth.astype(np.float32), nesting, shape, GAINS[:bands])
    image = truth + 20 * rng.normal(size=truth.shape)
    return image.astype(np.float32), pan.astype(np.float32), ms


def scores_of(image, pan, ms, nesting=NESTING, **options) -> dict[str, float]:
    return full_scores(image, pan, ms, nesting, GAINS[: len(ms)], PAN_GAIN, **options)


def mean_q(x: np.ndarray, y: np.ndarray, size: int) -> float:
    """Wang and Bovik's index, block after block."""
    values = []
    for row in range(0, x.shape[0] - size + 1, size):
        for col in range(0, x.shape[1] - size + 1, size):
            a, b = (v[row : row + size, col : col + size].astype(float).ravel() for v in (x, y))
            cov = np.cov(a, b)
            level = a.mean() * b.mean() / (a.mean() ** 2 + b.mean() ** 2)
            values.append(4 * cov[0, 1] * level / (cov[0, 0] + cov[1, 1]))
    return float(np.mean(values))


def by_hand(image, pan, ms, nesting, high, low) -> dict[str, float]:
    bands = len(ms)
    pan_low = degrade(pan[None], nesting, ms.shape[1:], [PAN_GAIN])[0]
    image_low = degrade(image, nesting, ms.shape[1:], GAINS[:bands])
    changes = [
        abs(mean_q(image[b], image[c], high) - mean_q(ms[b], ms[c], low))
        for b in range(bands)
        for c in range(bands)
        if b != c
    ]
    d_lambda = sum(changes) / (bands * (bands - 1))
    spatial = [abs(mean_q(image[b], pan, high) - mean_q(ms[b], pan_low, low)) for b in range(bands)]
    d_s = sum(spatial) / bands
    rows, cols = (length // low * low for length in ms.shape[1:])
    q2n = sewar.q2n(
        *(np.moveaxis(v[:, :rows, :cols], 0, -1).astype(float) for v in (ms, image_low)), ws=low
    )
    return {
        "d_lambda": d_lambda,
        "d_s": d_s,
        "qnr": (1 - d_lambda) * (1 - d_s),
        "d_lambda_khan": 1 - q2n,
        "hqnr": q2n * (1 - d_s),
    }


@pytest.mark.parametrize(
    ("ratio", "blocks"), [(2, (32, 16)), (3, (33, 11)), (4, (32, 8)), (5, (30, 6)), (16, (64, 4))]
)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_by_hand(ratio, blocks, offset):
    nesting = Nesting(ratio, offset, -offset)
    assert block_sizes(ratio) == blocks
    arrays = triple(ratio, 3, (150, 210), nesting)
    scores = scores_of(*arrays, nesting)
    assert scores == pytest.approx(by_hand(*arrays, nesting, *blocks), rel=1e-9)
    assert scores.keys() == FULL.keys()


def test_what_loses_nothing_is_perfect():
    levels = np.array([100.0, 400.0, 900.0])
    image = np.broadcast_to(levels[:, None, None], (3, 64, 64))
    ms = np.broadcast_to(levels[:, None, None], (3, 16, 16))
    scores = scores_of(image, np.full((64, 64), 300.0), ms)
    best = {name: FULL[name].best for name in scores}
    assert scores == pytest.approx(best, abs=1e-6)  # the low-pass is of float32


def test_each_distortion_is_seen_by_its_score():
    image, pan, ms = triple(1)
    good = scores_of(image, pan, ms)
    dull = image.copy()
    dull[0] = dull[1]  # two bands alike, as sharp as before
    colours = scores_of(dull, pan, ms)
    assert colours["d_lambda"] > good["d_lambda"] + 0.05
    assert colours["d_lambda_khan"] > good["d_lambda_khan"] + 0.05
    blurred = scores_of(upsample(ms, NESTING, pan.shape), pan, ms)
    assert blurred["hqnr"] < good["hqnr"] - 0.05
    shifted = scores_of(np.roll(image, 8, axis=2), pan, ms)
    assert shifted["d_s"] > good["d_s"] + 0.05
    assert shifted["hqnr"] < good["hqnr"]


def test_khan_is_zero_where_the_image_degrades_to_the_ms():
    image, pan, _ = triple(2)
    ms = degrade(image, NESTING, (16, 24), GAINS[:3])
    assert scores_of(image, pan, ms)["d_lambda_khan"] == pytest.approx(0, abs=1e-12)


def test_one_band_has_no_pairs():
    image, pan, ms = triple(3, 1)
    scores = scores_of(image, pan, ms)
    assert scores["d_lambda"] == 0
    assert scores["qnr"] == 1 - scores["d_s"] < 1
    assert 0 < scores["d_lambda_khan"] < 1


@pytest.mark.parametrize("level", [0.0, 0.1, 700.0])
def test_flat_images_have_finite_scores(level):
    image, pan, ms = triple(4)
    for arrays in (
        (np.full_like(image, level), pan, ms),
        (image, np.full_like(pan, level), ms),
        (image, pan, np.full_like(ms, level)),
        tuple(np.full_like(array, level) for array in (image, pan, ms)),
    ):
        scores = scores_of(*arrays)
        assert all(math.isfinite(value) for value in scores.values())
    assert scores == pytest.approx({name: FULL[name].best for name in scores}, abs=1e-6)


def test_below_a_block_the_image_is_one():
    image, pan, ms = triple(5, 2, (24, 28))
    scorer = FullScorer((24, 28), (6, 7), 2, 4)
    scorer.add(image, pan)
    scorer.add_low(ms, ms, ms[0])
    assert scorer.counted == {"blocks": 1, "blocks_low": 1}
    assert all(math.isfinite(value) for value in scores_of(image, pan, ms).values())


def test_invalid_pixels_count_nowhere():
    nesting = Nesting(4, 0.5, 0.25)
    image, pan, ms = triple(6, 3, (160, 160), nesting)
    valid, ms_valid = np.ones((160, 160), dtype=bool), np.ones((40, 40), dtype=bool)
    valid[70:74, 70:72] = False
    ms_valid[35, 3] = False
    scores = scores_of(image, pan, ms, nesting, valid=valid, ms_valid=ms_valid)
    for bad in (np.nan, -9999.0, 1e9):
        image[:, ~valid], pan[~valid], ms[:, ~ms_valid] = bad, bad, bad
        assert scores_of(image, pan, ms, nesting, valid=valid, ms_valid=ms_valid) == scores
    scorer = FullScorer(pan.shape, ms.shape[1:], 3, 4)
    scorer.add(image, pan, valid)
    low, pan_low, seen = degraded(image, pan, nesting, (40, 40), GAINS[:3], PAN_GAIN, valid)
    assert not seen[17, 17]
    assert seen.sum() < 40 * 40 - 9  # the pixel that holds the hole and all its neighbours
    assert seen[:12].all()
    scorer.add_low(ms, low, pan_low, seen & ms_valid)
    assert scorer.counted["blocks"] == 24
    assert scorer.counted["blocks_low"] < 24
    assert scorer.result() == scores


def test_nothing_valid_is_nan_everywhere():
    image, pan, ms = triple(7, 1)
    none = np.zeros(pan.shape, dtype=bool)
    scores = scores_of(image, pan, ms, valid=none)
    assert all(math.isnan(value) for value in scores.values())
    assert set(plain(scores).values()) == {None}


def test_what_does_not_fit_is_said():
    image, pan, ms = triple(8)
    with pytest.raises(ValueError, match=r"should be \(3, 64, 96\)"):
        scores_of(image[:, 1:], pan, ms)
    with pytest.raises(ValueError, match=r"should be \(3, 64, 96\)"):
        scores_of(image[:2], pan, ms)
    broken = image.copy()
    broken[0, 1, 1] = np.nan
    with pytest.raises(ValueError, match="1 valid pixels hold NaN"):
        scores_of(broken, pan, ms)
    scorer = FullScorer(pan.shape, ms.shape[1:], 3, 4)
    scorer.add(image, pan)
    with pytest.raises(ValueError, match="0 px were added, the grid has 16×24"):
        scorer.result()
    with pytest.raises(ValueError, match="does not fit blocks of 8"):
        scorer.add_low(ms[:, 4:], ms[:, 4:], pan[:12, :24], window=Window(4, 0, 12, 24))


@given(
    *(st.integers(2, 5), st.integers(8, 45), st.integers(8, 45), st.integers(1, 3)),
    *(st.integers(-32, 32), st.integers(8, 20), st.integers(0, 99), st.floats(0, 0.0005)),
)
@settings(max_examples=30)
def test_windows_add_up_to_the_whole(ratio, height, width, bands, offset, size, seed, holes):
    nesting = Nesting(ratio, offset / 64, -offset / 64)
    shape = height * ratio, width * ratio
    image, pan, ms = triple(seed, bands, shape, nesting)
    rng = np.random.default_rng(seed)
    valid, ms_valid = rng.random(shape) >= holes, rng.random((height, width)) >= holes
    whole = scores_of(image, pan, ms, nesting, valid=valid, ms_valid=ms_valid)

    scorer = FullScorer(shape, (height, width), bands, ratio)
    for window in block_windows(shape, size * ratio, scorer.blocks[0]):
        rows, cols = window.slices()
        scorer.add(image[:, rows, cols], pan[rows, cols], valid[rows, cols], window)
    reach = low_pass_reach(ratio, (*GAINS[:bands], PAN_GAIN))
    for window in block_windows((height, width), size, scorer.blocks[1]):
        fine = window.finer(ratio)
        fine = Window(
            *(fine.row - reach, fine.col - reach),
            *(fine.height + 2 * reach, fine.width + 2 * reach),
        ).clip(*shape)
        near = nesting.crop((fine.row, fine.col), (window.row, window.col))
        rows, cols = fine.slices()
        low, pan_low, seen = degraded(
            *(image[:, rows, cols], pan[rows, cols], near, (window.height, window.width)),
            *(GAINS[:bands], PAN_GAIN, valid[rows, cols]),
        )
        rows, cols = window.slices()
        scorer.add_low(ms[:, rows, cols], low, pan_low, seen & ms_valid[rows, cols], window)
    assert scorer.result() == pytest.approx(whole, rel=1e-5, abs=1e-6, nan_ok=True)


def test_large_images_are_worked_on_in_pieces():
    nesting = NESTING
    arrays = triple(9, 2, (1100, 560), nesting)
    expected = by_hand(*arrays, nesting, 32, 8)
    assert scores_of(*arrays) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 99), st.integers(2, 5))
@settings(max_examples=20)
def test_the_order_of_bands_does_not_matter(seed, bands):
    image, pan, ms = triple(seed, bands)
    order = np.random.default_rng(seed).permutation(bands)
    gains = [GAINS[band] for band in order]
    scores = scores_of(image, pan, ms)
    other = full_scores(image[order], pan, ms[order], NESTING, gains, PAN_GAIN)
    for name in ("d_lambda", "d_s", "qnr"):
        assert other[name] == pytest.approx(scores[name], rel=1e-9)


@given(st.integers(0, 99), st.sampled_from([2.0**-20, 0.25, 64.0]))
@settings(max_examples=20)
def test_the_unit_does_not_matter(seed, factor):
    arrays = triple(seed)
    scores = scores_of(*arrays)
    assert scores_of(*(array * factor for array in arrays)) == pytest.approx(scores, rel=1e-9)


def test_every_score_has_a_name():
    assert len({(score.symbol, score.unit) for score in SCORES.values()}) == len(SCORES)
    for name, score in SCORES.items():
        assert score.formula, name
        assert score.source, name
        assert score.higher == (score.best > 0), name


# The toolbox's convention ------------------------------------------------------------------------


def toolbox_by_hand(image, pan, ms, nesting):
    """Interpolated, low-passed and not decimated, block after block of 32 px of the PAN grid."""
    shape, bands = pan.shape, len(ms)
    wide = upsample(ms, nesting, shape)
    low = np.stack(
        [
            gaussian_filter(
                band.astype(np.float32), gaussian_deviation(gain, nesting.ratio), mode="nearest"
            )
            for band, gain in zip(image, GAINS, strict=False)
        ]
    )
    pan_low = upsample(reduce_cubic(pan[None], nesting, ms.shape[1:]), nesting, shape)[0]
    spatial = [abs(mean_q(image[b], pan, 32) - mean_q(wide[b], pan_low, 32)) for b in range(bands)]
    rows, cols = (length // 32 * 32 for length in shape)
    q2n = sewar.q2n(
        *(np.moveaxis(v[:, :rows, :cols], 0, -1).astype(float) for v in (wide, low)), ws=32
    )
    d_s = sum(spatial) / bands
    return {
        "d_lambda_khan_toolbox": 1 - q2n,
        "d_s_toolbox": d_s,
        "hqnr_toolbox": q2n * (1 - d_s),
    }


def test_the_toolboxs_hqnr_by_hand():
    image, pan, ms = triple(4, 3, (160, 224), NESTING)
    valid = np.ones(pan.shape, bool)
    scorer = FullScorer(pan.shape, ms.shape[1:], 3, 4, toolbox=True)
    scorer.add(image, pan)
    scorer.add_low(ms, *degraded(image, pan, NESTING, ms.shape[1:], GAINS[:3], PAN_GAIN))
    wide, low, pan_low, seen = undecimated(image, pan, ms, NESTING, GAINS[:3], valid)
    assert seen.all()
    scorer.add_undecimated(wide, low, pan_low, seen)
    found = scorer.result()
    expected = toolbox_by_hand(image, pan, ms, NESTING)
    assert {name: found[name] for name in TOOLBOX} == pytest.approx(expected, rel=1e-6)
    assert found["hqnr_toolbox"] != pytest.approx(found["hqnr"], abs=1e-3)  # they differ


def test_cubic_reduction_by_hand():
    """At ratio 2 a pixel reaches 3.5 PAN pixels to each side: Keys at ±¼, ±¾, ±1¼, ±1¾."""
    image = np.zeros((1, 16, 16), np.float32)
    image[0, 8, :] = 1
    found = reduce_cubic(image, Nesting(2), (8, 8))[0, :, 4]
    keys = {0.25: 0.8671875, 0.75: 0.2265625, 1.25: -0.0703125, 1.75: -0.0234375}
    places = {3: 0.75, 4: 0.25, 5: 1.25, 2: 1.75}
    for row, away in places.items():
        assert found[row] == pytest.approx(keys[away] / 2, abs=1e-6), row
    assert reduce_cubic(np.full((1, 16, 16), 7.0), Nesting(2), (8, 8)) == pytest.approx(7)
