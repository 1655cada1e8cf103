"""What the values of a pair are divided by before a model sees them, so that they lie in [0, 1].

It is the largest number of the sensor's bits where the files bear that out: whole numbers, of
which the brightest reach an eighth of it and do not exceed it. Else (reflectance, products that
were scaled to 16 bits) it is the files' own robust maximum: what 99.9 % of the valid pixels stay
below, of PAN, and of the brightest MS band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bandweave.errors import FileError, RunError
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.survey import sample_windows
from bandweave.pansharp.sensors import Sensor

SHARE = 0.999  # of the valid pixels
LEAST = 1 / 8  # of the bits' largest number, which the brightest pixels reach
SIDE = 128  # MS pixels of a window that is looked at
WINDOWS = 4  # along each side of a pair, at most
EVERY = 3  # pixels: one of so many along each side counts


@dataclass(frozen=True)
class ValueScale:
    """What values are divided by.

    ms, pan   of the values, with scale and offset applied
    source    what they follow from, in words
    """

    ms: float
    pan: float
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; `from_dict` gives it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ValueScale:
        """Raises RunError for anything but what `to_dict` gives."""
        try:
            scale = cls(float(stored["ms"]), float(stored["pan"]), str(stored["source"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the stored scale cannot be read ({error!r}); train again") from error
        if not (0 < scale.ms < np.inf and 0 < scale.pan < np.inf):
            raise RunError(f"the stored scale is {scale.ms} and {scale.pan}; train again")
        return scale


def fit_scale(pairs: Sequence[Pair], sensor: Sensor) -> ValueScale:
    """The scale of the pairs that a model is trained on; at most 16 windows of each are read.

    Raises FileError for a pair without valid pixels, and where no value is above 0.
    """
    pan, ms = (float(v) for v in np.array([brightest(pair) for pair in pairs]).max(axis=0))
    if min(pan, ms) <= 0:
        raise FileError(
            f"the brightest values of PAN and MS are {pan:g} and {ms:g}; there is nothing above 0 "
            f"to learn from"
        )
    whole = all(
        kind in "iu" and not pair.scaled
        for pair in pairs
        for kind in (pair.pan_dtype.kind, pair.ms_dtype.kind)
    )
    if sensor.bits is not None and whole:
        largest = float(2**sensor.bits - 1)
        if all(LEAST * largest <= value <= largest for value in (pan, ms)):
            return ValueScale(largest, largest, f"{sensor.name}'s {sensor.bits} bits")
    files = "the training files"
    return ValueScale(ms, pan, f"the values that {SHARE:.1%} of the pixels of {files} stay below")


def brightest(pair: Pair) -> tuple[float, float]:
    """Robust maxima of PAN and of the brightest MS band."""
    pan, ms = [], []
    for place in sample_windows(pair, SIDE, WINDOWS):
        window = pair.read(place)
        pan.append(window.pan[window.pan_valid][:: EVERY**2])
        ms.append(window.ms[:, window.ms_valid][:, :: EVERY**2])
    pans, bands = np.concatenate(pan), np.concatenate(ms, axis=1)
    if not pans.size or not bands.size:
        raise FileError(
            f"a pair of {pair.grid} has no valid pixel where it was looked at; check the nodata "
            f"value of its files, and leave pairs without data out"
        )
    top = np.quantile(bands, SHARE, axis=1, method="lower").max()
    return float(np.quantile(pans, SHARE, method="lower")), float(top)
