"""Scores against a reference: of a sharpened image at reduced resolution, in float64.

    x, y   (C, H, W)  the reference and the image; μ_b is the mean of the reference's band b
    PSNR   dB, 10 log₁₀(peak² / mse), mse over all bands; infinite for equal images. The peak is
           declared (the bit depth's or the data's range), never the image's maximum
    SSIM   Wang et al., IEEE TIP 13(4), 2004: Gaussian window of 11×11 px, σ 1.5, K₁ = 0.01,
           K₂ = 0.03, range = peak; mean over bands and over the windows that lie in the image
    SAM    Yuhas et al., 1992: mean angle between the spectra, in radians, and in degrees
    ERGAS  Wald, 2000: 100 / ratio · √mean_b(mse_b / μ_b²), without unit
    Q      Wang and Bovik, 2002: blocks of 32×32 px side by side; mean over bands and blocks
    Q2ⁿ    Garzelli and Nencini, 2009: the same blocks; mean over blocks
    SCC    Zhou et al., IJRS 19(4), 1998: correlation coefficient of the two images after the
           Laplacian [−1 −1 −1; −1 8 −1; −1 −1 −1], over the whole image; mean over bands

Invalid pixels count nowhere: SSIM and SCC use the windows, Q and Q2ⁿ the blocks, whose pixels are
all valid. Blocks that would reach beyond the right and lower border are left out; an image
smaller than 32 px in one direction is one block in that direction.

Where a formula says nothing:
    equal images        have the best value of every score that is defined, flat or black as may be
    SAM                 a reference pixel that is zero in all bands has no direction and is left
                        out; a zero pixel of the image alone counts as a right angle
    ERGAS               a band without error adds 0; one with an error and μ_b = 0 makes it infinite
    Q, Q2ⁿ              see block_quality.py
    SCC                 a band without detail in both is 1, in one of them 0
    nothing to count    (no valid pixel, window or block; SSIM below 11 px, SCC below 3 px): NaN
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import correlate1d

from bandweave.pansharp.scores.block_quality import (
    BLOCK,
    block_moments,
    block_windows,
    check_window,
    checked_valid,
    hypercomplex_quality,
    quality_index,
)
from bandweave.raster.grid import Window

MARGIN = 5  # px around a window that SSIM looks at
PIECE = 512  # px: what is worked on at a time stays in the processor's cache
ROUNDING = 1e-6  # of a pixel: eight times float32's
GAUSSIAN = np.exp(-0.5 * (np.arange(-MARGIN, MARGIN + 1) / 1.5) ** 2)
GAUSSIAN /= GAUSSIAN.sum()


def reduced_scores(
    reference: np.ndarray,
    image: np.ndarray,
    ratio: int,
    peak: float,
    valid: np.ndarray | None = None,
) -> dict[str, float]:
    """All scores of an image against a reference.

    reference, image  (C, H, W), any dtype, in the same unit
    ratio             of the pixel sizes before sharpening, for ERGAS
    peak              largest value the data can take (2047 for 11 bits), for PSNR and SSIM
    valid             (H, W) bool; without it all pixels count

    Keys: psnr, ssim, sam, sam_degrees, ergas, q, q2n, scc; their units are in names.SCORES.
    Raises ValueError for shapes that differ, and for NaN or infinity in a valid pixel.
    """
    scorer = ReducedScorer(reference.shape[1:], len(reference), ratio, peak)
    scorer.add(reference, image, valid)
    return scorer.result()


class ReducedScorer:
    """The same scores, added up window by window; how a scene is tiled does not change them.

    for window in block_windows(shape, 2048):
        around = scorer.around(window)
        scorer.add(read(reference, around), read(image, around), valid, window)
    """

    def __init__(self, shape: tuple[int, int], bands: int, ratio: int, peak: float) -> None:
        """shape: (H, W) of the whole scene."""
        if not (math.isfinite(peak) and peak > 0):
            raise ValueError(f"the peak is {peak}; give the largest value the data can take")
        self.shape, self.bands, self.ratio, self.peak = shape, bands, ratio, float(peak)
        self._block = min(BLOCK, shape[0]), min(BLOCK, shape[1])
        self._covered = 0  # pixels, valid or not
        self._pixels = 0
        self._squares = np.zeros(bands)  # of the error
        self._reference = np.zeros(bands)
        self._angles, self._directions = 0.0, 0
        self._similarity, self._similarity_windows = 0.0, 0
        self._q, self._q2n, self._blocks = 0.0, 0.0, 0
        self._detail = _Comoments(bands)

    def around(self, window: Window) -> Window:
        """What must be read to add a window: it and 5 px more on the sides where there are any."""
        grown = window.grow(MARGIN).clip(*self.shape)
        assert grown is not None
        return grown

    def add(
        self,
        reference: np.ndarray,
        image: np.ndarray,
        valid: np.ndarray | None = None,
        window: Window | None = None,
    ) -> None:
        """Add a window of the scene, by default the whole; the arrays are of `around(window)`.

        Raises ValueError where sizes do not fit or the window cuts a block.
        """
        window = window or Window(0, 0, *self.shape)
        check_window(window, self.shape, BLOCK)
        around = self.around(window)
        expected = (self.bands, around.height, around.width)
        if reference.shape != expected or image.shape != expected:
            raise ValueError(
                f"reference {reference.shape} and image {image.shape} should be {expected}, "
                "the window with its margin"
            )
        valid = checked_valid(valid, reference, image)
        for piece in block_windows((window.height, window.width), PIECE):
            inner = piece._replace(row=window.row + piece.row, col=window.col + piece.col)
            outer = self.around(inner)
            rows, cols = outer.slices((around.row, around.col))
            seen = valid[rows, cols]
            x, y = (
                np.where(seen, values[:, rows, cols], 0).astype(np.float64)
                for values in (reference, image)
            )
            self._add_neighbourhoods(x, y, seen, inner, outer)
            inside = inner.slices((outer.row, outer.col))
            self._add_pixels(x[:, *inside], y[:, *inside], seen[inside])
        self._covered += window.height * window.width

    def result(self) -> dict[str, float]:
        """The scores. Raises ValueError where the windows did not cover the scene exactly."""
        if self._covered != self.shape[0] * self.shape[1]:
            raise ValueError(
                f"windows of {self._covered} px were added, the scene has "
                f"{self.shape[0]}×{self.shape[1]}; add each window of block_windows once"
            )
        errors = self._squares / self._pixels if self._pixels else np.full(self.bands, np.nan)
        mean_error = float(errors.mean())
        sam = _mean(self._angles, self._directions)
        return {
            "psnr": _decibels(self.peak**2, mean_error),
            "ssim": _mean(self._similarity, self._similarity_windows),
            "sam": sam,
            "sam_degrees": math.degrees(sam),
            "ergas": self._ergas(errors),
            "q": _mean(self._q, self._blocks * self.bands),
            "q2n": _mean(self._q2n, self._blocks),
            "scc": self._detail.correlation(),
        }

    @property
    def counted(self) -> dict[str, int]:
        """Valid pixels, and the windows and blocks without an invalid one."""
        windows = self._similarity_windows // self.bands
        return {"pixels": self._pixels, "windows": windows, "blocks": self._blocks}

    def _add_pixels(self, x: np.ndarray, y: np.ndarray, valid: np.ndarray) -> None:
        """What pixels and blocks contribute: (C, h, w) without margin."""
        self._pixels += int(valid.sum())
        self._squares += ((x - y) ** 2).sum(axis=(1, 2))  # invalid pixels are zero in both
        self._reference += x.sum(axis=(1, 2))
        angles = spectral_angles(x, y)
        self._angles += float(np.nansum(angles))
        self._directions += int(np.isfinite(angles).sum())
        moments = block_moments(x, y, valid, self._block)
        diagonal = np.diagonal(moments.cov, axis1=1, axis2=2)
        self._q += float(quality_index(*moments[:4], diagonal).sum())
        self._q2n += float(hypercomplex_quality(moments).sum())
        self._blocks += len(moments.cov)

    def _add_neighbourhoods(
        self, x: np.ndarray, y: np.ndarray, valid: np.ndarray, inner: Window, outer: Window
    ) -> None:
        """What windows around a pixel contribute: (C, h, w) with the margin."""
        if min(valid.shape) >= len(GAUSSIAN):
            whole = _all_valid(valid, len(GAUSSIAN))
            for band_x, band_y in zip(x, y, strict=True):
                self._similarity += float(
                    structural_similarity(band_x, band_y, self.peak)[whole].sum()
                )
            self._similarity_windows += int(whole.sum()) * self.bands
        clipped = inner.grow(1).clip(*self.shape)
        assert clipped is not None
        rows, cols = clipped.slices((outer.row, outer.col))
        if min(clipped.height, clipped.width) >= 3:
            whole = _all_valid(valid[rows, cols], 3)
            self._detail.add(
                laplacian(x[:, rows, cols])[:, whole], laplacian(y[:, rows, cols])[:, whole]
            )

    def _ergas(self, errors: np.ndarray) -> float:
        if not self._pixels:
            return math.nan
        level = (self._reference / self._pixels) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(errors == 0, 0.0, errors / level)
        return 100 / self.ratio * math.sqrt(relative.mean())


def spectral_angles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Angles (H, W) in radians between spectra of (C, H, W); NaN where x is zero.

    2 atan2(|x' − y'|, |x' + y'|) of the unit vectors: where angles are small, arccos has lost half
    of the digits.
    """
    norm_x, norm_y = (np.sqrt((values**2).sum(axis=0)) for values in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = x / norm_x, y / norm_y
        angles = 2 * np.arctan2(
            np.sqrt(((x - y) ** 2).sum(axis=0)), np.sqrt(((x + y) ** 2).sum(axis=0))
        )
    return np.where(norm_x == 0, np.nan, np.where(norm_y == 0, np.pi / 2, angles))


def structural_similarity(x: np.ndarray, y: np.ndarray, peak: float) -> np.ndarray:
    """SSIM of the windows that lie in a band: (H, W) → (H − 10, W − 10)."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    spread = _blurred(x * x + y * y) - squares
    cov = _blurred(x * y) - product
    return (2 * product + c1) * (2 * cov + c2) / ((squares + c1) * (spread + c2))


def laplacian(x: np.ndarray) -> np.ndarray:
    """Eight differences to the neighbours, summed: (C, H, W) → (C, H − 2, W − 2).

    Those within float32's rounding of the pixel are 0, so that what a filter made of a flat image
    has no detail.
    """
    height, width = x.shape[1] - 2, x.shape[2] - 2
    centre = x[:, 1:-1, 1:-1]
    total = np.zeros_like(centre)
    for row in range(3):
        for col in range(3):
            if (row, col) != (1, 1):
                total += centre - x[:, row : row + height, col : col + width]
    total[np.abs(total) <= ROUNDING * np.abs(centre)] = 0
    return total


class _Comoments:
    """Correlation of two images, band by band, merged from pieces by Chan's formula."""

    def __init__(self, bands: int) -> None:
        self.number = 0
        self.mean = np.zeros((2, bands))
        self.moments = np.zeros((3, bands))  # Σ dx², Σ dy², Σ dx dy

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """(C, n) each."""
        number = x.shape[1]
        if not number:
            return
        mean = np.stack([x.mean(axis=1), y.mean(axis=1)])
        dx, dy = x - mean[0][:, None], y - mean[1][:, None]
        away = mean - self.mean
        total = self.number + number
        self.moments += np.stack([(dx**2).sum(axis=1), (dy**2).sum(axis=1), (dx * dy).sum(axis=1)])
        between = np.stack([away[0] ** 2, away[1] ** 2, away[0] * away[1]])
        self.moments += between * (self.number * number / total)
        self.mean += away * (number / total)
        self.number = total

    def correlation(self) -> float:
        """Mean over bands."""
        if not self.number:
            return math.nan
        square_x, square_y, product = self.moments
        norm = np.sqrt(square_x) * np.sqrt(square_y)
        both_flat = (square_x == 0) & (square_y == 0)
        values = np.divide(product, norm, out=both_flat.astype(np.float64), where=norm > 0)
        return float(values.mean())


def _blurred(band: np.ndarray) -> np.ndarray:
    """Gaussian mean of the windows that lie in a band."""
    across = correlate1d(band, GAUSSIAN, axis=1)[:, MARGIN:-MARGIN]
    return correlate1d(across, GAUSSIAN, axis=0)[MARGIN:-MARGIN]


def _all_valid(valid: np.ndarray, size: int) -> np.ndarray:
    """(H − size + 1, W − size + 1) bool: the windows without an invalid pixel."""
    rows = np.logical_and.reduce(sliding_window_view(valid, size, axis=0), axis=-1)
    return np.logical_and.reduce(sliding_window_view(rows, size, axis=1), axis=-1)


def _mean(total: float, number: int) -> float:
    return total / number if number else math.nan


def _decibels(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)
