"""A format's reader: how its files are recognised, opened and described.

`readers.READERS` holds one for each format. There are three kinds: rasters become layers and label
rasters, vectors become labels, and tables are joined with vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bandweave.errors import FileError
from bandweave.raster.deriving.source import BandSubset
from bandweave.raster.facts import Facts, describe_bands, describe_place, describe_size
from bandweave.raster.formats.stored import Entry
from bandweave.raster.source import WindowSource

if TYPE_CHECKING:
    import numpy as np
    from rasterio.crs import CRS

    from bandweave.raster.formats.gdal.categories import Categories
    from bandweave.raster.vectors import Table, Vector


@dataclass(frozen=True)
class Request:
    """The wishes of whoever opens a raster file.

    key     which of its arrays; None for the only one
    bands   band numbers from 0, in the order wanted; None for all
    nodata  the value of a hole, instead of the one that the file states
    axis    which axis of a 3-D array counts bands; None for what the file tells
    shape   rows and columns of the reference grid, if known
    """

    key: str | None = None
    bands: Sequence[int] | None = None
    nodata: float | None = None
    axis: int | None = None
    shape: tuple[int, int] | None = None

    def pick_bands(self, source: WindowSource, name: str) -> WindowSource:
        """Pick the wanted bands of `source`, which holds all bands of the file `name`."""
        if self.bands is None:
            return source
        if not all(0 <= band < source.bands for band in self.bands):
            raise FileError(f"{name} has {source.bands} bands, not {max(self.bands) + 1}")
        picked = BandSubset(source, self.bands)
        picked.notes, picked.control = source.notes, source.control
        return picked


class Reader:
    """One format.

    noun     what a message calls it: 'MATLAB', 'shapefile'
    endings  of its files' names, in small letters; they decide where first bytes tell nothing
    content  what a message calls all that readers of the kind read
    """

    noun: str
    endings: tuple[str, ...] = ()
    content: str = "data"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell whether a file is of this format, by `head`, its first 4096 bytes."""
        return False

    def describe(self, path: str) -> Facts:
        """List the facts that `bandweave info` prints: a name and a text each."""
        raise NotImplementedError


class RasterReader(Reader):
    """A format of pixels; a subclass writes `open`."""

    content = "a raster"

    def open(self, path: str, request: Request) -> WindowSource:
        """Open the pixels of a file, which are read by window later.

        Raises FileError for a damaged file, and for a key or a band that it lacks.
        """
        raise NotImplementedError

    def list_arrays(self, path: str) -> list[Entry]:
        """List the arrays of which `key` chooses one; none where a file holds one raster."""
        return []

    def read_categories(self, path: str) -> Categories | None:
        """Read names and colours of class codes that a label raster gives itself."""
        return None

    def describe(self, path: str) -> Facts:
        """List format, size, place and bands."""
        source = self.open(path, Request())
        facts = [("format", self.noun), describe_size(source)]
        return [*facts, *describe_place(source.grid), *describe_bands(source.info)]


class VectorReader(Reader):
    """A format of polygons and points with attributes; a subclass writes `read`."""

    content = "vector data"

    def read(
        self,
        path: Path,
        layer: str | None = None,
        *,
        encoding: str | None = None,
        crs: CRS | None = None,
    ) -> Vector:
        """Read the features of a layer.

        layer     of a file with several
        encoding  of the text, where the file says none or another one
        crs       assigned where the file states none, or one that its coordinates cannot be in

        Raises FileError for a file that is damaged or of another kind, for text in another
        encoding, and for coordinates that are no degrees in a file whose CRS is.
        """
        raise NotImplementedError

    def read_fields(self, path: Path) -> dict[str, np.ndarray]:
        """Read the values of each attribute, without the geometries."""
        return self.read(path).fields


class TableReader(Reader):
    """A format of rows and columns; a subclass writes `read`."""

    content = "a table"

    def read(self, path: Path) -> Table:
        """Read the rows under the names of their columns."""
        raise NotImplementedError

    def describe(self, path: str) -> Facts:
        """List the columns, and the number of rows."""
        table = self.read(Path(path))
        return [("rows", str(len(table.rows))), ("columns", ", ".join(table.columns) or "none")]
