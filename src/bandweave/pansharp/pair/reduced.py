"""Wald's protocol: a pair made coarser, so that the observed MS is the truth it should become.

Source: L. Wald, T. Ranchin, M. Mangolini, Fusion of satellite images of different spatial
resolutions: assessing the quality of resulting images, PE&RS 63(6), 1997; with the sensor's
modulation transfer function as in B. Aiazzi et al., PE&RS 72(5), 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import PairWindow
from bandweave.pansharp.pair.resample import degrade


@dataclass
class ReducedPair:
    """A pair at reduced resolution: H = h·r, W = w·r, corner on corner.

    pan      (H, W) float32: PAN as MS pixels see it, on the MS grid
    ms       (C, h, w) float32: MS with pixels r times larger
    target   (C, H, W) float32: the observed MS
    valid    (H, W) bool: so are all MS and PAN pixels in the pixel of `ms` that holds it
    """

    pan: np.ndarray
    ms: np.ndarray
    target: np.ndarray
    nesting: Nesting
    valid: np.ndarray


def reduced(window: PairWindow, gains: Sequence[float], pan_gain: float) -> ReducedPair:
    """The window, its margin cut off, at reduced resolution.

    gains      of the sensor's MS bands at the Nyquist frequency of the next coarser grid
    pan_gain   PAN's at the Nyquist frequency of the MS grid

    PAN is sampled through the window's nesting, so whatever its phase, the result nests exactly.
    MS rows and columns that fill no coarser pixel are left out. With a margin of some coarser
    pixels the filters see what lies around the window; without, its edge repeated.

    Raises ValueError for a window of less than ratio×ratio MS pixels.
    """
    r = window.nesting.ratio
    top, left, height, width = _inner(window)
    h, w = height // r, width // r
    if h < 1 or w < 1:
        raise ValueError(
            f"a window of {height}×{width} MS pixels has no pixel {r} times coarser; give it "
            f"{r}×{r} MS pixels at least"
        )
    shape = window.ms_valid.shape
    pan = degrade(window.pan[None], window.nesting, (shape[0], shape[1]), [pan_gain])[0]
    crop = slice(top, top + h * r), slice(left, left + w * r)
    coarser = Nesting(r, top, left)
    valid = window.both_valid[crop]
    whole = valid.reshape(h, r, w, r).all(axis=(1, 3))
    return ReducedPair(
        pan=np.ascontiguousarray(pan[crop]),
        ms=degrade(window.ms, coarser, (h, w), gains),
        target=np.ascontiguousarray(window.ms[:, crop[0], crop[1]]),
        nesting=Nesting(r),
        valid=valid & np.kron(whole, np.ones((r, r), bool)),
    )


def _inner(window: PairWindow) -> tuple[int, int, int, int]:
    """The MS pixels (first row and column, rows, columns) whose centres lie in the window."""
    nesting, size = window.nesting, window.window
    found = []
    for corner, length, total in zip(
        (nesting.row, nesting.col),
        (size.height, size.width),
        window.ms_valid.shape,
        strict=True,
    ):
        centres = corner + nesting.ratio * (np.arange(total) + 0.5) - window.margin
        inside = np.flatnonzero((centres >= 0) & (centres < length))
        found.append((int(inside[0]), len(inside)) if len(inside) else (0, 0))
    (top, height), (left, width) = found
    return top, left, height, width
