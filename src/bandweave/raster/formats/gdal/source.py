"""Sources that GDAL reads: GeoTIFF, ENVI, JPEG 2000, VRT and its other formats of one file."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.env import ensure_env
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from bandweave.errors import FileError, GridMismatch
from bandweave.raster.bands import ranges, read_band_info
from bandweave.raster.formats.gdal import envi
from bandweave.raster.formats.gdal.drivers import OFFLINE, RASTERS, choose_drivers
from bandweave.raster.formats.gdal.elsewhere import (
    explain_failure,
    is_address,
    name_for_gdal,
    options_for,
)
from bandweave.raster.formats.gdal.tiff_claims import MANY, check_bands
from bandweave.raster.formats.handles import get_handle, read_stamp
from bandweave.raster.formats.slabs import read_from_rows
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.source import BandInfo, WindowSource, decode
from bandweave.raster.writing.outputs import CACHE_BYTES
from bandweave.schema import join_words

log = logging.getLogger(__name__)

# What rasterio raises of a damaged file: GDAL's errors, text that is no UTF-8, numbers too large.
_FAILURES = (RasterioError, CPLE_BaseError, OSError, UnicodeDecodeError, OverflowError, ValueError)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FARTHEST = 1e15  # a corner or pixel size beyond this is no place on Earth in any unit
_INNER = re.compile(r"^\w{2,}:(?!//)")  # a subdataset, as GDAL names it: NETCDF:"/a.nc":x
GEOLOCATION = "geolocation arrays"
_MOST_BANDS = 20_000  # of a file that is opened; GDAL needs minutes for more


class GdalSource(WindowSource):
    """One raster file, read by window; opened anew in every thread and process.

    An alpha band is no layer band: it says which pixels are valid. A band that is declared alpha
    and holds more than 0 and one other value (four-band files of careless writers) is a band like
    the others, and so is one that `chosen` names. Bands that an ENVI header calls bad are left out
    unless `chosen` names them.

    path     a file, a name inside an archive (/vsizip/…), or an address (https://, s3://, gs://)
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
        self._stamp = read_stamp(path)
        self._name = path
        on_disk = not (path.startswith("/vsi") or is_address(path))
        header = envi.find_header(Path(path)) if on_disk else None
        if header is not None:
            path = str(envi.prepare_for_gdal(Path(path), header, read_stamp(str(header))))
        self.path = _choose_subdataset(path, self._stamp, key)
        notes: list[str] = []
        with _convert_failures(self._name):
            dataset = self._get_dataset()
            self._header = _read_envi(dataset, self._name, header)
            self._read_facts(dataset, chosen, nodata, notes)
        self.notes = tuple(notes)

    def _read_facts(
        self,
        dataset: DatasetReader,
        chosen: Sequence[int] | None,
        nodata: float | None,
        notes: list[str],
    ) -> None:
        """Read all that the file says of its pixels; decisions on the way go to `notes`."""
        self._alpha = _find_alpha(dataset, notes) if chosen is None else None
        if chosen is None:
            self._indexes = [i for i in dataset.indexes if i != self._alpha]
            self._indexes = _drop_bad_bands(dataset, self._header, self._indexes, notes)
        else:
            self._indexes = [i + 1 for i in chosen]
            if not all(1 <= i <= dataset.count for i in self._indexes):
                raise FileError(
                    f"{self._name} has {dataset.count} bands, not {max(self._indexes)}; "
                    "they count from 1"
                )
        flags = dataset.mask_flag_enums[self._indexes[0] - 1]
        self._masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        self.bands = len(self._indexes)
        dtypes, holes = dataset.dtypes, dataset.nodatavals  # each access asks GDAL for all bands
        self.dtype = np.result_type(*{dtypes[i - 1] for i in self._indexes})
        if self.dtype.kind == "c":
            raise FileError(
                f"{self._name} holds complex numbers; write their amplitude to a file first"
            )
        transform = _read_transform(dataset, self._name)
        self.grid = Grid(dataset.height, dataset.width, transform, dataset.crs)
        self.control = "" if self.grid.georeferenced else _find_control_points(dataset, notes)
        info = _check_scales(read_band_info(dataset, self._indexes), self._indexes, notes)
        info = _apply_reflectance(info, self._header, self.bands, notes)
        if chosen is not None or self.bands < dataset.count - (self._alpha is not None):
            info = replace(info, numbers=tuple(self._indexes))
        self.info = info
        self.nodata = (
            tuple(holes[i - 1] for i in self._indexes) if nodata is None else (nodata,) * self.bands
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the file, from 1, of the bands that are read."""
        return tuple(self._indexes)

    def _get_dataset(self) -> DatasetReader:
        return get_handle(self.path, self._stamp, open_dataset)

    def complete(self, info: BandInfo, nodata: Sequence[float | None]) -> None:
        """Take facts from elsewhere that the file does not state itself.

        info, nodata  of all bands of the file
        """
        own, picked = self.info, [number - 1 for number in self._indexes]
        per_band: dict[str, Any] = {
            name: tuple(values[band] for band in picked)
            for name in ("wavelengths", "scales", "offsets")
            if (values := getattr(info, name)) is not None
        }
        if own.scales is not None or own.offsets is not None:
            per_band = {"wavelengths": per_band["wavelengths"]} if "wavelengths" in per_band else {}
        if own.wavelengths is not None:
            per_band.pop("wavelengths", None)
        self.info = replace(own, units=own.units or info.units, **per_band)
        taken = [name[:-1] for name in per_band]
        if all(hole is None for hole in self.nodata) and any(hole is not None for hole in nodata):
            self.nodata = tuple(nodata[band] for band in picked)
            taken.append("nodata")
        if taken:
            self.notes = (*self.notes, f"its {join_words(taken, 'and')} as the STAC item says")

    def read_inside(self, window: Window) -> np.ndarray:
        return self._read(self._get_dataset(), window)

    def _read(self, dataset: DatasetReader | WarpedVRT, window: Window) -> np.ndarray:
        """Read pixels of the file, or of the file warped, whose last band is then its mask."""
        part = RasterioWindow(window.col, window.row, window.width, window.height)
        mask = None
        away = is_address(self._name)
        try:
            with rasterio.Env(**options_for(self._name)) if away else contextlib.nullcontext():
                raw = self._read_raw(dataset, window)
                if isinstance(dataset, WarpedVRT):
                    mask = dataset.read(dataset.count, window=part)
                elif self._alpha is not None:
                    mask = dataset.read(self._alpha, window=part)
                elif self._masked:
                    mask = dataset.read_masks(self._indexes[0], window=part)
        except (*_FAILURES, MemoryError) as error:
            _forget_error(dataset)
            if away:
                raise explain_failure(self._name, error.__cause__ or error) from error
            raise FileError(
                f"{self._name} cannot be read at rows {window.row} to "
                f"{window.row + window.height}: the file is truncated or damaged "
                f"({error.__cause__ or error})"
            ) from error
        values = decode(raw, self.nodata, self.info.scales, self.info.offsets)
        if mask is not None:
            values[:, mask == 0] = np.nan
        return values

    def _read_raw(self, dataset: DatasetReader | WarpedVRT, window: Window) -> np.ndarray:
        """Read pixels as stored, by whole rows where strips do not fit in GDAL's cache."""

        def read(wanted: Window) -> np.ndarray:
            part = RasterioWindow(wanted.col, wanted.row, wanted.width, wanted.height)
            return dataset.read(self._indexes, window=part)

        step, across = dataset.block_shapes[0]
        row_bytes = self.bands * dataset.width * self.dtype.itemsize
        if (
            isinstance(dataset, WarpedVRT)
            or dataset.compression is None
            or across < dataset.width
            or max(step, window.height) * row_bytes <= CACHE_BYTES // 2
        ):
            return read(window)
        name = (self.path, self._stamp, tuple(self._indexes))
        return read_from_rows(name, window, dataset.shape, row_bytes, step, read)

    def rectify(self, resampling: str, crs: CRS | None = None) -> RectifiedSource:
        """Bring the pixels onto a north-up grid, by the file's ground control points or RPCs.

        crs  of ground control points that state none
        """
        return RectifiedSource(self, resampling, crs)


class RectifiedSource(WindowSource):
    """An image without a transform, brought by GDAL onto a north-up grid of its own resolution.

    source      one with `control`
    resampling  'nearest', 'bilinear', 'cubic', 'lanczos', 'average' or 'mode'
    crs         of ground control points that state none

    Raises GridMismatch where the control points have no CRS, or are too few to place the image.
    """

    def __init__(self, source: GdalSource, resampling: str, crs: CRS | None = None) -> None:
        self.source, self.resampling, self._crs = source, resampling, crs
        self.bands, self.dtype, self.info = source.bands, source.dtype, source.info
        self.nodata = source.nodata
        image = self._get_dataset()
        if not image.crs:
            raise GridMismatch(f"its {source.control} have no CRS; state it with `crs:`")
        if image.transform == Affine.identity():
            raise GridMismatch(
                f"its {source.control} cannot place it; write it to a grid first (gdalwarp)"
            )
        if not all(map(math.isfinite, tuple(image.transform)[:6])):
            raise GridMismatch(f"its {source.control} are not all finite numbers")
        self.grid = Grid(image.height, image.width, image.transform, image.crs)

    def _get_dataset(self) -> WarpedVRT:
        key = hash((self.source._stamp, self.resampling, str(self._crs)))
        return get_handle(self.source.path, key, self._open)

    def _open(self, path: str) -> WarpedVRT:
        dataset = open_dataset(path)
        points, own_crs = dataset.gcps
        hole = self.nodata[0] if self.nodata else None
        if hole is None and self.dtype.kind == "f":
            hole = math.nan
        try:
            with rasterio.Env(**OFFLINE):
                return WarpedVRT(
                    dataset,
                    src_crs=(own_crs or self._crs) if points else "EPSG:4326",  # RPCs: degrees
                    src_nodata=hole,
                    resampling=Resampling[self.resampling],
                    add_alpha=True,
                    dtype="float64",
                )
        except _FAILURES as error:
            raise GridMismatch(
                f"its {self.source.control} cannot place it: {' '.join(str(error).split())}"
            ) from error

    def read_inside(self, window: Window) -> np.ndarray:
        return self.source._read(self._get_dataset(), window)


def grid_of(dataset: DatasetReader) -> Grid:
    """The grid of an opened raster."""
    return Grid(dataset.height, dataset.width, dataset.transform, dataset.crs)


@ensure_env
def open_dataset(path: str) -> DatasetReader:
    """Open a raster; FileError for what rasterio cannot open, and for what may not be opened."""
    if is_address(path):
        return _open_address(path)
    drivers = choose_drivers(path) if not _INNER.match(path) else list(RASTERS)
    if os.path.isfile(path):
        check_bands(Path(path))
    with _convert_failures(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = DatasetReader(path, driver=drivers)  # `rasterio.open` takes one driver alone
        _forget_error(dataset)  # of a private tag, say: the file was opened all the same
    _refuse_false_size(dataset, path)
    return dataset


def _open_address(address: str) -> DatasetReader:
    """Open a raster at an address: soon told of where it fails, patient where it is read later."""
    name, drivers = name_for_gdal(address), choose_drivers(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            for patient in (False, True):
                with rasterio.Env(**options_for(address, patient=patient)):
                    dataset = DatasetReader(name, driver=drivers)
                    _forget_error(dataset)
                if not patient:
                    dataset.close()
        except _FAILURES as error:
            raise explain_failure(address, error) from error
    return dataset


@contextlib.contextmanager
def _convert_failures(path: str) -> Iterator[None]:
    """Convert what GDAL raises into a FileError that names the file; its remarks are not told."""
    away = is_address(path)
    try:
        with rasterio.Env(**(options_for(path) if away else OFFLINE)):  # else GDAL prints remarks
            yield
    except _FAILURES as error:
        if away:
            raise explain_failure(path, error.__cause__ or error) from error
        text = " ".join(str(error).split())[:300]
        raise FileError(f"{path} cannot be opened as a raster: {text}") from error


def _forget_error(dataset: DatasetReader | WarpedVRT) -> None:
    """Clear GDAL's last error, which rasterio would report again at an innocent later call."""
    with contextlib.suppress(CPLE_BaseError):
        _ = dataset.colorinterp


def _refuse_other_kinds(path: str) -> None:
    if Path(path).suffix.lower() not in (".tif", ".tiff") or not Path(path).is_file():
        return
    with open(path, "rb") as file:
        head = file.read(32)
    if not head.startswith(_TIFF):
        what = f"it begins with {head[:20]!r}" if head else "it is empty"
        raise FileError(f"{path} is not a TIFF, whatever its name says: {what}")


def _refuse_false_size(dataset: DatasetReader, path: str) -> None:
    """Damage in a header can claim bands that GDAL describes for minutes, or that are not there."""
    if dataset.count > _MOST_BANDS:
        count = dataset.count
        dataset.close()
        raise FileError(
            f"{path} claims {count} bands, more than the {_MOST_BANDS} that are opened; it is "
            "damaged, or no image"
        )
    if dataset.driver != "GTiff" or dataset.count <= MANY or not os.path.isfile(path):
        return
    start, length = (
        int(dataset.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", 1) or 0)
        for what in ("OFFSET", "SIZE")
    )
    size = os.path.getsize(path)
    if start + length > size:
        count = dataset.count
        dataset.close()
        raise FileError(
            f"{path} claims {count} bands whose first pixels alone end at byte {start + length}, "
            f"and it has {size} bytes; it is truncated or damaged"
        )


# ------------------------------------------------------------------------- what the file says


def _read_envi(dataset: DatasetReader, name: str, header: Path | None) -> dict[str, str]:
    """Read the ENVI header of a dataset whose size fits it; nothing of other formats."""
    if dataset.driver != "ENVI" or header is None:
        return {}
    facts = envi.read_header(header)
    envi.check_size(Path(name), header, facts)
    return facts


def _drop_bad_bands(
    dataset: DatasetReader, header: dict[str, str], indexes: list[int], notes: list[str]
) -> list[int]:
    """Drop the bands that `bbl`, ENVI's list of good (1) and bad (0) bands, marks as bad."""
    tags = {key.lower(): value for key, value in dataset.tags().items()}
    stated = (
        header.get("bbl")
        or dataset.tags(ns="ENVI").get("bbl")
        or tags.get("bbl")
        or tags.get("good_wavelengths")  # of NetCDF files, by the same 1 and 0
    )
    if not stated:
        return indexes
    marks = envi.parse_numbers(re.sub(r"[\s;{}()\[\]]+", ",", stated))
    if marks is None or len(marks) != dataset.count:
        notes.append(
            f"its list of bad bands (bbl) has {len(marks or ())} marks for {dataset.count} bands "
            "and is ignored"
        )
        return indexes
    good = [i for i in indexes if marks[i - 1] != 0]
    bad = [i for i in indexes if marks[i - 1] == 0]
    if not good:
        notes.append("its list of bad bands (bbl) names all of them and is ignored")
        return indexes
    if bad:
        notes.append(
            f"{len(bad)} of {len(indexes)} bands left out as the header marks them bad (bbl): "
            f"{ranges(bad)}; `bands:` overrules it"
        )
    return good


def _check_scales(info: BandInfo, indexes: Sequence[int], notes: list[str]) -> BandInfo:
    """Leave out scales and offsets that no value can have: 0, NaN, infinite."""

    def usable(values: tuple[float, ...], what: str, other: float) -> tuple[float, ...]:
        bad = [i for i, value in zip(indexes, values, strict=True) if not _is_possible(value, what)]
        if bad:
            notes.append(
                f"the {what} of band {ranges(bad)} is 0 or not finite and is ignored; state "
                f"`{what}:` if one is known"
            )
        return tuple(value if _is_possible(value, what) else other for value in values)

    scales = usable(info.scales, "scale", 1.0) if info.scales else None
    offsets = usable(info.offsets, "offset", 0.0) if info.offsets else None
    return replace(info, scales=scales, offsets=offsets)


def _is_possible(value: float, what: str) -> bool:
    return math.isfinite(value) and (what != "scale" or value != 0)


def _apply_reflectance(
    info: BandInfo, header: dict[str, str], bands: int, notes: list[str]
) -> BandInfo:
    """Add ENVI's `reflectance scale factor`, by which values are divided."""
    factor = (envi.parse_numbers(header.get("reflectance scale factor", "")) or [1.0])[0]
    if factor == 1.0:
        return info
    if not math.isfinite(factor) or factor <= 0:
        notes.append(f"an impossible reflectance scale factor ({factor:g}) is ignored")
        return info
    if info.scales:
        notes.append(
            f"its values have gains of their own; its reflectance scale factor ({factor:g}) is "
            "ignored"
        )
        return info
    notes.append(f"values divided by {factor:g}, the header's reflectance scale factor")
    return replace(info, scales=(1 / factor,) * bands, factor=factor)


def _find_control_points(dataset: DatasetReader, notes: list[str]) -> str:
    """Find what places an image without a transform, in words; '' where nothing does."""
    points, _ = dataset.gcps
    height, width = dataset.height, dataset.width
    if any(not (-1 <= p.row <= height + 1 and -1 <= p.col <= width + 1) for p in points):
        notes.append(
            f"its {len(points)} ground control points lie outside its {height}×{width} px, so they "
            "are of a larger image and are ignored"
        )
    elif 0 < len(points) < 3:
        points_are = "point is" if len(points) == 1 else "points are"
        notes.append(
            f"its {len(points)} ground control {points_are} too few to place it (3 at least) and "
            "ignored: it counts as a file without a place, on the rows and columns of the grid"
        )
    elif points:
        return f"{len(points)} ground control points"
    if dataset.rpcs is not None:
        return "rational polynomial coefficients (RPCs)"
    return GEOLOCATION if dataset.tags(ns="GEOLOCATION") else ""


def _choose_subdataset(path: str, when: int, key: str | None) -> str:
    dataset = get_handle(path, when, open_dataset)
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


def _find_alpha(dataset: DatasetReader, notes: list[str]) -> int | None:
    """Find the number of the band that is really alpha, judged by samples; None if none is."""
    meanings = dataset.colorinterp
    declared = [i for i in dataset.indexes if meanings[i - 1] == ColorInterp.alpha]
    if not declared or dataset.count == 1:
        return None
    band = declared[-1]
    found: set[float] = set()
    for part in _sample_windows(Grid(dataset.height, dataset.width, PIXELS)):
        window = RasterioWindow(part.col, part.row, part.width, part.height)
        found.update(np.unique(dataset.read(band, window=window)).tolist())
    if len(found - {0}) > 1 or not found <= {
        0,
        1,
        255,
        65535,
        _largest_value(dataset.dtypes[band - 1]),
    }:
        notes.append(f"band {band} is declared alpha and holds more than a mask; kept as a band")
        return None
    return band


def _largest_value(dtype: str) -> float:
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else 1.0


def _sample_windows(grid: Grid, size: int = 64) -> Iterator[Window]:
    """List nine windows: in the corners, at the middles of the borders, and in the middle."""
    for row in (0, 0.5, 1):
        for col in (0, 0.5, 1):
            top = int(row * max(grid.height - size, 0))
            left = int(col * max(grid.width - size, 0))
            yield Window(top, left, min(size, grid.height), min(size, grid.width))


def _read_transform(dataset: DatasetReader, name: str) -> Affine:
    transform = dataset.transform
    if transform in (Affine.identity(), PIXELS):
        return PIXELS
    numbers = tuple(transform)[:6]
    possible = all(math.isfinite(value) and abs(value) < _FARTHEST for value in numbers)
    if not possible or transform.determinant == 0:
        raise FileError(f"{name} has an impossible transform: {numbers}")
    return transform
