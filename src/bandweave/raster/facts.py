"""Facts on a raster for `bandweave info`: rows of a name and a text."""

from __future__ import annotations

from bandweave.raster.alignment import short_crs
from bandweave.raster.grid import Grid
from bandweave.raster.source import BandInfo, WindowSource

Facts = list[tuple[str, str]]


def describe_size(source: WindowSource) -> tuple[str, str]:
    """Rows, columns and bands."""
    bands = f"{source.bands} band{'s' if source.bands > 1 else ''}"
    return "size", f"{source.grid.height}×{source.grid.width} px, {bands}"


def describe_place(grid: Grid) -> Facts:
    """CRS, pixel size, transform and bounds, as far as there are any."""
    if not grid.georeferenced:
        return [("CRS", short_crs(grid.crs)), ("transform", "none: no georeference")]
    left, bottom, right, top = grid.bounds
    width, height = grid.pixel_size
    return [
        ("CRS", short_crs(grid.crs)),
        ("pixel", f"{width:g} × {height:g} {grid.unit}"),
        ("transform", ", ".join(f"{value:.10g}" for value in tuple(grid.transform)[:6])),
        ("bounds", f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"),
    ]


def describe_bands(info: BandInfo) -> Facts:
    """Wavelengths, units, names, scales and offsets, as far as they are known."""
    facts = []
    if info.wavelengths:
        low, high = min(info.wavelengths), max(info.wavelengths)
        facts.append(("wavelengths", f"{low:g} to {high:g} nm"))
    if info.units:
        facts.append(("units", info.units))
    if names := [band for band in info.names or () if band]:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        facts.append(("bands", ", ".join(names[:8]) + more))
    for fact in ("scales", "offsets"):
        if values := getattr(info, fact):
            facts.append((fact, ", ".join(f"{value:g}" for value in dict.fromkeys(values))))
    return facts
