"""Files of arrays whose damage their libraries do not survive are refused before."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from bandweave.errors import FileError
from bandweave.raster.formats.array_files import ArrayReader
from bandweave.raster.formats.hdf5.heaps import check_heaps
from bandweave.raster.open import open_source
from bandweave.raster.readers import recognise

CUBE = np.arange(120, dtype=np.float32).reshape(4, 6, 5)


@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_variable_of_matlab_5_is_looked_over(tmp_path, packed):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = CUBE, "text"
    content = {
        "cube": CUBE,
        "complex": CUBE + 1j,
        "empty": np.zeros((0, 0)),
        "text": "abc",
        "small": np.uint8([1, 2]),
        "struct": {"a": CUBE, "b": {"c": cells, "d": 1.0}},
        "cells": cells,
    }
    savemat(tmp_path / "a.mat", content, do_compression=packed)
    path = tmp_path / "a.mat"
    reader = recognise(path, ArrayReader)
    assert {"cube", "struct.a", "cells{1}"} <= {
        entry.key for entry in reader.list_arrays(str(path))
    }
    np.testing.assert_array_equal(reader.open_array(path, "struct.a").array, CUBE)


@pytest.mark.parametrize(
    ("at", "word", "said"),
    [
        (128, 99, "unknown type 99 at byte 128"),
        (132, 2**31 - 1, "truncated or damaged"),
        (184, 250, "unknown type 250"),  # of the values: no type at all ends SciPy's process
        (188, 2**31 - 1, "bytes stands where"),
    ],
)
def test_elements_of_no_type_or_without_end_are_refused(tmp_path, at, word, said):
    path = tmp_path / "a.mat"
    savemat(path, {"cube": CUBE})
    data = bytearray(path.read_bytes())
    data[at : at + 4] = word.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FileError, match=said):
        open_source(path)


def test_a_packed_element_that_claims_more_than_it_can_hold(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"cube": CUBE}, do_compression=True)
    data = path.read_bytes()
    path.write_bytes(data[:140] + bytes(20) + data[160:])
    with pytest.raises(FileError, match="a packed element"):
        open_source(path)


def test_a_heap_whose_objects_do_not_fill_it_is_refused(tmp_path):
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        cube = file.create_dataset("cube", data=CUBE)
        for number in range(40):
            cube.attrs[f"text {number}"] = "of any length " * number
        cube.attrs["units"] = "m"
        cube.attrs["units"] = "a longer one than before"
    check_heaps(path)
    assert open_source(path, axis=0).info.units == "a longer one than before"
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    data[heap + 16 : heap + 18] = b"\0\0"  # the first object's number: 0 is the rest of the heap
    path.write_bytes(data)
    with pytest.raises(FileError, match=f"a.nc: .*heap at byte {heap} is damaged"):
        open_source(path, axis=0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 5, 1, 1), (1, 1, 1, 4)])
def test_arrays_of_axes_of_one_pixel_have_rows_and_columns(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape, np.float32))
    source = open_source(tmp_path / "a.npy")
    assert source.bands * source.grid.height * source.grid.width == np.prod(shape)
