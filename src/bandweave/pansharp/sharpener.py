"""What makes windows of one pair sharp: classical methods and trained runs are both this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np

from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.pansharp.sensors import Sensor


class Sharpener(ABC):
    """A way to sharpen one pair: it looks at all windows, if it must, and then sharpens each.

    Where windows have its margin around them, the result is that of the whole image at once, to
    rounding, whatever the windows.
    """

    single_threaded: bool = False
    """Whether it computes on all cores by itself, and so is given one window at a time."""

    @property
    @abstractmethod
    def margin(self) -> int:
        """PAN pixels that a window must have around it."""

    @abstractmethod
    def fit(self, windows: Iterable[PairWindow]) -> None:
        """Look at windows that cover the pair without overlap, their margins around them."""

    @abstractmethod
    def apply(self, window: PairWindow) -> np.ndarray:
        """(C, H, W) float32 on the window's PAN pixels with its margin, in the bands' units.

        It is finite where the window is. What it holds in invalid pixels is the caller's to mask.
        """


MakeSharpener = Callable[[PairSource, Sensor], Sharpener]
