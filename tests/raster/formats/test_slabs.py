"""Files whose chunks or strips hold whole bands are read by rows that stay in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandweave.raster.formats import slabs
from bandweave.raster.formats.slabs import read_from_rows
from bandweave.raster.grid import Window
from bandweave.raster.open import open_source

CUBE = np.random.default_rng(0).integers(0, 9999, (6, 96, 80)).astype(np.uint16)
ROW = 6 * 80 * 2  # bytes


def windows(size):
    """Windows inside a grid of this many rows and columns."""

    @st.composite
    def one(draw):
        row, col = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
        height = draw(st.integers(1, size[0] - row))
        return Window(row, col, height, draw(st.integers(1, size[1] - col)))

    return one()


@given(st.lists(windows((96, 80)), max_size=12), st.integers(1, 120), st.integers(1, 96))
def test_any_windows_in_any_order_are_right(wanted, rows, step):
    def read(window):
        below, right = window.row + window.height, window.col + window.width
        assert 0 <= window.row < below <= 96
        return CUBE[:, window.row : below, window.col : right]

    name = object()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SLAB", rows * ROW)
        for window in wanted:
            found = read_from_rows(name, window, (96, 80), ROW, step, read)
            np.testing.assert_array_equal(found, read(window))


def test_rows_of_several_files_are_bounded(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", 96 * ROW)
    monkeypatch.setattr(slabs, "MOST_BYTES", 2 * 96 * ROW)
    slabs._local.__dict__.clear()
    for name in range(9):
        read_from_rows(name, Window(0, 0, 1, 1), (96, 80), ROW, 1, lambda _: CUBE.copy())
    held = slabs._local.files
    assert list(held) == [7, 8]


@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("slab", [2**28, 40 * ROW])
def test_strips_of_whole_bands_are_decompressed_once_for_a_row_of_windows(
    write_geotiff, monkeypatch, interleave, slab
):
    layout = {"compress": "deflate", "interleave": interleave, "blockysize": 96}
    path = write_geotiff("a.tif", CUBE, tiled=False, **layout)
    monkeypatch.setattr("bandweave.raster.formats.gdal.source.CACHE_BYTES", 2 * ROW)
    monkeypatch.setattr(slabs, "SLAB", slab)
    source, few = open_source(path), open_source(path, bands=[5, 2])
    reads = []
    original = source._get_dataset()

    class Counted:
        def __getattr__(self, name):
            return getattr(original, name)

        def read(self, *args, **options):
            reads.append(options)
            return original.read(*args, **options)

    monkeypatch.setattr(source, "_get_dataset", Counted)
    for row in (0, 16, 32, 80):
        for col in range(0, 80, 16):
            window = Window(row, col, 16, 16)
            expected = CUBE[:, row : row + 16, col : col + 16].astype(np.float32)
            np.testing.assert_array_equal(source.read(window)[0], expected)
            np.testing.assert_array_equal(few.read(window)[0], expected[[4, 1]])
    assert len(reads) == (1 if slab == 2**28 else 6)  # else two each for rows 0, 32 and 80
