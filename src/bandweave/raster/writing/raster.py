"""Rasters written by window, and cloud-optimised at the end.

Windows go into a flat file by the system's own calls, which fail loudly: GDAL, when a disk is full,
drops cached blocks without a word. The conversion at the end is checked by reading it back.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from bandweave.errors import OutputError
from bandweave.raster.grid import Grid, Window
from bandweave.raster.writing.described import BandFacts
from bandweave.raster.writing.outputs import OutputSet, cannot_write, size

Overviews = Literal["nearest", "mode", "average"]
_FAILURES = (RasterioError, CPLE_BaseError, OSError)
GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
    "int64": "Int64",
    "uint64": "UInt64",
}
_UNFIT = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # for XML 1.0
_ROWS = 512  # of a mask, compared at a time


@dataclass(frozen=True)
class RasterForm:
    """The form of a raster file: all that it holds beside pixels and their place.

    bands      number of bands
    dtype      of the stored values
    nodata     the value of a hole; None for none
    colors     by value (0 to 65535), '#rrggbb'; for one band of uint8 or uint16
    overviews  how reduced copies are made: 'mode' or 'nearest' for classes, 'average' for amounts
    names      of the bands
    facts      of the bands, more than their names
    tags       metadata of the file
    masked     `write` is told which pixels are valid; where any is not, the file has a mask
    """

    bands: int = 1
    dtype: str | np.dtype = "uint8"
    nodata: float | None = None
    colors: Mapping[int, str] | None = None
    overviews: Overviews = "nearest"
    names: Sequence[str] = ()
    facts: Sequence[BandFacts] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    masked: bool = False


class MapWriter:
    """A raster written by window, which becomes a cloud-optimised GeoTIFF when all is written.

    Alone it is a context; with `outputs` it appears together with the others of the set. Windows
    may come in any order and reach outside the grid; what is never written is nodata, or 0.

    target   the file to be
    grid     its size, transform and CRS
    form     bands, type and all else that the file shall state
    outputs  the set that it is one of; None for a file alone

    Raises OutputError where the file cannot be written whole, a full disk included.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        grid: Grid,
        form: RasterForm = RasterForm(),
        *,
        outputs: OutputSet | None = None,
    ) -> None:
        self.target, self.grid, self.bands = Path(target), grid, form.bands
        self.dtype = np.dtype(form.dtype)
        self._form, self._colors, self._holes = form, dict(form.colors or {}), False
        names = form.names or [""] * form.bands
        self._facts = list(form.facts or (BandFacts(name) for name in names))
        self._alone = outputs is None
        self._outputs = outputs or OutputSet()
        if self.dtype.name not in GDAL_TYPES:
            raise ValueError(f"rasters of {self.dtype} are not written; {', '.join(GDAL_TYPES)}")
        if self._colors and (self.bands != 1 or self.dtype not in (np.uint8, np.uint16)):
            raise ValueError(
                f"{self.bands} bands of {self.dtype} take no colours, one of uint8 does"
            )
        self._file: BinaryIO | None = None
        self._finished = self._outputs.path(target)
        self._raw = self._finished.with_name(self._finished.name + ".raw")
        self._outputs.register(self)
        try:
            self._allocate()
        except BaseException:
            if self._alone:
                self._outputs.abandon()
            raise

    def _allocate(self) -> None:
        """Fill the flat file (bands, H, W) with nodata, so that a disk too small shows at once."""
        row = np.full(self.grid.width, self._form.nodata or 0, self.dtype).tobytes()
        rows = self.grid.height * self.bands
        needed = len(row) * rows + self._form.masked * self.grid.height * self.grid.width
        free = shutil.disk_usage(self._finished.parent).free
        if free < needed:
            raise OutputError(
                f"{self.target} needs {size(needed)} while it is written and the disk has "
                f"{size(free)} free; free some, or write to another disk"
            )
        some = max(2**22 // len(row), 1)
        try:
            self._file = self._raw.open("w+b", buffering=0)
            for first in range(0, rows, some):
                self._write_bytes(row * min(some, rows - first), first * len(row))
        except _FAILURES as error:
            raise cannot_write(self.target, error) from error

    def _write_bytes(self, data: bytes, start: int) -> None:
        assert self._file is not None
        view = memoryview(data)
        self._file.seek(start)
        while view:
            view = view[self._file.write(view) :]

    def write(self, window: Window, values: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Write values (bands, h, w), or (h, w) for one band; what lies outside is dropped.

        valid   (h, w) bool, for a masked file: the pixels that are no holes

        Raises OutputError where the disk is full, ValueError where the dtype cannot hold a value.
        """
        values = np.asarray(values)
        values = values[None] if values.ndim == 2 else values
        if values.shape != (self.bands, window.height, window.width):
            raise ValueError(f"values of shape {values.shape} for {self.bands} bands of {window}")
        inside = window.clip(self.grid.height, self.grid.width)
        if inside is None:
            return
        rows, cols = inside.slices((window.row, window.col))
        stored = _convert(values[:, rows, cols], self.dtype)
        item = self.dtype.itemsize
        try:
            for band in range(self.bands):
                first = band * self.grid.height + inside.row
                for offset, line in enumerate(stored[band]):
                    start = ((first + offset) * self.grid.width + inside.col) * item
                    self._write_bytes(np.ascontiguousarray(line).tobytes(), start)
            if self._form.masked and valid is not None:
                self._write_mask(inside, valid[rows, cols])
        except _FAILURES as error:
            raise cannot_write(self.target, error) from error

    def map_values(self) -> np.ndarray:
        """All that was written, (bands, H, W), mapped from the disk: what is changed is written."""
        assert self._file is not None
        shape = (self.bands, self.grid.height, self.grid.width)
        return np.memmap(self._raw, self.dtype, "r+", shape=shape)

    @property
    def scratch(self) -> Path:
        """A file that may be made beside the unfinished one, and is removed with it."""
        return self._raw.with_name(self._raw.name + ".scratch")

    def _write_mask(self, window: Window, valid: np.ndarray) -> None:
        """The mask begins with the first hole: 255 everywhere but in holes."""
        if valid.all():
            return
        begin, width = self._mask_start, self.grid.width
        if not self._holes:
            self._holes = True
            for row in range(self.grid.height):
                self._write_bytes(b"\xff" * width, begin + row * width)
        for offset, line in enumerate(np.where(valid, 255, 0).astype(np.uint8)):
            self._write_bytes(line.tobytes(), begin + (window.row + offset) * width + window.col)

    @property
    def _mask_start(self) -> int:
        """Bytes of the flat file before its mask."""
        return self.bands * self.grid.height * self.grid.width * self.dtype.itemsize

    def finish(self) -> None:
        """Convert to a cloud-optimised GeoTIFF and read it back; nothing the second time.

        `OutputSet` calls it; who writes many files may do so before, when each is complete, so
        that neither all files are open nor all flat copies on the disk at once.
        """
        if self._file is None:
            return
        described = self._raw.with_name(self._raw.name + ".vrt")
        try:
            os.fsync(self._file.fileno())  # a network disk may tell only now that it is full
            self._close()
            described.write_text(self._describe(), encoding="utf-8")
            rasterio.shutil.copy(
                described,
                self._finished,
                driver="COG",
                compress="DEFLATE",
                predictor="NO" if self._colors else "YES",
                overview_resampling=self._form.overviews.upper(),
                blocksize=512 if self.bands <= 8 else 256,
                bigtiff="IF_SAFER",
                num_threads="ALL_CPUS",
            )
            _compare(described, self._finished, self._holes)
            self._raw.unlink()
        except _FAILURES as error:
            raise cannot_write(self.target, error) from error

    def discard(self) -> None:
        """Close the file, whatever state it is in; `OutputSet` calls it and removes the rest."""
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _describe(self) -> str:
        """The flat file as GDAL reads it, with all that shall stand in the result."""
        height, width, item = self.grid.height, self.grid.width, self.dtype.itemsize
        lines = [f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">']
        if self.grid.crs is not None:
            lines.append(f"<SRS>{escape(self.grid.crs.to_wkt())}</SRS>")
        if self.grid.georeferenced:
            numbers = ", ".join(repr(float(value)) for value in self.grid.transform.to_gdal())
            lines.append(f"<GeoTransform>{numbers}</GeoTransform>")
        lines += _metadata(self._form.tags)
        for band, facts in enumerate(self._facts):
            lines.append(
                f'<VRTRasterBand dataType="{GDAL_TYPES[self.dtype.name]}" band="{band + 1}" '
                'subClass="VRTRawRasterBand">'
            )
            lines += _metadata(facts.tags)
            if facts.name:
                lines.append(f"<Description>{_text(facts.name)}</Description>")
            if facts.unit:
                lines.append(f"<UnitType>{_text(facts.unit)}</UnitType>")
            if (facts.scale, facts.offset) != (1, 0):
                lines.append(f"<Offset>{facts.offset!r}</Offset><Scale>{facts.scale!r}</Scale>")
            if self._form.nodata is not None:
                lines.append(f"<NoDataValue>{_number(self._form.nodata)}</NoDataValue>")
            if self._colors:
                lines += ["<ColorInterp>Palette</ColorInterp>", "<ColorTable>"]
                for code in range(max(self._colors) + 1):
                    red, green, blue = rgb(self._colors.get(code, "#000000"))
                    lines.append(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="255"/>')
                lines.append("</ColorTable>")
            elif facts.color:
                lines.append(f"<ColorInterp>{facts.color}</ColorInterp>")
            lines += self._describe_pixels(band * height * width * item, item)
            lines.append("</VRTRasterBand>")
        if self._holes:
            lines.append('<MaskBand><VRTRasterBand dataType="Byte" subClass="VRTRawRasterBand">')
            lines += self._describe_pixels(self._mask_start, 1)
            lines.append("</VRTRasterBand></MaskBand>")
        lines.append("</VRTDataset>")
        return "\n".join(lines)

    def _describe_pixels(self, start: int, item: int) -> list[str]:
        """Describe where in the flat file pixels of `item` bytes lie."""
        return [
            f'<SourceFilename relativetoVRT="1">{escape(self._raw.name)}</SourceFilename>',
            f"<ImageOffset>{start}</ImageOffset>",
            f"<PixelOffset>{item}</PixelOffset>",
            f"<LineOffset>{self.grid.width * item}</LineOffset>",
            f"<ByteOrder>{'LSB' if sys.byteorder == 'little' else 'MSB'}</ByteOrder>",
        ]

    def __enter__(self) -> Self:
        if self._alone:
            self._outputs.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._alone:
            self._outputs.__exit__(kind, error, trace)


def _metadata(tags: Mapping[str, str]) -> list[str]:
    items = (f"<MDI key={quoteattr(_UNFIT.sub('', key))}>{_text(tags[key])}</MDI>" for key in tags)
    return ["<Metadata>", *items, "</Metadata>"]


def _text(value: str) -> str:
    """Text for XML, without the control characters that it cannot hold."""
    return escape(_UNFIT.sub("", value))


def _number(nodata: float) -> str:
    """A nodata value to its last digit; whole numbers of 64 bits are no float."""
    return str(nodata) if isinstance(nodata, int) else repr(float(nodata))


def _compare(raw: Path, finished: Path, masked: bool) -> None:
    """GDAL may lose the last blocks of a full disk without a word; so both files are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(raw) as one, rasterio.open(finished) as other:
            for band in one.indexes:
                if one.checksum(band) != other.checksum(band):
                    raise OSError("what is on the disk is not what was written")
            for row in range(0, one.height if masked else 0, _ROWS):
                part = RasterioWindow(0, row, one.width, min(_ROWS, one.height - row))
                if (one.read_masks(1, window=part) != other.read_masks(1, window=part)).any():
                    raise OSError("the mask on the disk is not what was written")


def _convert(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu" and values.dtype != dtype and values.size:
        limits = np.iinfo(dtype)
        low, high = values.min(), values.max()
        if not (limits.min <= low and high <= limits.max):  # catches NaN too
            raise ValueError(f"values from {low} to {high} do not fit {dtype}")
    return values.astype(dtype, copy=False)


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of '#rrggbb'.

    >>> rgb("#00cd00")
    (0, 205, 0)
    """
    digits = color.removeprefix("#")
    return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
