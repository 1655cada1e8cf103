"""Facts that a raster file states on its bands: wavelengths, units, names, scale and offset."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from rasterio.io import DatasetReader

from bandweave.errors import ConfigError
from bandweave.raster.sensor_bands import nominal_wavelengths
from bandweave.raster.source import BandInfo

_PER_UNIT = {  # to_nanometres in each
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
}
_WRITTEN = re.compile(
    r"(\d+(?:\.\d+)?)\s*(nm|[uµμ]m|nanomet(?:er|re)s?|micromet(?:er|re)s?)\b", re.I
)


def read_band_info(dataset: DatasetReader, indexes: Sequence[int]) -> BandInfo:
    """Read the facts on the bands `indexes` (from 1)."""

    def pick(values: Sequence) -> list:
        return [values[i - 1] for i in indexes]

    scales = tuple(float(scale) for scale in pick(dataset.scales))
    offsets = tuple(float(offset) for offset in pick(dataset.offsets))
    units = {unit or None for unit in pick(dataset.units)}
    names = tuple(name or "" for name in pick(dataset.descriptions))
    return BandInfo(
        wavelengths=_read_wavelengths(dataset, indexes, names),
        units=units.pop() if len(units) == 1 else None,
        names=names if any(names) else None,
        scales=scales if any(scale != 1 for scale in scales) else None,
        offsets=offsets if any(offset != 0 for offset in offsets) else None,
        nominal=nominal_wavelengths(names, dataset.name),
    )


def to_nanometres(values: Sequence[float], unit: str | None = None) -> tuple[float, ...] | None:
    """Convert wavelengths to nanometres; None where the unit is no length or they are none.

    Without a unit, values that all lie below 100 are micrometres, else nanometres.
    """
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    name = (unit or "").strip().lower()
    if name in ("", "unknown"):
        factor = 1e3 if max(values) < 100 else 1.0
    elif name in _PER_UNIT or name.rstrip("s") in _PER_UNIT:
        factor = _PER_UNIT.get(name) or _PER_UNIT[name.rstrip("s")]
    else:  # wavenumbers, gigahertz, an index
        return None
    return tuple(round(value * factor, 6) for value in values)


def override_bands(
    info: BandInfo, bands: int, wavelengths: Sequence[float] | None, units: str | None
) -> BandInfo:
    """Replace facts by those that the user states; wavelengths in to_nanometres, one a band."""
    if wavelengths is not None:
        if len(wavelengths) != bands:
            raise ConfigError(
                f"`wavelengths` has {len(wavelengths)} values and the layer {bands} bands; "
                "give one wavelength a band, in to_nanometres"
            )
        info = replace(info, wavelengths=tuple(float(value) for value in wavelengths))
    return info if units is None else replace(info, units=units)


def rename_bands(info: BandInfo, names: Sequence[str]) -> BandInfo:
    """Replace the names of the bands."""
    return replace(info, names=tuple(names))


def ranges(values: Sequence[int]) -> str:
    """Whole numbers in ascending order as ranges.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    pieces: list[list[int]] = []
    for value in values:
        if pieces and value == pieces[-1][-1] + 1:
            pieces[-1].append(value)
        else:
            pieces.append([value])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in pieces)


def stack_bands(infos: Sequence[BandInfo], counts: Sequence[int]) -> BandInfo:
    """Join the facts of several sources whose bands stand one behind the other, `counts` each."""

    def join(name: str, fill: object) -> tuple | None:
        parts = [getattr(info, name) for info in infos]
        if all(part is None for part in parts) or (fill is None and None in parts):
            return None
        return tuple(
            value
            for part, count in zip(parts, counts, strict=True)
            for value in (part if part is not None else (fill,) * count)
        )

    units = {info.units for info in infos}
    factors = {info.factor for info in infos}
    return BandInfo(
        wavelengths=join("wavelengths", None),
        units=units.pop() if len(units) == 1 else None,
        names=join("names", ""),
        scales=join("scales", 1.0),
        offsets=join("offsets", 0.0),
        factor=factors.pop() if len(factors) == 1 else None,
        nominal=join("nominal", math.nan),
    )


def _read_wavelengths(
    dataset: DatasetReader, indexes: Sequence[int], names: Sequence[str]
) -> tuple[float, ...] | None:
    """Read wavelengths from band tags (as ENVI's), GDAL's imagery domain, or 'xxx nm' in names."""
    tags = [dataset.tags(i) for i in indexes]
    stated = [_parse_number(tag.get("wavelength", tag.get("WAVELENGTH"))) for tag in tags]
    if None not in stated:
        unit = (
            tags[0].get("wavelength_units")
            or tags[0].get("WAVELENGTH_UNITS")
            or dataset.tags(ns="ENVI").get("wavelength_units")
        )
        return to_nanometres([value for value in stated if value is not None], unit)
    central = [
        _parse_number(dataset.tags(i, ns="IMAGERY").get("CENTRAL_WAVELENGTH_UM")) for i in indexes
    ]
    if None not in central:
        return to_nanometres([value for value in central if value is not None], "um")
    written = [_WRITTEN.search(name) for name in names]
    found_names = [match for match in written if match]
    if len(found_names) < len(written):
        return None
    return tuple(
        round(float(match[1]) * _PER_UNIT[match[2].lower().rstrip("s")], 6) for match in found_names
    )


def _parse_number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
