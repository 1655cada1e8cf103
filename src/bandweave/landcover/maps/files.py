"""Reading maps that stand on disk: whole by pieces, or reduced to the size of a picture."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from bandweave.data.scene import IGNORED
from bandweave.errors import FileError, SceneMismatch
from bandweave.landcover.report.reduced import find_step
from bandweave.raster.formats.gdal.source import grid_of, open_dataset
from bandweave.raster.grid import Grid

log = logging.getLogger(__name__)

ROWS = 512  # of a map, read at once

WRONG, RIGHT = 0, 1  # of a verdict; IGNORED where nothing is tested


def check_map(path: str | os.PathLike[str], grid: Grid) -> None:
    """Raise FileError where a map cannot be opened, SceneMismatch where it is of another grid."""
    with open_dataset(str(path)) as dataset:
        if dataset.shape != (grid.height, grid.width) or (
            grid.georeferenced and not dataset.transform.almost_equals(grid.transform, 1e-6)
        ):
            there = grid_of(dataset)
            raise SceneMismatch(
                f"{path} is {there} from {there.xy(0, 0)}, a map of this scene by this run is "
                f"{grid} from {grid.xy(0, 0)}; map the scene again, and all of it"
            )


def name_confidence(path: Path) -> Path:
    """Name the confidence that is written beside a map: of a mosaic in a folder, the mosaic's.

    >>> print(name_confidence(Path("map.tif")))
    map_confidence.tif
    """
    if path.suffix == ".vrt":
        return path.with_name("confidence") / path.name.replace("map", "confidence", 1)
    return path.with_name(f"{path.stem}_confidence{path.suffix}")


def is_older(confidence: Path, map_: Path) -> bool:
    """Whether it was written before the map it should belong to; seconds apart are a copy's."""
    return confidence.stat().st_mtime < map_.stat().st_mtime - 5


def find_confidence(path: Path) -> Path | None:
    """Find the confidence beside a map; one that is older is of another map, and warned of."""
    beside = name_confidence(path)
    if not beside.exists():
        return None
    if path.exists() and is_older(beside, path):
        log.warning("%s is older than the map, so it is of another one and left out", beside)
        return None
    return beside


def read_map(path: str | os.PathLike[str], codes: Sequence[int], longest: int) -> np.ndarray:
    """A map as class indices (h, w) int16, IGNORED without data, from its overviews if it is large.

    codes  of the classes, in their order
    """
    values, nodata = _reduced(path, longest, Resampling.nearest)
    return _indices(values, codes, nodata)


def read_confidence(path: str | os.PathLike[str], longest: int) -> np.ndarray:
    """A confidence raster (h, w) float32, NaN without data, from its overviews if it is large."""
    values, nodata = _reduced(path, longest, Resampling.average)
    values = values.astype(np.float32)
    if nodata is not None:
        values[values == nodata] = np.nan
    return values


def _reduced(
    path: str | os.PathLike[str], longest: int, resampling: Resampling
) -> tuple[np.ndarray, float | None]:
    try:
        with open_dataset(str(path)) as dataset:
            step = find_step(dataset.height, dataset.width, longest)
            shape = (math.ceil(dataset.height / step), math.ceil(dataset.width / step))
            return dataset.read(1, out_shape=shape, resampling=resampling), dataset.nodata
    except (RasterioError, CPLE_BaseError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | os.PathLike[str], error: Exception) -> FileError:
    return FileError(f"{path} is truncated or damaged ({error.__cause__ or error}); map again")


def _indices(values: np.ndarray, codes: Sequence[int], nodata: float | None) -> np.ndarray:
    indices = np.full(values.shape, IGNORED, np.int16)
    for index, code in enumerate(codes):
        if code != nodata:
            indices[values == code] = index
    return indices


def map_rows(
    path: str | os.PathLike[str], codes: Sequence[int], only: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """A map from the top: the first row of each piece, and its class indices (h, w).

    only  (H, W) bool: pieces without any of these pixels are left out
    """
    for row, values, nodata in stored_rows(path, only):
        yield row, _indices(values, codes, nodata)


def stored_rows(
    path: str | os.PathLike[str], only: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """As `map_rows`, with codes as the file holds them, and the code of no data."""
    for row, values, nodata in read_rows(path, only):
        yield row, values[0], nodata


def read_rows(
    path: str | os.PathLike[str], only: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """As `stored_rows`, with all bands (bands, h, w)."""
    try:
        with open_dataset(str(path)) as dataset:
            for row in range(0, dataset.height, ROWS):
                height = min(ROWS, dataset.height - row)
                if only is None or only[row : row + height].any():
                    window = RasterioWindow(0, row, dataset.width, height)
                    yield row, dataset.read(window=window), dataset.nodata
    except (RasterioError, CPLE_BaseError) as error:
        raise _damaged(path, error) from error


def verdict(
    path: str | os.PathLike[str], truth: np.ndarray, test: np.ndarray, codes: Sequence[int]
) -> np.ndarray:
    """Where the map is right on test pixels: (H, W) int8 of RIGHT, WRONG, and IGNORED elsewhere.

    truth  class indices (H, W) of the labels
    test   (H, W) bool: pixels that are tested
    """
    result = np.full(truth.shape, IGNORED, np.int8)
    for row, mapped in map_rows(path, codes, test):
        rows = slice(row, row + len(mapped))
        right = np.where(mapped == truth[rows], RIGHT, WRONG)
        result[rows][test[rows]] = right[test[rows]]
    return result
