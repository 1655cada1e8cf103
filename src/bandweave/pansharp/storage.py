"""How the values of a sharp image are stored: as the MS file stores its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandweave.pansharp.pair.pair import Pair


@dataclass(frozen=True)
class Storage:
    """How values are stored.

    dtype            one that GeoTIFF has
    nodata           the value of a hole; None where there is none, and holes are masked
    scales, offsets  of the bands: the value that is meant is scale · stored + offset
    """

    dtype: np.dtype
    nodata: float | None = None
    scales: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None

    @classmethod
    def of(cls, pair: Pair) -> Storage:
        """The MS file's. Its nodata is the first stated one, of MS or PAN, that the type holds."""
        dtype = pair.ms_dtype
        nodata = float("nan") if dtype.kind == "f" else None
        for value in (*pair.ms.nodata, *pair.pan.nodata):
            if value is not None and _fits(value, dtype):
                nodata = value
                break
        return cls(writable_type(dtype), nodata, pair.scales, pair.offsets)

    def encode(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Values (C, H, W) as they are stored: integers rounded and clipped, holes nodata.

        Where a valid pixel (H, W) would become nodata by chance it becomes the next number.

        >>> storage = Storage(np.dtype("uint8"), nodata=0)
        >>> storage.encode(np.array([[[-3.2, 0.4, 300]]]), np.ones((1, 3), bool))
        array([[[  1,   1, 255]]], dtype=uint8)
        """
        if self.scales is not None or self.offsets is not None:
            scales = np.asarray(self.scales or np.ones(len(values)), np.float64)
            offsets = np.asarray(self.offsets or np.zeros(len(values)), np.float64)
            values = (values - offsets[:, None, None]) / scales[:, None, None]
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            values = np.where(valid, values, 0)
            # the largest float32 below a limit that float32 does not hold
            high = np.nextafter(np.float32(limits.max), np.float32(0))
            high = np.float32(limits.max) if int(np.float32(limits.max)) <= limits.max else high
            stored = np.clip(np.rint(values), np.float32(limits.min), high).astype(self.dtype)
        else:
            stored = values.astype(self.dtype)
        nodata = self.nodata
        if nodata is not None and not np.isnan(nodata):
            clash = stored == self.dtype.type(nodata)
            if clash.any():
                stored[clash] = _next_number(self.dtype, nodata)
        stored[:, ~valid] = 0 if nodata is None else nodata
        return stored


def writable_type(dtype: np.dtype) -> np.dtype:
    """The type itself where GeoTIFF has it, else one that holds its values.

    >>> writable_type(np.dtype(">u2")), writable_type(np.dtype("f2")), writable_type(np.dtype("?"))
    (dtype('uint16'), dtype('float32'), dtype('uint8'))
    """
    if dtype.kind == "b":
        return np.dtype("uint8")
    return np.dtype("float32") if dtype == np.float16 else dtype.newbyteorder("=")


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isnan(value) or np.isfinite(dtype.type(value)))
    if dtype.kind not in "iu" or not float(value).is_integer():
        return False
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _next_number(dtype: np.dtype, value: float) -> np.generic:
    if dtype.kind in "iu":
        return dtype.type(int(value) + (1 if value < np.iinfo(dtype).max else -1))
    return np.nextafter(dtype.type(value), dtype.type(0 if value else 1))
