import errno
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import OutputError
from bandweave.raster.grid import PIXELS, Grid, Window, tiles
from bandweave.raster.writing import outputs as outputs_file
from bandweave.raster.writing.described import BandFacts
from bandweave.raster.writing.outputs import OutputSet, size
from bandweave.raster.writing.raster import MapWriter, RasterForm, rgb

UTM = CRS.from_epsg(32617)
GRID = Grid(70, 90, Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), UTM)
CODES = np.random.default_rng(0).integers(1, 5, (70, 90)).astype(np.uint8)
COLORS = {1: "#ff0000", 2: "#00ff00", 4: "#0000ff"}


def write_all(writer, array, step=32, overlap=5):
    height, width = array.shape[-2:]
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, step), (0, step)])
    for window in tiles(height, width, step, overlap):
        rows, cols = window.slices()
        writer.write(window, padded[..., rows, cols])


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_class_map(tmp_path):
    with MapWriter(
        tmp_path / "map.tif",
        GRID,
        RasterForm(nodata=0, colors=COLORS, names=["class"], tags={"split": "a<b"}),
    ) as writer:
        write_all(writer, CODES)
        assert not (tmp_path / "map.tif").exists()
    assert files(tmp_path) == ["map.tif"]
    with rasterio.open(tmp_path / "map.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), CODES)
        assert (dataset.crs, dataset.transform, dataset.nodata) == (UTM, GRID.transform, 0)
        assert dataset.colormap(1)[2] == (0, 255, 0, 255)
        assert dataset.descriptions == ("class",)
        assert dataset.tags()["split"] == "a<b"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "int16", "int32", "int8"])
def test_other_types_and_bands(tmp_path, dtype):
    array = (np.random.default_rng(1).random((3, 70, 90)) * 100).astype(dtype)
    with MapWriter(
        tmp_path / "a.tif", GRID, RasterForm(bands=3, dtype=dtype, overviews="average")
    ) as writer:
        write_all(writer, array)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.dtypes == (dtype,) * 3
        np.testing.assert_array_equal(dataset.read(), array)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_any_windows_round_trip(tmp_path, height, width, data):
    rng = np.random.default_rng(2)
    expected = np.full((height, width), 9, np.uint8)
    with MapWriter(tmp_path / "a.tif", Grid(height, width, PIXELS), RasterForm(nodata=9)) as writer:
        for _ in range(data.draw(st.integers(0, 6))):
            row, col = data.draw(st.integers(-20, 45)), data.draw(st.integers(-20, 45))
            window = Window(row, col, data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)))
            values = rng.integers(0, 9, window[2:], dtype=np.uint8)
            writer.write(window, values)
            for r in range(max(row, 0), min(row + window.height, height)):
                for c in range(max(col, 0), min(col + window.width, width)):
                    expected[r, c] = values[r - row, c - col]
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)


@pytest.mark.parametrize("overviews", ["nearest", "mode", "average"])
def test_overviews(tmp_path, overviews):
    large = np.zeros((1100, 600), np.uint8)
    large[:, ::2] = 200
    large[::2, :] = 200  # three of four
    with MapWriter(
        tmp_path / "a.tif", Grid(1100, 600, PIXELS), RasterForm(colors=None, overviews=overviews)
    ) as writer:
        write_all(writer, large, 512, 0)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.overviews(1)
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as dataset:
        reduced = dataset.read(1)[:, 5:-5]
    allowed = {"mode": {200}, "nearest": {0, 200}, "average": {150}}[overviews]
    assert set(np.unique(reduced)) <= allowed


def test_outputs_appear_together(tmp_path):
    with OutputSet() as outputs:
        one = MapWriter(tmp_path / "map.tif", GRID, outputs=outputs)
        two = MapWriter(tmp_path / "sure.tif", GRID, RasterForm(dtype="float32"), outputs=outputs)
        write_all(one, CODES)
        write_all(two, CODES / np.float32(7))
        outputs.text(tmp_path / "map.qml", "<qgis/>")
        assert [name for name in files(tmp_path) if not name.startswith(".")] == []
    assert files(tmp_path) == ["map.qml", "map.tif", "sure.tif"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    (tmp_path / "map.tif").write_text("older")

    def attempt():
        with OutputSet() as outputs:
            writer = MapWriter(tmp_path / "map.tif", GRID, outputs=outputs)
            outputs.text(tmp_path / "map.qml", "<qgis/>")
            write_all(writer, CODES)
            raise error

    with pytest.raises(type(error)):
        attempt()
    assert files(tmp_path) == ["map.tif"]
    assert (tmp_path / "map.tif").read_text() == "older"


def test_a_signal_between_two_renames_undoes_the_first(tmp_path, monkeypatch):
    """What belongs together appears together: the old map beside the old style, or the new ones."""
    (tmp_path / "map.qml").write_text("old")
    replace = os.replace

    def interrupted(source, target):
        if target == tmp_path / "map.txt":
            raise KeyboardInterrupt
        replace(source, target)

    outputs = OutputSet()
    outputs.__enter__()
    for name in ("map.tif", "map.qml", "map.txt"):
        outputs.text(tmp_path / name, "new")
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        outputs.__exit__(None, None, None)
    assert (tmp_path / "map.qml").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.qml"]


def test_a_failing_rename_undoes_the_others(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"older {name}")
    replace = os.replace

    def refuse(source, target):
        if os.path.basename(target) == "c.txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    def attempt():
        with OutputSet() as outputs:
            for name in ("a.txt", "new.txt", "b.txt", "c.txt"):
                outputs.text(tmp_path / name, "new")
            monkeypatch.setattr(outputs_file.os, "replace", refuse)

    with pytest.raises(OutputError, match=r"c\.txt could not be written: Permission denied"):
        attempt()
    assert files(tmp_path) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == "older a.txt"


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["start", "window", "end", "text"])
def test_a_full_disk(tmp_path, monkeypatch, moment):
    (tmp_path / "sure.tif").write_text("older")

    def attempt():
        with OutputSet() as outputs:
            if moment == "start":
                monkeypatch.setattr(MapWriter, "_write_bytes", full_disk)
            one = MapWriter(tmp_path / "map.tif", GRID, outputs=outputs)
            two = MapWriter(tmp_path / "sure.tif", GRID, outputs=outputs)
            write_all(one, CODES)
            if moment == "window":
                monkeypatch.setattr(MapWriter, "_write_bytes", full_disk)
            write_all(two, CODES)
            if moment == "end":
                monkeypatch.setattr("rasterio.shutil.copy", full_disk)
            if moment == "text":
                monkeypatch.setattr("pathlib.Path.write_text", full_disk)
            outputs.text(tmp_path / "map.qml", "<qgis/>")

    with pytest.raises(OutputError, match=r"could not be written: the disk is full \(.* free\)"):
        attempt()
    assert files(tmp_path) == ["sure.tif"]
    assert (tmp_path / "sure.tif").read_text() == "older"


def test_a_disk_too_small_is_told_before_the_work(tmp_path, monkeypatch):
    usage = outputs_file.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(outputs_file.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"needs 6.3 kB while it is written .* 1 kB free"):
        MapWriter(tmp_path / "map.tif", GRID)
    assert files(tmp_path) == []


def test_what_gdal_loses_is_noticed(tmp_path, monkeypatch):
    copy = rasterio.shutil.copy

    def lossy(source, target, **options):
        copy(source, target, **options)
        with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.write(np.zeros((1, 4, 4), np.uint8), window=((0, 4), (0, 4)))

    monkeypatch.setattr("rasterio.shutil.copy", lossy)
    with (
        pytest.raises(OutputError, match="not what was written"),
        MapWriter(tmp_path / "map.tif", GRID) as writer,
    ):
        write_all(writer, CODES)
    assert files(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file size limits are POSIX's")
@pytest.mark.parametrize("limit", [1, 5_000, 62_600])
def test_real_limits_of_the_system(tmp_path, limit):
    """The system refuses to let files grow, in the flat file or in the conversion."""
    script = f"""
        import resource, signal, sys
        import numpy as np
        from bandweave.errors import OutputError
        from bandweave.raster.grid import PIXELS, Grid
        from bandweave.raster.writing.raster import MapWriter, RasterForm
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
        noise = np.random.default_rng(0).integers(0, 256, (250, 250)).astype("uint8")
        try:
            with MapWriter({str(tmp_path / "map.tif")!r}, Grid(250, 250, PIXELS)) as writer:
                writer.write(writer.grid.window, noise)
        except OutputError as error:
            sys.exit(7)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True)
    assert done.returncode == 7, done.stderr
    assert files(tmp_path) == []


def test_targets_that_cannot_be(tmp_path):
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        MapWriter(tmp_path / "folder.tif", GRID)
    with pytest.raises(OutputError, match="no folder"):
        MapWriter(tmp_path / "nowhere" / "map.tif", GRID)
    with OutputSet() as outputs:
        outputs.text(tmp_path / "a", "")
        with pytest.raises(OutputError, match="asked for twice"):
            outputs.text(tmp_path / "folder.tif" / ".." / "a", "")
    assert files(tmp_path) == ["a", "folder.tif"]


@pytest.mark.parametrize("values", [[[256]], [[-1]], [[np.nan]]])
def test_values_the_type_cannot_hold(tmp_path, values):
    with (
        pytest.raises(ValueError, match="do not fit uint8"),
        MapWriter(tmp_path / "map.tif", GRID) as writer,
    ):
        writer.write(Window(0, 0, 1, 1), np.array(values))
    assert files(tmp_path) == []


def test_small_things():
    assert rgb("#0a0B0c") == (10, 11, 12)
    assert size(999) == "999 bytes"
    assert size(1.5e13) == "15 TB"


# What bands say, and masks -----------------------------------------------------------------------


def test_bands_say_what_they_are(tmp_path):
    facts = [
        BandFacts("blau\x01 <ä>", 1e-4, -0.1, "reflectance", "Blue", {"wavelength": "490"}),
        BandFacts("nir", 2e-4, 0.0, "", "NIR", {"a&b\x07": "<&>"}),
    ]
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    with MapWriter(
        tmp_path / "m.tif",
        Grid(3, 4, PIXELS),
        RasterForm(bands=2, dtype="int16", facts=facts, tags={"k": "v"}),
    ) as writer:
        writer.write(Window(0, 0, 3, 4), values)
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.descriptions == ("blau <ä>", "nir")
        assert (file.scales, file.offsets) == ((1e-4, 2e-4), (-0.1, 0.0))
        assert file.units == ("reflectance", None)
        assert [meaning.name for meaning in file.colorinterp] == ["blue", "nir"]
        assert (file.tags(1)["wavelength"], file.tags(2)["a&b"]) == ("490", "<&>")
        assert file.tags()["k"] == "v"
        assert (file.read() == values).all()


@pytest.mark.parametrize("bands", [1, 9])
@pytest.mark.parametrize("side", [5, 13])
def test_a_mask_is_there_where_there_are_holes(tmp_path, bands, side):
    """Windows in any order; values under the mask are what was written."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (bands, 30, 40)).astype(np.uint8)
    valid = rng.random((30, 40)) < 0.7
    valid[:13, :13] = True
    places = [Window(r, c, side, side) for r in range(0, 30, side) for c in range(0, 40, side)]
    with MapWriter(
        tmp_path / "m.tif", Grid(30, 40, PIXELS), RasterForm(bands=bands, masked=True)
    ) as writer:
        for place in places[::-1]:
            inside = place.clip(30, 40)
            rows, cols = inside.slices()
            writer.write(inside, values[:, rows, cols], valid[rows, cols])
    with rasterio.open(tmp_path / "m.tif") as file:
        assert (file.read() == values).all()
        assert ((file.read_masks(1) > 0) == valid).all()
    with MapWriter(
        tmp_path / "n.tif", Grid(30, 40, PIXELS), RasterForm(bands=bands, masked=True)
    ) as writer:
        writer.write(Window(0, 0, 30, 40), values, np.ones((30, 40), bool))
    with rasterio.open(tmp_path / "n.tif") as file:
        assert file.mask_flag_enums[0] == [rasterio.enums.MaskFlags.all_valid]
