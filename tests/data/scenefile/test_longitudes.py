"""Layers whose longitudes count from 0 to 360 beside a grid that counts from -180 to 180."""

import numpy as np
import pytest
from rasterio.transform import Affine

from bandweave.data.scenefile.open import open_scene
from bandweave.errors import GridMismatch

DEGREES = "EPSG:4326"
WORLD = np.arange(36 * 18, dtype=np.float32).reshape(18, 36)  # a value for each 10 degrees


def values_at(grid, layer):
    part = open_scene({"grid": "a", "layers": {"a": str(grid), "b": layer}}).parts[0]
    return part.layers["b"].source.read_nan(part.grid.window)[0]


def test_a_layer_of_0_to_360_lies_under_a_grid_in_the_west(write_geotiff):
    world = write_geotiff("w.tif", WORLD, Affine(10, 0, 0, 0, -10, 90), DEGREES)
    grid = write_geotiff("g.tif", np.ones((3, 4)), Affine(10, 0, -60, 0, -10, 50), DEGREES)
    values = values_at(grid, {"path": str(world), "warp": "nearest"})
    np.testing.assert_array_equal(values, WORLD[4:7, 30:34])


def test_a_piece_at_350_degrees_needs_no_warp_on_a_grid_at_minus_10(write_geotiff):
    piece = write_geotiff("p.tif", WORLD[:4, :5], Affine(1, 0, 350, 0, -1, 50), DEGREES)
    grid = write_geotiff("g.tif", np.ones((4, 5)), Affine(1, 0, -10, 0, -1, 50), DEGREES)
    np.testing.assert_array_equal(values_at(grid, str(piece)), WORLD[:4, :5])


def test_a_grid_in_metres_finds_its_place(write_geotiff):
    piece = write_geotiff("p.tif", np.full((20, 20), 7.0), Affine(1, 0, 270, 0, -1, 45), DEGREES)
    grid = write_geotiff("g.tif", np.ones((4, 5)))  # UTM 17 north, about -81 degrees
    assert (values_at(grid, {"path": str(piece), "warp": "nearest"}) == 7).all()


def test_a_grid_across_the_end_of_the_longitudes_is_refused(write_geotiff):
    world = write_geotiff("w.tif", WORLD, Affine(10, 0, 0, 0, -10, 90), DEGREES)
    grid = write_geotiff("g.tif", np.ones((3, 4)), Affine(10, 0, -20, 0, -10, 50), DEGREES)
    with pytest.raises(GridMismatch, match="ends at longitude 0, within the grid's -20 to 20"):
        values_at(grid, {"path": str(world), "warp": "nearest"})
