"""Scores against a reference: other implementations, arithmetic by hand, and degenerate images."""

import json
import math

import numpy as np
import pytest
import sewar
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter
from skimage import metrics as skimage

from bandweave.pansharp.scores.block_quality import (
    block_moments,
    block_windows,
    hypercomplex_quality,
    quality_index,
)
from bandweave.pansharp.scores.names import REDUCED, plain
from bandweave.pansharp.scores.reduced import ReducedScorer, reduced_scores, spectral_angles

PEAK = 2047
BEST = {name: score.best for name, score in REDUCED.items()}


def scene(seed: int, bands: int = 4, height: int = 64, width: int = 96) -> np.ndarray:
    """Smooth and positive, 11 bits, as a sensor writes it."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(bands, height, width)), (0, 2, 2))
    values = 900 + 300 * np.arange(bands)[:, None, None] / bands + 1500 * smooth
    return np.clip(values, 1, PEAK).round().astype(np.uint16)


def noisy(image: np.ndarray, seed: int, sigma: float = 40) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=image.shape)
    return np.clip(image + sigma * noise, 1, PEAK).astype(np.float32)


def scores_of(x, y, **options) -> dict[str, float]:
    return reduced_scores(x, y, **({"ratio": 4, "peak": PEAK} | options))


def last(image: np.ndarray) -> np.ndarray:
    """(H, W, C) float64, as the other libraries want it."""
    return np.moveaxis(image, 0, -1).astype(np.float64)


def uiqi(x: np.ndarray, y: np.ndarray) -> float:
    """Wang and Bovik's formula of one block, in plain Python."""
    x, y = [float(v) for v in x.ravel()], [float(v) for v in y.ravel()]
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    vx = sum((a - mx) ** 2 for a in x) / (n - 1)
    vy = sum((b - my) ** 2 for b in y) / (n - 1)
    cov = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / (n - 1)
    return 4 * cov * mx * my / ((vx + vy) * (mx**2 + my**2))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8])
def test_against_other_libraries(bands):
    x = scene(bands, bands)
    y = noisy(x, bands)
    scores, a, b = scores_of(x, y), last(x), last(y)
    expected = {
        "psnr": skimage.peak_signal_noise_ratio(a, b, data_range=PEAK),
        "ssim": skimage.structural_similarity(
            *(a, b),
            data_range=PEAK,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        ),
        "sam": sewar.sam(a, b),
        "ergas": sewar.ergas(a, b, r=1 / 4),
        "q2n": sewar.q2n(a, b, ws=32),
    }
    assert scores == pytest.approx(scores | expected, rel=1e-12, abs=1e-14)
    assert scores["sam_degrees"] == pytest.approx(np.degrees(expected["sam"]), rel=1e-12)


def test_q_is_the_mean_of_its_formula_over_blocks_and_bands():
    x = scene(1, 2, 64, 64)
    y = noisy(x, 1)
    blocks = [
        uiqi(x[band, row : row + 32, col : col + 32], y[band, row : row + 32, col : col + 32])
        for band in range(2)
        for row in (0, 32)
        for col in (0, 32)
    ]
    assert scores_of(x, y)["q"] == pytest.approx(np.mean(blocks), rel=1e-12)


def test_q2n_of_two_bands_is_that_of_complex_numbers():
    x = scene(2, 2, 32, 32).astype(float)
    y = noisy(x, 2)
    level, deviation = x.mean(axis=(1, 2)), x.std(axis=(1, 2), ddof=1)
    one, other = (
        ((v[0] - level[0]) / deviation[0] + 1) + 1j * ((v[1] - level[1]) / deviation[1] + 1)
        for v in (x, y)
    )
    m1, m2 = one.mean(), other.mean()
    cov = ((one - m1) * (other - m2).conj()).mean()
    spread = (abs(one - m1) ** 2).mean() + (abs(other - m2) ** 2).mean()
    expected = 2 * abs(m1) * abs(m2) / (abs(m1) ** 2 + abs(m2) ** 2) * 2 * abs(cov) / spread
    assert scores_of(x, y)["q2n"] == pytest.approx(expected, rel=1e-12)


def test_scc_is_the_correlation_of_what_the_laplacian_leaves():
    x = scene(3)
    y = noisy(x, 3)
    kernel = -np.ones((3, 3))
    kernel[1, 1] = 8
    correlations = [
        np.corrcoef(*(convolve(v.astype(float), kernel)[1:-1, 1:-1].ravel() for v in pair))[0, 1]
        for pair in zip(x, y, strict=True)
    ]
    assert scores_of(x, y)["scc"] == pytest.approx(np.mean(correlations), rel=1e-12)


def test_sam_and_ergas_by_hand():
    x = np.array([[[3.0, 1.0]], [[4.0, 0.0]]])  # spectra (3, 4) and (1, 0)
    y = np.array([[[4.0, 1.0]], [[-3.0, 1.0]]])  # at 90° and 45°
    scores = scores_of(x, y, ratio=2)
    assert scores["sam_degrees"] == pytest.approx(67.5, rel=1e-14)
    assert scores["sam"] == pytest.approx(3 * np.pi / 8, rel=1e-14)
    # mse: 1/2 and 50/2, means 2 and 2
    assert scores["ergas"] == pytest.approx(50 * math.sqrt((0.5 / 4 + 25 / 4) / 2), rel=1e-14)
    assert scores["psnr"] == pytest.approx(10 * math.log10(PEAK**2 / 12.75), rel=1e-14)


def test_small_angles_keep_their_digits():
    for angle in (1e-12, 1e-8, 1e-4, 1.0, 3.0):
        x = np.array([1.0, 0.0]).reshape(2, 1, 1)
        y = np.array([np.cos(angle), np.sin(angle)]).reshape(2, 1, 1)
        assert spectral_angles(x, y).item() == pytest.approx(angle, rel=1e-12)


def test_peak_is_declared_and_not_measured():
    x = scene(4)
    y = noisy(x, 4)
    low, high = scores_of(x, y, peak=255), scores_of(x, y, peak=2550)
    assert high["psnr"] - low["psnr"] == pytest.approx(20, rel=1e-12)
    assert high["ssim"] > low["ssim"]
    for peak in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="peak is"):
            scores_of(x, y, peak=peak)


@pytest.mark.parametrize(
    "x",
    [
        scene(5),
        scene(6, bands=1),
        np.full((3, 40, 70), 0.1, dtype=np.float32),
        np.full((3, 40, 70), 1 / 3),
        np.zeros((2, 33, 64), dtype=np.uint8),
        np.where(np.arange(64) < 20, 0, scene(7, 4, 64, 64)),
        scene(8, 3, 12, 20),
    ],
    ids=["scene", "one band", "flat", "flat 1/3", "black", "black stripe", "below a block"],
)
def test_equal_images_have_the_best_scores(x):
    scores = scores_of(x, x.copy())
    if not x.any():
        assert math.isnan(scores.pop("sam"))
        assert math.isnan(scores.pop("sam_degrees"))
    assert scores == pytest.approx({name: BEST[name] for name in scores}, abs=1e-12)
    read = json.loads(json.dumps(plain(scores), allow_nan=False))
    assert float(read["psnr"]) == math.inf


def test_flat_images_of_other_levels_are_compared_by_level():
    x, y = np.full((1, 32, 32), 100.0), np.full((1, 32, 32), 50.0)
    scores = scores_of(x, y)
    level = 2 * 100 * 50 / (100**2 + 50**2)
    assert scores["q"] == pytest.approx(level, rel=1e-14)
    assert scores["q2n"] == pytest.approx(level, rel=1e-14)
    assert scores["ergas"] == pytest.approx(12.5, rel=1e-14)
    assert scores["sam"] == 0
    assert scores["scc"] == 1


def test_a_flat_image_has_nothing_of_a_scene():
    x = scene(9)
    scores = scores_of(x, np.full_like(x, x.mean().round()))
    assert scores["q"] == 0
    assert scores["q2n"] == 0
    assert scores["scc"] == 0
    assert all(math.isfinite(value) for value in scores.values())
    back = scores_of(np.full_like(x, 1000), x)
    assert back["q"] == 0
    assert back["scc"] == 0
    assert all(math.isfinite(value) for value in back.values())


def test_rounding_of_float32_is_no_detail():
    x = np.full((2, 64, 64), 1013.0, dtype=np.float32)
    ulps = np.random.default_rng(0).integers(-1, 2, size=x.shape)
    y = x + ulps.astype(np.float32) * np.spacing(x)
    assert (x != y).any()
    for pair in ((x, y), (y, x)):
        scores = scores_of(*pair)
        for name in ("q", "q2n", "scc"):
            assert scores[name] == pytest.approx(1, abs=1e-6)


def test_black_pixels():
    x = scene(10, 3, 32, 32)
    missing = x.copy()
    missing[:, :8] = 0
    # Black in the image alone: a quarter of the pixels at a right angle.
    assert scores_of(x, missing)["sam_degrees"] == pytest.approx(90 / 4, abs=1e-12)
    # Black in the reference: no direction, the others agree.
    assert scores_of(missing, x)["sam"] == 0
    dark = x.copy()
    dark[1] = 0
    assert scores_of(dark, x)["ergas"] == math.inf
    assert plain(scores_of(dark, x))["ergas"] == "inf"
    assert scores_of(x, dark)["q"] == pytest.approx(2 / 3, rel=1e-12)


def test_below_a_block_the_image_is_one():
    x = scene(11, 2, 20, 30)
    y = noisy(x, 11)
    scores = scores_of(x, y)
    assert scores["q"] == pytest.approx(np.mean([uiqi(*pair) for pair in zip(x, y, strict=True)]))
    tiny = scores_of(x[:, :10, :2], y[:, :10, :2])
    assert math.isnan(tiny["ssim"])
    assert math.isnan(tiny["scc"])
    assert all(np.isfinite([tiny[name] for name in ("psnr", "sam", "ergas", "q", "q2n")]))
    assert plain(tiny)["ssim"] is None
    one = scores_of(x[:, :1, :1], x[:, :1, :1])
    assert (one["q"], one["q2n"], one["psnr"]) == (1, 1, math.inf)


def test_rest_beyond_the_last_block_is_no_block():
    x = scene(12, 2, 70, 50)
    y = noisy(x, 12)
    whole, cut = scores_of(x, y), scores_of(x[:, :64, :32], y[:, :64, :32])
    assert (whole["q"], whole["q2n"]) == (cut["q"], cut["q2n"])
    assert whole["psnr"] != cut["psnr"]


def test_invalid_pixels_count_nowhere():
    x = scene(13, 3, 64, 64).astype(np.float32)
    y = noisy(x, 13)
    valid = np.ones((64, 64), dtype=bool)
    valid[40:45, 50:60] = False
    x[:, ~valid], y[:, ~valid] = np.nan, -9999
    scorer = ReducedScorer((64, 64), 3, 4, PEAK)
    scorer.add(x, y, valid)
    scores = scorer.result()
    assert scorer.counted == {"pixels": 64 * 64 - 50, "windows": 54 * 54 - 15 * 14, "blocks": 3}

    a, b = x[:, valid][:, :, None], y[:, valid][:, :, None]  # a column of the valid pixels
    pixels = scores_of(a, b)
    for name in ("psnr", "sam", "ergas"):
        assert scores[name] == pytest.approx(pixels[name], rel=1e-12)
    blocks = [(slice(0, 32), slice(0, 64)), (slice(32, 64), slice(0, 32))]  # two blocks and one
    for name in ("q", "q2n"):
        parts = [scores_of(x[:, r, c], y[:, r, c])[name] for r, c in blocks]
        assert scores[name] == pytest.approx((2 * parts[0] + parts[1]) / 3, rel=1e-12)

    kernel = -np.ones((3, 3))
    kernel[1, 1] = 8
    near = convolve(~valid, np.ones((3, 3)))[1:-1, 1:-1] == 0
    filtered = [
        [convolve(np.where(valid, band, 0).astype(float), kernel)[1:-1, 1:-1][near] for band in v]
        for v in (x, y)
    ]
    expected = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(*filtered, strict=True)])
    assert scores["scc"] == pytest.approx(expected, rel=1e-12)

    maps = [
        skimage.structural_similarity(
            *(np.where(valid, v[band], 0).astype(float) for v in (x, y)),
            data_range=PEAK,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1][5:-5, 5:-5]
        for band in range(3)
    ]
    far = np.ones((54, 54), dtype=bool)
    far[40 - 10 : 45, 50 - 10 : 60] = False
    assert scores["ssim"] == pytest.approx(np.mean([m[far] for m in maps]), rel=1e-12)


def test_nothing_valid_is_nan_everywhere():
    x = scene(14)
    scores = scores_of(x, x, valid=np.zeros(x.shape[1:], dtype=bool))
    assert all(math.isnan(value) for value in scores.values())
    assert set(plain(scores).values()) == {None}


def test_what_does_not_fit_is_said():
    x = scene(15)
    with pytest.raises(ValueError, match=r"should be \(4, 64, 96\)"):
        scores_of(x, x[:, :-1])
    with pytest.raises(ValueError, match="mask"):
        scores_of(x, x, valid=np.ones((3, 3), dtype=bool))
    broken = x.astype(float)
    broken[2, 5, 5:7] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 valid pixels hold NaN or infinity"):
        scores_of(x, broken)
    scorer = ReducedScorer((64, 96), 4, 4, PEAK)
    with pytest.raises(ValueError, match="0 px were added"):
        scorer.result()
    first = next(block_windows((64, 96), 32))
    with pytest.raises(ValueError, match="does not fit blocks of 32"):
        scorer.add(x, x, window=first._replace(row=16))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 90), st.integers(1, 40))
@settings(max_examples=40)
def test_block_windows_tile_the_grid(height, width, size, block):
    seen = np.zeros((height, width), dtype=int)
    for window in block_windows((height, width), size, block):
        seen[window.slices()] += 1
        assert window.row % block == 0
        assert window.col % block == 0
        assert max(window.height, window.width) <= max(size, block)
    assert (seen == 1).all()


@given(
    *(st.integers(1, 110), st.integers(1, 110), st.integers(1, 3)),
    *(st.sampled_from([32, 64, 96]), st.integers(0, 99), st.floats(0, 0.002)),
)
@settings(max_examples=40)
def test_windows_add_up_to_the_whole(height, width, bands, size, seed, holes):
    x = scene(seed, bands, height, width)
    y = noisy(x, seed)
    valid = np.random.default_rng(seed).random((height, width)) >= holes
    whole = scores_of(x, y, valid=valid)
    scorer = ReducedScorer((height, width), bands, 4, PEAK)
    windows = list(block_windows((height, width), size))
    for index in np.random.default_rng(seed).permutation(len(windows)):
        rows, cols = scorer.around(windows[index]).slices()
        scorer.add(x[:, rows, cols], y[:, rows, cols], valid[rows, cols], windows[index])
    assert scorer.result() == pytest.approx(whole, rel=1e-10, abs=1e-12, nan_ok=True)


def test_large_images_are_worked_on_in_pieces():
    x = scene(16, 1, 600, 530)
    y = noisy(x, 16)
    scores = scores_of(x, y)
    a, b = last(x), last(y)
    assert scores["q2n"] == pytest.approx(sewar.q2n(a[:576, :512], b[:576, :512]), rel=1e-12)
    assert scores["ssim"] == pytest.approx(
        skimage.structural_similarity(
            *(x[0].astype(float), y[0].astype(float)),
            data_range=PEAK,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        ),
        rel=1e-12,
    )


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.integers(1, 5))
@settings(max_examples=30)
def test_scale_does_not_matter_where_it_should_not(seed, factor, bands):
    x = scene(seed, bands, 32, 32).astype(float)
    y = noisy(x, seed).astype(float)
    scores = scores_of(x, y)
    assert scores_of(x * factor, y * factor, peak=PEAK * factor) == pytest.approx(scores, rel=1e-9)
    brighter = scores_of(x, y * factor)
    for name in ("sam", "scc"):
        assert brighter[name] == pytest.approx(scores[name], rel=1e-9, abs=1e-15)


@given(st.integers(0, 99), st.integers(2, 6))
@settings(max_examples=30)
def test_the_order_of_bands_does_not_matter(seed, bands):
    x = scene(seed, bands, 32, 40)
    y = noisy(x, seed)
    order = np.random.default_rng(seed).permutation(bands)
    scores, other = scores_of(x, y), scores_of(x[order], y[order])
    del scores["q2n"], other["q2n"]  # the parts of a hypercomplex number are not alike
    assert other == pytest.approx(scores, rel=1e-11)


@given(st.integers(0, 99), st.integers(1, 4))
@settings(max_examples=30)
def test_blocks_may_change_places(seed, bands):
    x = scene(seed, bands, 64, 64)
    y = noisy(x, seed)
    order = np.random.default_rng(seed).permutation(4)

    def moved(image):
        blocks = (
            image.reshape(bands, 2, 32, 2, 32).transpose(1, 3, 0, 2, 4).reshape(4, bands, 32, 32)
        )
        blocks = blocks[order].reshape(2, 2, bands, 32, 32)
        return blocks.transpose(2, 0, 3, 1, 4).reshape(bands, 64, 64)

    scores, other = scores_of(x, y), scores_of(moved(x), moved(y))
    for name in ("psnr", "sam", "ergas", "q", "q2n"):
        assert other[name] == pytest.approx(scores[name], rel=1e-11)


@given(st.integers(0, 99), st.floats(1, 400))
@settings(max_examples=30)
def test_q2n_of_one_band_is_q_of_the_normalised_block(seed, sigma):
    x = scene(seed, 1, 32, 32).astype(float)
    y = noisy(x, seed, sigma).astype(float)
    level, deviation = x.mean(), x.std(ddof=1)
    one, other = ((v - level) / deviation + 1 for v in (x, y))
    expected = abs(scores_of(one, other)["q"])
    assert scores_of(x, y)["q2n"] == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 99), st.integers(0, 3), st.integers(0, 31), st.integers(0, 31))
@settings(max_examples=30)
def test_ergas_is_zero_for_equal_images_only(seed, band, row, col):
    x = scene(seed, 4, 32, 32)
    y = x.copy()
    assert scores_of(x, y)["ergas"] == 0
    y[band, row, col] += 1
    assert scores_of(x, y)["ergas"] > 0


@given(st.integers(0, 999), st.integers(1, 20))
@settings(max_examples=50)
def test_indices_stay_in_their_ranges(seed, bands):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, bands, 8, 8)) * rng.choice([0, 1, 1e-6, 1e6], size=(2, bands, 1, 1))
    moments = block_moments(x, y, np.ones((8, 8), dtype=bool), (4, 4))
    pairs = quality_index(*moments[:4], np.diagonal(moments.cov, axis1=1, axis2=2))
    assert (np.abs(pairs) <= 1 + 1e-12).all()
    hyper = hypercomplex_quality(moments)
    assert ((hyper >= 0) & np.isfinite(hyper)).all()
