"""A PAN and an MS image of the same ground, read together by window.

The output's grid is the PAN grid, cropped to the MS pixels that lie wholly on the PAN image: it is
`ratio` times the MS pixels high and wide, and the MS corner lies at most half a PAN pixel from its
corner. Values are those that the files mean, with scale and offset applied, in float32 (exact to
16,777,216): methods that divide or weigh bands must not depend on how a file stores them. What is
written has the MS file's scale and offset again (`Pair.encoded`).

An MS image that was resampled to the PAN grid before is brought back to `ratio` times coarser
pixels as it is read, so that every method meets the same kind of pair: a coarse pixel is the mean
of its central 2×2 fine pixels, or its central one where the ratio is odd. Interpolated values have
no finer detail to be lost by that, and a wider mean would blur them a second time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rasterio.crs import CRS

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.pansharp.pair.holes import calm
from bandweave.pansharp.pair.nesting import Nesting, common_area
from bandweave.pansharp.pair.placement import placement
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.open import PathLike, open_source
from bandweave.raster.source import BandInfo, WindowSource

Files = tuple[PathLike, PathLike | Sequence[PathLike]]  # PAN, and MS or one file a band


class Pair(PairSource):
    """A PAN and an MS source, and how their pixels lie to each other; nothing is read yet.

    pan, ms      sources; their values are taken as they come, scale and offset applied
    nesting      of the whole MS image on the whole PAN image, its ratio included
    resampled    the MS image has the PAN image's pixel size; `nesting` tells of its coarse pixels,
                 the first of which begins with its first pixel
    nodata       the value that stands for a hole in what is made of the pair; by default the MS
                 file's, else the PAN file's if the MS type holds it, else NaN for floats
    notes        what a user should know of the pair, sentences

    grid         of the output: size, transform, CRS
    names        of the MS bands
    scales, offsets   of the MS bands' stored values, or None
    scaled       values of PAN or of MS are not those that are stored
    pan_dtype, ms_dtype   as stored

    Raises GridMismatch where no MS pixel lies wholly on the PAN image.
    """

    def __init__(
        self,
        pan: WindowSource,
        ms: WindowSource,
        nesting: Nesting,
        *,
        resampled: bool = False,
        nodata: float | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.pan, self.ms, self.placed, self.resampled = pan, ms, nesting, resampled
        self.ratio, self.bands = nesting.ratio, ms.bands
        self.pan_dtype, self.ms_dtype = pan.dtype, ms.dtype
        self.scales, self.offsets = ms.info.scales, ms.info.offsets
        self.scaled = any((*_scaling(pan.info), *_scaling(ms.info)))
        self.wavelengths = ms.info.wavelengths
        names = ms.info.names or ("",) * ms.bands
        self.names = tuple(name or f"band {i}" for i, name in enumerate(names, 1))
        self.nodata = _nodata(pan, ms) if nodata is None else nodata
        step = self.ratio if resampled else 1
        fine = pan.grid.height, pan.grid.width
        coarse = ms.grid.height // step, ms.grid.width // step
        area = common_area(nesting, fine, coarse)
        if area is None:
            raise GridMismatch(
                f"no MS pixel lies wholly on the PAN image: PAN is {pan.grid}, MS {ms.grid}, its "
                f"upper left corner {nesting.row:g} PAN pixels down and {nesting.col:g} to the "
                "right of PAN's; check that the two files show the same place"
            )
        self._pan_crop, self._ms_crop, self.nesting = area
        self.grid = _cropped(pan.grid, self._pan_crop)
        self._given_notes = tuple(notes)
        self.notes = [*notes, *_cropping(area.pan, fine, area.ms, coarse, self.ratio)]

    @property
    def ms_shape(self) -> tuple[int, int]:
        """Rows and columns of the MS pixels: 1/ratio of the grid's."""
        return self._ms_crop.height, self._ms_crop.width

    def moved(self, row: float, col: float) -> Pair:
        """The pair with its MS image moved down and right by PAN pixels.

        The output's grid stays PAN's, and may lose pixels at the border. Raises GridMismatch where
        nothing in common is left.
        """
        return Pair(
            self.pan,
            self.ms,
            self.placed.moved(row, col),
            resampled=self.resampled,
            nodata=self.nodata,
            notes=self._given_notes,
        )

    def loaded(self) -> Pair:
        """The pair with the pixels of both images in memory, as float32."""
        pan, ms = (
            ArraySource(
                source.read_nan(source.grid.window),
                source.grid,
                info=replace(source.info, scales=None, offsets=None),
            )
            for source in (self.pan, self.ms)
        )
        return Pair(
            pan,
            ms,
            self.placed,
            resampled=self.resampled,
            nodata=self.nodata,
            notes=self._given_notes,
        )

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """Values (C, H, W) of the bands as the MS file stores them: without scale and offset."""
        if self.scales is None and self.offsets is None:
            return values
        scales = np.asarray(self.scales or np.ones(self.bands), np.float64)
        offsets = np.asarray(self.offsets or np.zeros(self.bands), np.float64)
        return (values - offsets[:, None, None]) / scales[:, None, None]

    def read(self, window: Window, margin: int = 0) -> PairWindow:
        """A window on `grid` with `margin` PAN pixels around it.

        Raises ValueError for a window of which nothing lies on the grid.
        """
        r = self.ratio
        outer = Window(
            window.row - margin,
            window.col - margin,
            window.height + 2 * margin,
            window.width + 2 * margin,
        )
        top, left = outer.row // r, outer.col // r
        bottom, right = -(-(outer.row + outer.height) // r), -(-(outer.col + outer.width) // r)
        slots = Window(top, left, bottom - top, right - left)
        size = self.grid.height, self.grid.width
        pan, pan_valid = calm(self._read_pan, outer, size, margin)
        ms, ms_valid = calm(self._read_ms, slots, self.ms_shape, -(-margin // r))
        nesting = self.nesting.cropped((outer.row, outer.col), (top, left))
        return PairWindow(window, margin, nesting, pan[0], ms, pan_valid, ms_valid)

    def raw(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """PAN (1, H, W) and MS (C, h, w) of a window of whole MS pixels, NaN in every hole."""
        r = self.ratio
        slots = Window(window.row // r, window.col // r, window.height // r, window.width // r)
        return self._read_pan(window), self._read_ms(slots)

    def _read_pan(self, window: Window) -> np.ndarray:
        crop = self._pan_crop
        return self.pan.read_nan(
            window._replace(row=window.row + crop.row, col=window.col + crop.col)
        )

    def _read_ms(self, window: Window) -> np.ndarray:
        crop = self._ms_crop
        there = window._replace(row=window.row + crop.row, col=window.col + crop.col)
        if not self.resampled:
            return self.ms.read_nan(there)
        r, (h, w) = self.ratio, window[2:]
        middle = slice((r - 1) // 2, r // 2 + 1)
        blocks = self.ms.read_nan(there.finer(r)).reshape(self.bands, h, r, w, r)
        return np.ascontiguousarray(blocks[:, :, middle, :, middle].mean(axis=(2, 4)))


def open_pair(
    pan: PathLike,
    ms: PathLike | Sequence[PathLike],
    *,
    ratio: int | None = None,
    crs: CRS | str | int | None = None,
    nodata: float | None = None,
    pan_key: str | None = None,
    ms_key: str | None = None,
    ms_bands: Sequence[int] | None = None,
    axis: int | None = None,
) -> Pair:
    """Open a PAN file and an MS file, or one MS file a band in the order given; read nothing yet.

    Any file that a scene's layer may be. Where one file holds several arrays, `FILE:KEY` names one
    as well as `pan_key` or `ms_key` do.

    ratio      PAN pixels an MS pixel is wide; the transforms, or the sizes where there are none,
               tell it unless MS already has PAN's pixel size
    crs        assigned where a file has none; never a warp
    nodata     the value of a hole in both files, instead of the one they state
    ms_bands   numbers from 1, in the order wanted; None is all
    axis       which axis of a 3-D MS array counts its bands (0, 1 or 2), where that is not clear

    Raises FileError for a file that is missing, damaged or no PAN image; GridMismatch where the two
    do not fit, with what to do; ConfigError for an impossible option.
    """
    pan_path, pan_key = split_key(pan, pan_key)
    pan_source = open_source(pan_path, key=pan_key, crs=crs, nodata=nodata, control_points=True)
    if pan_source.bands != 1:
        raise FileError(
            f"{os.fspath(pan)} has {pan_source.bands} bands and a PAN image one; are the two files "
            "swapped? PAN comes first"
        )
    ms_source = _ms_source(ms, ms_key, ms_bands, crs, nodata, axis, control_points=True)
    _check_control_points(pan_source, ms_source)
    nesting, resampled, notes = placement(pan_source.grid, ms_source.grid, ratio)
    _check_vouched(pan_source, ms_source, ratio)
    if ms_source.grid.georeferenced and not pan_source.grid.georeferenced:
        pan_source.grid = _like(pan_source.grid, ms_source.grid, 1 if resampled else nesting.ratio)
    notes = (*notes, *_told("PAN", pan_source), *_told("MS", ms_source))
    return Pair(pan_source, ms_source, nesting, resampled=resampled, notes=notes)


def open_ms(
    ms: PathLike | Sequence[PathLike],
    ratio: int,
    *,
    crs: CRS | str | int | None = None,
    nodata: float | None = None,
    ms_bands: Sequence[int] | None = None,
    axis: int | None = None,
) -> Pair:
    """Open an MS file, or one a band, as a pair whose PAN image is `ratio` times finer and blank.

    What takes no look at PAN can be done to it as to any pair. Raises FileError for a file that is
    missing or damaged.
    """
    source = _ms_source(ms, None, ms_bands, crs, nodata, axis)
    grid = source.grid
    finer = grid.finer(ratio)
    if not grid.georeferenced:
        finer = Grid(finer.height, finer.width, PIXELS, grid.crs)
    return Pair(_Blank(finer), source, Nesting(ratio), notes=_told("MS", source))


class _Blank(WindowSource):
    """An image of one band that is 0 and valid everywhere."""

    bands, dtype, info = 1, np.dtype(np.uint8), BandInfo()

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def read_inside(self, window: Window) -> np.ndarray:
        return np.zeros((1, window.height, window.width), np.float32)


def _ms_source(
    ms: PathLike | Sequence[PathLike],
    key: str | None,
    bands: Sequence[int] | None,
    crs: CRS | str | int | None,
    nodata: float | None,
    axis: int | None,
    control_points: bool = False,
) -> WindowSource:
    """One MS file, or one a band."""
    paths: PathLike | list[PathLike]
    several = not isinstance(ms, str | os.PathLike)
    if several and len(ms) != 1:  # type: ignore[arg-type]
        if key is not None:
            raise ConfigError("`ms_key` is for one MS file; leave it out, or give FILE:KEY")
        paths = [os.fspath(path) for path in ms]  # type: ignore[union-attr]
        if not paths:
            raise ConfigError("`ms` is an empty list; give the MS file, or one file a band")
    else:
        paths, key = split_key(ms[0] if several else ms, key)  # type: ignore[index, arg-type]
    return open_source(
        paths,
        key=key,
        bands=bands,
        crs=crs,
        nodata=nodata,
        axis=axis,
        control_points=control_points,
    )


def _check_control_points(pan: WindowSource, ms: WindowSource) -> None:
    """Raise GridMismatch where control points place one of the two."""
    if bool(pan.control) == bool(ms.control):
        return
    name, control = ("PAN", pan.control) if pan.control else ("MS", ms.control)
    raise GridMismatch(
        f"{name} has no transform but {control}, so its place on the other file is not known: PAN "
        f"is {pan.grid}, MS {ms.grid}; write {name} to a grid first (gdalwarp)"
    )


def _check_vouched(pan: WindowSource, ms: WindowSource, ratio: int | None) -> None:
    """Raise GridMismatch where control points place both, unless the user states the ratio."""
    if pan.control and ms.control and ratio is None:
        raise GridMismatch(
            f"PAN has {pan.control} and MS {ms.control} instead of a transform, and they are not "
            "compared: if both begin at the same corner of ground, state `ratio`; else write both "
            "to a grid first (gdalwarp)"
        )


def _told(what: str, source: WindowSource) -> tuple[str, ...]:
    """What was decided on opening a source, as notes on PAN or MS."""
    return tuple(f"{what}: {note}" for note in source.notes)


def split_key(path: PathLike, key: str | None) -> tuple[PathLike, str | None]:
    """FILE and KEY of 'FILE:KEY' where that is no file and FILE is one."""
    name, colon, inner = os.fspath(path).rpartition(":")
    if key is None and colon and inner and not os.path.exists(path) and os.path.isfile(name):
        return name, inner
    return path, key


def _like(pan: Grid, ms: Grid, ratio: int) -> Grid:
    """The PAN grid with the place of an MS grid that begins at the same corner."""
    finer = ms.finer(ratio)
    return Grid(pan.height, pan.width, finer.transform, pan.crs or ms.crs)


def _scaling(info: BandInfo) -> tuple[bool, bool]:
    """Whether stored values have a scale, and an offset."""
    return info.scales is not None, info.offsets is not None


def _nodata(pan: WindowSource, ms: WindowSource) -> float | None:
    """The value of a hole in the output: the first stated one that the MS type holds.

    None where integers have none: holes are masked.
    """
    for value in (*ms.nodata, *pan.nodata):
        if value is not None and _fits(value, ms.dtype):
            return value
    return float("nan") if ms.dtype.kind == "f" else None


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isnan(value) or np.isfinite(dtype.type(value)))
    if dtype.kind not in "iu" or not float(value).is_integer():
        return False
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _cropped(grid: Grid, crop: Window) -> Grid:
    if grid.georeferenced:
        return grid.crop(crop)
    return Grid(crop.height, crop.width, PIXELS, grid.crs)


def _cropping(
    pan: Window, fine: tuple[int, int], ms: Window, coarse: tuple[int, int], ratio: int
) -> list[str]:
    """A sentence where the common area is not all of both images."""
    if pan[2:] == fine and ms[2:] == coarse:
        return []
    return [
        f"the two images differ in extent: {pan.height}×{pan.width} of PAN's "
        f"{fine[0]}×{fine[1]} pixels and {ms.height}×{ms.width} of MS's {coarse[0]}×{coarse[1]} "
        f"are of the area that both cover (from PAN row {pan.row}, column {pan.col}; "
        f"{ratio}×{ratio} PAN pixels an MS pixel)"
    ]
