"""info: on the installation, on files, on runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from bandweave.scan import engine


def facts(text: str) -> dict[str, str]:
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line)
    return {name.strip(): value.strip() for name, value in pairs}


def test_installation(call):
    result = call("info")
    told = facts(result.out)
    assert (result.status, result.err) == (0, "")
    assert told["bandweave"] == "0.1.0"
    assert told["scan engine"] == "numba on the CPU"
    assert told["threads"].split()[0].isdigit()
    assert told["GDAL"].startswith("3.")
    assert told["numba"].startswith("0.")
    assert "triton" in told
    assert {"python", "torch", "processor", "GPU", "transformers", "tensorboard"} <= set(told)


def test_scan_engines_that_are_missing_or_forced(call, monkeypatch):
    monkeypatch.setattr(engine, "find_import_error", lambda name: f"No module named '{name}'")
    told = facts(call("info").out)
    assert told["scan engine"] == "torch on the CPU"
    assert told["numba"] == "missing: No module named 'numba'"
    assert told["triton"] == "missing: No module named 'triton'"
    monkeypatch.undo()
    monkeypatch.setenv("BANDWEAVE_SCAN", "numba")
    told = call("info").out
    assert "numba on the CPU (BANDWEAVE_SCAN=numba)" in told
    assert "none on a CUDA GPU: BANDWEAVE_SCAN=numba runs on the CPU alone" in told


def test_a_geotiff(call, write_geotiff):
    file = write_geotiff("a.tif", np.ones((2, 5, 6), np.uint16), nodata=0, names=["red", "blue"])
    told = facts(call("info", file).out)
    assert told["size"] == "5×6 px, 2 bands"
    assert told["type"] == "uint16"
    assert told["nodata"] == "0"
    assert told["CRS"] == "EPSG:32617"
    assert told["pixel"] == "1 × 1 m"
    assert told["transform"] == "1, 0, 500000, 0, -1, 4000000"
    assert told["bounds"] == "x 500000 to 500006, y 3999995 to 4000000"
    assert told["bands"] == "red, blue"


def test_an_envi_header(call, write_envi):
    file = write_envi("a.hdr", np.ones((3, 5, 6), np.float32), wavelengths=[400, 500, 650])
    told = facts(call("info", file).out)
    assert told["size"] == "5×6 px, 3 bands"
    assert told["wavelengths"] == "400 to 650 nm"
    assert told["CRS"] == "no CRS"
    assert told["transform"] == "none: no georeference"


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_the_keys_of_a_mat_file(call, tmp_path, write_mat73, version):
    arrays = {"hsi": np.ones((5, 6, 8), np.float32), "gt": np.ones((5, 6), np.uint8)}
    file = tmp_path / "a.mat"
    if version == "5":
        scipy.io.savemat(file, arrays)
    else:
        write_mat73("a.mat", arrays)
    told = facts(call("info", file).out)
    assert told["hsi"].startswith("5×6×8 ")
    assert told["gt"].startswith("5×6 ")


def test_numpy_and_polygons(call, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.int16))
    assert facts(call("info", tmp_path / "a.npy").out)["array"] == "3×4 int16"
    square = [[[0, 0], [0, 1], [1, 1], [0, 0]]]
    feature = {
        "type": "Feature",
        "properties": {"species": "oak"},
        "geometry": {"type": "Polygon", "coordinates": square},
    }
    collection = {"type": "FeatureCollection", "features": [feature]}
    (tmp_path / "a.geojson").write_text(json.dumps(collection))
    told = facts(call("info", tmp_path / "a.geojson").out)
    assert told["features"] == "1 Polygon"
    assert told["fields"].startswith("species (")


def test_a_run(call, run_copy, scene_file):
    told = call("info", run_copy)
    assert told.status == 0
    rows = facts(told.out)
    assert rows["state"] == "trained"
    assert rows["model"] == "m3amba_tiny, clip none"
    assert rows["layer"] == "lidar: 1 band, in m"
    assert rows["trained"].startswith("3 steps in ")
    assert "protocol:\n  split: blocks" in told.out
    assert "config.yaml:\n  scene: " in told.out
    assert call("score", run_copy, scene_file, "--quiet").status == 0
    assert "overall accuracy" in call("info", run_copy).out


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.tif", b"a text", "a.tif cannot be opened as a raster"),
        (
            "a.mat",
            b"MATLAB 5.0 MAT-file, cut",
            "a.mat cannot be read, it is damaged or of another kind",
        ),
        ("a.npy", b"\x93NUMPY", "a.npy cannot be read, it is damaged or of another kind"),
        ("a.gpkg", b"a text", "a.gpkg cannot be read as polygons"),
        ("a.xyz", b"a text", "a.xyz cannot be opened as a raster"),
        ("a.yaml", b"layers: {}", "`bandweave scenes check"),
        ("none.tif", None, "none.tif: no such file or folder"),
    ],
)
def test_other_files_are_refused(refused, tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert told in refused("info", tmp_path / name)


def test_a_pickle_is_not_opened(refused, tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert "damaged or of another kind" in refused("info", tmp_path / "a.npy")


def test_a_folder_that_is_no_run(refused, tmp_path):
    assert "is no run folder" in refused("info", tmp_path)
