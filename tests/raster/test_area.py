"""Ground area of pixels in projected, geographic and odd reference systems."""

import math

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import GridMismatch
from bandweave.raster.area import GroundArea
from bandweave.raster.grid import Grid, Window

A, E2 = 6378137.0, 0.00669437999014  # WGS 84: half axis in m, eccentricity squared


def band_hectares(south: float, north: float, degrees: float) -> float:
    """Exact area of the ellipsoid between two parallels, of a width in degrees."""

    def up_to(latitude: float) -> float:
        e, s = math.sqrt(E2), math.sin(math.radians(latitude))
        return s / (1 - E2 * s * s) + math.log((1 + e * s) / (1 - e * s)) / (2 * e)

    b2 = A * A * (1 - E2)
    return b2 * math.radians(degrees) / 2 * (up_to(north) - up_to(south)) / 1e4


@pytest.mark.parametrize("latitude", [0.0, 48.0, -70.0, 88.0])
@pytest.mark.parametrize("longitude", [9.0, 179.99])
def test_degrees_are_measured_on_the_ellipsoid(latitude, longitude):
    step = 0.001
    grid = Grid(64, 64, Affine(step, 0, longitude, 0, -step, latitude), CRS.from_epsg(4326))
    true = band_hectares(latitude - 64 * step, latitude, 64 * step)
    assert GroundArea(grid).hectares(grid.window) == pytest.approx(true, rel=1e-5)


def test_web_mercator_is_not_taken_at_its_word():
    grid = Grid(50, 50, Affine(10, 0, 1e6, 0, -10, 7e6), CRS.from_epsg(3857))  # 53° north
    latitude = math.degrees(2 * math.atan(math.exp((7e6 - 250) / A)) - math.pi / 2)
    expected = 25.0 * math.cos(math.radians(latitude)) ** 2
    assert GroundArea(grid).hectares(grid.window) == pytest.approx(expected, rel=5e-3)


def test_feet_are_feet():
    metres = Grid(10, 10, Affine(30, 0, 6e5, 0, -30, 2e5), CRS.from_epsg(26986))
    feet = 1200 / 3937
    grid = Grid(
        10, 10, Affine(30 / feet, 0, 6e5 / feet, 0, -30 / feet, 2e5 / feet), CRS.from_epsg(2249)
    )
    assert GroundArea(grid).hectares(grid.window) == pytest.approx(
        GroundArea(metres).hectares(metres.window), rel=1e-4
    )


def test_classes_share_the_ground_out():
    grid = Grid(150, 70, Affine(0.01, 0, 10, 0, -0.01, 60), CRS.from_epsg(4326))
    codes = np.zeros((150, 70), np.int16)
    codes[100:] = 1
    codes[0, 0] = -1
    found = GroundArea(grid).sum_by_class(codes, grid.window, 3)
    north, south = band_hectares(59, 60, 0.7), band_hectares(58.5, 59, 0.7)
    assert found == pytest.approx([north, south, 0], rel=1e-3)
    part = GroundArea(grid).sum_by_class(codes[100:, 10:], Window(100, 10, 50, 60), 3)
    assert part == pytest.approx([0, south * 6 / 7, 0], rel=1e-5)


def test_without_a_place_there_is_no_area():
    with pytest.raises(GridMismatch, match=r"4×5 px without a CRS has no area"):
        GroundArea(Grid(4, 5, Affine.identity()))
