"""Places drawn at random within each class of a map, to be labelled by someone.

What they turn out to be tells how far the map's areas can be believed (measure_areas.py). The map's
class is not written beside a place: who labels it should not know.
"""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np

from bandweave.errors import ConfigError, FileError, GridMismatch, OutputError
from bandweave.landcover.maps.files import stored_rows
from bandweave.output_files import check_output
from bandweave.raster.formats.gdal.source import grid_of, open_dataset
from bandweave.raster.grid import Grid
from bandweave.training.atomic import whole

log = logging.getLogger(__name__)

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON"}
LARGEST_CODE = np.iinfo(np.uint16).max


def draw_sample(
    map_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    per_class: int = 50,
    *,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[int, int]:
    """Draw centres of pixels without replacement and write them; returns how many of each code.

    map_path   a raster of class codes, such as `bandweave map` writes
    out        .gpkg or .geojson; fields `unit` (1, 2, … in random order) and `class`, empty
    overwrite  a file that stands there may be replaced
    per_class  places in each class, or all its pixels where there are fewer

    Raises FileError for what is no raster of class codes, GridMismatch for one without a place on
    the ground, ConfigError for fewer than two places, a seed below 0 or another kind of file,
    OutputError where it cannot be written.
    """
    out = check_output(out, overwrite=overwrite, inputs=[map_path])
    if per_class < 2:
        raise ConfigError(f"{per_class} places a class: 2 at least, 50 are usual")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}; it is a whole number from 0 on")
    if out.suffix.lower() not in DRIVERS:
        raise ConfigError(f"{out}: points are written as {' or '.join(DRIVERS)}")
    grid, counts = read_map_grid(map_path), _count_codes(map_path)
    if not grid.georeferenced or grid.crs is None:
        raise GridMismatch(f"{map_path} has no place on the ground, so points have none either")
    rng = np.random.default_rng(seed)
    ranks = {}
    for code, count in counts.items():
        number = min(per_class, count)
        ranks[code] = np.sort(rng.choice(count, number, replace=False))
        if number < per_class:
            log.warning("class %d covers %d pixels, not %d: all drawn", code, count, per_class)
    rows, cols = _find_pixels(map_path, ranks)
    order = rng.permutation(len(rows))
    _write_points(out, grid, rows[order], cols[order])
    return {code: len(own) for code, own in ranks.items()}


def read_map_grid(path: str | os.PathLike[str]) -> Grid:
    """Read the grid of a map; raises FileError where the file is no map."""
    with open_dataset(str(path)) as dataset:
        if dataset.count != 1 or not np.issubdtype(dataset.dtypes[0], np.integer):
            raise FileError(
                f"{path} has {dataset.count} bands of {dataset.dtypes[0]}; a map is one band of "
                f"whole numbers"
            )
        return grid_of(dataset)


def _count_codes(path: str | os.PathLike[str]) -> dict[int, int]:
    """Count the pixels of each code."""
    counts: Counter[int] = Counter()
    for _, values, nodata in stored_rows(path):
        found, numbers = np.unique(values, return_counts=True)
        counts.update(
            {int(c): int(n) for c, n in zip(found, numbers, strict=True) if c >= 0 and c != nodata}
        )
    if max(counts, default=0) > LARGEST_CODE:
        raise FileError(f"{path} holds {max(counts)}, which is no class code")
    if not counts:
        raise FileError(f"{path} holds no class")
    return dict(sorted(counts.items()))


def _find_pixels(
    path: str | os.PathLike[str], ranks: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Find rows and columns of pixels by their ranks among all of their code, from the top left."""
    before = dict.fromkeys(ranks, 0)
    rows, cols = [], []
    for first, values, _ in stored_rows(path):
        for code, wanted in ranks.items():
            places = np.flatnonzero(values == code)
            low, high = np.searchsorted(wanted, [before[code], before[code] + len(places)])
            chosen = places[wanted[low:high] - before[code]]
            rows.append(first + chosen // values.shape[1])
            cols.append(chosen % values.shape[1])
            before[code] += len(places)
    return np.concatenate(rows), np.concatenate(cols)


def _write_points(out: Path, grid: Grid, rows: np.ndarray, cols: np.ndarray) -> None:
    import pyogrio.errors
    import pyogrio.raw
    import shapely

    x, y = grid.xy(rows + 0.5, cols + 0.5)  # type: ignore[arg-type]
    units = np.arange(1, len(rows) + 1)
    file = io.BytesIO()
    try:
        pyogrio.raw.write(
            file,
            shapely.to_wkb(shapely.points(x, y)),
            [units, np.full(len(units), "", object)],
            ["unit", "class"],
            geometry_type="Point",
            crs=grid.crs.to_wkt() if grid.crs is not None else None,
            driver=DRIVERS[out.suffix.lower()],
            layer=out.stem,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OutputError(f"{out} could not be written: {error}") from error
    with whole(out) as beside:
        beside.write_bytes(file.getvalue())
