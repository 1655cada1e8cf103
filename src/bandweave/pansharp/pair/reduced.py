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
from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.pair.window import PairWindow


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
    rows, cols = window.ms_core
    h, w = len(rows) // r, len(cols) // r
    if h < 1 or w < 1:
        raise ValueError(
            f"a window of {len(rows)}×{len(cols)} MS pixels has no pixel {r} times coarser; "
            f"give it {r}×{r} MS pixels at least"
        )
    top, left = int(rows[0]), int(cols[0])
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
