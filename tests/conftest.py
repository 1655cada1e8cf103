"""Tiny georeferenced files, made in the test that needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

UTM = "EPSG:32617"
CORNER = (500_000.0, 4_000_000.0)


def north_up(pixel: float = 1.0, left: float = CORNER[0], top: float = CORNER[1]) -> Affine:
    """A transform in metres."""
    return Affine(pixel, 0, left, 0, -pixel, top)


def _write_geotiff(
    path: Path,
    array: np.ndarray,
    transform: Affine | None = None,
    crs: str | None = UTM,
    nodata: float | None = None,
    names: list[str] | None = None,
    scales: list[float] | None = None,
    offsets: list[float] | None = None,
    **profile: Any,
) -> Path:
    array = array[None] if array.ndim == 2 else array
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"photometric": "MINISBLACK"} | profile
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=array.shape[1],
        width=array.shape[2],
        count=array.shape[0],
        dtype=array.dtype,
        transform=north_up() if transform is None else transform,
        crs=crs,
        nodata=nodata,
        **profile,
    ) as dataset:
        dataset.write(array)
        if names:
            dataset.descriptions = names
        if scales:
            dataset.scales = scales
        if offsets:
            dataset.offsets = offsets
    return path


def _write_envi(
    path: Path,
    array: np.ndarray,
    wavelengths: list[float] | None = None,
    unit: str = "Nanometers",
    interleave: str = "bsq",
    extra: str = "",
) -> Path:
    """Write `path` (the header) and its data file; array is (bands, H, W)."""
    codes = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    lines = [
        "ENVI",
        f"samples = {array.shape[2]}",
        f"lines = {array.shape[1]}",
        f"bands = {array.shape[0]}",
        "header offset = 0",
        "file type = ENVI Standard",
        f"data type = {codes[array.dtype.name]}",
        f"interleave = {interleave}",
        "byte order = 0",
    ]
    if wavelengths:
        lines += [f"wavelength units = {unit}", f"wavelength = {{{str(wavelengths)[1:-1]}}}"]
    path.write_text("\n".join([*lines, extra]) + "\n")
    array.transpose(order).astype(array.dtype.newbyteorder("<")).tofile(path.with_suffix(".img"))
    return path


def _write_mat73(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A MATLAB 7.3 file: HDF5 behind MATLAB's header, axes stored the other way round."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            stored = file.create_dataset(name, data=np.ascontiguousarray(array.T))
            stored.attrs["MATLAB_class"] = np.bytes_(array.dtype.name)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


@pytest.fixture
def write_geotiff(tmp_path: Path) -> Callable[..., Path]:
    """write_geotiff(name, array, transform, crs, nodata, …) -> path, in the test's folder."""
    return lambda name, *rest, **options: _write_geotiff(tmp_path / name, *rest, **options)


@pytest.fixture
def write_envi(tmp_path: Path) -> Callable[..., Path]:
    """write_envi(name.hdr, array, wavelengths, unit, interleave, extra) -> path of the header."""
    return lambda name, *rest, **options: _write_envi(tmp_path / name, *rest, **options)


@pytest.fixture
def write_mat73(tmp_path: Path) -> Callable[..., Path]:
    """write_mat73(name, {key: array}) -> path."""
    return lambda name, arrays: _write_mat73(tmp_path / name, arrays)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """real_data("houston2013") -> the folder of real data; skips where there is none."""

    def folder(name: str) -> Path:
        root = os.environ.get("BANDWEAVE_DATA")
        if not root:
            pytest.skip("BANDWEAVE_DATA names no folder of real data")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"the folder of real data has no {name}")
        return Path(root) / name

    return folder
