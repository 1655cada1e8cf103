"""Opening any file of pixels as a `Source`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from rasterio.crs import CRS
from rasterio.errors import CRSError

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.local_files import check_input_file
from bandweave.raster import bands as band_facts
from bandweave.raster.alignment import Same, relation, same_crs
from bandweave.raster.derived import BandSubset
from bandweave.raster.formats import envi
from bandweave.raster.formats.array_files import is_array_file
from bandweave.raster.formats.arrays import StackedSource, StoredArraySource
from bandweave.raster.formats.drivers import check_address
from bandweave.raster.formats.gdal import GdalSource
from bandweave.raster.grid import Grid
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
    wavelengths: Sequence[float] | None = None,
    units: str | None = None,
    control_points: bool = False,
) -> WindowSource:
    """Open a layer's file, or one file a band in the given order, by what the files contain.

    GeoTIFF, ENVI (header or data file) and other formats of GDAL; MATLAB v5 and v7.3; HDF5 and
    NetCDF-4; NumPy.

    key          which array of a file that holds several, by its path in the file (`hsi.Data`,
                 `group/cube`) or a path's end; several are bands of one layer, one behind the other
    bands        band numbers from 1, as GDAL and QGIS count them, in the order wanted; None is all
    crs          assigned where the file has none; never a warp
    nodata       the value of a hole, instead of the one the file states
    axis         which axis of a 3-D array counts bands (0, 1 or 2); by default what the file says,
                 the one that leaves `shape` or a whole multiple of it, or the shortest if that is
                 the first or the last; what could be another one has to be stated
    shape        rows and columns of the reference grid, if known
    wavelengths  in nanometres, one a band, instead of what the file states
    units        of the values, instead of what the file states
    control_points  an image that only ground control points or RPCs place may be opened; its
                 `rectified` puts it on a grid

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
    several = not isinstance(path, str | os.PathLike)
    paths = [os.fspath(one) for one in path] if several else [os.fspath(path)]  # type: ignore[union-attr, arg-type]
    if not paths:
        raise ConfigError("a layer needs a `path`; the list is empty")
    chosen = None if bands is None else [band - 1 for band in bands]
    keys = [key] if key is None or isinstance(key, str) else list(key)
    if len(paths) == 1 and len(keys) > 1:
        source = _open_keys(paths[0], keys, chosen, nodata, axis, shape)
    elif len(keys) != 1:
        raise ConfigError(
            f"`key` names {len(keys)} arrays; give at least one, and several only of one file"
        )
    elif len(paths) == 1:
        source = _open_one(paths[0], keys[0], chosen, nodata, axis, shape)
    else:
        source = _open_stack(paths, keys[0], chosen, nodata, axis, shape)
    if source.control and not control_points:
        raise GridMismatch(
            f"{paths[0]} has no transform but {source.control}: its rows and columns are no grid "
            "on the ground. Write it to one first (gdalwarp); a layer of a scene can have "
            "`warp: bilinear` instead"
        )
    source.grid = assign_crs(source.grid, crs, paths[0])
    source.info = band_facts.override(source.info, source.bands, wavelengths, units)
    return source


def assign_crs(grid: Grid, crs: CRS | str | int | None, name: str) -> Grid:
    """The grid with `crs` where it has none; GridMismatch where it has another."""
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


def short_crs(crs: CRS | None) -> str:
    """'EPSG:32617' where the CRS has a code, else its name; 'no CRS' for None."""
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt().split('"')[1]


def _open_one(
    path: str,
    key: str | None,
    chosen: list[int] | None,
    nodata: float | None,
    axis: int | None,
    shape: tuple[int, int] | None,
) -> WindowSource:
    local = Path(path)
    check_address(path)
    if path.startswith("/vsi"):
        return GdalSource(path, key=key, chosen=chosen, nodata=nodata)
    try:
        check_input_file(path)
    except FileError as error:
        raise FileError(f"{error}{_similar(local)}") from None
    try:
        if is_array_file(local):
            return StoredArraySource(
                local, key, axis=axis, shape=shape, chosen=chosen, nodata=nodata
            )
        if local.suffix.lower() == ".hdr":
            path = os.fspath(envi.find_data(local))
        return GdalSource(path, key=key, chosen=chosen, nodata=nodata)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_keys(
    path: str,
    keys: Sequence[str | None],
    chosen: list[int] | None,
    nodata: float | None,
    axis: int | None,
    shape: tuple[int, int] | None,
) -> WindowSource:
    """Arrays of one file as the bands of one layer, as a sensor's two cubes are."""
    sources = [_open_one(path, key, None, nodata, axis, shape) for key in keys]
    for key, source in zip(keys, sources, strict=True):
        if not isinstance(relation(source.grid, sources[0].grid), Same):
            raise FileError(
                f"{path}: {key} is {source.grid}, {keys[0]} is {sources[0].grid}; arrays of one "
                "layer share size and place: make layers of them"
            )
    stacked: WindowSource = StackedSource(sources)
    stacked.notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))
    if chosen is None:
        return stacked
    if not all(0 <= band < stacked.bands for band in chosen):
        raise FileError(f"{path} has {stacked.bands} bands, not {max(chosen) + 1}")
    picked = BandSubset(stacked, chosen)
    picked.notes = stacked.notes
    return picked


def _open_stack(
    paths: list[str],
    key: str | None,
    chosen: list[int] | None,
    nodata: float | None,
    axis: int | None,
    shape: tuple[int, int] | None,
) -> WindowSource:
    if chosen is not None:
        if max(chosen) >= len(paths):
            raise FileError(f"the layer has {len(paths)} files, one a band, not {max(chosen) + 1}")
        paths = [paths[i] for i in chosen]
    sources = [_open_one(path, key, None, nodata, axis, shape) for path in paths]
    for path, source in zip(paths, sources, strict=True):
        if source.bands != 1:
            raise FileError(
                f"{path} has {source.bands} bands; in a list of files each holds one band"
            )
        if not isinstance(relation(source.grid, sources[0].grid), Same):
            raise FileError(
                f"{path} is {source.grid}, {paths[0]} is {sources[0].grid}; "
                "files of one layer share size and place: make layers of them"
            )
    names = tuple(
        source.info.names[0] if source.info.names and source.info.names[0] else short
        for short, source in zip(_own_parts(paths), sources, strict=True)
    )
    stacked = StackedSource(sources)
    stacked.control = next((source.control for source in sources if source.control), "")
    stacked.notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))
    stacked.info = band_facts.named(stacked.info, names)
    return stacked


def _own_parts(paths: list[str]) -> list[str]:
    """File names without what they share: B1, B2, … for LC08_…_B1.TIF, LC08_…_B2.TIF, …."""
    stems = [Path(path).stem for path in paths]
    shared = os.path.commonprefix(stems)  # noqa: RUF071  stems are names, not paths
    start = max(shared.rfind(separator) for separator in "_-. ") + 1
    return [stem[start:] or stem for stem in stems]


def _similar(path: Path) -> str:
    """What may have been meant by the name of a file that is not there."""
    if os.path.lexists(path) or len(path.name) > 255:
        return ""
    if not path.parent.is_dir():
        return f"; nor does its folder {path.parent}"
    near = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()], 1)
    return f"; did you mean {near[0]}?" if near else ""
