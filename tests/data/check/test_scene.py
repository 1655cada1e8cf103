"""What a look at a scene finds, each with the key that answers it, and what it leaves alone."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.data.check.scene import PROBLEM, check_scene, look_at_scene
from bandweave.data.no_value import is_border_or_block, marks
from bandweave.data.simulation.scene import simulated_scene

EAST, NORTH = 500000.0, 4000000.0


def smooth(bands=3, height=64, width=72, seed=0):
    """Bands (bands, H, W) float32 of blurred noise between about 0 and 1, as of one ground."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    ground = gaussian_filter(rng.normal(size=(height, width)), 2)
    values = [ground * (1 + i / bands) + 0.02 * rng.normal(size=ground.shape) for i in range(bands)]
    values = np.stack(values)
    return ((values - values.min()) / np.ptp(values) * 0.9 + 0.05).astype(np.float32)


def write_tif(path, values, nodata=None, **profile):
    values = values[None] if values.ndim == 2 else values
    count, height, width = values.shape
    transform = from_origin(EAST, NORTH, 2, 2)
    with rasterio.open(
        path, "w", "GTiff", width, height, count, "EPSG:32617", transform, values.dtype.name,
        nodata, **profile,
    ) as file:  # fmt: skip
        file.write(values)


def problems(content, folder):
    return [line for line in check_scene(content, folder) if line.startswith(PROBLEM)]


def scene_of(folder, values, **entry):
    write_tif(folder / "a.tif", values)
    return {"layers": {"a": {"path": "a.tif", **entry}}}


# ---------------------------------------------------------------------------------------- no values


@pytest.mark.parametrize(
    ("mark", "dtype", "written"),
    [
        (-9999, np.float32, "-9999"),
        (-3.4028235e38, np.float32, "-3.4028235e+38"),
        (1e20, np.float32, "1.0e+20"),
        (9.96921e36, np.float64, "9.96921e+36"),
        (-32768, np.int16, "-32768"),
        (-999, np.int16, "-999"),
        (65535, np.uint16, "65535"),
        (-77777, np.float32, "-77777"),
    ],
)
def test_undeclared_marks_are_named_with_the_line_to_add(tmp_path, mark, dtype, written):
    values = (smooth() * (1000 if np.dtype(dtype).kind in "iu" else 1)).astype(dtype)
    values[:, :, :20] = mark
    scene = scene_of(tmp_path, values)
    (line,) = problems(scene, tmp_path)
    assert "1,280 px (28 %)" in line
    assert f"`nodata: {written}`" in line
    scene["layers"]["a"]["nodata"] = mark
    assert problems(scene, tmp_path) == []


def test_a_mark_is_found_behind_a_scale_and_in_one_band_alone(tmp_path):
    values = (smooth() * 10000).astype(np.int16)
    values[1, 5, 5] = -9999
    scene = scene_of(tmp_path, values, scale=1e-4)
    (line,) = problems(scene, tmp_path)
    assert "-9999 in 1 px" in line
    assert "of band 2" in line


def test_two_marks_are_told_and_one_can_be_declared(tmp_path):
    values = smooth()
    values[:, 0], values[:, 1] = -9999, -3.4028235e38
    first, second = problems(scene_of(tmp_path, values), tmp_path)
    assert "`nodata: -3.4028235e+38`" in first
    assert "one `nodata`" in second


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_border_of_zeros_is_no_data(tmp_path, dtype, bands):
    values = (30 + smooth(bands) * 200).astype(dtype)
    values[:, :3] = values[:, :, -2:] = 0
    (line,) = problems(scene_of(tmp_path, values), tmp_path)
    assert "`nodata: 0`" in line
    assert "border" in line


def test_a_turned_image_and_a_block_are_no_data(tmp_path):
    rows, cols = np.mgrid[:64, :72]
    outside = abs(rows - 32) + abs(cols - 36) > 40
    block = np.zeros((64, 72), bool)
    block[20:35, 30:50] = True
    for hole in (outside, block):
        values = (300 + smooth() * 2000).astype(np.uint16)
        values[:, hole] = 0
        (line,) = problems(scene_of(tmp_path, values), tmp_path)
        assert f"0 in {hole.sum():,} px" in line


def test_values_that_are_values_are_left_alone(tmp_path):
    rng = np.random.default_rng(0)
    height = np.maximum(smooth(1) * 20 - 8, 0)  # flat ground at 0, as of a canopy
    dark = (smooth() * 200).astype(np.uint8)
    dark[:, rng.random((64, 72)) < 0.01] = 0
    bright = np.minimum(smooth() * 400, 255).astype(np.uint8)  # clouds
    for values in (
        height,
        dark,
        bright,
        (smooth(1) > 0.5).astype(np.uint8),
        rng.normal(size=(2, 64, 72)).astype(np.float32),
        rng.gamma(0.3, size=(2, 64, 72)).astype(np.float32),  # speckle
        rng.integers(0, 256, (1, 64, 72)).astype(np.uint8),
    ):
        found = problems(scene_of(tmp_path, values), tmp_path)
        assert not [line for line in found if "no data" in line]


def test_marks_of_a_band():
    values = np.arange(1000.0)
    assert marks(values) == []
    assert marks(np.append(values, -9999)) == [-9999]
    assert marks(np.append(values, [5000])) == [], "one high value is a value"
    assert marks(np.append(values, [5000] * 5)) == [5000]
    assert marks(np.array([0.0, 1.0] * 500)) == [], "a mask"


def test_shapes_of_missing_data():
    mask = np.zeros((40, 40), bool)
    assert not is_border_or_block(mask)
    mask[:2] = True
    assert is_border_or_block(mask)
    mask[10:, ::3] = True  # stripes
    assert not is_border_or_block(mask)


def test_a_big_layer_is_seen_in_windows_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("bandweave.data.check.layers.WHOLE", 2**18)
    values = np.tile(smooth(1, 128, 128), (1, 8, 8))
    values[:, :, -20:] = -9999
    lines = check_scene(scene_of(tmp_path, values), tmp_path)
    assert any("seen in windows" in line for line in lines)
    assert any("`nodata: -9999`" in line for line in lines)


# -------------------------------------------------------------------------------------------- bands


def test_dead_and_double_bands_are_named_with_the_others(tmp_path):
    values = smooth(6)
    values[1], values[3], values[5] = 0.5, np.nan, values[0]
    scene = scene_of(tmp_path, values)
    dead, constant, double = problems(scene, tmp_path)
    assert "no data in band 4 (from 1)" in dead
    assert "one value only in band 2 (from 1)" in constant
    assert "the same values twice, in band 6 as 1" in double
    assert dead.endswith("`bands: [1, 3, 5]`")
    scene["layers"]["a"]["bands"] = [1, 3, 5]
    assert problems(scene, tmp_path) == []


def test_bands_that_were_chosen_keep_their_numbers(tmp_path):
    values = smooth(6)
    values[4] = 0
    scene = scene_of(tmp_path, values, bands=[6, 5, 2], wavelengths=[700, 600, 500])
    (line,) = problems(scene, tmp_path)
    assert line.endswith("`bands: [6, 2]`, `wavelengths: [700.0, 500.0]`")


@pytest.mark.parametrize(
    ("wavelengths", "words"),
    [
        ([450, 650, 550], "`bands: [1, 3, 2]`, `wavelengths: [450.0, 550.0, 650.0]`"),
        ([0.45, 0.55, 0.65], "`wavelengths: [450.0, 550.0, 650.0]`"),
        ([450, 550, 550], "550 nm in bands 2 and 3"),
        ([450, 550, 1e6], "1e+06 nm in band 3"),
    ],
)
def test_wavelengths_out_of_order_twice_or_impossible(tmp_path, wavelengths, words):
    (line,) = problems(scene_of(tmp_path, smooth(), wavelengths=wavelengths), tmp_path)
    assert words in line


@pytest.mark.parametrize(
    "wavelengths",
    [
        [700, 600, 500],  # downwards, as PRISMA's
        [443, 482, 561, 655, 865, 1609, 2201, 1373],  # Landsat's
        [*range(400, 1000, 50), *range(920, 1500, 50)],  # two detectors
    ],
)
def test_orders_that_sensors_have(tmp_path, wavelengths):
    values = smooth(len(wavelengths))
    assert problems(scene_of(tmp_path, values, wavelengths=wavelengths), tmp_path) == []


@pytest.mark.parametrize(
    ("units", "values", "words"),
    [
        ("reflectance", smooth() * 10000, "`scale: 0.0001`"),
        ("reflectance", smooth() * 100, "`scale: 0.01`"),
        ("dB", smooth(), "`units: linear power`"),
        ("linear power", smooth() * 20 - 25, "`units: dB`"),
        ("degrees", smooth() * 2000, "-360 to 360"),
        ("K", smooth() * 40, "100 to 1500"),
        ("reflectance", smooth(), None),
        ("dB", smooth() * 20 - 25, None),
        ("m", smooth() * 300, None),
    ],
)
def test_values_outside_of_the_unit(tmp_path, units, values, words):
    found = problems(scene_of(tmp_path, values, units=units), tmp_path)
    assert [words in line for line in found] == ([True] if words else [])


def test_a_saturated_layer(tmp_path):
    values = np.minimum(smooth() * 130000, 65535).astype(np.uint16)
    (line,) = problems(scene_of(tmp_path, values), tmp_path)
    assert "is 65535" in line
    assert "saturated" in line


# ------------------------------------------------------------------------------------------- shifts


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -2), (-4, 5), (0, 0)])
@pytest.mark.parametrize("ratio", [1, 2])
def test_a_layer_that_lies_beside_the_grid(tmp_path, down, right, ratio):
    ground = smooth(1, 96 * 2 + 32, 96 * 2 + 32)[0]
    one = ground[16 : 16 + 192, 16 : 16 + 192].reshape(96, 2, 96, 2).mean(axis=(1, 3))
    top, left = 16 - 2 * down, 16 - 2 * right
    other = 1 - ground[top : top + 192, left : left + 192] ** 2  # another sensor
    if ratio == 1:
        other = other.reshape(96, 2, 96, 2).mean(axis=(1, 3))
    np.save(tmp_path / "one.npy", one[None])
    np.save(tmp_path / "other.npy", other[None])
    layers = {"one": "one.npy", "other": {"path": "other.npy", "ratio": ratio}}
    found = problems({"grid": "one", "layers": layers}, tmp_path)
    if not (down or right):
        assert found == []
        return
    (line,) = found
    for number, ahead, back in ((down, "down", "up"), (right, "right", "left")):
        assert not number or f"{abs(number)} px {ahead if number > 0 else back}" in line


def test_layers_without_a_fault(tmp_path):
    for seed in range(3):
        lines = check_scene(simulated_scene(seed=seed, height=96, width=128))
        found = [line for line in lines if line.startswith(PROBLEM)]
        assert [line for line in found if "has no pixel" not in line] == []


# ------------------------------------------------------------------------------------------- labels


def labelled(folder, codes, **keys):
    write_tif(folder / "a.tif", smooth(3, *codes.shape))
    write_tif(folder / "labels.tif", codes)
    return {"layers": {"a": "a.tif"}, "labels": "labels.tif", **keys}


@pytest.mark.parametrize(
    ("mark", "dtype"),
    [(255, np.uint8), (-1, np.int8), (-9999, np.int16), (65535, np.uint16), (-1, np.int16)],
)
def test_codes_that_are_no_class_are_asked_about(tmp_path, mark, dtype):
    codes = np.random.default_rng(0).integers(1, 5, (32, 40)).astype(dtype)
    codes[:8] = mark
    scene = labelled(tmp_path, codes)
    (line,) = problems(scene, tmp_path)
    assert f"code {mark} (320 px) looks like no label" in line
    assert line.endswith(f"`ignore: [{mark}]`")
    scene["ignore"] = [mark]
    assert problems(scene, tmp_path) == []


def test_a_class_0_beside_codes_below_0(tmp_path):
    codes = np.random.default_rng(0).integers(0, 2, (32, 40)).astype(np.int16)
    codes[:8] = -1
    scene = labelled(tmp_path, codes)
    (line,) = problems(scene, tmp_path)
    assert "while 0" in line
    assert "`ignore: [-1]`, `classes: {0: class 0, 1: class 1}`" in line
    scene |= {"ignore": [-1], "classes": {0: "dry", 1: "water"}}
    assert problems(scene, tmp_path) == []
    drafted = labelled(tmp_path, codes, ignore=[0], classes={-1: "class -1", 1: "class 1"})
    (finding,) = [one for one in look_at_scene(drafted, tmp_path) if one.problem]
    assert [(edit.key, edit.value) for edit in finding.edits] == [
        ("ignore", [-1]), (-1, None), (0, "class 0")
    ]  # fmt: skip


def test_a_code_that_was_named_is_a_class(tmp_path):
    codes = np.random.default_rng(0).integers(1, 5, (32, 40)).astype(np.uint8)
    codes[:8] = 255
    names = {1: "a", 2: "b", 3: "c", 4: "d", 255: "snow"}
    assert problems(labelled(tmp_path, codes, classes=names), tmp_path) == []


def test_many_codes_in_a_row_are_classes(tmp_path):
    codes = np.arange(1, 121).astype(np.uint8).repeat(10).reshape(30, 40)
    assert problems(labelled(tmp_path, codes), tmp_path) == []


def test_numbers_of_fields_given_as_labels(tmp_path):
    codes = np.arange(1, 1281).astype(np.int32).reshape(32, 40)
    (line,) = problems(labelled(tmp_path, codes), tmp_path)
    assert "1280 classes: are these numbers of objects" in line


def test_labels_without_data_say_their_share(tmp_path):
    scene = labelled(tmp_path, np.ones((32, 40), np.uint8) * np.uint8([[1], [2]] * 16))
    values = smooth(3, 32, 40)
    values[:, :4] = np.nan
    write_tif(tmp_path / "a.tif", values)
    (line,) = problems(scene, tmp_path)
    assert "160 labelled px lie where 'a' has no data (12 % of the labelled)" in line
