"""Sources that are computed from another one: windows agree, holes stay, values are right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import ConfigError
from bandweave.raster.deriving import source as derived
from bandweave.raster.deriving.gaussian import GaussianSource
from bandweave.raster.deriving.indices import INDICES, IndexSource, find_index_bands
from bandweave.raster.deriving.profiles import STEPS, ProfileSource, opening, profile
from bandweave.raster.deriving.slope import SlopeSource
from bandweave.raster.deriving.source import BandSubset, hide
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.source import BandInfo

RNG = np.random.default_rng(0)
UTM = CRS.from_epsg(32617)


def image(height=30, width=41, bands=2, holes=True):
    """Noise with holes: some of single bands, and a block of all."""
    values = RNG.normal(5, 2, (bands, height, width)).astype(np.float32)
    if holes:
        values[RNG.random(values.shape) < 0.05] = np.nan
        values[:, 5:12, 20:26] = np.nan
    return ArraySource(values, Grid(height, width, Affine(2, 0, 5e5, 0, -2, 4e6), UTM))


SOURCES = {
    "gaussian": lambda of: GaussianSource(of, (0.7, 2)),
    "slope": lambda of: SlopeSource(of, of.grid),
    "profile": lambda of: ProfileSource(of, (1, 3)),
    "index": lambda of: IndexSource(of, 1, 0),
    "slope of means of a band": lambda of: SlopeSource(
        GaussianSource(BandSubset(of, [1]), (1.5,)), of.grid
    ),
}


@pytest.fixture(scope="module", params=SOURCES)
def whole(request):
    """A source, and all of it with 5 px around."""
    source = SOURCES[request.param](image())
    return source, source.read_nan(source.grid.window.grow(5))


@settings(max_examples=15, deadline=None)
@given(st.integers(-4, 28), st.integers(-4, 39), st.integers(1, 7), st.integers(1, 7))
def test_any_window_is_cut_from_the_whole(whole, row, col, height, width):
    source, values = whole
    expected = values[:, *Window(row, col, height, width).slices((-5, -5))]
    np.testing.assert_array_equal(source.read_nan(Window(row, col, height, width)), expected)


@pytest.mark.parametrize("kind", SOURCES)
def test_large_windows_are_computed_piece_by_piece(kind, monkeypatch):
    source = SOURCES[kind](image(70, 90))
    whole = source.read_nan(source.grid.window)
    monkeypatch.setattr(derived, "AT_ONCE", 1)
    np.testing.assert_array_equal(source.read_nan(source.grid.window), whole)


@pytest.mark.parametrize("kind", SOURCES)
def test_nothing_beyond_the_reach_matters(kind):
    given = image(85, 85, holes=False)
    source = SOURCES[kind](given)
    before = source.read_nan(source.grid.window)
    given._values[:, 42, 42] = 500, 70
    after = source.read_nan(source.grid.window)
    rows, cols = np.nonzero((np.nan_to_num(after) != np.nan_to_num(before)).any(axis=0))
    assert 42 in rows
    assert max(abs(rows - 42).max(), abs(cols - 42).max()) <= source.reach < 42
    if kind == "index":
        assert source.reach == 0


@pytest.mark.parametrize("kind", SOURCES)
def test_hidden_pixels_tell_nothing(kind):
    given = image()
    hidden = np.zeros((30, 41), bool)
    hidden[18:, 8:30] = True
    changed = ArraySource(np.where(hidden, 9 - 3 * given._values, given._values), given.grid)
    one, other = (hide(SOURCES[kind](each), hidden) for each in (given, changed))
    found = one.read_nan(given.grid.window)
    np.testing.assert_array_equal(found, other.read_nan(given.grid.window))
    assert np.isnan(found[:, hidden]).all()
    assert not np.isnan(found[:, ~hidden]).all()


def test_holes_stay_and_do_not_bleed_into_means():
    values = np.full((1, 20, 20), 7, np.float32)
    values[0, 3:9, 3:9] = -9999
    source = GaussianSource(ArraySource(values, nodata=-9999), (1, 4))
    found = source.read_nan(source.grid.window)
    assert found.shape == (2, 20, 20)
    assert (np.isnan(found) == (values == -9999)).all()
    np.testing.assert_allclose(found[:, values[0] == 7], 7, rtol=1e-6)


def test_means_are_weighted_by_a_gaussian():
    values = np.zeros((1, 41, 41), np.float32)
    values[0, 20, 20] = 1
    source = GaussianSource(ArraySource(values), (2,))
    distance = np.hypot(*np.mgrid[-8:9, -8:9])
    weights = np.exp(-(distance**2) / 8)
    found = source.read_nan(Window(12, 12, 17, 17))[0]
    np.testing.assert_allclose(found, weights / weights.sum(), atol=1e-6)


def test_means_at_one_size_keep_the_wavelengths():
    given = ArraySource(np.ones((2, 4, 4)), info=BandInfo((500.0, 600.0), "reflectance"))
    assert GaussianSource(given, (2,)).info == given.info
    assert GaussianSource(given, (1, 2)).info == BandInfo(units="reflectance")


# ------------------------------------------------------------------------------------------- slope


def plane(grid: Grid, east: float, north: float) -> np.ndarray:
    """Heights that rise by so much along x and y of the grid's CRS."""
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    t = grid.transform
    x, y = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
    return (east * (x - t.c) + north * (y - t.f)).astype(np.float32)


@pytest.mark.parametrize(
    "transform", [Affine(2, 0, 5e5, 0, -3, 4e6), Affine(1.7, 0.4, 5e5, 0.3, -1.6, 4e6)]
)
def test_a_plane_has_its_slope_at_borders_and_holes_too(transform):
    grid = Grid(9, 8, transform, UTM)
    heights = plane(grid, 0.3, -0.4)
    heights[3:5, 3] = np.nan
    found = SlopeSource(ArraySource(heights, grid), grid).read_nan(grid.window)[0]
    assert (np.isnan(found) == np.isnan(heights)).all()
    expected = np.degrees(np.arctan(0.5))
    np.testing.assert_allclose(found[~np.isnan(heights)], expected, rtol=1e-4)


def test_a_slope_in_degrees_and_feet_and_pixels_of_a_stated_size():
    def mean_slope(crs, transform, rise, pixel=None):
        grid = Grid(5, 5, transform, crs and CRS.from_epsg(crs))
        heights = np.broadcast_to(np.arange(5, dtype=np.float32) * rise, (5, 5))
        return SlopeSource(ArraySource(heights, grid), grid, pixel).read_nan(grid.window).mean()

    side = 10 / 111_320
    at_60 = Affine(2 * side, 0, 20, 0, -side, 60 + side * 2.5)
    assert mean_slope(4326, at_60, 10) == pytest.approx(45, abs=0.01)
    assert mean_slope(2225, Affine(10, 0, 6e6, 0, -10, 2e6), 3.048) == pytest.approx(45, abs=0.01)
    assert mean_slope(None, Affine(10, 0, 6e6, 0, -10, 2e6), 10) == pytest.approx(45)
    assert mean_slope(None, PIXELS, 2.5, 2.5) == pytest.approx(45)


def test_slope_is_horns_where_all_neighbours_are_known():
    grid = Grid(3, 3, Affine(2, 0, 5e5, 0, -2, 4e6), UTM)
    z = RNG.normal(0, 3, (3, 3)).astype(np.float32)
    weights = np.array([1, 2, 1])
    x = weights @ (z[:, 2] - z[:, 0]) / 16
    y = weights @ (z[2] - z[0]) / 16
    found = SlopeSource(ArraySource(z, grid), grid).read_nan(Window(1, 1, 1, 1))
    assert found.item() == pytest.approx(np.degrees(np.arctan(np.hypot(x, y))), rel=1e-5)


def test_a_line_of_pixels_has_no_slope():
    grid = Grid(1, 6, Affine(2, 0, 5e5, 0, -2, 4e6), UTM)
    source = SlopeSource(ArraySource(np.arange(6.0)[None], grid), grid)
    assert np.isnan(source.read_nan(grid.window)).all()


# ---------------------------------------------------------------------------------------- profiles


def test_profiles_are_those_of_the_whole_where_pieces_are_short():
    values = RNG.random((1, 8, 8)).astype(np.float32)  # no way through it is longer than 32 px
    source = ProfileSource(ArraySource(values), (2, 1))
    assert source.bands == 5
    expected = profile(values[0], np.ones(values.shape[1:], bool), (1, 2))
    np.testing.assert_array_equal(np.moveaxis(source.read_nan(source.grid.window), 0, -1), expected)


def test_a_piece_is_rebuilt_as_far_as_is_said():
    strip = np.zeros((9, 80), np.float32)
    strip[2:7, 2:7] = 1  # a disk of 2 px fits at column 4, and at 5 with
    strip[4, 7:] = 1  # the line that hangs on it
    known = np.ones(strip.shape, bool)
    assert opening(strip, known, 2)[4].tolist() == strip[4].tolist()
    assert np.flatnonzero(opening(strip, known, 2, 32)[4])[-1] == 5 + 32


def test_profiles_do_not_reach_through_holes():
    values = image(bands=1)._values
    source = ProfileSource(ArraySource(values), (2,))
    found = source.read_nan(source.grid.window)
    assert (np.isnan(found) == np.isnan(values)).all()
    expected = profile(np.nan_to_num(values[0], nan=99), ~np.isnan(values[0]), (2,), STEPS)
    known = ~np.isnan(values[0])
    np.testing.assert_array_equal(found[:, known].T, expected[known])


# ----------------------------------------------------------------------------------------- indices


def test_an_index_and_where_there_is_none():
    red, infrared = [0.1, 0.0, np.nan, -0.3, 0.3, 0.1], [0.3, 0.0, 0.2, 0.2, -0.1, -0.05]
    values = np.array([red, infrared], np.float32)[:, None]
    found = IndexSource(ArraySource(values), 1, 0).read_nan(Window(0, 0, 1, 6))
    expected = [0.5, np.nan, np.nan, np.nan, -1, -1]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)


def test_bands_of_an_index_are_found_by_wavelength_or_by_the_sensor():
    hyperspectral = BandInfo(tuple(np.arange(400.0, 2500, 10)))
    for index, (first, second) in INDICES.items():
        bands = find_index_bands(index, hyperspectral)
        for band, colour in zip(bands, (first, second), strict=True):
            assert abs(hyperspectral.wavelengths[band] - colour.best) <= 5
    sentinel = BandInfo(nominal=(492.4, np.nan, 664.6, 832.8))
    assert find_index_bands("ndvi", sentinel) == (3, 2)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (BandInfo(), "has no wavelengths"),
        (BandInfo(nominal=(np.nan, np.nan)), "has no wavelengths"),
        (BandInfo((450.0, 550.0, 650.0)), "from 450 to 650 nm and none within 760 to 900 nm"),
    ],
)
def test_an_index_says_what_is_missing(info, words):
    with pytest.raises(ConfigError, match=words):
        find_index_bands("ndvi", info)
