"""From files to a sharp file: the grid, the type, holes, windows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from scipy import ndimage

from bandweave.errors import ConfigError, FileError
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.sharpening import sharpen
from bandweave.pansharp.storage import Storage


def write(path: Path, values: np.ndarray, pixel: float = 1, **also):
    """A georeferenced file of (H, W) or (C, H, W)."""
    values = values.reshape(-1, *values.shape[-2:])
    profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "crs": "EPSG:32631"}
    profile |= {"height": values.shape[1], "width": values.shape[2]}
    profile["transform"] = from_origin(500_000, 4_000_000, pixel, pixel)
    with rasterio.open(path, "w", **(profile | also)) as file:
        file.write(values)
    return path


@pytest.fixture
def files(tmp_path):
    """PAN 48×64 and MS 12×16 of three bands, and the sharp truth."""
    random = np.random.default_rng(0)
    rough = random.random((3, 48, 64))
    smooth = np.stack([np.add.outer(np.arange(48), np.arange(64) * k) for k in (1, 2, 3)])
    truth = 1000 + 10 * smooth + 400 * rough.mean(0)
    ms = truth.reshape(3, 12, 4, 16, 4).mean((2, 4))
    pan = write(tmp_path / "pan.tif", np.rint(truth.mean(0)).astype(np.uint16))
    return pan, write(tmp_path / "ms.tif", np.rint(ms).astype(np.uint16), 4), truth


def opened(path):
    with rasterio.open(path) as file:
        return file.read(), file.profile


@pytest.mark.parametrize("method", sorted(CLASSICAL))
def test_the_result_lies_on_pans_grid_in_the_ms_type(files, tmp_path, method):
    pan, ms, truth = files
    written = sharpen(pan, ms, tmp_path / "sharp.tif", method=method, quiet=True)
    values, profile = opened(written)
    assert values.shape == (3, 48, 64)
    assert profile["dtype"] == "uint16"
    assert profile["crs"] == "EPSG:32631"
    assert profile["transform"] == Affine(1, 0, 500_000, 0, -1, 4_000_000)
    error = np.abs(values - truth)[:, 8:-8, 8:-8].mean()
    assert error < 150  # the detail alone has a standard deviation of about 70


@pytest.mark.parametrize("method", ["gsa", "mtf-glp-hpm", "gfpca"])
def test_windows_leave_no_trace(files, tmp_path, method):
    pan, ms, _ = files
    whole, _ = opened(sharpen(pan, ms, tmp_path / "whole.tif", method=method, quiet=True))
    small, _ = opened(sharpen(pan, ms, tmp_path / "s.tif", method=method, window=13, quiet=True))
    assert np.abs(whole.astype(int) - small).max() <= 1  # rounding


def test_holes_stay_holes(files, tmp_path):
    pan, ms, _ = files
    values, _ = opened(ms)
    values[:, 3, 5] = 0
    holed = write(tmp_path / "holed.tif", values, 4, nodata=0)
    sharp, profile = opened(sharpen(pan, holed, tmp_path / "sharp.tif", quiet=True))
    hole = np.zeros((48, 64), bool)
    hole[12:16, 20:24] = True
    assert profile["nodata"] == 0
    assert ((sharp == 0).all(0) == hole).all()


def test_one_file_a_band(files, tmp_path):
    pan, ms, _ = files
    values, _ = opened(ms)
    paths = [write(tmp_path / f"b{i}.tif", band, 4) for i, band in enumerate(values)]
    one, _ = opened(sharpen(pan, ms, tmp_path / "one.tif", quiet=True))
    many, _ = opened(sharpen(pan, paths, tmp_path / "many.tif", quiet=True))
    assert (one == many).all()


def test_misregistration_is_told_and_corrected(tmp_path, caplog):
    noise = np.random.default_rng(1).standard_normal((128, 128))
    scene = 500 + 100 * ndimage.gaussian_filter(noise, 4) + noise
    means = scene.reshape(32, 4, 32, 4).mean((1, 3)).astype(np.float32)
    pan = write(tmp_path / "pan.tif", np.roll(scene, (2, 1), (0, 1)).astype(np.float32))
    ms = write(tmp_path / "ms.tif", np.stack([means, means]), 4)
    caplog.set_level("INFO", "bandweave")
    sharpen(pan, ms, tmp_path / "off.tif", quiet=True)
    assert "`register` corrects it" in caplog.text
    caplog.clear()
    sharpen(pan, ms, tmp_path / "on.tif", register=True, quiet=True)
    assert "corrected" in caplog.text
    assert "corrects it" not in caplog.text


def test_nothing_in_common_leaves_nothing_behind(files, tmp_path):
    pan, ms, _ = files
    values, _ = opened(ms)
    empty = write(tmp_path / "empty.tif", np.zeros_like(values), 4, nodata=0)
    before = set(tmp_path.iterdir())
    with pytest.raises(FileError, match="no valid pixel in common"):
        sharpen(pan, empty, tmp_path / "sharp.tif", quiet=True)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "gas"}, "no method 'gas'; did you mean"),
        ({"sensor": "landsat7x"}, "no sensor"),
        ({"window": 2}, "window is 2 px"),
    ],
)
def test_impossible_options(files, tmp_path, options, said):
    pan, ms, _ = files
    with pytest.raises(ConfigError, match=said):
        sharpen(pan, ms, tmp_path / "sharp.tif", quiet=True, **options)
    assert not (tmp_path / "sharp.tif").exists()


def test_integers_are_clipped_never_wrapped():
    values = np.array([[[-5.0, 0.4, 70_000, 65_535.4]]], np.float32)
    valid = np.ones((1, 4), bool)
    assert Storage(np.dtype("uint16")).encode(values, valid).tolist() == [[[0, 0, 65535, 65535]]]
    assert Storage(np.dtype("int32")).encode(values * 1e6, valid).max() <= 2**31 - 1
    assert Storage(np.dtype("uint32")).encode(values * 1e9, valid)[0, 0, 2] > 4.29e9


def test_a_valid_value_never_becomes_nodata():
    values = np.array([[[255.0, 254, 0]]], np.float32)
    valid = np.array([[True, True, False]])
    assert Storage(np.dtype("uint8"), 255).encode(values, valid).tolist() == [[[254, 254, 255]]]
    floats = Storage(np.dtype("float32"), 254.0).encode(values, valid)
    assert floats[0, 0, 1] != 254
    assert abs(floats[0, 0, 1] - 254) < 1e-3
    assert np.isnan(Storage(np.dtype("float32"), float("nan")).encode(values, valid)[0, 0, 2])
