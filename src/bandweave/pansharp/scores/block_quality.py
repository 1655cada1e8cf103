"""Statistics of square blocks, and the two quality indices that are made of them.

Sources: Q (UIQI), Wang and Bovik, "A universal image quality index", IEEE SPL 9(3), 2002;
Q2ⁿ, Garzelli and Nencini, "Hypercomplex quality assessment of multi/hyperspectral images",
IEEE GRSL 6(4), 2009, with the normalisation of bands that its authors' code has and every
published table was made with.

    x, y    (X, H, W), (Y, H, W)  two images; means, variances and covariances are of a block
    Q       2 x̄ȳ / (x̄² + ȳ²) · 2 σ_xy / (σ_x² + σ_y²), in [−1, 1]
    z       x in units of the reference's block, band by band: (x − x̄_ref) / s_ref + 1, the bands
            being the components of one hypercomplex number, padded with ones to N = 2ⁿ of them
    Q2ⁿ     2 |z̄₁| |z̄₂| / (|z̄₁|² + |z̄₂|²) · 2 |σ_{z₁z₂*}| / (σ²_{z₁} + σ²_{z₂}), in [0, 1]

Blocks lie side by side from the upper left corner. Those with an invalid pixel are left out, and
so are those that would reach beyond the right and lower border. A block is flat where its standard
deviation is within float32's rounding of its level: a filter leaves that of a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from bandweave.raster.grid import Window

BLOCK = 32  # pixels
FLAT = 3e-7  # of the level; up- and downsampling a constant in float32 leaves up to 1.3e-7


class Moments(NamedTuple):
    """Statistics of n blocks of two images, each block of `pixels` pixels; divisors are n, not n−1.

    mean_x, var_x  (n, X)
    mean_y, var_y  (n, Y)
    cov            (n, X, Y)
    """

    mean_x: np.ndarray
    mean_y: np.ndarray
    var_x: np.ndarray
    var_y: np.ndarray
    cov: np.ndarray
    pixels: int


def block_moments(
    x: np.ndarray, y: np.ndarray, valid: np.ndarray, block: tuple[int, int]
) -> Moments:
    """Moments of the blocks of (X, H, W) and (Y, H, W) whose pixels are all valid (H, W)."""
    height, width = block
    rows, cols = valid.shape[0] // height, valid.shape[1] // width
    whole = valid[: rows * height, : cols * width].reshape(rows, height, cols, width)
    chosen = np.logical_and.reduce(whole, axis=(1, 3))  # (rows, cols)

    def centred(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = image[:, : rows * height, : cols * width].astype(np.float64, copy=False)
        image = image.reshape(len(image), rows, height, cols, width)
        image = image.transpose(1, 3, 0, 2, 4)[chosen]  # (n, X, height, width), a copy
        image = image.reshape(*image.shape[:2], pixels)
        first = image[..., :1].copy()
        image -= first  # a flat block becomes exactly zero, whatever its level
        mean = image.mean(axis=2, keepdims=True)
        image -= mean
        mean = (first + mean)[..., 0]
        variance = np.einsum("ncp,ncp->nc", image, image) / pixels
        flat = variance <= (FLAT * mean) ** 2
        variance[flat] = 0
        image[flat] = 0
        return mean, variance, image

    pixels = height * width
    mean_x, var_x, x = centred(x)
    mean_y, var_y, y = centred(y)
    return Moments(mean_x, mean_y, var_x, var_y, x @ y.transpose(0, 2, 1) / pixels, pixels)


def quality_index(
    mean_x: np.ndarray, mean_y: np.ndarray, var_x: np.ndarray, var_y: np.ndarray, cov: np.ndarray
) -> np.ndarray:
    """Q of blocks, element by element.

    A factor without a denominator is 1, the limit of equal blocks: of two flat blocks the levels
    alone are compared, and two black ones are equal. One flat block has Q 0 with one that is not.
    """
    level = _ratio(2 * mean_x * mean_y, mean_x**2 + mean_y**2)
    return level * _ratio(2 * cov, var_x + var_y)


def hypercomplex_quality(moments: Moments) -> np.ndarray:
    """Q2ⁿ of blocks, (n,): x is the reference, y has as many bands, in the same order.

    s_ref is the sample standard deviation of the reference's band in the block (divisor n − 1).
    A band that is flat there has none; the level takes its place, which leaves the first factor
    of Q, and 1 where the level is zero too.
    """
    mean, var = moments.mean_x, moments.var_x
    bands = mean.shape[1]
    size = 1 << (bands - 1).bit_length()
    scale = np.sqrt(var * moments.pixels / max(moments.pixels - 1, 1))
    scale = np.where(var > 0, scale, np.where(mean != 0, np.abs(mean), 1.0))

    level_x = float(size)  # |z̄₁|²: every component is 1
    level_y = (((moments.mean_y - mean) / scale + 1) ** 2).sum(axis=1) + (size - bands)
    spread = ((var + moments.var_y) / scale**2).sum(axis=1)
    cov = moments.cov / (scale[:, :, None] * scale[:, None, :])
    cov[:, :, 1:] *= -1  # z₂ is conjugated
    signs = _product_signs(size)
    product = np.zeros((len(mean), size))
    for band in range(bands):
        product[:, band ^ np.arange(bands)] += signs[band, :bands] * cov[:, band]
    modulus = np.sqrt((product**2).sum(axis=1))
    return 2 * np.sqrt(level_x * level_y) / (level_x + level_y) * _ratio(2 * modulus, spread)


def block_windows(shape: tuple[int, int], size: int, block: int = BLOCK) -> Iterator[Window]:
    """Windows that tile a grid without overlap and cut no block.

    They are of the largest multiple of `block` within `size` pixels, at least of one block; the
    last of a row or column ends at the border.
    """
    return Window(0, 0, *shape).divide(max(size // block, 1) * block)


def check_window(window: Window, shape: tuple[int, int], block: int) -> None:
    """ValueError unless the window lies on the grid and cuts no block."""
    for start, length, whole in zip(window[:2], window[2:], shape, strict=True):
        end = start + length
        if not 0 <= start < end <= whole or start % block or (end % block and end != whole):
            raise ValueError(
                f"{window} does not fit blocks of {block} on a grid of {shape[0]}×{shape[1]} px; "
                "take windows from block_windows"
            )


def checked_valid(valid: np.ndarray | None, *images: np.ndarray) -> np.ndarray:
    """The mask of images (…, H, W), all true without one; ValueError where it lets NaN through."""
    shape = images[0].shape[-2:]
    if valid is None:
        valid = np.ones(shape, dtype=bool)
    if valid.shape != shape or valid.dtype != bool:
        raise ValueError(f"a mask {valid.shape} of {valid.dtype} is not one of {shape} booleans")
    for image in images:
        finite = np.isfinite(image)
        finite = finite.all(axis=tuple(range(image.ndim - 2)))
        if not finite[valid].all():
            raise ValueError(
                f"{(~finite & valid).sum()} valid pixels hold NaN or infinity; mark them invalid"
            )
    return valid


@cache
def _product_signs(size: int) -> np.ndarray:
    """(N, N) of ±1: e_i e_j = sign · e_(i xor j), by doubling as in the authors' code."""
    if size == 1:
        return np.ones((1, 1), dtype=np.int8)
    half = _product_signs(size // 2)
    conjugate = np.where(np.arange(size // 2) > 0, -1, 1).astype(np.int8)
    turned = half.T
    return np.block(
        [
            [half, conjugate[:, None] * conjugate * half],
            [conjugate[:, None] * turned, -conjugate * turned],
        ]
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
