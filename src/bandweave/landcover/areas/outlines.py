"""Classes of a map as polygons: one for each patch, of pixels of a class connected along sides.

A map is gone down in strips. What is complete within a strip is written; a patch that reaches its
last row waits, in pieces, for the strips below. So memory holds a strip, and the outlines of those
patches that cross the border of two strips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio import features
from rasterio.windows import Window as RasterioWindow

from bandweave.data.scene import ClassInfo
from bandweave.errors import GridMismatch
from bandweave.raster.area import GroundArea
from bandweave.raster.formats.gdal.source import grid_of, open_dataset
from bandweave.raster.grid import Grid
from bandweave.raster.writing.geopackage import BATCH, GeoPackageWriter

STRIP = 2**20  # px of a map that are turned into polygons at once
LAYER = "classes"


@dataclass
class Patch:
    """A patch of one class.

    pieces      its outlines in each strip, in pixels of the map: (column, row)
    hectares    its area; NaN where the map has no place on the ground
    confidence  the sum over its pixels; NaN where there is none
    """

    code: int
    pixels: int = 0
    hectares: float = 0.0
    confidence: float = 0.0
    pieces: list[shapely.Geometry] = field(default_factory=list)

    def take(self, other: Patch) -> None:
        """Add another patch to it, of which it is a part."""
        self.pixels += other.pixels
        self.hectares += other.hectares
        self.confidence += other.confidence
        self.pieces += other.pieces

    def outline(self) -> shapely.Geometry:
        """Its polygon in pixels of the map, with vertices in corners alone."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        joined = shapely.normalize(shapely.union_all(self.pieces))  # begins in a corner
        return shapely.simplify(joined, 0)


def write_outlines(
    writer: GeoPackageWriter,
    path: Path,
    classes: Sequence[ClassInfo],
    *,
    confidence: Path | None = None,
    part: str | None = None,
) -> int:
    """Write the patches of a map as polygons, and return how many.

    path        the map, as it is on the disk now
    confidence  a raster on its grid, whose mean each patch gets
    part        a name that each patch gets, in a scene of many
    """
    names = {one.code: one.name for one in classes}
    with open_dataset(str(path)) as dataset:
        grid = grid_of(dataset)
    layer, some, written = writer.name_layer(LAYER, grid.crs), list[Patch](), 0
    for patch in find_patches(path, confidence):
        some.append(patch)
        if len(some) == BATCH:
            _write(writer, layer, grid, some, names, confidence is not None, part)
            written, some = written + len(some), []
    _write(writer, layer, grid, some, names, confidence is not None, part)
    return written + len(some)


def _write(
    writer: GeoPackageWriter,
    layer: str,
    grid: Grid,
    patches: Sequence[Patch],
    names: dict[int, str],
    sure: bool,
    part: str | None,
) -> None:
    fields: dict[str, Any] = {
        "code": np.array([patch.code for patch in patches], np.int32),
        "class": np.array([names.get(patch.code, "") for patch in patches], object),
        "pixels": np.array([patch.pixels for patch in patches], np.int64),
        "area_ha": np.array([patch.hectares for patch in patches], np.float64),
    }
    if sure:
        means = [patch.confidence / patch.pixels for patch in patches]
        fields["confidence"] = np.array(means, np.float64)
    if part is not None:
        fields["part"] = np.full(len(patches), part, object)
    t = grid.transform

    def place(points: np.ndarray) -> np.ndarray:
        col, row = points.T
        return np.column_stack([t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f])

    outlines = np.array([patch.outline() for patch in patches], dtype=object)
    writer.write(layer, grid.crs, shapely.transform(outlines, place), fields)


def find_patches(path: Path, confidence: Path | None = None, strip: int = STRIP) -> Iterator[Patch]:
    """Find the patches of a map, each as soon as it is complete.

    strip  px that are held at a time, if a row takes no more
    """
    waiting: dict[int, Patch] = {}
    above: tuple[np.ndarray, np.ndarray] | None = None  # of the row before: numbers and codes
    for row, codes, known, sure, hectares in _read_strips(path, confidence, strip):
        found, numbers = _find_in_strip(row, codes, known, sure, hectares)
        root: dict[int, int] = {}
        if above is not None:
            alike = known[0] & (above[0] > 0) & (above[1] == codes[0])
            root = _join(np.unique(np.stack([above[0][alike], numbers[0][alike]]), axis=1))
        for number, patch in waiting.items():
            if -number in root:
                found[root[-number]].take(patch)
            else:
                yield patch
        own = np.arange(numbers.max(initial=0) + 1)
        for number, first in root.items():
            if 0 < number != first:
                found[first].take(found.pop(number))
                own[number] = first
        lowest = own[numbers[-1]]
        waiting = {number: found.pop(number) for number in np.unique(lowest[lowest > 0]).tolist()}
        yield from found.values()
        above = lowest, codes[-1]
    yield from waiting.values()


def _join(pairs: np.ndarray) -> dict[int, int]:
    """Join patches that touch across the border of two strips: the first of each's group.

    pairs  (2, N): the number of a patch above, and of one below that it touches

    Those above have negative numbers in what is returned, and are never the first.

    >>> _join(np.array([[1, 1, 2], [3, 4, 5]]))
    {3: 4, -1: 4, 4: 4, 5: 5, -2: 5}
    """
    root: dict[int, int] = {}

    def find(node: int) -> int:
        while root.setdefault(node, node) != node:
            node = root[node]
        return node

    for upper, lower in pairs.T.tolist():
        one, other = find(lower), find(-upper)
        root[min(one, other)] = max(one, other)
    return {node: find(node) for node in root}


def _find_in_strip(
    row: int,
    codes: np.ndarray,
    known: np.ndarray,
    sure: np.ndarray | None,
    hectares: np.ndarray | None,
) -> tuple[dict[int, Patch], np.ndarray]:
    """The patches of a strip by number, and the number (h, w) of each pixel, 0 without data."""
    from skimage.measure import label  # half a second, not for `--help`

    numbers = label(np.where(known, codes.astype(np.int32) + 1, 0), connectivity=1, background=0)
    numbers = numbers.astype(np.int32)
    flat = numbers.ravel()
    pixels = np.bincount(flat)
    own = np.zeros(len(pixels), np.int64)
    own[flat] = codes.ravel()
    nowhere = np.full(len(pixels), np.nan)
    areas = nowhere if hectares is None else np.bincount(flat, hectares.ravel())
    sums = nowhere if sure is None else np.bincount(flat, np.where(known, sure, 0).ravel())
    found: dict[int, Patch] = {}
    for shape, value in features.shapes(numbers, mask=known, connectivity=4):
        number = int(value)
        rings = [np.add(ring, (0, row)) for ring in shape["coordinates"]]
        piece = shapely.Polygon(rings[0], rings[1:])
        found[number] = Patch(
            int(own[number]), int(pixels[number]), float(areas[number]), float(sums[number]),
            [piece],
        )  # fmt: skip
    return found, numbers


def _read_strips(
    path: Path, confidence: Path | None, strip: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Strips of a map: first row, codes, where there are any, confidence, hectares of a pixel."""
    with open_dataset(str(path)) as dataset:
        grid = grid_of(dataset)
        try:
            ground = GroundArea(grid)
        except GridMismatch:
            ground = None
        beside = None if confidence is None else open_dataset(str(confidence))
        for place in grid.window.divide(max(strip // grid.width, 1), grid.width):
            window = RasterioWindow(place.col, place.row, place.width, place.height)
            codes = dataset.read(1, window=window)
            sure = None if beside is None else beside.read(1, window=window)
            hectares = None if ground is None else ground.spread(place)
            yield place.row, codes, codes != dataset.nodata, sure, hectares
        if beside is not None:
            beside.close()
