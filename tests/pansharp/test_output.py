"""What a sharp file says of itself: values, holes, bands, and what made it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint as Point
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from bandweave.errors import FileError, GridMismatch, SceneMismatch
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.run import SharpenRun
from bandweave.pansharp.sharpening import sharpen, super_resolve
from bandweave.pansharp.simulate import simulated_pair
from bandweave.pansharp.training import train_sharpener
from bandweave.raster.open import open_source

SCALES, OFFSETS = (1e-4, 2e-4, 5e-5), (-0.5, -1.0, -0.2)


def write(path, values, pixel=1.0, *, scales=None, offsets=None, names=None, mask=None, **profile):
    """A georeferenced file of (H, W) or (C, H, W)."""
    values = values.reshape(-1, *values.shape[-2:])
    profile = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, pixel, pixel)} | profile
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), dtype=values.dtype, height=values.shape[1],
        width=values.shape[2], **profile,
    ) as file:  # fmt: skip
        file.write(values)
        for attribute, value in (("scales", scales), ("offsets", offsets), ("descriptions", names)):
            if value is not None:
                setattr(file, attribute, value)
        if mask is not None:
            file.write_mask(mask)
    return path


@pytest.fixture(scope="module")
def scene():
    """Reflectances: PAN 96×96 and MS (3, 24, 24), of one truth."""
    rng = np.random.default_rng(0)
    y, x = np.indices((96, 96))
    texture = rng.random((24, 24)).repeat(4, 0).repeat(4, 1) * 0.2 + rng.random((96, 96)) * 0.05
    truth = np.stack([0.2 + 0.1 * np.sin(y / 9 + k) * np.cos(x / 7) + texture for k in range(3)])
    return truth.mean(0), truth.reshape(3, 24, 4, 24, 4).mean((2, 4))


def encoded(values, scales, offsets):
    columns = (np.array(each)[:, None, None] for each in (offsets, scales))
    offset, scale = columns
    return np.rint((values - offset) / scale).astype(np.uint16)


@pytest.fixture
def meant(tmp_path, scene):
    """The same pair twice: reflectances in float, and integers with scales and offsets."""
    pan, ms = scene
    stored = encoded(ms, SCALES, OFFSETS)
    column = [np.array(each)[:, None, None] for each in (SCALES, OFFSETS)]
    floats = (
        write(tmp_path / "pan_f.tif", (np.rint(pan * 2000) / 2000).astype(np.float32)),
        write(tmp_path / "ms_f.tif", (stored * column[0] + column[1]).astype(np.float32), 4),
    )
    pans = np.rint((np.rint(pan * 2000) / 2000 + 0.5) / 5e-4).astype(np.uint16)
    integers = (
        write(tmp_path / "pan_i.tif", pans, scales=[5e-4], offsets=[-0.5]),
        write(tmp_path / "ms_i.tif", stored, 4, scales=SCALES, offsets=OFFSETS),
    )
    return floats, integers


def values_of(path):
    """What the file means, and whether it is valid."""
    with rasterio.open(path) as file:
        scale, offset = (np.array(v)[:, None, None] for v in (file.scales, file.offsets))
        return file.read() * scale + offset, file.read_masks() > 0


@pytest.mark.parametrize("method", list(CLASSICAL))
def test_scale_and_offset_change_nothing_but_the_rounding(meant, tmp_path, method):
    floats, integers = meant
    expected, _ = values_of(sharpen(*floats, tmp_path / "f.tif", method=method, quiet=True))
    out = sharpen(*integers, tmp_path / "i.tif", method=method, quiet=True)
    with rasterio.open(out) as file:
        assert file.dtypes == ("uint16",) * 3
        assert (file.scales, file.offsets) == (SCALES, OFFSETS)
    found, _ = values_of(out)
    error = np.abs(found - expected).max(axis=(1, 2))
    # cnmf's iterations meet float32's rounding
    assert (error <= np.array(SCALES) * (0.51 if method != "cnmf" else 40)).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one step by the pair they were trained on: 'integers', 'floats'."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(1)
    pan = (0.2 + 0.3 * rng.random((96, 96))).astype(np.float32)
    ms = pan.reshape(24, 4, 24, 4).mean((1, 3))[None].repeat(3, 0)
    files = {
        "floats": (write(folder / "p.tif", pan), write(folder / "m.tif", ms, 4)),
        "integers": (
            write(folder / "pi.tif", np.rint((pan + 0.5) / 5e-4).astype(np.uint16),
                  scales=[5e-4], offsets=[-0.5]),
            write(folder / "mi.tif", encoded(ms, SCALES, OFFSETS), 4, scales=SCALES,
                  offsets=OFFSETS),
        ),
    }  # fmt: skip
    options = {"steps": 2, "patch": 4, "batch": 1, "quiet": True}
    return {
        name: train_sharpener([pair], "mmmamba_tiny", folder / name, **options).folder.path
        for name, pair in files.items()
    }


def test_a_run_sees_what_values_mean(meant, runs, tmp_path):
    floats, integers = meant
    for number, run in enumerate(runs.values()):
        f = sharpen(*floats, tmp_path / f"f{number}.tif", run=run, quiet=True)
        i = sharpen(*integers, tmp_path / f"i{number}.tif", run=run, quiet=True)
        (one, _), (other, _) = values_of(f), values_of(i)
        assert (np.abs(one - other).max(axis=(1, 2)) <= np.array(SCALES) * 0.6 + 1e-5).all()


def test_ms_alone_keeps_its_scale(meant, runs, tmp_path):
    (_, floats), (_, integers) = meant
    run = runs["integers"]
    one, _ = values_of(super_resolve(floats, tmp_path / "f.tif", run, quiet=True))
    out = super_resolve(integers, tmp_path / "i.tif", run, quiet=True)
    with rasterio.open(out) as file:
        assert (file.scales, file.offsets, file.dtypes[0]) == (SCALES, OFFSETS, "uint16")
        assert file.tags()["BANDWEAVE_METHOD"] == "mmmamba_tiny, ms as pan"
        assert file.tags()["BANDWEAVE_RUN"] == str(run)
        assert "BANDWEAVE_PAN" not in file.tags()
    other, _ = values_of(out)
    assert (np.abs(one - other).max(axis=(1, 2)) <= np.array(SCALES) * 0.6 + 1e-5).all()


def test_a_run_that_left_scales_out_is_refused_for_files_with_them(meant, runs, tmp_path):
    (floats, integers), run = meant, SharpenRun.open(runs["floats"])
    old = SharpenRun(**{**vars(run), "scaled": False})
    old.check(open_pair(*floats))
    with pytest.raises(SceneMismatch, match="has a scale or an offset"):
        old.check(open_pair(*integers))


def test_values_of_other_units_than_the_runs_are_told(meant, runs, tmp_path, caplog):
    (pan, ms), _ = meant
    with rasterio.open(ms) as file:
        many = write(tmp_path / "dn.tif", (file.read() * 10_000).astype(np.uint16), 4)
    sharpen(pan, many, tmp_path / "o.tif", run=runs["floats"], quiet=True)
    assert "MS has values up to" in caplog.text
    assert "PAN has values up to" not in caplog.text


# Bands and tags ----------------------------------------------------------------------------------


def test_the_output_carries_what_ms_says_of_itself(scene, tmp_path):
    pan, ms = scene
    pan = write(tmp_path / "pan.tif", (pan * 1e4).astype(np.uint16))
    ms = write(tmp_path / "ms.tif", (ms * 1e4).astype(np.uint16), 4, names=["b", "g", "r"])
    with rasterio.open(ms, "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
        file.units = ("reflectance", "reflectance", "W/m²")
        file.update_tags(ACQUIRED="2026-05-04", TIFFTAG_SOFTWARE="other", BANDWEAVE_METHOD="old")
        file.update_tags(2, wavelength="560", wavelength_units="nm", STATISTICS_MEAN="1")
        file.update_tags(1, wavelength="490", wavelength_units="nm", note="<&>")
        file.update_tags(3, wavelength="660", wavelength_units="nm")
    out = sharpen(pan, ms, tmp_path / "o.tif", bands=[3, 1], register=True, quiet=True)
    with rasterio.open(out) as file:
        assert file.descriptions == ("r", "b")
        assert file.colorinterp == (ColorInterp.red, ColorInterp.blue)
        assert file.units == ("W/m²", "reflectance")
        assert (file.tags(2)["wavelength"], file.tags(2)["note"]) == ("490", "<&>")
        assert "STATISTICS_MEAN" not in file.tags(2)
        tags = file.tags()
    assert tags["ACQUIRED"] == "2026-05-04"
    assert tags["TIFFTAG_SOFTWARE"].startswith("bandweave ")
    assert (tags["BANDWEAVE_METHOD"], tags["BANDWEAVE_SENSOR"]) == ("gsa", "generic")
    assert (tags["BANDWEAVE_PAN"], tags["BANDWEAVE_MS"]) == (str(pan), str(ms))
    assert tags["BANDWEAVE_RATIO"] == "4"
    assert {"BANDWEAVE_VERSION", "BANDWEAVE_SHIFT"} <= set(tags)
    assert open_source(out).info.wavelengths == (660, 490)


def test_bands_without_a_name_take_the_sensors(scene, tmp_path):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    pan = write(tmp_path / "pan.tif", pan)
    four = write(tmp_path / "ms.tif", np.concatenate([ms, ms[:1] + 3]), 4)
    named = write(tmp_path / "n.tif", np.concatenate([ms, ms[:1] + 3]), 4, names=list("abcd"))
    for file, sensor, names in (
        (four, "quickbird", ("blue", "green", "red", "nir")),
        (four, "generic", ("band 1", "band 2", "band 3", "band 4")),
        (named, "quickbird", ("a", "b", "c", "d")),
    ):
        with rasterio.open(
            sharpen(pan, file, tmp_path / "o.tif", sensor=sensor, overwrite=True, quiet=True)
        ) as out:
            assert out.descriptions == names


def test_files_of_one_band_keep_what_they_share(scene, tmp_path):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    paths = []
    for number, values in enumerate(ms):
        path = write(tmp_path / f"b{number}.tif", values, 4, scales=[SCALES[number]])
        with rasterio.open(path, "r+") as file:
            file.update_tags(SCENE="north", BAND=str(number))
        paths.append(path)
    out = sharpen(write(tmp_path / "pan.tif", pan), paths, tmp_path / "o.tif", quiet=True)
    with rasterio.open(out) as file:
        assert file.scales == SCALES
        assert file.tags()["SCENE"] == "north"
        assert "BAND" not in file.tags()
        assert file.tags()["BANDWEAVE_MS"] == ", ".join(map(str, paths))


# Holes -------------------------------------------------------------------------------------------

HOLE = np.s_[16:32, 40:56]  # on PAN
MS_HOLE = np.s_[:, 12:14, 2:5]


def hole_of(pan: bool, ms: bool) -> np.ndarray:
    hole = np.zeros((96, 96), bool)
    if pan:
        hole[HOLE] = True
    if ms:
        hole[48:56, 8:20] = True
    return hole


HOLED_FILES = [  # data type of MS, how PAN says that it has a hole, how MS does
    ("uint16", "nan", "mask"),
    ("uint8", "nan", "mask"),
    ("uint8", "nodata", "mask"),
    ("uint16", "nan", "nodata"),
    ("int16", "mask", "alpha"),
    ("float32", "nan", "nan"),
    ("float64", "nodata", "nodata"),
    ("int32", "nan", "impossible"),
]
HOLED = ("pan", "ms", "both")


@pytest.mark.parametrize(
    ("dtype", "pan_how", "ms_how", "where", "method"),
    [  # every method with all files, and each of both with a hole in every place
        (*files, HOLED[(row + column) % 3], method)
        for row, files in enumerate(HOLED_FILES)
        for column, method in enumerate(("bicubic", "gsa", "mtf-glp-cbd", "mtf-glp-hpm"))
    ],
)
def test_a_hole_in_either_is_a_hole(scene, tmp_path, dtype, pan_how, ms_how, where, method):
    """Invented values are never valid; values beside the hole are not touched."""
    pan, ms = scene
    full = {"uint8": 255, "float32": 1, "float64": 1}.get(dtype, 10_000)
    top = 0.9 * ms.max() if dtype == "uint8" else 1  # bright pixels reach the end of the type
    ms = np.clip(ms / top * full, 0, full)
    ms[0, 0, 0], ms[1, 1, 1] = 0, full
    ms = ms.astype(dtype) if dtype[0] == "f" else np.rint(ms).astype(dtype)
    pan, holed_pan, holed_ms = pan.astype(np.float32), where != "ms", where != "pan"
    options: dict[str, dict] = {"pan": {}, "ms": {}}
    if holed_pan:
        if pan_how == "mask":
            mask = np.full((96, 96), 255, np.uint8)
            mask[HOLE] = 0
            options["pan"]["mask"] = mask
        else:
            pan[HOLE] = np.nan if pan_how == "nan" else -9999
            options["pan"] |= {} if pan_how == "nan" else {"nodata": -9999}
    if holed_ms:
        if ms_how == "mask":
            mask = np.full((24, 24), 255, np.uint8)
            mask[MS_HOLE[1:]] = 0
            options["ms"]["mask"] = mask
        elif ms_how == "alpha":
            alpha = np.full((1, 24, 24), 255, dtype)
            alpha[MS_HOLE] = 0
            ms = np.concatenate([ms, alpha])
        else:
            value = {"nan": np.nan, "nodata": 7, "impossible": 7}[ms_how]
            ms[MS_HOLE] = value
            options["ms"] |= {} if ms_how == "nan" else {"nodata": 7}
    ms_file = write(tmp_path / "ms.tif", ms, 4, **options["ms"])
    if holed_ms and ms_how == "alpha":
        with rasterio.open(ms_file, "r+") as file:
            file.colorinterp = [*file.colorinterp[:3], ColorInterp.alpha]
    pan_file = write(tmp_path / "pan.tif", pan, **options["pan"])
    out = sharpen(pan_file, ms_file, tmp_path / "o.tif", method=method, quiet=True)
    values, valid = values_of(out)
    with rasterio.open(out) as file:
        assert file.dtypes == (dtype,) * 3
    expected = np.broadcast_to(~hole_of(holed_pan, holed_ms), values.shape)
    np.testing.assert_array_equal(valid, expected)
    read = open_source(out).read_nan(open_source(out).grid.window)
    np.testing.assert_array_equal(~np.isnan(read), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_holes_of_a_trained_run(scene, runs, tmp_path, dtype):
    """With PAN and without."""
    pan, ms = scene
    ms = ms.astype(dtype) if dtype == "float32" else np.rint(ms * 250).astype(dtype)
    pan = pan.astype(np.float32)
    pan[HOLE] = np.nan
    mask = np.full((24, 24), 255, np.uint8)
    mask[MS_HOLE[1:]] = 0
    files = write(tmp_path / "p.tif", pan), write(tmp_path / "m.tif", ms, 4, mask=mask)
    run = runs["floats"]
    _, valid = values_of(sharpen(*files, tmp_path / "o.tif", run=run, quiet=True))
    np.testing.assert_array_equal(valid[0], ~hole_of(True, True))
    _, valid = values_of(super_resolve(files[1], tmp_path / "a.tif", run, quiet=True))
    np.testing.assert_array_equal(valid[0], ~hole_of(False, True))


def test_a_file_without_holes_has_no_mask(scene, tmp_path):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    files = write(tmp_path / "pan.tif", pan), write(tmp_path / "ms.tif", ms, 4)
    with rasterio.open(sharpen(*files, tmp_path / "o.tif", quiet=True)) as file:
        assert file.nodata is None
        assert file.mask_flag_enums[0] == [rasterio.enums.MaskFlags.all_valid]


@pytest.mark.parametrize("nodata", [-9999, float("nan"), 1e300])
def test_a_nodata_value_that_the_type_has_not_is_a_mask(scene, tmp_path, nodata):
    """--nodata of both files, for a PAN of floats and an MS of integers."""
    pan, ms = scene
    pan = pan.astype(np.float64)
    pan[HOLE] = nodata
    files = (
        write(tmp_path / "pan.tif", pan),
        write(tmp_path / "ms.tif", np.rint(ms * 1e3).astype(np.uint16), 4),
    )
    out = sharpen(*files, tmp_path / "o.tif", nodata=nodata, quiet=True)
    _, valid = values_of(out)
    np.testing.assert_array_equal(valid[0], ~hole_of(True, False))


@pytest.mark.parametrize("dtype", [">i2", "float16", "int64", "uint64", "bool"])
def test_types_that_arrays_have(scene, tmp_path, dtype):
    pan, ms = scene
    values = (ms > 0.3) if dtype == "bool" else ms * (1 if dtype == "float16" else 1e4)
    np.save(tmp_path / "ms.npy", values.astype(dtype))
    np.save(tmp_path / "pan.npy", pan)
    out = sharpen(
        tmp_path / "pan.npy", tmp_path / "ms.npy", tmp_path / "o.tif", method="bicubic", quiet=True
    )
    found, _ = values_of(out)
    expected = values.astype(dtype).astype(float).repeat(4, 1).repeat(4, 2)
    assert np.abs(found - expected).mean() < 0.2 * expected.max()


def test_dead_bands_are_named(scene, tmp_path, caplog):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    files = {"pan": write(tmp_path / "pan.tif", pan)}
    for name, dead in (("one", [1]), ("two", [0, 2]), ("all", [0, 1, 2])):
        values = ms + 1
        values[dead] = 0
        files[name] = write(tmp_path / f"{name}.tif", values, 4, nodata=0, names=list("bgr"))

    def told(name, **also):
        with pytest.raises(FileError) as error:
            sharpen(files["pan"], files[name], tmp_path / "o.tif", quiet=True, **also)
        assert not (tmp_path / "o.tif").exists()
        return str(error.value)

    assert "MS band 2 (g) has no valid pixel, all is nodata; leave it out with `bands=[1, 3]`" in (
        told("one")
    )
    assert "band 1 (b) and band 3 (r) have no valid pixel" in told("two")
    assert "MS has none in any band" in told("all")
    assert "band 3 (r) has no valid pixel" in told("two", bands=[3, 2])
    sharpen(files["pan"], files["one"], tmp_path / "o.tif", bands=[1, 3], quiet=True)


def test_a_dead_pan_is_named(scene, tmp_path):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    files = (
        write(tmp_path / "p.tif", np.full_like(pan, 5), nodata=5), write(tmp_path / "m.tif", ms, 4)
    )  # fmt: skip
    with pytest.raises(FileError, match="in common: PAN has none"):
        sharpen(*files, tmp_path / "o.tif", quiet=True)


def test_constant_images_are_told(scene, tmp_path, caplog):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    ms[1] = 7
    files = write(tmp_path / "p.tif", np.full_like(pan, 5)), write(tmp_path / "m.tif", ms, 4)
    sharpen(*files, tmp_path / "o.tif", method="bicubic", quiet=True)
    assert "PAN is constant: 5 in every valid pixel" in caplog.text
    assert "MS band 2 is constant: 7 in every valid pixel" in caplog.text
    assert "band 1 is" not in caplog.text


def test_a_band_with_holes_of_its_own_is_told(scene, tmp_path, caplog):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) + 1 for values in scene)
    ms[2, :12] = 0
    files = write(tmp_path / "p.tif", pan), write(tmp_path / "m.tif", ms, 4, nodata=0)
    sharpen(*files, tmp_path / "o.tif", quiet=True)
    assert "MS band 3 lacks 50% of the pixels that other bands have" in caplog.text


def test_a_value_in_a_far_corner_keeps_a_band_alive(tmp_path):
    """What samples do not see is read before a band is called dead."""
    rng = np.random.default_rng(0)
    pan, ms = rng.integers(1, 99, (2000, 2000)), np.zeros((2, 1000, 1000), np.uint8)
    ms[0] = rng.integers(1, 99, (1000, 1000))
    ms[1, 130:133, 500:503] = 9, 8, 7
    files = (
        write(tmp_path / "p.tif", pan.astype(np.uint8)),
        write(tmp_path / "m.tif", ms, 2, nodata=0),
    )
    sharpen(*files, tmp_path / "o.tif", method="bicubic", quiet=True)


# Control points ----------------------------------------------------------------------------------


def test_control_points_are_no_grid(scene, tmp_path):
    pan, ms = (np.rint(values * 1e3).astype(np.uint16) for values in scene)
    points = [Point(r, c, 7e5 + 4 * c, 5e6 - 4 * r) for r in (0, 24) for c in (0, 24)]
    plain, placed = write(tmp_path / "p.tif", pan), tmp_path / "m.tif"
    for path, values in ((placed, ms), (tmp_path / "q.tif", pan)):
        write(path, values, crs=None, transform=None)
        with rasterio.open(path, "r+") as file:
            file.gcps = (points, rasterio.CRS.from_epsg(32631))
    with pytest.raises(GridMismatch, match="MS has no transform but 4 ground control points"):
        sharpen(plain, placed, tmp_path / "o.tif", ratio=4, quiet=True)
    with pytest.raises(GridMismatch, match="state `ratio`"):
        sharpen(tmp_path / "q.tif", placed, tmp_path / "o.tif", quiet=True)
    sharpen(tmp_path / "q.tif", placed, tmp_path / "o.tif", ratio=4, quiet=True)


def test_the_simulated_pair_keeps_its_names(tmp_path):
    made = simulated_pair(tmp_path, size=(64, 64), bands=4)
    with rasterio.open(sharpen(made.pan, made.ms, tmp_path / "o.tif", quiet=True)) as file:
        assert file.descriptions == ("blue", "green", "red", "nir")
