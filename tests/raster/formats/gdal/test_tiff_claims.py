"""Small TIFFs that claim many bands: refused at once; sparse and constant ones are opened."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.cli.main import main
from bandweave.errors import FileError
from bandweave.raster.grid import Window
from bandweave.raster.open import open_source

COUNTS, OFFSETS, LENGTHS = 277, 273, 279


def written(path, bands, height=8, width=8, values=None, **options):
    place = {"transform": from_origin(5e5, 4e6, 2, 2), "crs": "EPSG:32617", "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", width, height, bands, **place, **options) as file:
        if values is not None:
            file.write(np.full((bands, height, width), values, np.uint8))
    return path


def patched(path, changes):
    """The same little-endian file, the values of some tags of its directory replaced."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in changes:
            struct.pack_into("<HII", data, entry + 2, 4, 1, changes.pop(tag))
    assert not changes
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("bands", [300, 5000, 19_000, 51_713, 2**31])
@pytest.mark.parametrize("sparse", [False, True])
def test_many_bands_in_a_small_file_are_one_line(tmp_path, capsys, bands, sparse):
    path = tmp_path / "claims.tif"
    if sparse:
        written(path, 1, SPARSE_OK=True)
    else:
        written(path, 1, values=7)
    path.write_bytes(patched(path, {COUNTS: bands}).read_bytes() + bytes(900))
    assert main(["info", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"claims {bands} bands" in line
    assert str(path) in line


def test_many_bands_whose_pixels_lie_beyond_the_end(tmp_path):
    """Each band is described as it should be, and no pixel of them is there."""
    path = written(
        tmp_path / "cut.tif", 300, values=7, photometric="MINISBLACK", interleave="pixel"
    )
    whole = path.read_bytes()
    (start,) = struct.unpack_from("<I", whole, 4)
    assert start < 2048
    path.write_bytes(whole[: len(whole) - 8 * 8 * 300])
    assert path.stat().st_size < 4096
    with pytest.raises(FileError, match=r"claims 300 bands whose first pixels alone end at byte"):
        open_source(path)


@pytest.mark.parametrize(
    ("bands", "options", "value"),
    [
        (3, {"SPARSE_OK": True}, 0),
        (100, {"SPARSE_OK": True, "interleave": "pixel"}, 0),
        (300, {"SPARSE_OK": True, "interleave": "band"}, 0),
        (300, {"SPARSE_OK": True, "BIGTIFF": "YES", "interleave": "pixel"}, 0),
        (300, {"compress": "deflate", "interleave": "pixel"}, 5),
        (2000, {"compress": "lzw", "interleave": "pixel"}, 5),
        (300, {"ENDIANNESS": "BIG"}, 5),
    ],
)
def test_sparse_and_constant_files_are_opened(tmp_path, bands, options, value):
    values = None if "SPARSE_OK" in options else value
    path = written(tmp_path / "a.tif", bands, values=values, **options)
    source = open_source(path)
    assert source.bands == bands
    read, _ = source.read(Window(0, 0, 8, 8))
    assert (read == value).all()


def test_bits_stated_once_for_many_bands_that_are_there(tmp_path):
    path = written(tmp_path / "once.tif", 1, 1, 100 * 64, values=3)
    patched(path, {COUNTS: 100, 256: 64, LENGTHS: 6400})
    source = open_source(path)
    assert (source.bands, source.grid.width) == (100, 64)
    assert (source.read(Window(0, 0, 1, 64))[0] == 3).all()
