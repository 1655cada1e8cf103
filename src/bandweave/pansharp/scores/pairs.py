"""A pair as every method gets it to be scored, and what its scores depend on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandweave.errors import ConfigError, FileError
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.registration import correct_shift, measure_shift
from bandweave.pansharp.pair.survey import survey_pair
from bandweave.pansharp.sensors import Sensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairFacts:
    """What the scores of a pair depend on.

    shift     measured, in words; None where it was not asked for
    counted   valid pixels, windows and blocks, by protocol
    """

    name: str
    size: tuple[int, int]
    ratio: int
    bands: tuple[str, ...]
    sensor: Sensor
    peak: float
    registered: bool
    shift: str
    shift_rows: float
    shift_cols: float
    notes: tuple[str, ...]
    counted: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self) -> list[tuple[str, str]]:
        """The protocol as terms and what they are."""
        gains = dict.fromkeys(self.sensor.mtf)
        return [
            ("PAN", f"{self.size[0]}×{self.size[1]} px, {self.ratio} to an MS pixel"),
            ("Bands", f"{len(self.bands)}: {', '.join(self.bands)}"),
            ("Sensor", f"{self.sensor.name} ({', '.join(self.sensor.bands)})"),
            (
                "MTF at Nyquist",
                f"{', '.join(f'{gain:g}' for gain in gains)}, PAN {self.sensor.mtf_pan:g} "
                f"({self.sensor.source})",
            ),
            ("Peak", f"{self.peak:g}"),
            ("Registered" if self.registered else "Not registered", self.shift),
        ]

    def line(self) -> str:
        """The protocol in a line."""
        gains = "/".join(f"{gain:g}" for gain in dict.fromkeys(self.sensor.mtf))
        return (
            f"{self.name}: PAN {self.size[0]}×{self.size[1]} px, ratio {self.ratio}, "
            f"{len(self.bands)} bands; sensor {self.sensor.name} (MTF at Nyquist {gains}, "
            f"PAN {self.sensor.mtf_pan:g}); peak {self.peak:g}; "
            f"{'registered' if self.registered else 'not registered'}: {self.shift}"
        )

    def columns(self) -> dict[str, Any]:
        """The protocol as columns of a table."""
        return {
            "sensor": self.sensor.name,
            "ratio": self.ratio,
            "peak": self.peak,
            "registered": self.registered,
            "shift_rows": self.shift_rows,
            "shift_cols": self.shift_cols,
        }


def find_peak(name: str, pair: Pair, sensor: Sensor, given: float | None) -> float:
    """The largest value the data can take: the user's, or by the sensor's bits, or by eight bits.

    Raises ConfigError where nothing is.
    """
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise ConfigError(f"peak {given:g}: it is the largest value the data can take")
        return float(given)
    whole = pair.ms_dtype.kind in "iu"
    if whole and sensor.bits is not None:
        return _convert(pair, min(2**sensor.bits - 1, np.iinfo(pair.ms_dtype).max))
    if pair.ms_dtype == np.uint8:
        return _convert(pair, 255)
    raise ConfigError(
        f"{name}: nothing tells the largest value that {pair.ms_dtype} of the sensor "
        f"{sensor.name!r} can take, on which PSNR and SSIM depend; state `peak` (2047 for 11 bits, "
        "1 for reflectances)"
    )


def _convert(pair: Pair, stored: int) -> float:
    """The largest value that a stored value means in any band."""
    scales = pair.scales or (1.0,) * pair.bands
    offsets = pair.offsets or (0.0,) * pair.bands
    return max(scale * stored + offset for scale, offset in zip(scales, offsets, strict=True))


def prepare_pair(
    name: str, pair: Pair, sensor: Sensor, peak: float, register: bool
) -> tuple[Pair, PairFacts]:
    """Survey and register a pair: as all methods get it, with its facts."""
    doubts = list(sensor.doubts)
    try:
        doubts += survey_pair(pair)
    except FileError as error:
        raise FileError(f"{name}: {error}") from None
    shift = measure_shift(pair)
    if shift.varies:
        doubts.append(shift.doubt)
    for doubt in doubts:
        log.warning("%s: %s", name, doubt)
    if register:
        pair = correct_shift(pair, shift)
    corrected = register and shift.measured
    facts = PairFacts(
        name=name,
        size=(pair.grid.height, pair.grid.width),
        ratio=pair.ratio,
        bands=pair.names,
        sensor=sensor,
        peak=peak,
        registered=corrected,
        shift=str(shift),
        shift_rows=shift.row,
        shift_cols=shift.col,
        notes=(*pair.notes, *sensor.notes, *doubts),
    )
    log.info("%s", facts.line())
    return pair, facts
