"""Several runs by the command: mapped and scored together, and saved as one."""

from __future__ import annotations

import numpy as np
import rasterio

from bandweave.landcover.run import Run


def codes(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_several_runs_are_mapped_and_scored(call, trained, run_copy, scene_file, tmp_path):
    """Of twice the same run the mean is the run."""
    mapped = call("map", trained, run_copy, scene_file, tmp_path / "both.tif", "--quiet")
    assert (mapped.status, mapped.err) == (0, "")
    assert call("map", trained, scene_file, tmp_path / "one.tif", "--quiet").status == 0
    np.testing.assert_array_equal(codes(tmp_path / "both.tif"), codes(tmp_path / "one.tif"))
    scored = call("score", trained, run_copy, scene_file, "--quiet")
    assert (scored.status, scored.err) == (0, "")
    assert f"mean of: 50 % m3amba_tiny ({trained}; split blocks, seed 0" in scored.out
    assert not (run_copy / "scores.json").exists()


def test_a_folder_that_holds_several(forked, call, trained, run_copy, scene_file, tmp_path):
    out = tmp_path / "both"
    saved = call("ensemble", trained, run_copy, "--out", out, "--weights", "2,1", "--quiet")
    assert (saved.status, saved.err) == (0, "")
    assert f"bandweave map {out} {scene_file} map.tif" in saved.out
    assert {file.name for file in out.iterdir()} == {"config.yaml", "model.safetensors"}
    mapped = forked("map", out, scene_file, out / "map.tif", "--confidence", "--quiet")
    assert (mapped.status, mapped.err) == (0, "")
    assert call("score", out, scene_file, "--quiet").status == 0
    told = call("info", out)
    assert told.status == 0, told.err
    assert f"{run_copy}: m3amba_tiny, clip none; 33.3 % of the mean" in told.out
    assert "overall accuracy" in told.out
    page = call("report", out, scene_file, "--no-baseline", "--quiet")
    assert page.status == 0, page.err


def test_what_cannot_be_joined(refused, trained, run_copy, scene_file, tmp_path):
    out = tmp_path / "both"
    assert "is given twice" in refused("ensemble", trained, trained, "--out", out)
    assert "two runs or more" in refused("ensemble", trained, "--out", out)
    assert "expected numbers as in 2,1, got '2;1'" in refused(
        "ensemble", trained, run_copy, "--out", out, "--weights", "2;1"
    )
    assert not out.exists()
    run = Run.open(run_copy)
    run.layers["hsi"]["units"] = "radiance"
    run.save()
    said = refused("map", trained, run_copy, scene_file, tmp_path / "map.tif")
    assert f"{trained} and {run_copy} cannot be in one ensemble: the units of layer 'hsi'" in said
    assert "there is no model 'ensemble'" in refused("train", "--model", "ensemble")
