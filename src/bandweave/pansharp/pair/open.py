"""From files to a pair that is read by window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import split_key
from bandweave.pansharp.options import PairOptions
from bandweave.pansharp.pair.files import list_ms_files
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.placement import place_images
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.open import PathLike, open_source
from bandweave.raster.source import BandInfo, WindowSource


def open_pair(
    pan: PathLike,
    ms: PathLike | Sequence[PathLike],
    options: PairOptions | None = None,
    **given: Any,
) -> Pair:
    """Open a PAN file and an MS file, or one MS file a band in the order given; read nothing yet.

    Any file that a scene's layer may be. Where one file holds several arrays, FILE:KEY names one.

    options  of `PairOptions`; single ones may be given by name

    Raises FileError for a file that is missing, damaged or no PAN image; GridMismatch where the two
    do not fit, with what to do; ConfigError for an impossible option.
    """
    asked = PairOptions.choose(options, given)
    path, key = split_key(pan)
    pan_source = open_source(path, key=key, crs=asked.crs, nodata=asked.nodata, control_points=True)
    if pan_source.bands != 1:
        raise FileError(
            f"{os.fspath(pan)} has {pan_source.bands} bands and a PAN image one; are the two files "
            "swapped? PAN comes first"
        )
    ms_source = _open_ms_source(ms, asked, control_points=True)
    nesting, resampled, notes = place_images(pan_source, ms_source, asked.ratio)
    return Pair(pan_source, ms_source, nesting, resampled=resampled, notes=notes)


def open_ms(
    ms: PathLike | Sequence[PathLike], ratio: int, options: PairOptions | None = None
) -> Pair:
    """Open an MS file, or one a band, as a pair whose PAN image is `ratio` times finer and blank.

    What takes no look at PAN can be done to it as to any pair. Raises FileError for a file that is
    missing or damaged.
    """
    source = _open_ms_source(ms, options or PairOptions())
    finer = source.grid.finer(ratio)
    if not source.grid.georeferenced:
        finer = Grid(finer.height, finer.width, PIXELS, source.grid.crs)
    notes = [f"MS: {note}" for note in source.notes]
    return Pair(_Blank(finer), source, Nesting(ratio), notes=notes)


class _Blank(WindowSource):
    """An image of one band that is 0 and valid everywhere."""

    bands, dtype, info = 1, np.dtype(np.uint8), BandInfo()

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def read_inside(self, window: Window) -> np.ndarray:
        return np.zeros((1, window.height, window.width), np.float32)


def _open_ms_source(
    ms: PathLike | Sequence[PathLike], options: PairOptions, *, control_points: bool = False
) -> WindowSource:
    """One MS file, or one a band."""
    files, key = list_ms_files(ms), None
    if not files:
        raise ConfigError("`ms` is an empty list; give the MS file, or one file a band")
    if len(files) == 1:
        files[0], key = split_key(files[0])
    return open_source(
        files[0] if len(files) == 1 else files,
        key=key,
        bands=options.bands,
        crs=options.crs,
        nodata=options.nodata,
        axis=options.axis,
        control_points=control_points,
    )
