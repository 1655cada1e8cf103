"""What makes a pair, or a band of it, unfit to be sharpened: no valid pixel, or no two values.

Windows spread over the scene tell it of most images. One that looks empty or constant in all of
them is read to its end, or to the first pixel that says otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.errors import FileError
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.sensors import Sensor
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window, spread_windows
from bandweave.schema import join_words

log = logging.getLogger(__name__)

SIDE = 64  # MS pixels of a window that is looked at
WINDOWS = 4  # along each side of the scene, at most
WHOLE = 512  # MS pixels of a window where a scene is read to its end
MISSING = 0.01  # of the pixels that other bands have: a band that lacks more is named


@dataclass
class _Seen:
    """What is known of an image of one band so far."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        """Add pixels of it, NaN in holes."""
        known = values[~np.isnan(values)]
        if known.size:
            self.low = min(self.low, float(known.min()))
            self.high = max(self.high, float(known.max()))

    @property
    def empty(self) -> bool:
        return self.low > self.high

    @property
    def plain(self) -> bool:
        """Empty or constant, so far."""
        return not self.low < self.high


def tell_of_pair(
    pair: Pair, sensor: Sensor, *, with_pan: bool = True, choosable: bool = True
) -> None:
    """Log what a user should know of a pair before it is sharpened; as `survey_pair`."""
    for note in (*pair.notes, *(sensor.notes if with_pan else ())):
        log.info("%s", note)
    for doubt in sensor.doubts:
        log.warning("%s", doubt)
    for warning in survey_pair(pair, with_pan=with_pan, choosable=choosable):
        log.warning("%s", warning)


def survey_pair(pair: Pair, *, with_pan: bool = True, choosable: bool = True) -> list[str]:
    """Look at a pair, and return warnings: a constant PAN or band, a band that lacks pixels.

    with_pan   PAN is looked at too
    choosable  the user may leave bands out by `bands`; else files without them are advised

    Raises FileError for a PAN or for bands without a valid pixel, by name.
    """
    pan, bands = _Seen(), [_Seen() for _ in pair.names]
    looked_at = [*([pan] if with_pan else []), *bands]
    others, lacking = 0, np.zeros(pair.bands)
    samples, whole = sample_windows(pair, SIDE, WINDOWS), Window(0, 0, *pair.ms_shape).divide(WHOLE)

    def look(fine: np.ndarray, coarse: np.ndarray) -> None:
        pan.add(fine)
        for band, values in zip(bands, coarse, strict=True):
            band.add(values)

    for fine, coarse in map_ordered(pair.read_holes, samples):
        look(fine, coarse)
        holes = np.isnan(coarse)
        anywhere = ~holes.all(axis=0)
        others += int(anywhere.sum())
        lacking += (holes & anywhere).sum(axis=(1, 2))
    for window in whole:
        if not any(image.plain for image in looked_at):
            break
        look(*pair.read_holes(window.finer(pair.ratio)))
    without = "leave it out with `bands`" if choosable else "give MS files without it"
    warnings = [
        *_warn_of_constant(pair, pan if with_pan else None, bands, without),
        *_warn_of_holes(pair, lacking / max(others, 1), without),
    ]
    _refuse_empty(pair, pan if with_pan else None, bands, choosable)
    return warnings


def _refuse_empty(pair: Pair, pan: _Seen | None, bands: Sequence[_Seen], choosable: bool) -> None:
    if pan is not None and pan.empty:
        raise FileError(
            "PAN and MS have no valid pixel in common: PAN has none; check its nodata value"
        )
    empty = [i for i, band in enumerate(bands) if band.empty]
    if not empty:
        return
    if len(empty) == len(bands):
        raise FileError(
            "PAN and MS have no valid pixel in common: MS has none in any band; check its nodata "
            "value"
        )
    left = [number for i, number in enumerate(_numbers(pair)) if i not in empty]
    which = join_words([band_name(pair, i) for i in empty], "and")
    have, them = ("have", "them") if len(empty) > 1 else ("has", "it")
    advice = f"leave {them} out with `bands={left}`" if choosable else f"give files without {them}"
    raise FileError(f"MS {which} {have} no valid pixel, all is nodata; {advice}")


def _warn_of_constant(
    pair: Pair, pan: _Seen | None, bands: Sequence[_Seen], without: str
) -> Iterable[str]:
    if pan is not None and pan.plain:
        yield (
            f"PAN is constant: {pan.low:g} in every valid pixel; it adds no detail, and the result "
            "is MS interpolated"
        )
    for i, band in enumerate(bands):
        if band.plain:
            yield (
                f"MS {band_name(pair, i)} is constant: {band.low:g} in every valid pixel; if the "
                f"band is dead, {without}"
            )


def _warn_of_holes(pair: Pair, shares: np.ndarray, without: str) -> Iterable[str]:
    for i, share in enumerate(shares):
        if share > MISSING:
            yield (
                f"MS {band_name(pair, i)} lacks {share:.0%} of the pixels that other bands have, "
                f"and a pixel without all bands is a hole in the result; to keep them, {without}"
            )


def band_name(pair: Pair, place: int) -> str:
    """'band 3 (red)'; the number is that in the file."""
    number, name = _numbers(pair)[place], pair.names[place]
    return f"band {number}" if name == f"band {place + 1}" else f"band {number} ({name})"


def _numbers(pair: Pair) -> Sequence[int]:
    return pair.ms.info.numbers or range(1, pair.bands + 1)


def sample_windows(pair: Pair, widest: int, most: int) -> list[Window]:
    """Windows spread evenly over a pair, in PAN pixels.

    widest  MS pixels of a window's side
    most    windows along each side of the pair
    """
    sizes = [min(widest, count) for count in pair.ms_shape]
    numbers = [min(most, -(-n // size)) for n, size in zip(pair.ms_shape, sizes, strict=True)]
    return [window.finer(pair.ratio) for window in spread_windows(pair.ms_shape, sizes, numbers)]
