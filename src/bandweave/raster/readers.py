"""The table of readers: what a file is, is decided here and nowhere else."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TypeVar

from bandweave.errors import FileError
from bandweave.local_files import check_input_file
from bandweave.raster.formats.gdal.drivers import check_address
from bandweave.raster.formats.gdal.elsewhere import is_address
from bandweave.raster.formats.gdal.reader import EnviReader, GdalReader
from bandweave.raster.formats.hdf5.reader import Hdf5Reader
from bandweave.raster.formats.matlab.file import MatlabReader
from bandweave.raster.formats.numpy_files import NpyReader, NpzReader
from bandweave.raster.formats.regions import RegionsReader
from bandweave.raster.reader import Reader
from bandweave.raster.vectors import CsvReader, OgrReader

# Rows further down are asked first, so that a row which is added goes before all others.
READERS: dict[str, Reader] = {
    "gdal": GdalReader(),
    "envi": EnviReader(),
    "regions": RegionsReader(),
    "matlab": MatlabReader(),
    "hdf5": Hdf5Reader(),
    "npz": NpzReader(),
    "npy": NpyReader(),
    "shapefile": OgrReader("shapefile", (".shp",), rb"\x00\x00\x27\x0a", dbf=True),
    "geopackage": OgrReader("GeoPackage", (".gpkg",), rb"SQLite format 3\x00"),
    "geojson": OgrReader("GeoJSON", (".geojson", ".json"), rb"(?:\xef\xbb\xbf)?\s*[{\[]"),
    "flatgeobuf": OgrReader("FlatGeobuf", (".fgb",), rb"fgb"),
    "kml": OgrReader("KML", (".kml",), rb"(?s)(?:\xef\xbb\xbf)?\s*<.*?<kml[\s>]|\s*<kml[\s>]"),
    "csv": CsvReader(),
}
# Endings of files that are no data of a scene: parts of other files, and what bandweave writes.
SIDECARS = (
    *(".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix", ".sbn", ".sbx", ".xml", ".txt", ".md"),
)
WRITTEN = (".yaml", ".yml", ".qml", ".html", ".csv.gz", ".safetensors", ".ckpt", ".log")

HEAD = 4096  # bytes of a file that tell what it is
R = TypeVar("R", bound=Reader)


def recognise(path: str | os.PathLike[str], kind: type[R]) -> R:
    """The reader of a file: the one that knows its first bytes, or its ending, or else GDAL's.

    kind  a class of readers, such as `RasterReader`; others are not asked

    Raises FileError for a file that is missing or no regular one, for an address where a raster is
    not asked for, and for a file that no reader of the kind takes.
    """
    name = os.fspath(path)
    if is_address(name) and issubclass(GdalReader, kind):
        return READERS["gdal"]  # type: ignore[return-value]
    check_address(name)
    readers = [reader for reader in reversed(READERS.values()) if isinstance(reader, kind)]
    if not name.startswith("/vsi"):  # an archive, which GDAL alone looks into
        path, head = Path(name), _read_head(name)
        for reader in readers:
            if reader.recognises(path, head):
                return reader
        for reader in readers:
            if path.suffix.lower() in reader.endings:
                return reader
    gdal = READERS["gdal"]
    if isinstance(gdal, kind):
        return gdal
    *nouns, last = (reader.noun for reader in reversed(readers))
    raise FileError(
        f"{name} cannot be read as {kind.content}: give a {', '.join(nouns)} or {last} file"
    )


def _read_head(name: str) -> bytes:
    try:
        with check_input_file(name).open("rb") as file:
            return file.read(HEAD)
    except FileError as error:
        raise FileError(f"{error}{_suggest_name(Path(name))}") from None
    except OSError as error:
        raise FileError(f"{name} cannot be read: {error.strerror or error}") from None


def _suggest_name(path: Path) -> str:
    """The end of a message on a file that is not there: what may have been meant."""
    if os.path.lexists(path) or len(path.name) > 255:
        return ""
    if not path.parent.is_dir():
        return f"; nor does its folder {path.parent}"
    near = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()], 1)
    return f"; did you mean {near[0]}?" if near else ""
