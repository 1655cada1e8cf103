"""What every classical method is: a sharpener that takes no training.

A method of one's own is a class below one of these two, and a row in the table (methods.py). Only
valid pixels enter statistics. Filters see what stands in invalid pixels, which a reader of pairs
fills with neighbouring values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from bandweave.pansharp.classical.statistics import Moments, measure_moments
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.pansharp.sensors import Sensor
from bandweave.pansharp.sharpener import Sharpener


class ClassicalSharpener(Sharpener):
    """A method that knows the neighbours of a pixel alone: it needs no fit.

    The first line of its docstring says what it does, in the list of methods.
    """

    source: ClassVar[str]
    """Authors and year of the formula."""

    def __init__(self, pair: PairSource, sensor: Sensor) -> None:
        self.ratio, self.sensor = pair.ratio, sensor

    @property
    def margin(self) -> int:
        """By default 3 MS pixels: interpolation looks 2.5 of them far, and degrading PAN less."""
        return 3 * self.ratio

    def fit(self, windows: Iterable[PairWindow]) -> None:
        """Look at no window."""


class GlobalSharpener(ClassicalSharpener):
    """A method that depends on statistics of the whole pair."""

    def fit(self, windows: Iterable[PairWindow]) -> None:
        """Measure the moments of the pair, and take from them what the method needs."""
        self.fit_moments(measure_moments(windows, self.sensor))

    @abstractmethod
    def fit_moments(self, moments: Moments) -> None:
        """Take what the method needs from the moments of the bands and of the degraded PAN."""
