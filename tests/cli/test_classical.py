"""A classical method from train to report, as a model goes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import yaml
from safetensors.torch import load_file, save_file

FEW = ("--size", "8", "--guard", "1", "--penalties", "10,100", "--gammas", "[1]")


@pytest.fixture(scope="module")
def svm(forked, scene_file, tmp_path_factory):
    """A run of an SVM, and what its training printed."""
    run = tmp_path_factory.mktemp("classical") / "svm"
    trained = forked("train", "--scene", scene_file, "--model", "svm", "--out", run, *FEW)
    assert trained.status == 0, trained.err
    return run, trained


def test_a_run_from_train_to_report(call, svm, scene_file, tmp_path):
    run, trained = svm
    assert f"bandweave map {run} {scene_file} map.tif" in trained.out
    assert " training pixels in " in trained.out
    assert {file.name for file in run.iterdir()} == {"config.yaml", "model.safetensors"}
    stored = yaml.safe_load((run / "config.yaml").read_text())
    chosen = {"penalties": [10.0, 100.0], "gammas": [1.0], "folds": "pixels", "smooth": "none"}
    assert stored["model"] == {"name": "svm", **chosen}
    assert stored["train"] == {"seed": 0}
    scored = call("score", run, scene_file, "--quiet")
    assert (scored.status, scored.err) == (0, "")
    assert "split: blocks" in scored.out
    assert "model: svm" in scored.out
    mapped = call("map", run, scene_file, tmp_path / "map.tif", "--quiet")
    assert (mapped.status, mapped.err) == (0, "")
    page = call("report", run, scene_file, "--map", tmp_path / "map.tif", "--quiet")
    assert page.status == 0, page.err
    text = (run / "report.html").read_text()
    assert "training pixels in" in text
    assert "aseline" not in text, "it would be the same method"


def test_what_compare_gives(call, scene_file, tmp_path):
    """The same map and scores, by the same split, layers and seed."""
    out, image = tmp_path / "all", tmp_path / "map.tif"
    options = ("--splits", "blocks", "--seeds", "1", "--split.size", "8", "--split.guard", "1")
    knn = ("train", "--scene", scene_file, "--model", "knn", "--split", "blocks", *FEW[:4])
    assert call("compare", "--models", "knn", "--scenes", scene_file, *options, "--out", out,
                "--quiet").status == 0  # fmt: skip
    assert call(*knn, "--out", tmp_path / "knn", "--quiet").status == 0
    assert call("map", tmp_path / "knn", scene_file, image, "--quiet").status == 0
    assert call("score", tmp_path / "knn", scene_file, "--quiet").status == 0
    (compared,) = out.rglob("map.tif")
    with rasterio.open(image) as one, rasterio.open(compared) as other:
        np.testing.assert_array_equal(one.read(), other.read())
        assert one.colormap(1) == other.colormap(1)
    mine, theirs = (
        json.loads((folder / "scores.json").read_text())["pixels"]
        for folder in (tmp_path / "knn", compared.parent)
    )
    assert mine["confusion"] == theirs["confusion"]
    assert mine["protocol"] == theirs["protocol"]


def test_facts_of_a_run(call, svm):
    run, _ = svm
    facts = call("info", run)
    assert facts.status == 0
    assert "svm, a classical method, C 10" in facts.out
    assert "scikit-learn" in facts.out
    pixels, values = load_file(run / "model.safetensors")["values"].shape
    assert f"{pixels:,} pixels, {values} values each" in facts.out


def test_it_is_trained_again_from_its_configuration(call, svm, tmp_path):
    run, _ = svm
    config = ("train", "--config", run / "config.yaml", "--quiet")
    assert call(*config, "--out", tmp_path / "again").status == 0
    assert call("train", "--out", tmp_path / "again", "--resume", "--quiet").status == 0
    first, second = (load_file(out / "model.safetensors") for out in (run, tmp_path / "again"))
    assert all((first[name] == second[name]).all() for name in ("values", "labels"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "5"), "--steps: the classical method 'svm' has no use for it"),
        (("--model.width", "8"), "--model.width: the classical method 'svm' has no use for it"),
        (("--devices", "2"), "--devices: the classical method 'svm' has no use for it"),
        (("--temperature",), "--temperature: the classical method 'svm' has no use for it"),
        (("--pca.hsi", "3"), "--pca.hsi: the classical method 'svm' has no use for it"),
        (("--penalty", "3"), "--penalty: no such option; did you mean --penalties?"),
        (("--penalties", "0"), "penalties=0.0 must be above 0"),
        (("--penalties", "many"), "model.penalties: expected"),
    ],
)
def test_flags_that_have_no_use(refused, scene_file, tmp_path, words, said):
    out = tmp_path / "run"
    assert said in refused("train", "--scene", scene_file, "--model", "svm", "--out", out, *words)
    assert not out.exists()


def test_a_name_that_is_none(refused, scene_file, tmp_path):
    said = refused("train", "--scene", scene_file, "--model", "smv", "--out", tmp_path / "run")
    assert "did you mean 'svm'?" in said


@pytest.mark.parametrize("option", [("--device", "cpu"), ("--tta",), ("--precision", "bf16")])
def test_a_map_that_cannot_be_made_so(refused, svm, scene_file, tmp_path, option):
    said = refused("map", svm[0], scene_file, tmp_path / "map.tif", *option)
    assert "the classical method 'svm' has no use for it" in said


def test_an_audit_takes_models_alone(refused, svm, scene_file, tmp_path):
    for what in ("svm", svm[0]):
        said = refused("audit", what, scene_file, "--out", tmp_path / "audit")
        assert "'svm' is a classical method" in said


def test_a_damaged_table_is_one_line(refused, svm, scene_file, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes((svm[0] / "config.yaml").read_bytes())
    content = (svm[0] / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[:-3] + b"\x07\x07\x07")
    assert "damaged" in refused("map", run, scene_file, tmp_path / "map.tif")
    tensors = load_file(svm[0] / "model.safetensors")
    save_file(tensors, run / "model.safetensors")
    assert "model.safetensors" in refused("map", run, scene_file, tmp_path / "map.tif")


def test_the_help_shows_methods_and_their_options(call):
    assert "random_forest_emp" in call("train", "--help").out
    shown = call("train", "--model", "svm", "--help").out
    assert "--model.gammas" in shown
    assert "--train.seed" in shown
    assert "--train.lr" not in shown
    assert "--accelerator" not in shown
