"""scenes list, get, check, make."""

from __future__ import annotations

import numpy as np
import yaml

from bandweave.data.benchmarks.catalogue import benchmark_names
from bandweave.data.scenefile.open import open_scene


def test_list_has_every_benchmark(call):
    result = call("scenes", "list")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(benchmark_names())
    assert "349×1905" in lines[1]
    assert "official" in lines[1]


def test_check_of_a_sound_scene(call, scene_file):
    result = call("scenes", "check", scene_file)
    assert "layer 'hsi': 8 bands of float32" in result.out
    assert "class 9 'tiled roof' has no pixel" in result.out
    assert result.status == 1, "two of its classes have no pixel"


def test_check_without_a_problem(call, tmp_path):
    values = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    np.save(tmp_path / "a.npy", values)
    (tmp_path / "scene.yaml").write_text("layers: {a: a.npy}")
    result = call("scenes", "check", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "no labels" in result.out


def test_check_tells_of_problems_and_ends_with_1(call, tmp_path):
    (tmp_path / "scene.yaml").write_text("layers: {a: gone.tif}")
    result = call("scenes", "check", tmp_path)
    assert (result.status, result.err) == (1, "")
    assert result.out.startswith("problem: ")
    assert "gone.tif does not exist" in result.out


def test_check_of_a_benchmark(call, refused, tmp_path):
    result = call("scenes", "check", "trento", tmp_path)
    assert result.status == 1
    assert "missing: " in result.out
    assert "trento: no such folder" in refused("scenes", "check", "trento")
    assert "trneto is no benchmark; did you mean 'trento'?" in refused(
        "scenes", "check", "trneto", "x"
    )


def test_get_says_where_what_it_cannot_download_is(refused, tmp_path):
    told = refused("scenes", "get", "salinas", tmp_path / "here")
    assert "salinas cannot be downloaded from here. Get it from: " in told
    assert not (tmp_path / "here").exists()
    assert "did you mean 'salinas'?" in refused("scenes", "get", "salians")


def test_make_drafts_a_scene_that_opens(call, refused, write_geotiff, tmp_path):
    cube = write_geotiff("cube.tif", np.random.default_rng(0).random((5, 8, 9), np.float32))
    labels = write_geotiff("gt.tif", np.tile(np.uint8([0, 1, 2]), (8, 3)))
    printed = call("scenes", "make", cube, labels)
    assert printed.status == 0
    assert "layers" in yaml.safe_load(printed.out)
    out = tmp_path / "scene.yaml"
    assert call("scenes", "make", cube, labels, "--out", out).out == f"{out}\n"
    scene = open_scene(out)
    assert [layer.bands for layer in scene.layers.values()] == [5]
    assert len(scene.classes) == 2
    assert "exists; replace it with --overwrite" in refused("scenes", "make", cube, "--out", out)
    assert call("scenes", "make", cube, "--out", out, "--overwrite").status == 0
    assert not open_scene(out).classes


def broken_scene(write_geotiff, folder):
    """A scene of marks of no value, a dead band and a code 255, with remarks in its file."""
    ground = np.cumsum(np.random.default_rng(0).normal(size=(4, 32, 40)), axis=2)
    cube = ground.astype(np.float32)
    cube[:, :, :5], cube[2] = -9999, 7
    codes = np.tile(np.uint8([1, 2, 255, 255]), (32, 10))
    codes[:, :5] = 255
    write_geotiff("cube.tif", cube)
    write_geotiff("gt.tif", codes)
    text = "# mine\nlayers:\n  a: cube.tif  # all bands\nlabels: gt.tif\n"
    (folder / "scene.yaml").write_text(text)
    return folder / "scene.yaml"


def test_check_fixes_what_it_finds(call, write_geotiff, tmp_path):
    file = broken_scene(write_geotiff, tmp_path)
    before = file.read_text()
    found = call("scenes", "check", file)
    assert found.status == 1
    for line in ("`nodata: -9999`", "`bands: [1, 2, 4]`", "`ignore: [255]`"):
        assert line in found.out
    assert file.read_text() == before, "nothing is written unasked"
    fixed = call("scenes", "check", file, "--fix")
    assert (fixed.status, fixed.err) == (0, "")
    assert "wrote into layer 'a': nodata: -9999" in fixed.out
    assert "wrote into the scene file: ignore: [255]" in fixed.out
    text = file.read_text()
    assert text.startswith("# mine\n")
    assert "# all bands" in text
    assert yaml.safe_load(text)["layers"]["a"] == {
        "path": "cube.tif", "nodata": -9999, "bands": [1, 2, 4]
    }  # fmt: skip
    again = call("scenes", "check", tmp_path, "--fix")
    assert again.status == 0
    assert "nothing to write" in again.out
    assert file.read_text() == text


def test_fix_refuses_what_it_cannot_write(call, refused, write_geotiff, tmp_path):
    file = broken_scene(write_geotiff, tmp_path)
    before = file.read_text()
    file.chmod(0o444)
    assert "is read-only" in refused("scenes", "check", file, "--fix")
    assert file.read_text() == before
    assert "trento is a benchmark" in refused("scenes", "check", "trento", "--fix")
    (tmp_path / "empty").mkdir()
    told = refused("scenes", "check", tmp_path / "empty", "--fix")
    assert "is a folder without scene.yaml" in told
