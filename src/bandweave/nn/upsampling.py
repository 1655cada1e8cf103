"""Up-sampling of a coarse image to the pixels of a finer grid, whatever their phase.

Source: cubic convolution, Keys 1981, with a = −½, whose kernel the classical methods use too.

    x       (B, C, h, w)   coarse image
    corner  (row, col)     where its upper left corner lies, in pixels of the fine grid
    fine pixel j has its centre at j + ½, coarse pixel i at row + r·(i + ½)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kernel = Literal["bicubic", "nearest"]

SUPPORT = {"bicubic": 2.0, "nearest": 0.5}  # half the width of a kernel, in coarse pixels


def upsample(
    x: Tensor,
    ratio: int,
    size: tuple[int, int],
    corner: tuple[float, float] = (0.0, 0.0),
    kernel: Kernel = "bicubic",
) -> Tensor:
    """(B, C, h, w) to (B, C, H, W) at the fine pixels' centres; edges by replication.

    A constant image stays constant. Differentiable in x; autocast does not reach into it.

    >>> upsample(torch.arange(2.0).view(1, 1, 1, 2), 2, (1, 4), kernel="nearest").flatten().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    rows, columns = (
        _make_matrix(x.shape[2 + axis], size[axis], ratio, corner[axis], kernel).to(x)
        for axis in (0, 1)
    )
    with torch.autocast(x.device.type, enabled=False):
        return rows @ x @ columns.T


@lru_cache(maxsize=64)
def _make_matrix(coarse: int, fine: int, ratio: int, corner: float, kernel: Kernel) -> Tensor:
    """Weights (fine, coarse) that make an axis's fine pixels of its coarse ones."""
    place = (np.arange(fine) + 0.5 - corner) / ratio - 0.5  # in coarse pixels, 0 = first centre
    if kernel == "nearest":
        taps, weights = np.floor(place + 0.5)[:, None], np.ones((fine, 1))
    else:
        taps = np.floor(place)[:, None] + np.array([-1, 0, 1, 2])
        weights = _keys(place[:, None] - taps)
    matrix = np.zeros((fine, coarse))
    each = np.broadcast_to(np.arange(fine)[:, None], taps.shape)
    np.add.at(matrix, (each, taps.clip(0, coarse - 1).astype(np.int64)), weights)
    with torch.inference_mode(False):  # what is made while predicting serves training too
        return torch.as_tensor(matrix)


def _keys(x: np.ndarray) -> np.ndarray:
    """The cubic kernel, a = −½, at distances of up to two pixels."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, far)
