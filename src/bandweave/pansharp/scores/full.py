"""Scores without a reference: of a sharpened image at full resolution, in float64.

    F_b     band b of the sharpened image, on the PAN grid; P the PAN
    M_b     band b of the MS; P↓, F↓ the PAN and the sharpened image after the sensor's low-pass,
            sampled at the centres of the MS pixels
    Q, Q2ⁿ  see block_quality.py; means over blocks
    D_λ     mean over pairs of bands of |Q(F_b, F_c) − Q(M_b, M_c)|
    D_s     mean over bands of |Q(F_b, P) − Q(M_b, P↓)|
    QNR     (1 − D_λ)(1 − D_s): Alparone et al., "Multispectral and panchromatic data fusion
            assessment without reference", PE&RS 74(2), 2008, with p = q = α = β = 1
    D_λᴷ    1 − Q2ⁿ(M, F↓): Khan et al., "Pansharpening quality assessment using the modulation
            transfer functions of instruments", IEEE TGRS 47(11), 2009
    HQNR    (1 − D_λᴷ)(1 − D_s): Aiazzi et al., "Full scale assessment of pansharpening methods and
            data products", SPIE 9244, 2014

The toolbox of Vivone et al. ("A new benchmark based on recent advances in multispectral
pansharpening", IEEE GRSM 9(1), 2021) takes both factors of HQNR on the PAN grid, in blocks of as
many PAN pixels, and decimates nothing. With `toolbox` these three are added up too:

    M̃_b     band b of the MS, interpolated to the PAN grid; F̃ the sharpened image after the sensor's
            low-pass; P̃ the PAN made coarser by an antialiased cubic kernel, and interpolated again
    D_λᴷ    1 − Q2ⁿ(M̃, F̃)
    D_s     mean over bands of |Q(F_b, P) − Q(M̃_b, P̃)|

Its interpolation has 23 taps and is cubic convolution here; it rounds to whole numbers before Q2ⁿ,
and nothing is rounded here.

The low-pass is a Gaussian whose gain at the Nyquist frequency of the MS grid is the sensor's: the
PAN's own for P↓, each band's for F↓. Blocks are of 32 PAN pixels and, on the MS grid, of as much
ground: 32 / ratio pixels, which a ratio that does not divide 32 rounds (3: 33 and 11 px; 5: 30 and
6 px), but at least 4. They lie side by side from each grid's upper left corner; a grid smaller
than a block in one direction is one block in that direction.

Only blocks whose pixels are all valid count, and an MS pixel is valid for P↓ and F↓ where the
low-pass touches no invalid PAN pixel. No such block: NaN. One band has no pairs: D_λ is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.resample import (
    TAIL,
    degrade,
    gaussian_deviation,
    reduce_cubic,
    upsample,
)
from bandweave.pansharp.scores.block_quality import (
    BLOCK,
    Moments,
    block_moments,
    block_windows,
    check_window,
    checked_valid,
    hypercomplex_quality,
    quality_index,
)
from bandweave.raster.grid import Window

PIECE = 512  # px worked on at a time


def full_scores(
    image: np.ndarray,
    pan: np.ndarray,
    ms: np.ndarray,
    nesting: Nesting,
    gains: Sequence[float],
    pan_gain: float,
    valid: np.ndarray | None = None,
    ms_valid: np.ndarray | None = None,
) -> dict[str, float]:
    """All scores of a sharpened image.

    image     (C, H, W) on the PAN grid, in the unit of the MS; any dtype
    pan       (H, W)
    ms        (C, h, w), as it was before sharpening
    nesting   of the two grids
    gains     C, of the sensor's bands at the Nyquist frequency of the MS grid; pan_gain of its PAN
    valid     (H, W) bool, of image and PAN together; ms_valid (h, w); without them all count

    Keys: d_lambda, d_s, qnr, d_lambda_khan, hqnr. Raises ValueError for shapes that do not fit,
    and for NaN or infinity in a valid pixel.
    """
    scorer = FullScorer(pan.shape, ms.shape[1:], len(ms), nesting.ratio)
    scorer.add(image, pan, valid)
    image_low, pan_low, seen = degraded(image, pan, nesting, ms.shape[1:], gains, pan_gain, valid)
    scorer.add_low(ms, image_low, pan_low, seen if ms_valid is None else seen & ms_valid)
    return scorer.result()


def degraded(
    image: np.ndarray,
    pan: np.ndarray,
    nesting: Nesting,
    shape: tuple[int, int],
    gains: Sequence[float],
    pan_gain: float,
    valid: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F↓ (C, h, w), P↓ (h, w), and where both are made of valid pixels alone, (h, w) bool.

    shape is (h, w) of the MS grid, placed by `nesting`; values are float32. For a window of a
    scene give the PAN pixels `low_pass_reach` further, as far as there are any.
    """
    valid = checked_valid(valid, image, pan)
    layers = np.concatenate([image, pan[None]]).astype(np.float32)
    low = degrade(np.where(valid, layers, 0), nesting, shape, [*gains, pan_gain])
    # The lowest gain has the widest filter.
    holes = degrade((~valid)[None].astype(np.float32), nesting, shape, [min(*gains, pan_gain)])
    return low[:-1], low[-1], holes[0] == 0


def undecimated(
    image: np.ndarray,
    pan: np.ndarray,
    ms: np.ndarray,
    nesting: Nesting,
    gains: Sequence[float],
    valid: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """M̃ (C, H, W), F̃ (C, H, W), P̃ (H, W), and where no hole touches them, (H, W) bool.

    image, pan   (C, H, W), (H, W); ms (C, h, w) covers them, placed by `nesting`; valid (H, W)

    For a window of a scene give all of them `toolbox_reach` further, as far as there is more.
    """
    ratio, shape = nesting.ratio, pan.shape
    filled = np.where(valid, image, 0).astype(np.float32)
    low = np.stack(
        [
            ndimage.gaussian_filter(
                band, gaussian_deviation(gain, ratio), truncate=TAIL, mode="nearest"
            )
            for band, gain in zip(filled, gains, strict=True)
        ]
    )
    coarse = reduce_cubic(np.where(valid, pan, 0)[None], nesting, ms.shape[1:])
    reach = 2 * toolbox_reach(ratio, gains) + 1
    seen = ~ndimage.maximum_filter(~valid, reach, mode="constant")
    return upsample(ms, nesting, shape), low, upsample(coarse, nesting, shape)[0], seen


def toolbox_reach(ratio: int, gains: Sequence[float]) -> int:
    """PAN pixels beyond a window that `undecimated` looks at: by its low-pass, or by P̃."""
    return max(math.ceil(TAIL * gaussian_deviation(min(gains), ratio)) + 1, 5 * ratio)


def block_sizes(ratio: int) -> tuple[int, int]:
    """Pixels of a block's side on the PAN grid and on the MS grid: as much ground."""
    coarse = max(round(BLOCK / ratio), 4)
    return coarse * ratio, coarse


class FullScorer:
    """The same scores, added up window by window; how a scene is tiled does not change them.

    The two grids are gone through one after the other, in any order:

    for window in block_windows(shape, 2048, scorer.blocks[0]):       # on the PAN grid
        scorer.add(image, pan, valid, window)
    for window in block_windows(ms_shape, 512, scorer.blocks[1]):     # on the MS grid
        scorer.add_low(ms, image_low, pan_low, valid, window)         # see degraded
    """

    def __init__(
        self,
        shape: tuple[int, int],
        ms_shape: tuple[int, int],
        bands: int,
        ratio: int,
        *,
        toolbox: bool = False,
    ) -> None:
        """shape: (H, W) of the PAN grid, ms_shape: (h, w) of the MS grid, of the whole scene."""
        self.blocks = block_sizes(ratio)
        self._high = _Side(shape, bands, self.blocks[0])
        self._low = _Side(ms_shape, bands, self.blocks[1])
        self._flat = _Side(shape, bands, self.blocks[0]) if toolbox else None

    def add(
        self,
        image: np.ndarray,
        pan: np.ndarray,
        valid: np.ndarray | None = None,
        window: Window | None = None,
    ) -> None:
        """Add a window of the PAN grid, by default all of it: (C, h, w) and (h, w).

        Raises ValueError where sizes do not fit or the window cuts a block.
        """
        self._high.add(image, pan, valid, window)

    def add_low(
        self,
        ms: np.ndarray,
        image_low: np.ndarray,
        pan_low: np.ndarray,
        valid: np.ndarray | None = None,
        window: Window | None = None,
    ) -> None:
        """Add a window of the MS grid, by default all of it: (C, h, w) twice and (h, w)."""
        self._low.add(ms, pan_low, valid, window, image_low)

    def add_undecimated(
        self,
        ms: np.ndarray,
        image_low: np.ndarray,
        pan_low: np.ndarray,
        valid: np.ndarray | None = None,
        window: Window | None = None,
    ) -> None:
        """Add what `undecimated` makes of a window of the PAN grid, for the toolbox's scores."""
        assert self._flat is not None
        self._flat.add(ms, pan_low, valid, window, image_low)

    def result(self) -> dict[str, float]:
        """The scores. Raises ValueError where the windows did not cover both grids exactly."""
        pairs_high, pan_high, _ = self._high.means()
        pairs_low, pan_low, q2n = self._low.means()
        one, other = np.triu_indices(len(pan_high), k=1)
        between = np.abs(pairs_high - pairs_low)[one, other]
        d_lambda = float(between.mean()) if len(between) else 0.0
        d_s = float(np.abs(pan_high - pan_low).mean())
        if math.isnan(d_s):  # a side without a block
            d_lambda = math.nan
        scores = {
            "d_lambda": d_lambda,
            "d_s": d_s,
            "qnr": (1 - d_lambda) * (1 - d_s),
            "d_lambda_khan": 1 - q2n,
            "hqnr": q2n * (1 - d_s),
        }
        if self._flat is None:
            return scores
        _, pan_flat, q2n = self._flat.means()
        d_s = float(np.abs(pan_high - pan_flat).mean())
        return {
            **scores,
            "d_lambda_khan_toolbox": 1 - q2n,
            "d_s_toolbox": d_s,
            "hqnr_toolbox": q2n * (1 - d_s),
        }

    @property
    def counted(self) -> dict[str, int]:
        """Blocks without an invalid pixel, on the PAN grid and on the MS grid."""
        return {"blocks": self._high.number, "blocks_low": self._low.number}


class _Side:
    """Sums of Q over the blocks of one grid: between its bands, and of each with the PAN."""

    def __init__(self, shape: tuple[int, int], bands: int, block: int) -> None:
        self.shape, self.bands, self.block = shape, bands, block
        self.number = 0
        self._covered = 0
        self._pairs = np.zeros((bands, bands))
        self._pan = np.zeros(bands)
        self._q2n = 0.0

    def add(
        self,
        bands: np.ndarray,
        pan: np.ndarray,
        valid: np.ndarray | None,
        window: Window | None,
        other: np.ndarray | None = None,
    ) -> None:
        """A window; `other` is compared with the bands by Q2ⁿ."""
        window = window or Window(0, 0, *self.shape)
        check_window(window, self.shape, self.block)
        size = (window.height, window.width)
        images = [bands, pan[None], *([] if other is None else [other])]
        for image, number in zip(images, (self.bands, 1, self.bands), strict=False):
            if image.shape != (number, *size):
                raise ValueError(f"an image {image.shape} should be {(number, *size)}")
        valid = checked_valid(valid, *images)
        block = min(self.block, self.shape[0]), min(self.block, self.shape[1])
        for piece in block_windows(size, PIECE, self.block):
            rows, cols = piece.slices()
            x, p, *rest = (image[:, rows, cols].astype(np.float64) for image in images)
            seen = valid[rows, cols]
            with_pan = block_moments(x, p, seen, block)
            self.number += len(with_pan.cov)
            self._pan += _quality(with_pan).sum(axis=0)[:, 0]
            self._pairs += _quality(block_moments(x, x, seen, block)).sum(axis=0)
            for y in rest:
                self._q2n += float(hypercomplex_quality(block_moments(x, y, seen, block)).sum())
        self._covered += window.height * window.width

    def means(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Q between the bands (C, C), Q with the PAN (C,), and Q2ⁿ; NaN without a block."""
        if self._covered != self.shape[0] * self.shape[1]:
            raise ValueError(
                f"windows of {self._covered} px were added, the grid has "
                f"{self.shape[0]}×{self.shape[1]}; add each window of block_windows once"
            )
        number = self.number or math.nan
        return self._pairs / number, self._pan / number, self._q2n / number


def _quality(moments: Moments) -> np.ndarray:
    """Q of all pairs of bands, (n, X, Y)."""
    mean_x, var_x = moments.mean_x[:, :, None], moments.var_x[:, :, None]
    mean_y, var_y = moments.mean_y[:, None], moments.var_y[:, None]
    return quality_index(mean_x, mean_y, var_x, var_y, moments.cov)
