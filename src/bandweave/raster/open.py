"""Opening any file of pixels as a `Source`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rasterio.crs import CRS
from rasterio.errors import CRSError

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.raster.alignment import Same, relation, same_crs, short_crs
from bandweave.raster.bands import rename_bands
from bandweave.raster.formats.arrays import StackedSource
from bandweave.raster.grid import Grid
from bandweave.raster.reader import RasterReader, Request
from bandweave.raster.readers import recognise
from bandweave.raster.source import WindowSource

PathLike = str | os.PathLike[str]


def open_source(
    path: PathLike | Sequence[PathLike],
    *,
    key: str | Sequence[str] | None = None,
    bands: Sequence[int] | None = None,
    crs: CRS | str | int | None = None,
    nodata: float | None = None,
    axis: int | None = None,
    shape: tuple[int, int] | None = None,
    control_points: bool = False,
) -> WindowSource:
    """Open a layer's file, or one file a band in the given order, by what the files contain.

    `readers.READERS` holds the formats.

    key             which array of a file that holds several, by its path in the file (`hsi.Data`,
                    `group/cube`) or a path's end; several are bands of one layer, in that order
    bands           band numbers from 1, as GDAL and QGIS count them, in the order wanted; None is
                    all
    crs             assigned where the file has none; never a warp
    nodata          the value of a hole, instead of the one the file states
    axis            which axis of a 3-D array counts bands (0, 1 or 2); by default what the file
                    says, the one that leaves `shape` or a whole multiple of it, or the shortest if
                    that is the first or the last; what could be another one has to be stated
    shape           rows and columns of the reference grid, if known
    control_points  an image that only ground control points or RPCs place may be opened; its
                    `rectify` puts it on a grid

    A file without a transform gets the stand-in `grid.PIXELS`, north-up and one unit a pixel.

    Raises FileError for a file that is missing, damaged, of another kind than its name says, lacks
    the key or a band, or differs in size from the others of its layer; GridMismatch for a file that
    has another CRS than `crs`, or that only control points place; ConfigError for impossible
    options.
    """
    if axis is not None and axis not in (-1, 0, 1, 2):
        raise ConfigError(f"`axis` is {axis}; a 3-D array has axes 0, 1 and 2 (or -1, the last)")
    if bands is not None and (len(bands) == 0 or min(bands) < 1):
        raise ConfigError(f"`bands` is {list(bands)}; give band numbers from 1")
    paths = [path] if isinstance(path, str | os.PathLike) else path
    files = [os.fspath(one) for one in paths]
    if not files:
        raise ConfigError("a layer needs a `path`; the list is empty")
    keys = [] if key is None else [key] if isinstance(key, str) else list(key)
    if (key is not None and not keys) or len(keys) > 1 < len(files):
        raise ConfigError(
            f"`key` names {len(keys)} arrays; give at least one, and several only of one file"
        )
    chosen = None if bands is None else [band - 1 for band in bands]
    request = Request(keys[0] if keys else None, chosen, nodata, axis, shape)
    if len(files) > 1:
        source = _open_files(files, request)
    elif len(keys) > 1:
        source = _open_keys(files[0], keys, request)
    else:
        source = _open_one(files[0], request)
    if source.control and not control_points:
        raise GridMismatch(
            f"{files[0]} has no transform but {source.control}: its rows and columns are no grid "
            "on the ground. Write it to one first (gdalwarp); a layer of a scene can have "
            "`warp: bilinear` instead"
        )
    source.grid = assign_crs(source.grid, crs, files[0])
    return source


def assign_crs(grid: Grid, crs: CRS | str | int | None, name: str) -> Grid:
    """Give a grid without a CRS this one; GridMismatch where it has another."""
    if crs is None:
        return grid
    try:
        wanted = CRS.from_user_input(crs)
    except (CRSError, ValueError) as error:  # rasterio lets int('nine') through
        raise ConfigError(f"`crs` is {crs!r}, which names no CRS: {error}") from error
    if grid.crs is None:
        return Grid(grid.height, grid.width, grid.transform, wanted)
    if not same_crs(grid.crs, wanted):
        raise GridMismatch(
            f"{name} is in {short_crs(grid.crs)} and `crs` says {short_crs(wanted)}; `crs` is for "
            "files without one and never warps: leave it out, or add `warp: bilinear`"
        )
    return grid


def _open_one(path: str, request: Request) -> WindowSource:
    reader = recognise(path, RasterReader)
    try:
        return reader.open(path, request)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_keys(path: str, keys: Sequence[str], request: Request) -> WindowSource:
    """Open arrays of one file as the bands of one layer, as a sensor's two cubes are."""
    sources = [_open_one(path, replace(request, key=key, bands=None)) for key in keys]
    _check_alike(sources, keys, "arrays", f"{path}: ")
    return request.pick_bands(StackedSource(sources), path)


def _open_files(paths: list[str], request: Request) -> WindowSource:
    """Open files of one band each as the bands of one layer."""
    if request.bands is not None:
        if max(request.bands) >= len(paths):
            raise FileError(
                f"the layer has {len(paths)} files, one a band, not {max(request.bands) + 1}"
            )
        paths = [paths[i] for i in request.bands]
    sources = [_open_one(path, replace(request, bands=None)) for path in paths]
    for path, source in zip(paths, sources, strict=True):
        if source.bands != 1:
            raise FileError(
                f"{path} has {source.bands} bands; in a list of files each holds one band"
            )
    _check_alike(sources, paths, "files")
    names = tuple(
        source.info.names[0] if source.info.names and source.info.names[0] else short
        for short, source in zip(_shorten_names(paths), sources, strict=True)
    )
    stacked = StackedSource(sources)
    stacked.info = rename_bands(stacked.info, names)
    return stacked


def _check_alike(
    sources: Sequence[WindowSource], names: Sequence[str], noun: str, where: str = ""
) -> None:
    """Raise FileError where one of several sources has another size or place than the first."""
    for name, source in zip(names, sources, strict=True):
        if not isinstance(relation(source.grid, sources[0].grid), Same):
            raise FileError(
                f"{where}{name} is {source.grid}, {names[0]} is {sources[0].grid}; {noun} of one "
                "layer share size and place: make layers of them"
            )


def _shorten_names(paths: list[str]) -> list[str]:
    """Shorten file names by what they share: B1, B2, … for LC08_…_B1.TIF, LC08_…_B2.TIF, …."""
    stems = [Path(path).stem for path in paths]
    shared = os.path.commonprefix(stems)  # noqa: RUF071  stems are names, not paths
    start = max(shared.rfind(separator) for separator in "_-. ") + 1
    return [stem[start:] or stem for stem in stems]
