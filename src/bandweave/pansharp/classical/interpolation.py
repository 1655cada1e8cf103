"""Interpolation: the bands alone, which every other method is compared with.

Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6),
1981, with a = −½.
"""

from __future__ import annotations

import numpy as np

from bandweave.pansharp.classical.contract import ClassicalSharpener
from bandweave.pansharp.pair.window import PairWindow


class Bicubic(ClassicalSharpener):
    """MS alone, interpolated by cubic convolution."""

    source = "Keys 1981"

    def apply(self, window: PairWindow) -> np.ndarray:
        """The interpolated bands."""
        return window.interpolate()
