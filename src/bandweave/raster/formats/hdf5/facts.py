"""Facts that HDF5 files state on an array, by the conventions of NetCDF (CF) and known products."""

from __future__ import annotations

import math
import re
from typing import Any

import h5py
import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from bandweave.raster.formats.stored import OpenArray

_PRISMA = re.compile(r"/HDFEOS/SWATHS/PRS_L\w+/Data Fields/(VNIR|SWIR)_Cube$")
_MOST_PIXELS = 10_000_000  # along an axis
_METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "km": 1000.0}


def read_facts(opened: OpenArray, dataset: Any, file: Any) -> None:
    """Fill in holes, scale, units, axes and place of an array, as far as its file states them."""
    _read_values(opened, dataset)
    if opened.reversed or dataset.ndim < 2:
        return
    if _read_lookup_table(opened, dataset, file) or _read_prisma(opened, dataset, file):
        return
    _read_coordinates(opened, dataset, file)


def _read_values(opened: OpenArray, dataset: Any) -> None:
    attributes = dataset.attrs
    holes = [
        _to_number(attributes[name])
        for name in ("_FillValue", "missing_value", "Data_Ignore_Value")
        if name in attributes
    ]
    plist = dataset.id.get_create_plist()
    if not holes and plist.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        fill = _to_number(dataset.fillvalue)
        holes = [fill] if fill else []  # a 0 may be meant or not
    opened.nodata = holes[0] if holes else None
    for other in {hole for hole in holes[1:] if hole != opened.nodata}:
        opened.notes.append(f"its values {other:g} are holes too, which `nodata:` may state")
    scale = _read_factor(opened, attributes, "scale_factor", 1.0)
    if "Data_Ignore_Value" in attributes and "Scale_Factor" in attributes:  # NEON divides by it
        scale = 1 / _read_factor(opened, attributes, "Scale_Factor", 1.0)
    opened.scale, opened.offset = scale, _read_factor(opened, attributes, "add_offset", 0.0)
    opened.units = _to_text(attributes.get("units")) or None


def _read_factor(opened: OpenArray, attributes: Any, name: str, default: float) -> float:
    """A number by which values are scaled; the default, with a note, where it is of no use."""
    if name not in attributes:
        return default
    value = _to_number(attributes[name])
    if value is None or not math.isfinite(value) or (value == 0 and default == 1):
        opened.notes.append(f"its {name} of {attributes[name]} is ignored")
        return default
    return value


def _read_prisma(opened: OpenArray, dataset: Any, file: Any) -> bool:
    """PRISMA: lines, bands and samples; bands without a wavelength hold nothing."""
    match = _PRISMA.search(dataset.name)
    if match is None or dataset.ndim != 3:
        return False
    opened.axis = 1
    listed = np.asarray(file.attrs.get(f"List_Cw_{match[1].capitalize()}", ()))
    if listed.dtype.kind == "f" and listed.size == dataset.shape[1]:
        opened.wavelengths = tuple(float(value) for value in listed.ravel())
        opened.good = tuple(value > 0 for value in opened.wavelengths)
    return True


def _read_lookup_table(opened: OpenArray, dataset: Any, file: Any) -> bool:
    """EMIT: lines, samples and bands of a swath, with a table that puts them on a grid."""
    table = [_find_dataset(file, f"location/{name}") for name in ("glt_x", "glt_y")]
    transform = np.asarray(file.attrs.get("geotransform", ())).ravel()
    if (
        None in table
        or len(transform) != 6
        or (
            dataset.parent.name == "/location"
            and (dataset.name.rpartition("/")[2].startswith("glt"))
        )
    ):
        return False
    swath = _find_dataset(file, "location/lat")
    if swath is not None and swath.shape != dataset.shape[:2]:
        return False
    if table[0].ndim != 2 or table[0].shape != table[1].shape or dataset.ndim not in (2, 3):
        return False
    opened.axis = 2
    opened.table = table[0], table[1]
    opened.transform = Affine.from_gdal(*(float(value) for value in transform))
    opened.crs = _parse_crs(_to_text(file.attrs.get("spatial_ref")))
    _read_emit_bands(opened, dataset, file)
    opened.notes.append("placed on a grid by its geographic lookup table (GLT)")
    return True


def _read_emit_bands(opened: OpenArray, dataset: Any, file: Any) -> None:
    if dataset.ndim != 3:
        return
    lists = [
        _find_dataset(file, f"sensor_band_parameters/{name}")
        for name in ("wavelengths", "good_wavelengths")
    ]
    values = [
        None if one is None or one.shape != dataset.shape[2:] else np.asarray(one[()], float)
        for one in lists
    ]
    if values[0] is not None:
        opened.wavelengths = tuple(values[0].tolist())
        if values[1] is not None and values[1].any():
            opened.good = tuple(bool(mark) for mark in values[1] != 0)


def _read_coordinates(opened: OpenArray, dataset: Any, file: Any) -> None:
    """CF: which axes are rows and columns by their coordinates, and the grid of regular ones."""
    axes: dict[str, int] = {}
    scales: dict[str, Any] = {}
    for axis, dimension in enumerate(dataset.dims):
        scale = dimension[0] if len(dimension) else None
        kind = _find_direction(scale)
        if kind and kind not in axes:
            axes[kind], scales[kind] = axis, scale
    if axes.keys() != {"x", "y"}:
        return
    opened.place = axes["y"], axes["x"]
    others = [
        axis for axis in range(dataset.ndim) if axis not in opened.place and dataset.shape[axis] > 1
    ]
    if dataset.ndim == 3:
        opened.axis = 3 - sum(opened.place)
    elif len(others) == 1:
        opened.axis = others[0]
    x, y = (_read_steps(scales[kind], dataset.shape[axes[kind]]) for kind in "xy")
    if x is None or y is None:
        opened.notes.append("its coordinates are no regular grid, so it has no place")
        return
    (dx, left), (dy, top) = x, y
    width, height = dataset.shape[axes["x"]], dataset.shape[axes["y"]]
    opened.flips = dy > 0, dx < 0
    if dy > 0:
        top, dy = top + dy * (height - 1), -dy
    if dx < 0:
        left, dx = left + dx * (width - 1), -dx
    opened.transform = Affine(dx, 0, left - dx / 2, 0, dy, top - dy / 2)
    opened.crs = _read_grid_mapping(dataset, file)
    if opened.crs is None:
        if _to_text(scales["x"].attrs.get("units")).startswith("degree"):
            opened.crs = CRS.from_epsg(4326)
        elif "grid_mapping" in dataset.attrs:
            opened.notes.append("its grid mapping names no CRS that is understood; add `crs:`")


def _find_direction(scale: Any) -> str | None:
    if scale is None:
        return None
    standard = _to_text(scale.attrs.get("standard_name")).lower()
    letter = _to_text(scale.attrs.get("axis")).lower()
    name = scale.name.rpartition("/")[2].lower()
    for kind, words in (
        ("x", ("projection_x_coordinate", "longitude", "x", "lon", "easting")),
        ("y", ("projection_y_coordinate", "latitude", "y", "lat", "northing")),
    ):
        if letter == kind or standard in words or name in words:
            return kind
    return None


def _read_steps(scale: Any, size: int) -> tuple[float, float] | None:
    """Step and first value of regular coordinates, in metres or degrees; None for others."""
    if scale.shape != (size,) or not 2 <= size <= _MOST_PIXELS or scale.dtype.kind not in "iuf":
        return None
    values = np.asarray(scale[()], np.float64)
    values *= _METRES.get(_to_text(scale.attrs.get("units")).lower(), 1.0)
    steps = np.diff(values)
    mean = (values[-1] - values[0]) / (size - 1)
    if not np.isfinite(values).all() or mean == 0 or np.abs(steps - mean).max() > abs(mean) * 0.01:
        return None
    return float(mean), float(values[0])


def _read_grid_mapping(dataset: Any, file: Any) -> CRS | None:
    name = _to_text(dataset.attrs.get("grid_mapping")).partition(":")[0].strip()
    for group in (dataset.parent, file):
        variable = _find_dataset(group, name) if name else None
        if variable is not None:
            for attribute in ("crs_wkt", "spatial_ref", "epsg_code"):
                crs = _parse_crs(_to_text(variable.attrs.get(attribute)))
                if crs is not None:
                    return crs
            if _to_text(variable.attrs.get("grid_mapping_name")) == "latitude_longitude":
                return CRS.from_epsg(4326)
    return None


def get_own(group: Any, name: str) -> Any:
    """Get what a group holds under a name; None for a link, which may lead to another file."""
    return group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None


def _find_dataset(group: Any, path: str) -> Any:
    """A dataset of this very file by its path; None where there is none, or a link to another."""
    item = group
    for name in path.split("/"):
        item = get_own(item, name) if isinstance(item, h5py.Group) else None
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        return None
    return item


def _parse_crs(text: str) -> CRS | None:
    try:
        return CRS.from_user_input(text) if text else None
    except (CRSError, ValueError):
        return None


def _to_number(value: Any) -> float | None:
    try:
        return float(np.asarray(value).ravel()[0])
    except (ValueError, TypeError, IndexError):
        return None


def _to_text(value: Any) -> str:
    value = np.asarray(value).ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else ""
