"""The table of readers: what a file is, and that a row which is added goes first."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from bandweave.errors import FileError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.open import open_source
from bandweave.raster.reader import RasterReader, Reader, TableReader, VectorReader
from bandweave.raster.readers import READERS, recognise

CUBE = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.fixture
def write(tmp_path, write_geotiff, write_envi, write_mat73):
    """Write a file of one format under another name; returns its path."""

    def call(kind, name):
        path = tmp_path / name
        if kind == "gdal":
            return write_geotiff("own.tif", CUBE).rename(path)
        if kind == "envi":
            return write_envi("own.hdr", CUBE)
        if kind == "hdf5":
            return write_mat73("own.mat", {"cube": CUBE}).rename(path)
        writers = {
            "npy": lambda file: np.save(file, CUBE),
            "npz": lambda file: np.savez(file, cube=CUBE),
            "matlab": lambda file: scipy.io.savemat(file, {"cube": CUBE}),
        }
        with path.open("wb") as file:
            writers[kind](file)
        return path

    return call


@pytest.mark.parametrize("kind", ["gdal", "envi", "npy", "npz", "matlab", "hdf5"])
def test_first_bytes_say_what_a_file_is_whatever_its_name(write, kind):
    path = write(kind, "misnamed.mat" if kind in ("npy", "npz", "hdf5") else "file.dat")
    assert recognise(path, Reader) is READERS[kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.SHP", "shapefile"),
        ("a.gpkg", "geopackage"),
        ("a.json", "geojson"),
        ("a.fgb", "flatgeobuf"),
        ("a.kml", "kml"),
        ("a.csv", "csv"),
        ("a.mat", "matlab"),
        ("a.h5", "hdf5"),
        ("a.tif", "gdal"),
    ],
)
def test_names_decide_where_bytes_tell_nothing(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"??")
    assert recognise(tmp_path / name, Reader) is READERS[kind]


def test_only_readers_of_the_kind_are_asked(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x,y,z\n0,0,1\n1,0,2\n0,1,3\n1,1,4\n")
    assert isinstance(recognise(path, TableReader), TableReader)
    assert recognise(path, RasterReader) is READERS["gdal"]  # XYZ
    with pytest.raises(FileError, match="give a shapefile, GeoPackage, GeoJSON, FlatGeobuf or KML"):
        recognise(path, VectorReader)


def test_a_file_that_is_not_there_is_told_with_the_nearest_name(tmp_path):
    (tmp_path / "cube.tif").write_bytes(b"")
    with pytest.raises(FileError, match=r"cub\.tif does not exist; did you mean cube\.tif\?"):
        recognise(tmp_path / "cub.tif", RasterReader)


def test_a_row_that_is_added_is_asked_first(write, monkeypatch):
    class Ones(RasterReader):
        noun = "file of ones"

        def recognises(self, path, head):
            return path.suffix == ".ones"

        def open(self, path, request):
            return request.pick_bands(ArraySource(np.ones((3, 2, 2), np.float32)), path)

    monkeypatch.setitem(READERS, "ones", Ones())
    path = write("npy", "a.ones")
    assert open_source(path).bands == 3
    assert open_source(path, bands=[2]).bands == 1
    assert ("size", "2×2 px, 3 bands") in recognise(path, Reader).describe(str(path))
    with pytest.raises(FileError, match="has 3 bands, not 4"):
        open_source(path, bands=[4])
