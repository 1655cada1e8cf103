"""Sources that GDAL reads: GeoTIFF, ENVI, JPEG 2000, VRT and all its other formats."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from bandweave.errors import FileError
from bandweave.raster.bands import band_info
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.handles import handle, stamp
from bandweave.raster.source import WindowSource, decode

log = logging.getLogger(__name__)

_FAILURES = (RasterioError, CPLE_BaseError, OSError)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")


class GdalSource(WindowSource):
    """One raster file, read by window; opened anew in every thread and process.

    An alpha band is no layer band: it says which pixels are valid. A fourth band that is declared
    alpha and holds values other than 0 and 255 (four-band files of careless writers) is a band like
    the others, and so is one that `chosen` names.

    path     a file, or a name that GDAL understands
    key      which of the file's subdatasets (netCDF, HDF5), by the end of its name
    chosen   band numbers from 0; None is all
    nodata   instead of what the file says
    """

    def __init__(
        self,
        path: str,
        *,
        key: str | None = None,
        chosen: Sequence[int] | None = None,
        nodata: float | None = None,
    ) -> None:
        _refuse_other_kinds(path)
        self._stamp = stamp(path)
        self.path = _subdataset(path, self._stamp, key)
        dataset = self._dataset()
        alpha = _alpha(dataset) if chosen is None else None
        if chosen is None:
            self._indexes = [i for i in dataset.indexes if i != alpha]
        else:
            self._indexes = [i + 1 for i in chosen]
            if not all(1 <= i <= dataset.count for i in self._indexes):
                raise FileError(
                    f"{path} has {dataset.count} bands, not {max(self._indexes)}; they count from 1"
                )
        flags = dataset.mask_flag_enums[self._indexes[0] - 1]
        self._masked = MaskFlags.per_dataset in flags and (
            alpha is not None or MaskFlags.alpha not in flags
        )
        self.bands = len(self._indexes)
        dtypes, holes = dataset.dtypes, dataset.nodatavals  # each access asks GDAL for all bands
        self.dtype = np.result_type(*{dtypes[i - 1] for i in self._indexes})
        if self.dtype.kind == "c":
            raise FileError(f"{path} holds complex numbers; write their amplitude to a file first")
        self.grid = Grid(dataset.height, dataset.width, _transform(dataset), dataset.crs)
        self.info = band_info(dataset, self._indexes)
        self.nodata = (
            tuple(holes[i - 1] for i in self._indexes) if nodata is None else (nodata,) * self.bands
        )
        if dataset.driver == "ENVI":
            _refuse_short_envi(dataset)

    def _dataset(self) -> DatasetReader:
        return handle(self.path, self._stamp, open_dataset)

    def _inside(self, window: Window) -> np.ndarray:
        part = RasterioWindow(window.col, window.row, window.width, window.height)
        dataset = self._dataset()
        try:
            raw = dataset.read(self._indexes, window=part)
            mask = dataset.read_masks(self._indexes[0], window=part) if self._masked else None
        except (*_FAILURES, MemoryError) as error:
            _forget_error(dataset)
            raise FileError(
                f"{self.path} cannot be read at rows {window.row} to {window.row + window.height}: "
                f"the file is truncated or damaged ({error.__cause__ or error})"
            ) from error
        values = decode(raw, self.nodata, self.info.scales, self.info.offsets)
        if mask is not None:
            values[:, mask == 0] = np.nan
        return values


def open_dataset(path: str) -> DatasetReader:
    """What rasterio opens; FileError for what it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except _FAILURES as error:
        raise FileError(f"{path} cannot be opened as a raster: {error}") from error


def _forget_error(dataset: DatasetReader) -> None:
    """Clear GDAL's last error, which rasterio would report again at an innocent later call."""
    with contextlib.suppress(CPLE_BaseError):
        _ = dataset.colorinterp


def envi_data(header: Path) -> Path:
    """The data file of an ENVI header."""
    with header.open("rb") as file:
        if not file.read(4).startswith(b"ENVI"):
            raise FileError(f"{header} is no ENVI header: its first line is not 'ENVI'")
    stem = header.with_suffix("")
    for extension in _ENVI_DATA:
        for candidate in (Path(f"{stem}{extension}"), Path(f"{stem}{extension.upper()}")):
            if candidate.is_file():
                return candidate
    raise FileError(
        f"{header} has no data file beside it; one of "
        f"{', '.join(stem.name + extension for extension in _ENVI_DATA)} is expected"
    )


def _refuse_other_kinds(path: str) -> None:
    if Path(path).suffix.lower() not in (".tif", ".tiff") or not Path(path).is_file():
        return
    with open(path, "rb") as file:
        head = file.read(32)
    if not head.startswith(_TIFF):
        what = f"it begins with {head[:20]!r}" if head else "it is empty"
        raise FileError(f"{path} is not a TIFF, whatever its name says: {what}")


def _refuse_short_envi(dataset: DatasetReader) -> None:
    """GDAL reads zeros beyond the end of an ENVI file; that must not pass for data."""
    header = dataset.tags(ns="ENVI")
    data = Path(dataset.name)
    if header.get("file_compression", "0").strip() not in ("", "0") or not data.is_file():
        return
    width = np.dtype(dataset.dtypes[0]).itemsize
    expected = dataset.width * dataset.height * dataset.count * width
    expected += int(header.get("header_offset", "0") or 0)
    found = data.stat().st_size
    if found < expected:
        raise FileError(
            f"{data} is truncated: its header asks for {expected} bytes "
            f"({dataset.count} bands of {dataset.height}×{dataset.width}), it has {found}"
        )


def _subdataset(path: str, when: int, key: str | None) -> str:
    dataset = handle(path, when, open_dataset)
    if key is None and dataset.count:
        return path
    inner = dataset.subdatasets
    if key is None:
        raise FileError(f"{path} has no bands of its own; choose with `key`: {', '.join(inner)}")
    found = [name for name in inner if name.endswith(key)]
    if len(found) != 1:
        raise FileError(
            f"{path} has no key {key!r}"
            + (f"; it has {', '.join(inner)}" if inner else "; a file of this kind needs none")
        )
    return found[0]


def _alpha(dataset: DatasetReader) -> int | None:
    """The number of the band that is really alpha, judged by samples; None if none is."""
    meanings = dataset.colorinterp
    declared = [i for i in dataset.indexes if meanings[i - 1] == ColorInterp.alpha]
    if not declared or dataset.count == 1:
        return None
    band, size = declared[-1], 64
    for row in (0, 0.5, 1):
        for col in (0, 0.5, 1):
            top = int(row * max(dataset.height - size, 0))
            left = int(col * max(dataset.width - size, 0))
            try:
                sample = dataset.read(
                    band,
                    window=RasterioWindow(left, top, size, size).intersection(
                        RasterioWindow(0, 0, dataset.width, dataset.height)
                    ),
                )
            except _FAILURES as error:
                _forget_error(dataset)
                raise FileError(f"{dataset.name} is truncated or damaged: {error}") from error
            opaque = np.iinfo(sample.dtype).max if sample.dtype.kind in "iu" else 1
            if not np.isin(sample, (0, opaque)).all():
                log.info("%s: band %d is declared alpha and is none; kept", dataset.name, band)
                return None
    return band


def _transform(dataset: DatasetReader) -> Affine:
    transform = dataset.transform
    if transform in (Affine.identity(), PIXELS):
        return PIXELS
    if not all(math.isfinite(value) for value in transform) or transform.determinant == 0:
        raise FileError(f"{dataset.name} has an impossible transform: {tuple(transform)[:6]}")
    return transform
