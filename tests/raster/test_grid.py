import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.raster.grid import PIXELS, Grid, Window, tiles

SIDE = st.integers(1, 70)


@given(SIDE, SIDE, st.integers(1, 40), st.data())
def test_tiles_cover_every_pixel(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    seen = np.zeros((height, width), int)
    for window in tiles(height, width, size, overlap):
        assert (window.height, window.width) == (size, size)
        inside = window.clip(height, width)
        assert inside is not None
        seen[inside.slices()] += 1
        if height >= size and width >= size:
            assert inside == window
    assert seen.min() >= 1


@given(SIDE, SIDE, st.integers(2, 40), st.data())
def test_neighbouring_tiles_overlap_by_at_least_what_was_asked(height, width, size, data):
    overlap = data.draw(st.integers(1, size - 1))
    rows = sorted({window.row for window in tiles(height, width, size, overlap)})
    for one, next_one in itertools.pairwise(rows):
        assert one + size - next_one >= overlap


def test_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match="overlap 8"):
        list(tiles(10, 10, 8, 8))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.none() | st.integers(1, 17))
def test_pieces_cover_every_pixel_once(height, width, rows, columns):
    seen = np.zeros((height + 2, width + 3), int)
    for piece in Window(2, 3, height, width).divide(rows, columns):
        assert piece.height <= rows
        assert piece.width <= (columns or rows)
        seen[piece.slices()] += 1
    assert (seen[2:, 3:] == 1).all()
    assert seen.sum() == height * width


@given(st.integers(-50, 50), st.integers(-50, 50), SIDE, SIDE, SIDE, SIDE)
def test_clip_is_the_intersection(row, col, h, w, height, width):
    inside = Window(row, col, h, w).clip(height, width)
    expected = [
        (r, c)
        for r in range(max(row, 0), min(row + h, height))
        for c in range(max(col, 0), min(col + w, width))
    ]
    if inside is None:
        assert not expected
    else:
        assert (inside.row, inside.col) == expected[0]
        assert inside.height * inside.width == len(expected)


@given(SIDE, SIDE, st.integers(1, 8))
def test_finer_and_crop_keep_the_ground(height, width, ratio):
    grid = Grid(height, width, Affine(2, 0, 300, 0, -2, 900), CRS.from_epsg(32617))
    np.testing.assert_allclose(grid.finer(ratio).bounds, grid.bounds)
    window = Window(1, 2, 3, 4)
    one = grid.crop(window).finer(ratio)
    other = grid.finer(ratio).crop(window.finer(ratio))
    np.testing.assert_allclose(one.transform, other.transform)
    assert (one.height, one.width) == (other.height, other.width)


@pytest.mark.parametrize(
    ("transform", "crs", "text"),
    [
        (PIXELS, None, "3×4 px"),
        (Affine.identity(), None, "3×4 px"),
        (Affine(2.5, 0, 0, 0, -2.5, 0), None, "3×4 px at 2.5"),
        (Affine(2.5, 0, 0, 0, -2.5, 0), CRS.from_epsg(32617), "3×4 px at 2.5 m"),
        (
            Affine(1e-4, 0, 9, 0, -2e-4, 50),
            CRS.from_epsg(4326),
            "3×4 px at 0.0001×0.0002 ° (about 7.16 m × 22.3 m at latitude 50°)",
        ),
    ],
)
def test_a_grid_says_its_size_and_unit(transform, crs, text):
    assert str(Grid(3, 4, transform, crs)) == text
