"""A part's logits as the logarithm of the mean probability of several predictors.

    log p(k) = log Σ_m w_m softmax(logits_m / T_m)(k),    Σ_m w_m = 1

All go down the same swath of columns side by side, in strips of as many rows as each gives. A strip
leaves as soon as all have answered for its rows, so that what is held at a time is what each of
them holds, and one strip of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.special import log_softmax

from bandweave.data.scene import Part
from bandweave.landcover.predict.net import Predictor, Strip
from bandweave.raster.grid import Window


@dataclass(frozen=True, eq=False)
class Voice:
    """One of several predictors, and how its logits count.

    weight       of its probabilities in the mean
    temperature  that its logits are divided by
    order        for each class of the mean, where it stands among the predictor's own
    """

    predictor: Predictor
    weight: float
    temperature: float
    order: Sequence[int]

    def log_share(self, logits: np.ndarray) -> np.ndarray:
        """The logarithm of what it adds to the mean probability: (K, h, w), −∞ for none."""
        logarithm = log_softmax(logits[list(self.order)] / self.temperature, axis=0)
        return logarithm + math.log(self.weight)


class MeanPredictor:
    """Maps by the mean probability of several predictors of the same classes and output grid."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        self.voices = voices

    def can_divide(self, part: Part) -> bool:
        """Where all of them can."""
        return all(voice.predictor.can_divide(part) for voice in self.voices)

    def swath(self, part: Part) -> int:
        """As many columns as each of them takes."""
        return min(voice.predictor.swath(part) for voice in self.voices)

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips of log-probabilities; a pixel is valid where it is for all."""
        swath = swath or self.swath(part)
        streams = [voice.predictor.strips(part, only, swath) for voice in self.voices]
        for strips in align_strips(streams):
            shares = [
                voice.log_share(strip.logits)
                for voice, strip in zip(self.voices, strips, strict=True)
            ]
            valid = np.logical_and.reduce([strip.valid for strip in strips])
            logits = np.where(valid, reduce(np.logaddexp, shares), 0).astype(np.float32)
            yield Strip(strips[0].window, logits, valid)


def align_strips(streams: Sequence[Iterator[Strip]]) -> Iterator[list[Strip]]:
    """Strips of the same rows from each of several streams that go down the same swaths."""
    held: list[Strip | None] = [None] * len(streams)
    while True:
        found = [strip or next(own, None) for strip, own in zip(held, streams, strict=True)]
        strips = [strip for strip in found if strip is not None]
        if not strips:
            return
        places = {strip.window._replace(height=0) for strip in strips}
        assert len(strips) == len(streams), "some streams are shorter than others"
        assert len(places) == 1, f"streams go down other swaths: {places}"
        height = min(strip.window.height for strip in strips)
        yield [_cut(strip, 0, height) for strip in strips]
        held = [
            _cut(strip, height, strip.window.height) if strip.window.height > height else None
            for strip in strips
        ]


def _cut(strip: Strip, top: int, bottom: int) -> Strip:
    """Some rows of a strip, counted from its first."""
    row, col, _, width = strip.window
    place = Window(row + top, col, bottom - top, width)
    return Strip(place, strip.logits[:, top:bottom], strip.valid[top:bottom])
