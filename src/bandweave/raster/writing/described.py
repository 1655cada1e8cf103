"""Facts on bands, as a file that is read states them and one that is written shall."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rasterio.enums import ColorInterp

from bandweave.raster.formats.arrays import StackedSource
from bandweave.raster.formats.gdal.source import GdalSource, open_dataset
from bandweave.raster.source import WindowSource

# Of the grid, the values or all the bands of the file that was read.
_NOT_CARRIED = re.compile(
    r"AREA_OR_POINT|STATISTICS_.*|TIFFTAG_(M(AX|IN)SAMPLEVALUE|RESOLUTIONUNIT|[XY]RESOLUTION)"
    r"|Band_\d+|bbl"
)
_NO_BAND = (ColorInterp.alpha, ColorInterp.palette)
_COLORS = {  # as GDAL names them, where rasterio does it otherwise
    ColorInterp.gray: "Gray",
    ColorInterp.rededge: "RedEdge",
    ColorInterp.nir: "NIR",
    ColorInterp.swir: "SWIR",
    ColorInterp.mwir: "MWIR",
    ColorInterp.lwir: "LWIR",
    ColorInterp.tir: "TIR",
    ColorInterp.other_ir: "OtherIR",
}


@dataclass(frozen=True)
class BandFacts:
    """Facts that a file states on one band.

    name           description
    scale, offset  the value that is meant is scale · stored + offset
    unit           of the value that is meant
    color          GDAL's colour interpretation ('Red'); '' for none
    tags           metadata
    """

    name: str = ""
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    color: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def read_tags(source: WindowSource) -> dict[str, str]:
    """Read the metadata of a source's file; of several files what they all say alike."""
    if isinstance(source, StackedSource):
        first, *others = (read_tags(part) for part in source.sources)
        return {
            key: value
            for key, value in first.items()
            if all(other.get(key) == value for other in others)
        }
    return _carry_tags(open_dataset(source.path).tags()) if isinstance(source, GdalSource) else {}


def read_band_facts(source: WindowSource, names: Sequence[str]) -> list[BandFacts]:
    """Read the facts that a source's file states on each band, by the names given here."""
    info = source.info
    found = [
        replace(
            facts,
            name=name,
            scale=1.0 if info.scales is None else info.scales[i],
            offset=0.0 if info.offsets is None else info.offsets[i],
            unit=facts.unit or info.units or "",
        )
        for i, (facts, name) in enumerate(zip(_read_facts(source), names, strict=True))
    ]
    if info.wavelengths is None:
        return found
    return [
        replace(facts, tags=_add_wavelength(facts.tags, wavelength))
        for facts, wavelength in zip(found, info.wavelengths, strict=True)
    ]


def _read_facts(source: WindowSource) -> list[BandFacts]:
    """Read units, colours and tags alone."""
    if isinstance(source, StackedSource):
        facts = [facts for part in source.sources for facts in _read_facts(part)]
        return [replace(each, color="" if each.color == "Gray" else each.color) for each in facts]
    if not isinstance(source, GdalSource):
        return [BandFacts()] * source.bands
    dataset = open_dataset(source.path)
    return [
        BandFacts(
            unit=dataset.units[number - 1] or "",
            color=_name_color(dataset.colorinterp[number - 1]),
            tags=_carry_tags(dataset.tags(number)),
        )
        for number in source.numbers
    ]


def _name_color(meaning: ColorInterp) -> str:
    if meaning in _NO_BAND or meaning == ColorInterp.undefined:
        return ""
    return _COLORS.get(meaning, meaning.name.capitalize())


def _carry_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not _NOT_CARRIED.fullmatch(key)}


def _add_wavelength(tags: Mapping[str, str], wavelength: float) -> dict[str, str]:
    if any(key.lower() == "wavelength" for key in tags):
        return dict(tags)
    return {**tags, "wavelength": f"{wavelength:.10g}", "wavelength_units": "Nanometers"}
