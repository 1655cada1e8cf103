"""What a file of pixels, arrays or polygons holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import check_input_file
from bandweave.raster.formats import envi
from bandweave.raster.formats.array_files import is_array_file, list_arrays, show_shape
from bandweave.raster.formats.drivers import check_address
from bandweave.raster.formats.gdal import open_dataset
from bandweave.raster.grid import Grid
from bandweave.raster.open import open_source, short_crs
from bandweave.raster.vectors import VECTORS, describe_vector

Rows = list[tuple[str, str]]


def file_facts(name: str) -> Rows:
    """Facts on a file, a name and a text each. Raises FileError for one that is unreadable."""
    path = Path(name)
    check_address(name)
    if not name.startswith("/vsi") and not os.path.lexists(name):
        raise FileError(f"{name}: no such file or folder")
    if not name.startswith("/vsi"):
        check_input_file(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ConfigError(f"{name} is YAML; `bandweave scenes check {name}` looks a scene over")
    if path.suffix.lower() in VECTORS:
        return [("file", name), *_polygons(path)]
    if path.is_file() and is_array_file(path):
        return [("file", name), *_arrays(path)]
    if path.suffix.lower() == ".hdr":
        name = str(envi.find_data(path))
    return [("file", name), *_raster(name)]


def _raster(name: str) -> Rows:
    with open_dataset(name) as dataset:
        if not dataset.count:
            inner = dataset.subdatasets
            return [("driver", dataset.driver), *(("subdataset", each) for each in inner)]
        rows = [
            ("driver", dataset.driver),
            ("type", ", ".join(dict.fromkeys(dataset.dtypes))),
            ("nodata", "none" if dataset.nodata is None else f"{dataset.nodata:g}"),
            ("blocks", "×".join(map(str, dataset.block_shapes[0]))),
        ]
        if dataset.compression:
            rows.append(("compression", dataset.compression.name))
        if overviews := dataset.overviews(1):
            rows.append(("overviews", ", ".join(f"1/{factor}" for factor in overviews)))
    source = open_source(name)
    bands = f"{source.bands} band{'s' if source.bands > 1 else ''}"
    size = f"{source.grid.height}×{source.grid.width} px, {bands}"
    return [("size", size), *rows, *_place(source.grid), *_bands(source.info)]


def _place(grid: Grid) -> Rows:
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


def _bands(info: Any) -> Rows:
    rows = []
    if info.wavelengths:
        low, high = min(info.wavelengths), max(info.wavelengths)
        rows.append(("wavelengths", f"{low:g} to {high:g} nm"))
    if info.units:
        rows.append(("units", info.units))
    if names := [band for band in info.names or () if band]:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        rows.append(("bands", ", ".join(names[:8]) + more))
    for fact in ("scales", "offsets"):
        if values := getattr(info, fact):
            rows.append((fact, ", ".join(f"{value:g}" for value in dict.fromkeys(values))))
    return rows


def _arrays(path: Path) -> Rows:
    rows = [(entry.shown, f"{show_shape(entry.shape)} {entry.kind}") for entry in list_arrays(path)]
    try:
        source = open_source(path)
    except FileError:  # several arrays, or no plain axis of bands: their list is the answer
        return rows
    place = _place(source.grid) if source.grid.georeferenced else []
    return [*rows, *place, *_bands(source.info)]


def _polygons(path: Path) -> Rows:
    info = describe_vector(path)
    fields = (f"{name} ({kind})" for name, kind in zip(info["fields"], info["dtypes"], strict=True))
    return [
        ("driver", info["driver"]),
        ("features", f"{info['features']} {info['geometry_type'] or 'rows'}"),
        ("CRS", str(info["crs"] or "no CRS")),
        ("fields", ", ".join(fields) or "none"),
    ]
