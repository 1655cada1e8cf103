"""Pictures of a page: colours for arrays, PNG or JPEG as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.raster.writing.raster import rgb

NO_DATA = (148, 148, 148)  # in photographs, where every colour may stand
THINNEST = 40  # a picture that is longer in proportion to its width is widened
PIXELATED = 320  # px: pictures that are smaller show their pixels when enlarged
PHOTOGRAPH = 300_000  # px from which on a photograph is a JPEG


@dataclass(frozen=True)
class Picture:
    """An image of the page, with what stands under it."""

    title: str
    caption: str
    uri: str
    width: int
    height: int
    widened: bool = False

    @property
    def crisp(self) -> bool:
        """It has so few pixels that they are shown as squares."""
        return max(self.width, self.height) <= PIXELATED


def picture(title: str, caption: str, rgba: np.ndarray, photograph: bool = False) -> Picture:
    """A picture from (h, w, 4) uint8; a large photograph becomes a JPEG.

    A scene of one row or column is widened, so that it can be seen.
    """
    from matplotlib.image import imsave

    height, width = rgba.shape[:2]
    times = max(max(height, width) // (THINNEST * min(height, width)), 1)
    if times > 1:
        rgba = rgba.repeat(times, axis=0 if height < width else 1)
    file = io.BytesIO()
    if photograph and rgba[..., 0].size >= PHOTOGRAPH:
        kind = "jpeg"
        imsave(file, rgba, format="jpg", pil_kwargs={"quality": 85})
    else:
        kind = "png"
        nothing: Any = {"Software": None}  # so that one picture is always the same bytes
        imsave(file, rgba, format="png", metadata=nothing)
    uri = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(title, caption, uri, rgba.shape[1], rgba.shape[0], times > 1)


def photograph(
    values: np.ndarray, ranges: Sequence[tuple[float, float]] | None = None
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Bands (1 or 3, h, w), NaN for none, stretched from their 2nd to their 98th percentile.

    ranges  two values of each band to stretch between instead, so that pictures can be compared

    Returns (h, w, 4) uint8 and the two values of each band. A band without contrast is mid-grey.
    """
    ranges = [_find_range(band) for band in values] if ranges is None else list(ranges)
    channels = []
    for band, (low, high) in zip(values, ranges, strict=True):
        if high > low:
            scaled = np.clip((band - low) / (high - low), 0, 1)
        else:
            scaled = np.full(band.shape, 0.5, np.float32)
        channels.append(np.round(255 * np.nan_to_num(scaled)).astype(np.uint8))
    rgba = np.full((*values.shape[1:], 4), 255, np.uint8)
    rgba[..., :3] = np.stack(channels * (3 // len(channels)), axis=-1)
    rgba[~np.isfinite(values).any(axis=0), :3] = NO_DATA
    return rgba, ranges


def _find_range(band: np.ndarray) -> tuple[float, float]:
    known = band[np.isfinite(band)]
    low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 0.0)
    return float(low), float(high)


def paint_indices(indices: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """(h, w, 4) uint8 of indices into '#rrggbb' colours; transparent where an index is negative."""
    table = np.zeros((len(colours) + 1, 4), np.uint8)  # the last, reached by -1, is transparent
    for index, colour in enumerate(colours):
        table[index] = (*rgb(colour), 255)
    return table[np.where(indices < 0, len(colours), indices)]
