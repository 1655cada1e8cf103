import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from bandweave.errors import ConfigError, GridMismatch
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid, Window
from bandweave.raster.open import open_source
from bandweave.raster.warp import RESAMPLINGS, WarpedSource

UTM = CRS.from_epsg(32617)
RNG = np.random.default_rng(0)


def grid(height, width, pixel=1.0, left=500_000.0, top=4_000_000.0, crs=UTM):
    return Grid(height, width, Affine(pixel, 0, left, 0, -pixel, top), crs)


def ramp(height, width, pixel=1.0):
    """A source whose value is its easting in metres from the left edge."""
    values = np.broadcast_to((np.arange(width) + 0.5) * pixel, (height, width))
    return ArraySource(values.astype(np.float32), grid(height, width, pixel))


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "average", "lanczos"])
def test_a_ramp_stays_a_ramp(resampling):
    target = grid(10, 10, 2.0, 500_010, 3_999_990)
    values, valid = WarpedSource(ramp(60, 60), target, resampling).read(target.window)
    assert valid.all()
    expected = np.broadcast_to(10 + 2 * (np.arange(10) + 0.5), (10, 10))
    np.testing.assert_allclose(values[0], expected, atol=0.05)


def test_the_same_grid_is_untouched():
    source = ArraySource(RNG.random((3, 9, 8), np.float32), grid(9, 8))
    for resampling in RESAMPLINGS:
        warped = WarpedSource(source, source.grid, resampling)
        np.testing.assert_allclose(
            warped.read(grid(9, 8).window)[0], source.read(grid(9, 8).window)[0]
        )


def test_mode_counts_and_nearest_picks():
    values = np.array([[1, 1, 2, 2], [1, 3, 2, 4]], np.uint8)
    target = grid(1, 2, 2.0)
    source = ArraySource(values, grid(2, 4))
    assert WarpedSource(source, target, "mode").read(target.window)[0].tolist() == [[[1, 2]]]
    picked = WarpedSource(source, target, "nearest").read(target.window)[0]
    assert set(picked.ravel()) <= {1, 2, 3, 4}


TURNED = Grid(40, 37, Affine(1.7123, 0.4077, 499_990.137, 0.3019, -1.6231, 4_000_003.291), UTM)
TARGETS = {
    "coarser": grid(17, 19, 3.3017, 499_993.113, 4_000_004.127),
    "finer": grid(90, 80, 0.4013, 500_003.119, 3_999_995.071),
    "turned": TURNED,
    "degrees": Grid(
        40, 40, Affine(1.3e-5, 0, -81.00002, 0, -1.1e-5, 36.14442), CRS.from_epsg(4326)
    ),
}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(TARGETS)),
    st.sampled_from(sorted(set(RESAMPLINGS) - {"mode"})),  # whose ties fall either way
    st.integers(-9, 40),
    st.integers(-9, 40),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_any_window_agrees_with_the_whole(target, resampling, row, col, height, width):
    field = np.random.default_rng(1).random((2, 50, 45), np.float32)
    field[0, 10:14, 20:30] = np.nan
    field[:, 30:34, 5:9] = np.nan
    warped = WarpedSource(ArraySource(field, grid(50, 45)), TARGETS[target], resampling)
    whole, valid = warped.read(Window(-10, -10, 120, 120))
    assert valid.any()
    part, part_valid = warped.read(Window(row, col, height, width))
    rows, cols = Window(row, col, height, width).slices((-10, -10))
    np.testing.assert_array_equal(part_valid, valid[rows, cols])
    np.testing.assert_allclose(part, whole[:, rows, cols], atol=1e-4)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_agrees_with_gdals_virtual_warp(write_geotiff, target):
    import rasterio

    field = RNG.integers(1, 200, (1, 50, 45)).astype(np.float32)
    path = write_geotiff("a.tif", field)
    where = TARGETS[target]
    ours = WarpedSource(open_source(path), where, "nearest").read(where.window)[0]
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs=where.crs,
            transform=where.transform,
            height=where.height,
            width=where.width,
            resampling=Resampling.nearest,
            nodata=0,
        ) as vrt,
    ):
        theirs = vrt.read()
    assert (ours > 0).sum() > 200
    np.testing.assert_array_equal(ours, theirs)


def test_holes_do_not_spread_and_are_not_filled_with_zero():
    values = np.full((2, 8, 8), 5, np.float32)
    values[0, :, :4] = np.nan
    target = grid(4, 4, 2.0)
    got, valid = WarpedSource(ArraySource(values, grid(8, 8)), target, "bilinear").read(
        target.window
    )
    assert valid.all()  # the second band has values everywhere
    np.testing.assert_allclose(got[1], 5)
    np.testing.assert_allclose(got[0, :, 2:], 5)
    assert set(np.unique(got[0])) <= {0, 5}
    assert (got[0, :, 0] == 0).all()


def test_outside_the_source_is_invalid():
    target = grid(10, 10, 1.0, 500_005)
    got, valid = WarpedSource(ramp(10, 10), target, "average").read(target.window)
    np.testing.assert_array_equal(valid.all(axis=0), [True] * 5 + [False] * 5)
    assert (got[:, ~valid] == 0).all()


def test_large_sources_are_read_in_pieces(monkeypatch):
    source = ramp(80, 80)
    target = grid(20, 20, 4.0)
    expected = WarpedSource(source, target, "average").read(target.window)[0]
    monkeypatch.setattr("bandweave.raster.warp._MOST", 500)
    largest = []
    plain = ArraySource.read_inside

    def watched(self, window):
        largest.append(window.height * window.width)
        return plain(self, window)

    monkeypatch.setattr(ArraySource, "read_inside", watched)
    got = WarpedSource(source, target, "average").read(target.window)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert max(largest) <= 500


def test_two_grids_without_a_crs_are_warped_as_they_lie():
    source = ArraySource(np.ones((4, 4), np.float32), grid(4, 4, crs=None))
    target = grid(2, 2, 2.0, crs=None)
    assert WarpedSource(source, target, "average").read(target.window)[1].all()


def test_what_cannot_be_warped():
    source = ramp(10, 10)
    with pytest.raises(GridMismatch, match="do not overlap"):
        WarpedSource(source, grid(10, 10, left=700_000.0), "bilinear")
    with pytest.raises(GridMismatch, match="no transform to warp by"):
        WarpedSource(ArraySource(np.ones((3, 3))), source.grid, "bilinear")
    with pytest.raises(GridMismatch, match="the grid has no CRS"):
        WarpedSource(source, grid(10, 10, crs=None), "bilinear")
    with pytest.raises(ConfigError, match="'linear'; it is one of nearest, bilinear"):
        WarpedSource(source, source.grid, "linear")


def test_landsat_pan_onto_the_multispectral_grid(real_data):
    folder = real_data("landsat8-chip")
    pan, red = (open_source(next(folder.glob(f"*_{band}.TIF"))) for band in ("B8", "B4"))
    warped, valid = WarpedSource(pan, red.grid, "average").read(red.grid.window)
    assert valid.all()
    values, _ = red.read(red.grid.window)
    assert np.corrcoef(warped.ravel(), values.ravel())[0, 1] > 0.9
