"""From MS pixels to PAN pixels and back, in the right phase.

Each step is separable: a banded matrix along the rows and one along the columns. Matrices depend on
the nesting alone and are kept; they are applied block by block, so that NumPy's BLAS does the work
on parts that stay in the processor's cache, without the interpreter's lock.

Sources: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6),
1981 (bicubic, a = -½); C. Duchon, Lanczos filtering in one and two dimensions, JAM 18, 1979;
B. Aiazzi et al., MTF-tailored multiscale fusion of high-resolution MS and Pan imagery, PE&RS 72(5),
2006 (Gaussian of a stated gain at the Nyquist frequency).

    x (C, h, w) on the MS grid        y (C, H, W) on the PAN grid        float32
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from bandweave.pansharp.pair.nesting import Nesting

Kernel = Literal["nearest", "bilinear", "bicubic", "lanczos"]
TAIL = 4.0  # standard deviations at which the Gaussian is cut


def upsample(
    ms: np.ndarray, nesting: Nesting, shape: tuple[int, int], kernel: Kernel = "bicubic"
) -> np.ndarray:
    """MS (C, h, w) interpolated at the centres of H×W PAN pixels: (C, H, W) float32.

    shape    H and W
    kernel   'bicubic' (Keys, a = -½: exact on parabolas), 'bilinear', 'nearest' or 'lanczos' (3)

    Beyond the edges the outermost pixels are repeated. A constant stays constant.

    >>> upsample(np.array([[[0.0, 2.0]]]), Nesting(2), (2, 4), "bilinear")[0, 0]
    array([0. , 0.5, 1.5, 2. ], dtype=float32)
    """
    if kernel not in _KERNELS:
        raise ValueError(f"`kernel` is {kernel!r}; it is one of {', '.join(_KERNELS)}")
    h, w = ms.shape[-2:]
    across = _finer(kernel, nesting.ratio, nesting.col, shape[1], w)
    down = _finer(kernel, nesting.ratio, nesting.row, shape[0], h)
    return _rows(down, _columns(across, _float32(ms)))


def degrade(
    image: np.ndarray, nesting: Nesting, shape: tuple[int, int], gains: Sequence[float]
) -> np.ndarray:
    """An image (C, H, W) on the PAN grid as a sensor with h×w MS pixels sees it: (C, h, w) float32.

    The low-pass is a Gaussian, sampled at the centres of the MS pixels.

    shape   h and w
    gains   what is left of a wave at the Nyquist frequency of the MS grid, of each channel: its
            modulation transfer function there, between 0 and 1

    Beyond the edges the outermost pixels are repeated. A constant stays constant, and so does a
    ramp away from the edges.
    """
    image = _float32(image)
    if len(gains) != len(image):
        raise ValueError(f"{len(gains)} gains for {len(image)} channels")
    out = np.empty((len(image), *shape), np.float32)
    H, W = image.shape[-2:]
    for gain in set(gains):
        down = _coarser(float(gain), nesting.ratio, nesting.row, H, shape[0])
        across = _coarser(float(gain), nesting.ratio, nesting.col, W, shape[1])
        alike = [c for c, other in enumerate(gains) if other == gain]
        for c in alike:
            out[c] = _columns(across, _rows(down, image[c]))
    return out


def reduce_cubic(image: np.ndarray, nesting: Nesting, shape: tuple[int, int]) -> np.ndarray:
    """An image (C, H, W) on the PAN grid, sampled at h×w MS pixels' centres: (C, h, w) float32.

    By cubic convolution (Keys, a = -½) stretched to MS pixels, so that nothing is aliased. It knows
    no sensor; `degrade` does. A constant stays constant.
    """
    image = _float32(image)
    H, W = image.shape[-2:]
    down = _cubic(nesting.ratio, nesting.row, H, shape[0])
    across = _cubic(nesting.ratio, nesting.col, W, shape[1])
    return _columns(across, _rows(down, image))


def lowpass(
    image: np.ndarray, nesting: Nesting, gains: Sequence[float], kernel: Kernel = "bicubic"
) -> np.ndarray:
    """What an image (C, H, W) on the PAN grid has in common with the MS grid: (C, H, W) float32.

    It is degraded as `degrade` does and interpolated again.
    """
    shape = image.shape[-2], image.shape[-1]
    return upsample(degrade(image, nesting, nesting.cover(*shape), gains), nesting, shape, kernel)


def gaussian_deviation(gain: float, ratio: int) -> float:
    """Standard deviation, in PAN pixels, of the Gaussian with this gain at 1/(2·ratio) a pixel.

    >>> round(gaussian_deviation(0.3, 4), 3)
    1.976
    """
    if not 0 < gain < 1:
        raise ValueError(f"a gain of {gain:g} at the Nyquist frequency; it lies between 0 and 1")
    return ratio / math.pi * math.sqrt(-2 * math.log(gain))


def low_pass_reach(ratio: int, gains: Sequence[float]) -> int:
    """PAN pixels that `degrade` looks at beyond the MS pixels, of the lowest of the gains.

    >>> low_pass_reach(4, [0.3, 0.15])
    11
    """
    return math.ceil(TAIL * gaussian_deviation(min(gains), ratio)) + 1


# The matrices ------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """Rows `out` of a banded matrix, whose non-zero columns all lie in `into`."""

    out: slice
    into: slice
    weights: np.ndarray


class _Banded(NamedTuple):
    size: int  # rows of the matrix
    blocks: tuple[_Block, ...]


def _keys(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


_KERNELS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {  # reach in MS pixels
    "nearest": (1, lambda x: ((x > -0.5 - 1e-6) & (x <= 0.5 - 1e-6)).astype(float)),
    "bilinear": (1, lambda x: np.clip(1 - np.abs(x), 0, None)),
    "bicubic": (2, _keys),
    "lanczos": (3, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)),
}


@lru_cache(maxsize=256)
def _finer(kernel: str, ratio: int, corner: float, fine: int, coarse: int) -> _Banded:
    """Interpolation of `coarse` MS pixels at the centres of `fine` PAN pixels."""
    reach, weigh = _KERNELS[kernel]
    centres = (np.arange(fine) + 0.5 - corner) / ratio - 0.5  # in MS pixels
    taps = np.floor(centres).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
    weights = weigh(centres[:, None] - taps)
    return _banded(taps, weights, coarse, max(8 * ratio, 16))


@lru_cache(maxsize=256)
def _coarser(gain: float, ratio: int, corner: float, fine: int, coarse: int) -> _Banded:
    """Gaussian means of `fine` PAN pixels at the centres of `coarse` MS pixels."""
    deviation = gaussian_deviation(gain, ratio)
    reach = max(math.ceil(TAIL * deviation), 1)
    centres = corner + ratio * (np.arange(coarse) + 0.5) - 0.5  # in PAN pixels
    taps = np.floor(centres).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
    away = taps - centres[:, None]
    weights = np.exp(-0.5 * (away / deviation) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    first = (weights * away).sum(axis=1, keepdims=True)  # the sampled Gaussian is a bit off centre
    spread = (weights * away**2).sum(axis=1, keepdims=True) - first**2
    weights *= 1 - first / spread * (away - first)
    return _banded(taps, weights, fine, 8)


@lru_cache(maxsize=256)
def _cubic(ratio: int, corner: float, fine: int, coarse: int) -> _Banded:
    """Cubic means of `fine` PAN pixels at the centres of `coarse` MS pixels."""
    centres = corner + ratio * (np.arange(coarse) + 0.5) - 0.5  # in PAN pixels
    taps = np.floor(centres).astype(int)[:, None] + np.arange(1 - 2 * ratio, 2 * ratio + 1)
    return _banded(taps, _keys((taps - centres[:, None]) / ratio), fine, 8)


def _banded(taps: np.ndarray, weights: np.ndarray, inputs: int, some: int) -> _Banded:
    """The matrix with `weights` (n, k) at columns `taps` (n, k), `some` rows a block."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    taps = np.clip(taps, 0, inputs - 1)
    blocks = []
    for start in range(0, len(taps), some):
        mine, values = taps[start : start + some], weights[start : start + some]
        low, high = int(mine.min()), int(mine.max()) + 1
        dense = np.zeros((len(mine), high - low))
        np.add.at(dense, (np.arange(len(mine))[:, None], mine - low), values)
        stored = dense.astype(np.float32)
        stored.setflags(write=False)
        blocks.append(_Block(slice(start, start + len(mine)), slice(low, high), stored))
    return _Banded(len(taps), tuple(blocks))


def _rows(matrix: _Banded, image: np.ndarray) -> np.ndarray:
    """Along the rows: (..., k, w) to (..., n, w)."""
    out = np.empty((*image.shape[:-2], matrix.size, image.shape[-1]), np.float32)
    for block in matrix.blocks:
        np.matmul(block.weights, image[..., block.into, :], out=out[..., block.out, :])
    return out


def _columns(matrix: _Banded, image: np.ndarray) -> np.ndarray:
    """Along the columns: (..., h, k) to (..., h, n)."""
    out = np.empty((*image.shape[:-1], matrix.size), np.float32)
    for block in matrix.blocks:
        np.matmul(image[..., block.into], block.weights.T, out=out[..., block.out])
    return out


def _float32(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image, np.float32)
