"""Bad input: one clear line, exit status 2, nothing half-written."""

from __future__ import annotations

import errno
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from .conftest import TINY


@pytest.fixture
def scene_copy(scene_file, tmp_path) -> Path:
    """The folder of a copy of the tiny scene, to damage."""
    return Path(shutil.copytree(scene_file.parent, tmp_path / "scene"))


def changed(folder: Path, **sections) -> Path:
    """Its scene file with other content in some sections; None takes one out."""
    file = folder / "scene.yaml"
    content = yaml.safe_load(file.read_text()) | sections
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return file


@pytest.fixture
def not_trained(refused, tmp_path):
    """not_trained(scene, *options): the line; and no run folder is left."""

    def run(scene: object, *words: object) -> str:
        out = tmp_path / "out" / "run"
        told = refused("train", "--scene", scene, "--out", out, *TINY, *words)
        assert not out.exists()
        return told

    return run


@pytest.fixture
def not_mapped(refused, tmp_path):
    """not_mapped(run, scene): the line; and neither a map nor anything beside it is left."""

    def run(trained: object, scene: object, *words: object) -> str:
        folder = tmp_path / "maps"
        folder.mkdir()
        told = refused("map", trained, scene, folder / "m.tif", "--confidence", "--quiet", *words)
        assert not list(folder.iterdir())
        return told

    return run


def test_nothing_is_said_of_what_is_missing(refused):
    assert "which scene? Give --scene" in refused("train", "--out", "x")
    assert "which run folder? Give --out" in refused("train", "--scene", "x")


# Files and layers ---------------------------------------------------------------------------------


def test_a_missing_file(not_trained, scene_copy):
    (scene_copy / "lidar.tif").unlink()
    assert re.search(r"lidar\.tif does not exist", not_trained(scene_copy))


def test_a_text_named_tif(not_trained, scene_copy):
    (scene_copy / "lidar.tif").write_text("height")
    assert "lidar.tif is not a TIFF, whatever its name says" in not_trained(scene_copy)


def test_a_truncated_cube(not_trained, scene_copy):
    data = (scene_copy / "hsi.img").read_bytes()
    (scene_copy / "hsi.img").write_bytes(data[: len(data) // 2])
    assert "hsi.img is truncated" in not_trained(scene_copy)


def test_a_truncated_layer_in_the_middle_of_a_map(not_mapped, trained, scene_copy, write_geotiff):
    height = np.random.default_rng(0).random((48, 64), np.float32)
    written = write_geotiff("h.tif", height, compress="deflate")
    from rasterio import open as open_raster

    with open_raster(scene_copy / "lidar.tif") as file:
        profile = file.profile
    with open_raster(written, "w", **profile | {"compress": "deflate", "blockysize": 1}) as file:
        file.write(height, 1)
    data = written.read_bytes()
    (scene_copy / "lidar.tif").write_bytes(data[: len(data) - 3000])
    told = not_mapped(trained, scene_copy)
    assert "lidar.tif" in told
    assert "truncated or damaged" in told


def test_layers_apart(not_trained, scene_copy, write_geotiff):
    away = write_geotiff("away.tif", np.ones((48, 64), np.float32), crs="EPSG:32632")
    layers = {"hsi": {"path": "hsi.img"}, "lidar": {"path": str(away)}}
    assert "do not overlap" in not_trained(changed(scene_copy, layers=layers))


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"layres": {}}, "scene.yaml: layres: no such option; did you mean 'layers'?"),
        ({"grid": "his"}, "grid: no layer is named 'his'; did you mean 'hsi'?"),
        ({"classes": {1: "grass"}}, "which `classes` does not name"),
    ],
)
def test_a_wrong_scene_file(not_trained, scene_copy, sections, told):
    assert told in not_trained(changed(scene_copy, **sections))


# Labels and splits --------------------------------------------------------------------------------


def test_nothing_to_train_on_or_to_score(not_trained, refused, run_copy, scene_copy):
    scene = changed(scene_copy, labels=None, classes=None, ignore=None)
    assert "no label" in not_trained(scene)
    assert "has none" in refused("score", run_copy, scene)
    assert not (run_copy / "scores.json").exists()


def test_a_scene_without_labels_is_mapped(call, trained, scene_copy, tmp_path):
    scene = changed(scene_copy, labels=None, classes=None, ignore=None)
    assert call("map", trained, scene, tmp_path / "m.tif", "--quiet").status == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--split", "official", "--size", "64"), "official"),
        (
            ("--split", "random", "--size", "64", "--per_class", "5000"),
            "5000 are asked for training",
        ),
        (("--size", "64"), "cannot stand on both sides of a split"),
        (("--layers", "hsi,lidra"), "has no layer 'lidra'; it has hsi, lidar"),
        (("--pca.hsi", "99"), "has 8 bands, so components must be 1 to 8, not 99"),
        (("--pca.his", "3"), "there is no layer 'his', only hsi, lidar"),
        (("--validate_every", "2"), "the split has no validation pixels"),
        (("--accelerator", "cuda", "--devices", "99"), "this machine"),
        (("--devices", "0"), "devices=0"),
        (("--clip", "adapters", "--clip.weights", "/nowhere"), "no CLIP weights at '/nowhere'"),
    ],
)
def test_what_the_scene_or_the_machine_cannot_give(not_trained, scene_file, words, told):
    assert told in not_trained(scene_file, *words)


def test_clip_weights_that_are_not_there_say_how_to_get_them(not_trained, scene_file):
    told = not_trained(scene_file, "--clip", "adapters", "--clip.weights", "nobody/nothing")
    assert "--clip.download true" in told
    assert "--clip.mode none" in told


def test_a_file_where_the_run_should_be(refused, scene_file, tmp_path):
    (tmp_path / "run").write_text("mine")
    told = refused("train", "--scene", scene_file, "--out", tmp_path / "run", *TINY)
    assert "is a file; a run is a folder" in told
    assert (tmp_path / "run").read_text() == "mine"


# Runs ---------------------------------------------------------------------------------------------


def truncated(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])


def pickled(run: Path) -> None:
    (run / "model.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}))


def unfinished(run: Path) -> None:
    (run / "model.safetensors").unlink()


def emptied(run: Path) -> None:
    for file in run.iterdir():
        file.unlink()


def gone(run: Path) -> None:
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncated, "model.safetensors: truncated or damaged: "),
        (pickled, "model.safetensors: a pickle, not safetensors; it is not opened"),
        (unfinished, "there are no weights; was the run trained to its end?"),
        (emptied, "is no run folder: it has no config.yaml (there is: nothing)"),
        (gone, "there is no such run folder"),
    ],
)
def test_a_damaged_run(refused, not_mapped, run_copy, scene_file, damage, told):
    damage(run_copy)
    assert told in not_mapped(run_copy, scene_file)
    assert told in refused("score", run_copy, scene_file)
    assert told in refused("report", run_copy, scene_file)
    if damage in (truncated, pickled, emptied):
        assert told in refused("info", run_copy)


def test_a_damaged_checkpoint(refused, run_copy):
    (run_copy / "model.safetensors").unlink()
    (run_copy / "last.ckpt").write_bytes(pickle.dumps({"a": 1}))
    assert "no readable checkpoint" in refused("train", "--out", run_copy, "--resume")
    assert "no readable checkpoint" in refused("info", run_copy)


def test_a_scene_of_other_layers(not_mapped, refused, run_copy, scene_copy):
    scene = changed(scene_copy, layers={"hsi": {"path": "hsi.img"}})
    told = not_mapped(run_copy, scene)
    assert "does not fit the run: layer 'lidar' is missing" in told
    assert "the run: hsi (8 bands" in told
    assert "the scene: hsi (8 bands" in told
    assert "layer 'lidar' is missing" in refused("score", run_copy, scene)


def test_a_scene_of_other_classes(refused, run_copy, scene_copy):
    names = yaml.safe_load((scene_copy / "scene.yaml").read_text())["classes"]
    names[99] = names.pop(1) | {"name": "lawn"}
    scene = changed(scene_copy, classes=names, others="ignore")
    assert "99 'lawn' is none of the run's classes" in refused("score", run_copy, scene)


def test_a_class_that_was_renamed_is_the_same_class(call, run_copy, scene_copy):
    names = yaml.safe_load((scene_copy / "scene.yaml").read_text())["classes"]
    before = call("score", run_copy, scene_copy).out
    names[1]["name"] = "lawn"
    renamed = dict(reversed(names.items()))
    assert call("score", run_copy, changed(scene_copy, classes=renamed)).out == before


# While writing ------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_in_the_middle_of_a_map(not_mapped, trained, scene_file, monkeypatch):
    from bandweave.raster.writing.raster import MapWriter

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MapWriter, "finish", full)
    assert "disk is full" in not_mapped(trained, scene_file)


def test_a_folder_that_is_not_there_or_not_ours(refused, trained, scene_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    told = refused("map", trained, scene_file, tmp_path / "file" / "m.tif", "--quiet")
    assert "m.tif" in told
    assert (tmp_path / "file").read_text() == "mine"
