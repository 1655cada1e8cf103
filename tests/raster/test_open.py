import multiprocessing
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from bandweave.data.scenefile.open import open_scene
from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.raster.alignment import fit
from bandweave.raster.formats.arrays import ArraySource, guess_band_axis
from bandweave.raster.grid import PIXELS, Window
from bandweave.raster.open import open_source
from bandweave.raster.source import Source
from bandweave.raster.warp import WarpedSource

CUBE = np.arange(3 * 11 * 7, dtype=np.uint16).reshape(3, 11, 7)


def save_npy(folder, array):
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def save_mat(folder, **arrays):
    scipy.io.savemat(folder / "a.mat", arrays, do_compression=True)
    return folder / "a.mat"


def whole(source):
    return source.read(source.grid.window)


# ---------------------------------------------------------------- the same cube in every format


@pytest.fixture(params=["geotiff", "stack", "envi", "npy", "mat5", "mat73", "array"])
def cube(request, tmp_path, write_geotiff, write_envi, write_mat73):
    """CUBE as a source, from a file of each kind."""
    match request.param:
        case "geotiff":
            return open_source(write_geotiff("a.tif", CUBE))
        case "stack":
            return open_source([write_geotiff(f"{i}.tif", CUBE[i]) for i in range(3)])
        case "envi":
            return open_source(write_envi("a.hdr", CUBE, interleave="bil"))
        case "npy":
            return open_source(save_npy(tmp_path, CUBE.transpose(1, 2, 0)))
        case "mat5":
            return open_source(save_mat(tmp_path, cube=CUBE.transpose(1, 2, 0)), key="cube")
        case "mat73":
            return open_source(write_mat73("a.mat", {"cube": CUBE.transpose(1, 2, 0)}))
        case "array":
            return ArraySource(CUBE)


def test_every_format_gives_the_same_pixels(cube):
    assert (cube.bands, cube.grid.height, cube.grid.width) == CUBE.shape
    assert cube.dtype == np.uint16
    source: Source = cube
    values, valid = whole(source)
    assert values.dtype == np.float32
    assert valid.all()
    np.testing.assert_array_equal(values, CUBE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.integers(-15, 15), st.integers(-15, 15), st.integers(1, 20), st.integers(1, 20))
def test_windows_reach_outside_in_every_format(cube, row, col, height, width):
    pad = 40
    padded = np.pad(CUBE.astype(np.float32), ((0, 0), (pad, pad), (pad, pad)))
    inside = np.pad(np.ones(CUBE.shape[1:], bool), pad)
    rows, cols = Window(row, col, height, width).slices((-pad, -pad))
    values, valid = cube.read(Window(row, col, height, width))
    np.testing.assert_array_equal(values, padded[:, rows, cols])
    np.testing.assert_array_equal(valid, inside[rows, cols])


def test_a_source_travels_and_serves_threads(cube):
    copy = pickle.loads(pickle.dumps(cube))
    np.testing.assert_array_equal(whole(copy)[0], CUBE)
    windows = [Window(i % 9, i % 5, 2, 2) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for window, (values, _) in zip(windows, pool.map(cube.read, windows), strict=True):
            rows, cols = window.slices()
            np.testing.assert_array_equal(values, CUBE[:, rows, cols])


def _read_in_child(source, queue):
    queue.put(whole(source)[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_source_survives_a_fork(cube):
    whole(cube)  # the parent has it open
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(cube, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=30), CUBE)
    child.join(10)
    np.testing.assert_array_equal(whole(cube)[0], CUBE)


def test_a_file_written_anew_is_read_anew(write_geotiff):
    for value in (1, 2):
        path = write_geotiff("a.tif", np.full((2, 2), value, np.uint8))
        assert whole(open_source(path))[0].max() == value


def test_more_files_than_stay_open(write_geotiff):
    paths = [write_geotiff(f"{i}.tif", np.full((2, 2), i, np.uint8)) for i in range(80)]
    source = open_source(paths)
    np.testing.assert_array_equal(source.read(Window(0, 0, 1, 1))[0].ravel(), range(80))


# ------------------------------------------------------------------------- holes


def test_nodata_nan_and_infinity_are_holes(write_geotiff):
    values = np.array([[[1, -9, 3, 4]], [[5, -9, np.nan, np.inf]]], np.float32)
    got, valid = whole(open_source(write_geotiff("a.tif", values, nodata=-9)))
    np.testing.assert_array_equal(valid, [[True, False, True, True]])
    np.testing.assert_array_equal(got, [[[1, 0, 3, 4]], [[5, 0, 0, 0]]])


def test_float_nodata_is_compared_as_stored(write_geotiff):
    low = np.float32(-3.4e38)
    array = np.array([[low, 1]], np.float32)
    _, valid = whole(open_source(write_geotiff("a.tif", array, nodata=float(low))))
    np.testing.assert_array_equal(valid, [[False, True]])


def test_large_integers_next_to_nodata_stay_valid(tmp_path):
    top = 2**31 - 1  # float32 cannot tell it from its neighbour
    source = open_source(save_npy(tmp_path, np.array([[top, top - 1]], np.int32)), nodata=top)
    np.testing.assert_array_equal(whole(source)[1], [[False, True]])


@pytest.mark.parametrize("nodata", [-9999, 300, 0.5, float("nan")])
def test_nodata_that_the_dtype_cannot_hold_is_no_hole(tmp_path, nodata):
    path = save_npy(tmp_path, np.arange(4, dtype=np.uint8).reshape(2, 2))
    assert whole(open_source(path, nodata=nodata))[1].all()


def test_stated_nodata_replaces_the_files(write_geotiff):
    path = write_geotiff("a.tif", np.array([[0, 1]], np.uint8), nodata=0)
    np.testing.assert_array_equal(whole(open_source(path, nodata=1))[1], [[True, False]])


def test_alpha_is_validity_and_no_band(write_geotiff):
    rgba = np.full((4, 1, 3), 7, np.uint8)
    rgba[3] = [255, 0, 255]
    path = write_geotiff("a.tif", rgba, photometric="RGB", alpha="YES")
    source = open_source(path)
    assert source.bands == 3
    np.testing.assert_array_equal(whole(source)[1], [[True, False, True]])
    assert open_source(path, bands=[1, 2, 3, 4]).bands == 4


def test_a_fourth_band_that_calls_itself_alpha_and_is_none_stays(write_geotiff):
    four = np.full((4, 1, 3), 7, np.uint8)
    path = write_geotiff("a.tif", four, photometric="RGB", alpha="YES")
    source = open_source(path)
    assert source.bands == 4
    assert whole(source)[1].all()


def test_mask_band(write_geotiff):
    path = write_geotiff("a.tif", np.ones((1, 3), np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.array([[255, 0, 255]], np.uint8))
        assert dataset.colorinterp[0] == ColorInterp.gray
    np.testing.assert_array_equal(whole(open_source(path))[1], [[True, False, True]])


# ------------------------------------------------------------------------- what files say


def test_scale_and_offset(write_geotiff):
    path = write_geotiff(
        "a.tif", np.array([[[2, 0]], [[2, 0]]], np.int16), nodata=0, scales=[0.5, 1], offsets=[1, 0]
    )
    source = open_source(path)
    assert (source.info.scales, source.info.offsets) == ((0.5, 1.0), (1.0, 0.0))
    np.testing.assert_array_equal(whole(source)[0], [[[2, 0]], [[2, 0]]])


@pytest.mark.parametrize(
    ("values", "unit"),
    [([450, 550, 2100], "Nanometers"), ([0.45, 0.55, 2.1], "um"), ([0.45, 0.55, 2.1], "Unknown")],
)
def test_envi_wavelengths_become_nanometres(write_envi, values, unit):
    header = write_envi("a.hdr", CUBE, values, unit)
    for path in (header, header.with_suffix(".img")):
        assert open_source(path).info.wavelengths == (450, 550, 2100)


@pytest.mark.parametrize("unit", ["Wavenumber", "GHz", "Index"])
def test_envi_units_that_are_no_length(write_envi, unit):
    assert open_source(write_envi("a.hdr", CUBE, [1, 2, 3], unit)).info.wavelengths is None


def test_envi_scale_nodata_and_bands(write_envi):
    header = write_envi(
        "a.hdr",
        CUBE,
        [450, 550, 650],
        extra="data ignore value = 0\ndata gain values = {2, 2, 3}\ndata offset values = {0, 1, 0}",
    )
    source = open_source(header, bands=[3, 1])
    assert source.info.wavelengths == (650, 450)
    assert source.info.scales == (3.0, 2.0)
    values, valid = whole(source)
    np.testing.assert_array_equal(values[:, 1, 1], CUBE[[2, 0], 1, 1] * [3, 2])
    assert valid.all()  # band 3 has no zero


def test_wavelengths_in_geotiff_names_and_tags(write_geotiff):
    named = write_geotiff("a.tif", CUBE, names=["blue 450 nm", "0.55 µm", "650.5 Nanometers"])
    assert open_source(named).info.wavelengths == (450, 550, 650.5)
    plain = write_geotiff("b.tif", CUBE, names=["B1", "B2", "650 nm"])
    assert open_source(plain).info.wavelengths is None
    with rasterio.open(plain, "r+") as dataset:
        for band, value in enumerate(("0.45", "0.55", "0.65"), start=1):
            dataset.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=value)
    assert open_source(plain).info.wavelengths == (450, 550, 650)


def test_stated_wavelengths_and_units(tmp_path):
    path = save_npy(tmp_path, CUBE)
    layer = {"path": str(path), "wavelengths": [400, 500, 600], "units": "reflectance"}
    info = open_scene({"layers": {"hsi": layer}}).layers["hsi"].info
    assert info.wavelengths == (400, 500, 600)
    assert info.units == "reflectance"
    with pytest.raises(ConfigError, match="2 values and the layer 3 bands"):
        open_scene({"layers": {"hsi": {**layer, "wavelengths": [400, 500]}}})


def test_crs_is_assigned_and_never_replaced(write_geotiff):
    transform = Affine(2.5, 0, 1000, 0, -2.5, 5000)
    bare = write_geotiff("a.tif", CUBE, transform, crs=None)
    grid = open_source(bare, crs="EPSG:32617").grid
    assert (grid.crs, grid.transform) == (CRS.from_epsg(32617), transform)
    placed = write_geotiff("b.tif", CUBE, transform, crs="EPSG:32617")
    assert open_source(placed, crs=32617).grid.crs == CRS.from_epsg(32617)
    with pytest.raises(GridMismatch, match=r"EPSG:32617 and `crs` says EPSG:4326"):
        open_source(placed, crs="EPSG:4326")
    with pytest.raises(ConfigError, match="names no CRS"):
        open_source(bare, crs="nowhere")


def test_no_transform_is_the_pixel_grid(write_geotiff):
    source = open_source(write_geotiff("a.tif", CUBE, Affine.identity(), crs=None))
    assert source.grid.transform == PIXELS
    assert source.grid.crs is None
    assert not source.grid.georeferenced


def test_names_of_a_stack_are_what_differs(write_geotiff):
    paths = [write_geotiff(f"LC08_2013_B{i}.tif", CUBE[0]) for i in (10, 2)]
    assert open_source(paths).info.names == ("B10", "B2")
    assert open_source(paths, bands=[2]).grid == open_source(paths).grid


# ------------------------------------------------------------------------- the band axis


@pytest.mark.parametrize(
    ("shape", "reference", "axis"),
    [
        ((349, 1905, 144), None, 2),
        ((144, 349, 1905), None, 0),
        ((20, 20, 369), None, None),  # 20 bands or 369: has to be stated…
        ((20, 20, 369), (20, 20), 2),  # …unless the reference says better
        ((512, 512, 3), (128, 128), 2),
        ((1, 100, 48), (1, 100), 2),
        ((5, 9, 5), None, None),
        ((30, 8, 40), None, None),
        ((30, 8, 40), (30, 40), 1),
        ((8, 8, 8), (8, 8), None),  # fits in every way
        ((30, 30, 40), (30, 40), None),
    ],
)
def test_band_axis_rule(shape, reference, axis):
    assert guess_band_axis(shape, reference) == axis


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stated_axis(tmp_path, write_mat73, axis):
    array = np.moveaxis(CUBE, 0, axis)
    for source in (
        open_source(save_npy(tmp_path, array), axis=axis),
        open_source(write_mat73("b.mat", {"x": array}), axis=axis, bands=[3, 1]),
    ):
        expected = CUBE if source.bands == 3 else CUBE[[2, 0]]
        np.testing.assert_array_equal(whole(source)[0], expected)


def test_two_dimensions_are_one_band(tmp_path, write_mat73):
    for path in (save_npy(tmp_path, CUBE[0]), write_mat73("b.mat", {"x": CUBE[0]})):
        np.testing.assert_array_equal(whole(open_source(path))[0], CUBE[:1])


# ------------------------------------------------------------------------- bad input


def test_missing_file_names_the_nearest(write_geotiff):
    path = write_geotiff("houston.tif", CUBE)
    with pytest.raises(FileError, match=r"does not exist; did you mean houston\.tif"):
        open_source(path.with_name("huston.tif"))
    with pytest.raises(FileError, match="nor does its folder"):
        open_source("/no/such/folder/a.tif")
    with pytest.raises(FileError, match="is a folder"):
        open_source(path.parent)


@pytest.mark.parametrize("name", ["a.tif", "a.mat", "a.npy", "a.hdr", "a.jp2", "a"])
@pytest.mark.parametrize("content", [b"", b"this is only text\n" * 20, b"\x00\x01\x02" * 300])
def test_other_content_than_the_name_says(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=name):
        open_source(tmp_path / name)


@pytest.mark.parametrize("kind", ["geotiff", "envi", "npy", "mat5", "mat73"])
def test_truncated_files(tmp_path, write_geotiff, write_envi, write_mat73, kind):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2**16, (40, 50, 3), dtype=np.uint16)
    match kind:
        case "geotiff":
            data = path = write_geotiff("a.tif", noise.transpose(2, 0, 1))
        case "envi":
            path = write_envi("a.hdr", noise.transpose(2, 0, 1))
            data = path.with_suffix(".img")
        case "npy":
            data = path = save_npy(tmp_path, noise)
        case "mat5":
            data = path = save_mat(tmp_path, cube=noise)
        case "mat73":
            data = path = write_mat73("a.mat", {"cube": noise})
    content = data.read_bytes()
    for share in (0.02, 0.5, 0.9):
        data.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(FileError, match=r"a\.(tif|hdr|img|npy|mat)"):
            whole(open_source(path))


def test_a_damaged_file_does_not_taint_the_next(write_geotiff):
    noise = np.random.default_rng(0).random((3, 40, 50))
    fine = write_geotiff("fine.tif", noise)
    open_source(fine)  # stays open, so that GDAL's error is not cleared by opening it
    damaged = write_geotiff("a.tif", noise)
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    with pytest.raises(FileError, match=r"a\.tif cannot be read"):
        whole(open_source(damaged))
    assert open_source(fine).bands == 3


def test_wrong_key_lists_those_there_are(tmp_path, write_mat73):
    cube = CUBE.transpose(1, 2, 0)
    for path in (
        save_mat(tmp_path, x=cube, y=CUBE[0]),
        write_mat73("b.mat", {"x": cube, "y": CUBE[0]}),
    ):
        with pytest.raises(FileError, match=r"no key 'z'; it has x 11×7×3 uint16, y 11×7 uint16"):
            open_source(path, key="z")
        with pytest.raises(FileError, match=r"2 arrays .* `key`: x 11×7×3"):
            open_source(path)


def test_the_only_possible_array_needs_no_key(tmp_path):
    path = save_mat(tmp_path, cube=CUBE.transpose(1, 2, 0), sensor="WV2", ratio=4.0)
    assert open_source(path).bands == 3


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2, 2, 2)), np.zeros((2, 2), complex), np.zeros((0, 3))]
)
def test_arrays_that_are_no_layer(tmp_path, array):
    with pytest.raises(FileError, match="a layer is 2-D or 3-D and of real numbers"):
        open_source(save_npy(tmp_path, array))


def test_a_pickle_is_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(FileError, match="no readable NumPy array"):
        open_source(tmp_path / "a.npy")


def test_complex_raster(write_geotiff):
    with pytest.raises(FileError, match="complex"):
        open_source(write_geotiff("a.tif", np.zeros((2, 2), np.complex64)))


def test_bands_of_different_size_or_place(write_geotiff):
    one = write_geotiff("1.tif", CUBE[0])
    small = write_geotiff("2.tif", CUBE[0, :5])
    moved = write_geotiff("3.tif", CUBE[0], Affine(1, 0, 500_001, 0, -1, 4_000_000))
    with pytest.raises(FileError, match=r"5×7 px at 1 m.*11×7 px"):
        open_source([one, small])
    with pytest.raises(FileError, match="share size and place"):
        open_source([one, moved])
    with pytest.raises(FileError, match="3 bands; in a list"):
        open_source([one, write_geotiff("4.tif", CUBE)])


@pytest.mark.parametrize("bands", [[4], [1, 9]])
def test_bands_that_do_not_exist(tmp_path, write_geotiff, bands):
    stack = [write_geotiff(f"s{i}.tif", CUBE[i]) for i in range(3)]
    for path in (write_geotiff("a.tif", CUBE), save_npy(tmp_path, CUBE), stack):
        with pytest.raises(FileError, match=f"not {bands[-1]}"):
            open_source(path, bands=bands)


@pytest.mark.parametrize("options", [{"bands": []}, {"bands": [0]}, {"axis": 3}, {"paths": []}])
def test_impossible_options(tmp_path, options):
    path = options.pop("paths", save_npy(tmp_path, CUBE))
    with pytest.raises(ConfigError):
        open_source(path, **options)


def test_an_envi_header_without_data(write_envi):
    header = write_envi("a.hdr", CUBE)
    header.with_suffix(".img").unlink()
    with pytest.raises(FileError, match="no data file beside it"):
        open_source(header)


# ------------------------------------------------------------------------- real files


def test_landsat8_bands(real_data):
    folder = real_data("landsat8-chip")
    files = {path.stem.rsplit("_", 1)[1]: path for path in folder.glob("*.TIF")}
    source = open_source([files[f"B{i}"] for i in range(1, 8)])
    assert str(source.grid) == "41×41 px at 30 m"
    assert source.info.names == ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    with pytest.raises(FileError, match=r"82×82 px at 15 m.*41×41 px at 30 m"):
        open_source([files["B1"], files["B8"]])


def test_houston2013_lidar_has_a_transform_and_no_crs(real_data):
    path = real_data("houston2013") / "2013_IEEE_GRSS_DF_Contest_LiDAR.tif"
    assert str(open_source(path).grid) == "349×1905 px at 2.5"
    assert str(open_source(path, crs="EPSG:32615").grid) == "349×1905 px at 2.5 m"


def test_houston2018_crop(real_data):
    path = real_data("houston2018-crop") / "houston_dataset.mat"
    hsi, rgb = open_source(path, key="hyprImg"), open_source(path, key="rgbImg")
    assert (hsi.bands, hsi.grid.height, rgb.bands, rgb.grid.height) == (48, 128, 3, 512)


def test_idtrees_plot(real_data):
    folder = real_data("idtrees2020")
    source = open_source(folder / "HSI" / "MLBS_1.tif")
    assert (source.bands, str(source.grid)) == (369, "20×20 px at 1 m")


# ------------------------------------------------------------------- what files say and do not mean


@pytest.mark.parametrize("opaque", [1, 255, 65535])
def test_an_alpha_band_of_any_depth_is_a_mask(write_geotiff, opaque):
    values = np.full((6, 3, 4), 900, np.uint16)
    values[5], values[5, 0] = opaque, 0
    path = write_geotiff("a.tif", values)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 4, ColorInterp.alpha]
    source = open_source(path)
    read, valid = whole(source)
    assert source.bands == 5
    np.testing.assert_array_equal(valid, values[5] > 0)
    assert (read[:, 1:] == 900).all()


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_an_impossible_scale_of_a_band_is_ignored_and_said(write_geotiff, scale):
    path = write_geotiff("a.tif", CUBE, scales=[scale, 2.0, 1.0], offsets=[1.0, float("nan"), 0.0])
    source = open_source(path)
    np.testing.assert_array_equal(
        whole(source)[0],
        CUBE * np.array([1, 2, 1])[:, None, None] + np.array([1, 0, 0])[:, None, None],
    )
    assert "scale of band 1 " in source.notes[0]
    assert "offset of band 2 " in source.notes[1]


def test_a_private_tag_stops_nothing(write_geotiff):
    """A tag of a type that GDAL does not know leaves an error behind, and a file that it read."""
    path = write_geotiff("a.tif", CUBE, compress=None)
    raw = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", raw, 4)[0]
    count = struct.unpack_from("<H", raw, start)[0]
    entries = [bytes(raw[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    entries.append(struct.pack("<HHII", 33206, 7, 4, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    struct.pack_into("<I", raw, 4, len(raw))
    raw += struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    path.write_bytes(raw)
    source = open_source(path)
    np.testing.assert_array_equal(whole(source)[0], CUBE)


@pytest.mark.parametrize("pixel", [1e200, float("nan")])
def test_pixels_of_no_size_on_earth_are_refused(write_geotiff, pixel):
    path = write_geotiff("a.tif", CUBE, Affine(pixel, 0, 0, 0, -1, 0))
    with pytest.raises(FileError, match="impossible transform"):
        open_source(path)


def test_a_south_up_file_lands_where_it_belongs(write_geotiff):
    up = write_geotiff("up.tif", CUBE)
    down = write_geotiff("down.tif", CUBE[:, ::-1], Affine(1, 0, 500_000, 0, 1, 4_000_000 - 11))
    north, south = open_source(up), open_source(down)
    with pytest.raises(GridMismatch, match="add `warp"):
        fit("down", south.grid, "up", north.grid)
    warped = WarpedSource(south, north.grid, "nearest")
    np.testing.assert_array_equal(whole(warped)[0], CUBE)


def test_a_rotated_file_lands_where_it_belongs(write_geotiff):
    turned = Affine(0, 1, 500_000, -1, 0, 4_000_000)  # columns go south, rows go east
    path = write_geotiff("turned.tif", CUBE.transpose(0, 2, 1), turned)
    grid = open_source(write_geotiff("up.tif", CUBE)).grid
    np.testing.assert_array_equal(whole(WarpedSource(open_source(path), grid, "nearest"))[0], CUBE)


def test_many_claimed_bands_are_refused_at_once(write_geotiff, monkeypatch):
    monkeypatch.setattr("bandweave.raster.formats.gdal.source._MOST_BANDS", 2)
    with pytest.raises(FileError, match="claims 3 bands"):
        open_source(write_geotiff("a.tif", CUBE))


# ------------------------------------------------------------------------- of rare kinds


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64", "uint32", "float64"])
@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
def test_values_of_any_type_and_byte_order(write_geotiff, dtype, endianness):
    array = np.array([[1, 2, 100], [3, 4, 5]], dtype)
    path = write_geotiff("a.tif", array, nodata=5, ENDIANNESS=endianness)
    values, valid = whole(open_source(path))
    np.testing.assert_array_equal(values[0], [[1, 2, 100], [3, 4, 0]])
    np.testing.assert_array_equal(valid, [[True, True, True], [True, True, False]])


def test_floats_of_sixteen_bits(write_geotiff):
    array = np.array([[0.5, 2, 100]], np.float32)
    path = write_geotiff("a.tif", array, nbits=16)
    np.testing.assert_array_equal(whole(open_source(path))[0][0], array)


def test_a_rotated_envi_file(write_envi):
    extra = "map info = {UTM, 1, 1, 500000, 4000000, 2, 2, 17, North, WGS-84, rotation=90}"
    grid = open_source(write_envi("a.hdr", CUBE, extra=extra)).grid
    assert grid.pixel_size == pytest.approx((2, 2))
    assert abs(grid.transform.a) < 1e-9 < abs(grid.transform.b)


def test_a_file_of_more_than_four_gibibytes_and_two_to_the_31_pixels(tmp_path):
    path, size = tmp_path / "large.tif", 50_000
    profile = {"driver": "GTiff", "height": size, "width": size, "count": 1, "dtype": "uint16"}
    layout = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "BIGTIFF": "YES"}
    with rasterio.open(path, "w", **profile, **layout, SPARSE_OK=True, nodata=0) as file:
        last = rasterio.windows.Window(size - 2, size - 3, 2, 3)
        file.write(np.arange(1, 7, dtype=np.uint16).reshape(1, 3, 2), window=last)
    source = open_source(path)
    assert source.grid.height * source.grid.width > 2**31
    values, valid = source.read(Window(size - 3, size - 2, 3, 2))
    np.testing.assert_array_equal(values[0], np.arange(1, 7).reshape(3, 2))
    assert valid.all()
    assert not source.read(Window(size - 20, size - 20, 4, 4))[1].any()
