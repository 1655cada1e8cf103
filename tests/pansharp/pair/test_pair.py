"""Pairs of files: opened, cropped to what both cover, read by window, values as they are meant."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import upsample
from bandweave.pansharp.storage import Storage
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window

LEFT, TOP = 500_000.0, 4_000_000.0


def north_up(pixel: float, right: float = 0, down: float = 0) -> Affine:
    return Affine(pixel, 0, LEFT + right, 0, -pixel, TOP - down)


def ramp(shape: tuple[int, int], transform: Affine) -> np.ndarray:
    """A smooth function of the place alone: metres, at the centres of the pixels."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    x, y = transform.c + transform.a * cols - LEFT, TOP - transform.f - transform.e * rows
    return (100 + 3 * y + 2 * x).astype(np.float32)


def whole(pair: Pair, margin: int = 0):
    return pair.read(pair.grid.window, margin)


# Places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
@pytest.mark.parametrize("off", [(0, 0), (0.5, 0.5), (-0.5, 0.5), (2.25, -7.75)])
def test_what_is_interpolated_lies_where_the_files_say(write_geotiff, ratio, off):
    """Half a PAN pixel of error would be 1.5 and 1 of the ramp's values."""
    pixel = 2.0
    fine, coarse = north_up(pixel), north_up(pixel * ratio, off[1] * pixel, off[0] * pixel)
    size, small = (40 * ratio, 44 * ratio), (40, 44)
    pair = open_pair(
        write_geotiff("pan.tif", ramp(size, fine), fine),
        write_geotiff("ms.tif", ramp(small, coarse), coarse),
    )
    read = whole(pair)
    sharp = upsample(read.ms, read.nesting, read.pan.shape)[0]
    inner = slice(2 * ratio, -2 * ratio)
    np.testing.assert_allclose(sharp[inner, inner], read.pan[inner, inner], atol=0.01)
    np.testing.assert_array_equal(read.pan, ramp(read.pan.shape, pair.grid.transform))
    assert (pair.grid.height, pair.grid.width) == tuple(ratio * n for n in pair.ms_shape)
    assert pair.grid.crs == "EPSG:32617"


def test_other_extents_are_cropped_and_it_is_said(write_geotiff):
    fine, coarse = north_up(1), north_up(4, right=-6, down=9)
    pair = open_pair(
        write_geotiff("pan.tif", ramp((100, 90), fine), fine),
        write_geotiff("ms.tif", ramp((30, 20), coarse), coarse),
    )
    # MS columns begin at -6, -2, 2, …; rows at 9 and end at 129, of which 97 is the last on PAN
    assert pair.ms_shape == (22, 18)
    assert pair.grid == pair.pan.grid.crop(Window(9, 2, 88, 72))
    assert pair.notes == [
        "the two images differ in extent: 88×72 of PAN's 100×90 pixels and 22×18 of MS's 30×20 are "
        "of the area that both cover (from PAN row 9, column 2; 4×4 PAN pixels an MS pixel)"
    ]
    assert (whole(pair).pan_valid.all(), whole(pair).ms_valid.all()) == (True, True)


def test_without_georeference_the_output_has_none(tmp_path):
    scipy.io.savemat(
        tmp_path / "both.mat", {"I_PAN": np.ones((41, 48)), "I_MS": np.ones((10, 12, 3))}
    )
    pair = open_pair(f"{tmp_path}/both.mat:I_PAN", f"{tmp_path}/both.mat:I_MS", ratio=4)
    assert (pair.grid.height, pair.grid.width, pair.bands) == (40, 48, 3)
    assert not pair.move(2, 2).grid.georeferenced
    assert pair.move(2, 2).ms_shape == (9, 11)


def test_pan_without_a_transform_gets_the_place_of_ms(write_geotiff, tmp_path):
    np.save(tmp_path / "pan.npy", np.ones((40, 40), np.uint8))
    ms = write_geotiff("ms.tif", np.ones((2, 10, 10), np.uint8), north_up(4, right=8))
    pair = open_pair(tmp_path / "pan.npy", ms, ratio=4)
    assert pair.grid.transform == north_up(1, right=8)
    assert pair.grid.crs == "EPSG:32617"


def test_moving_adds_up(write_geotiff):
    fine, coarse = north_up(1), north_up(4)
    pair = open_pair(
        write_geotiff("pan.tif", ramp((80, 80), fine), fine),
        write_geotiff("ms.tif", ramp((20, 20), coarse), coarse),
    )
    moved = pair.move(1.25, -0.5).move(-0.5, 0)
    assert moved.placed == Nesting(4, 0.75, -0.5)
    assert moved.ms_shape == (19, 19)
    assert len(moved.notes) == 1  # of the extents, once
    with pytest.raises(GridMismatch, match="no MS pixel lies wholly on the PAN image"):
        pair.move(200, 0)


# Values ------------------------------------------------------------------------------------------


def test_values_are_those_that_are_meant(write_geotiff):
    """Scale and offset are applied, and taken back for the output."""
    ms = np.arange(2 * 16, dtype=np.int16).reshape(2, 4, 4)
    pair = open_pair(
        write_geotiff("pan.tif", np.full((8, 8), 7, np.uint16), north_up(1), scales=[0.5]),
        write_geotiff("ms.tif", ms, north_up(2), scales=[1e-4, 2e-4], offsets=[-0.1, 0.0]),
    )
    read = whole(pair)
    meant = ms * np.array([1e-4, 2e-4])[:, None, None] + np.array([-0.1, 0])[:, None, None]
    np.testing.assert_allclose(read.ms, meant, atol=1e-8)
    np.testing.assert_array_equal(Storage.of(pair).encode(read.ms, read.ms_valid), ms)
    assert (read.pan == 3.5).all()
    assert pair.scaled
    np.testing.assert_array_equal(whole(pair.load()).ms, read.ms)
    assert (pair.scales, pair.offsets) == ((1e-4, 2e-4), (-0.1, 0.0))
    assert (pair.ms_dtype, pair.pan_dtype) == (np.int16, np.uint16)


def test_one_file_a_band(write_geotiff):
    transform = north_up(30)
    paths = [
        write_geotiff(
            f"LC08_B{band}.TIF", np.full((5, 5), band, np.uint16), transform, scales=[0.1]
        )
        for band in (4, 2, 3)
    ]
    pan = write_geotiff("LC08_B8.TIF", np.ones((10, 10), np.uint16), north_up(15))
    pair = open_pair(pan, paths)
    assert pair.names == ("B4", "B2", "B3")
    assert whole(pair).ms[:, 0, 0] == pytest.approx([0.4, 0.2, 0.3])
    assert open_pair(pan, paths[:1]).bands == 1
    other = write_geotiff("LC08_B5.TIF", np.ones((4, 4), np.uint16), transform)
    with pytest.raises(FileError, match="files of one layer share size and place"):
        open_pair(pan, [*paths, other])


@pytest.mark.parametrize(
    ("ms_nodata", "pan_nodata", "dtype", "expected"),
    [(0, 255, "uint8", 0), (None, 255, "uint8", 255), (None, -1, "uint8", None)],
)
def test_nodata_of_the_output(write_geotiff, ms_nodata, pan_nodata, dtype, expected):
    pan = write_geotiff("pan.tif", np.ones((8, 8), np.int16), north_up(1), nodata=pan_nodata)
    ms = write_geotiff("ms.tif", np.ones((2, 2, 2), dtype), north_up(4), nodata=ms_nodata)
    assert Storage.of(open_pair(pan, ms)).nodata == expected
    assert Storage.of(open_pair(pan, ms, nodata=9)).nodata == 9


def test_holes_of_floats_are_nan(write_geotiff):
    pan = write_geotiff("pan.tif", np.ones((8, 8), np.int16), north_up(1))
    ms = write_geotiff("ms.tif", np.ones((2, 2, 2), np.float32), north_up(4))
    assert np.isnan(Storage.of(open_pair(pan, ms)).nodata)


def test_holes_are_filled_with_what_lies_nearest(write_geotiff):
    ms = np.full((2, 6, 6), 50, np.uint8)
    ms[:, :, 3:] = 90
    ms[0, 2, 1] = 0  # of one band alone
    ms[:, 5, 5] = 0
    pan = np.full((12, 12), 30, np.uint8)
    pan[0, 0] = 0
    pair = open_pair(
        write_geotiff("pan.tif", pan, north_up(1), nodata=0),
        write_geotiff("ms.tif", ms, north_up(2), nodata=0),
    )
    read = whole(pair, margin=4)
    filled = np.where(np.arange(6) < 3, 50, 90)
    assert (read.ms[:, 2:-2, 2:-2] == filled).all()
    assert (read.pan == 30).all()
    assert read.both_valid.sum() == 36 - 3  # PAN's hole spoils one more MS pixel
    expected = np.zeros((10, 10), bool)
    expected[2:-2, 2:-2] = (ms != 0).all(axis=0)
    np.testing.assert_array_equal(read.ms_valid, expected)
    assert read.pan_valid.sum() == 143
    assert read.pan[read.core].shape == (12, 12)


def test_a_window_of_holes_alone_is_calm(write_geotiff):
    pan = write_geotiff("pan.tif", np.zeros((8, 8), np.uint8), north_up(1), nodata=0)
    ms = write_geotiff("ms.tif", np.full((2, 2, 2), np.nan, np.float32), north_up(4))
    read = whole(open_pair(pan, ms), 2)
    assert not read.pan_valid.any()
    assert not read.ms_valid.any()
    assert np.isfinite(read.pan).all()
    assert np.isfinite(read.ms).all()


# Windows -----------------------------------------------------------------------------------------


def random_pair(ratio: int, row: float, col: float, holes: float = 0.0) -> Pair:
    rng = np.random.default_rng(4)
    pan = rng.random((31 * ratio, 29 * ratio)).astype(np.float32)
    ms = rng.random((3, 30, 30)).astype(np.float32)
    pan[rng.random(pan.shape) < holes] = np.nan
    ms[:, rng.random(ms.shape[1:]) < holes] = np.nan
    return Pair(ArraySource(pan), ArraySource(ms), Nesting(ratio, row, col))


@given(
    st.integers(2, 5),
    st.tuples(*[st.integers(-20, 20).map(lambda value: value / 8)] * 2),
    st.tuples(st.integers(-5, 60), st.integers(-5, 60), st.integers(6, 50), st.integers(6, 50)),
    st.integers(0, 9),
)
def test_a_window_is_a_part_of_the_whole(ratio, corner, window, margin):
    pair = random_pair(ratio, *corner)
    window = Window(*window)
    around = 80
    if window.clip(pair.grid.height, pair.grid.width) is None:
        return
    read, all_of_it = pair.read(window, margin), whole(pair, around * ratio)
    top, left = window.row - margin + around * ratio, window.col - margin + around * ratio
    H, W = window.height + 2 * margin, window.width + 2 * margin
    part = np.s_[top : top + H, left : left + W]
    np.testing.assert_array_equal(read.pan, all_of_it.pan[part])
    np.testing.assert_array_equal(read.pan_valid, all_of_it.pan_valid[part])
    i, j = top // ratio, left // ratio
    h, w = read.ms_valid.shape
    np.testing.assert_array_equal(read.ms, all_of_it.ms[:, i : i + h, j : j + w])
    assert read.nesting == all_of_it.nesting.crop((top, left), (i, j))
    assert (h, w) == (-(-(top + H) // ratio) - i, -(-(left + W) // ratio) - j)
    if window.row % ratio == window.col % ratio == margin % ratio == 0:
        assert read.nesting == pair.nesting
    # interpolated where the MS window has all that the kernel reaches
    sharp = upsample(read.ms, read.nesting, read.pan.shape)
    same = upsample(all_of_it.ms, all_of_it.nesting, all_of_it.pan.shape)[:, *part]
    inner = slice(3 * ratio, -3 * ratio)
    np.testing.assert_allclose(sharp[:, inner, inner], same[:, inner, inner], atol=1e-6)


def test_holes_look_the_same_through_every_window():
    pair = random_pair(4, 0.5, -0.25, holes=0.3)
    at_once = whole(pair, 12)
    for window in (Window(0, 0, 40, 32), Window(36, 24, 17, 30), Window(60, 50, 40, 40)):
        read = pair.read(window, 12)
        part = np.s_[
            window.row : window.row + window.height + 24,
            window.col : window.col + window.width + 24,
        ]
        core = np.s_[12:-12, 12:-12]
        np.testing.assert_array_equal(read.pan[core], at_once.pan[part][core])


def test_a_window_outside():
    with pytest.raises(ValueError, match="outside the grid"):
        random_pair(4, 0, 0).read(Window(1000, 0, 8, 8))


# MS that was resampled before --------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_resampled_ms_is_brought_back(ratio):
    """A smooth image interpolated to the PAN grid comes back as it was, away from the edges."""
    rows, cols = np.mgrid[:24, :30]
    coarse = np.stack([np.sin(rows / 3) * np.cos(cols / 4), rows + 2.0 * cols]).astype(np.float32)
    size = 24 * ratio, 30 * ratio
    fine = upsample(coarse, Nesting(ratio), size)
    pair = Pair(ArraySource(np.ones(size)), ArraySource(fine), Nesting(ratio), resampled=True)
    read = whole(pair)
    assert read.nesting == Nesting(ratio)
    inner = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(read.ms[inner], coarse[inner], atol=0.02)
    np.testing.assert_allclose(read.ms[1][2:-2, 2:-2], coarse[1][2:-2, 2:-2], atol=1e-4)


def test_resampled_ms_off_the_pan_grid():
    """Its holes make whole coarse pixels invalid; windows agree; moving it keeps its pixels."""
    fine = np.arange(40 * 48, dtype=np.float32).reshape(1, 40, 48)
    fine[0, 5, 6] = np.nan
    pair = Pair(
        ArraySource(np.ones((41, 50))), ArraySource(fine), Nesting(4, 0.5, 1.0), resampled=True
    )
    assert pair.ms_shape == (10, 12)
    read = whole(pair)
    assert np.argwhere(~read.ms_valid).tolist() == [[1, 1]]
    assert read.ms[0, 0, 0] == fine[0, 1:3, 1:3].mean()
    moved = pair.move(-1, 0)
    assert moved.ms_shape == (9, 12)
    np.testing.assert_array_equal(whole(moved).ms[0, 3], read.ms[0, 4])


# Files that make no pair -------------------------------------------------------------------------


def test_swapped_files(write_geotiff):
    pan = write_geotiff("pan.tif", np.ones((40, 40), np.uint8), north_up(1))
    ms = write_geotiff("ms.tif", np.ones((3, 10, 10), np.uint8), north_up(4))
    one = write_geotiff("one.tif", np.ones((10, 10), np.uint8), north_up(4))
    with pytest.raises(FileError, match=r"ms\.tif has 3 bands and a PAN image one; .*swapped"):
        open_pair(ms, pan)
    with pytest.raises(GridMismatch, match=r"PAN is coarser than MS: .*swapped"):
        open_pair(one, pan)


def test_nothing_given(write_geotiff, tmp_path):
    pan = write_geotiff("pan.tif", np.ones((40, 40), np.uint8), north_up(1))
    with pytest.raises(ConfigError, match="`ms` is an empty list"):
        open_pair(pan, [])
    with pytest.raises(FileError, match="does not exist"):
        open_pair(pan, tmp_path / "ms.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(FileError, match="it is empty"):
        open_pair(pan, tmp_path / "empty.tif")


def test_a_missing_crs_can_be_stated(write_geotiff):
    pan = write_geotiff("pan.tif", np.ones((40, 40), np.uint8), north_up(1))
    ms = write_geotiff("ms.tif", np.ones((3, 10, 10), np.uint8), north_up(4), None)
    with pytest.raises(GridMismatch, match="MS has no CRS"):
        open_pair(pan, ms)
    assert open_pair(pan, ms, crs="EPSG:32617").ratio == 4


# Real files --------------------------------------------------------------------------------------


def test_landsat_8_one_file_a_band(real_data):
    folder = real_data("landsat8-chip")
    files = {int(path.stem.rpartition("_B")[2]): path for path in folder.glob("*.TIF")}
    pair = open_pair(files[8], [files[band] for band in (2, 3, 4, 5)])
    assert (pair.ratio, pair.nesting, pair.names) == (
        2,
        Nesting(2, 0.5, 0.5),
        ("B2", "B3", "B4", "B5"),
    )
    assert pair.grid.transform[2], pair.grid.transform[5] == (483277.5, 5628502.5)
    assert (pair.grid.height, pair.ms_shape) == (80, (40, 40))
    assert Storage.of(pair).nodata == -32768
    assert whole(pair).ms_valid.all()


def test_worldview_2_two_arrays_of_one_file(real_data):
    path = real_data("wv2") / "imgWV2.mat"
    pair = open_pair(f"{path}:I_PAN", f"{path}:I_MS")
    assert (pair.grid.height, pair.ratio, pair.bands, pair.ms_dtype) == (1280, 4, 8, np.uint16)
    assert open_pair(f"{path}:I_PAN", f"{path}:I_MS").nesting == pair.nesting == Nesting(4)


def test_quickbird_already_resampled(real_data):
    folder = real_data("quickbird-toulouse")
    files = [folder / f"QB_Toulouse_Ortho_{name}.tif" for name in ("PAN", "XS")]
    with pytest.raises(GridMismatch, match="already has PAN's pixel size: PAN is 500×500 px"):
        open_pair(*files)
    pair = open_pair(*files, ratio=4)
    assert (pair.ms_shape, pair.ms_dtype) == ((125, 125), np.uint32)
    assert "resampled from 4 times coarser" in pair.notes[0]
