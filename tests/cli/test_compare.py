"""Flags over the configuration file of a comparison: names keep the options that the file has."""

from __future__ import annotations

import json

import pytest
import yaml

from bandweave.cli import compare, sharpen_compare
from bandweave.cli.main import main

SCENE = "simulated_scene(seed=0, height=32, width=48, bands=4)"
FILE = {
    "models": {
        "wide": {"model": "m3amba_tiny", "width": 16, "pca": {"layer": 2}, "batch": 3},
        "mambamoe_tiny": {"detail": 2, "batch": 5},
        "knn": None,
    },
    "scenes": [SCENE],
    "splits": {"near": {"name": "blocks", "size": 8, "guard": 0}, "official": {}},
    "seeds": 2,
    "pca": {"a": 3, "b": 4},
    "split": {"drop": True},
    "samples": {"crop": 8, "augment": {"noise": 0.1}},
    "train": {"steps": 3},
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(FILE))
    return str(path)


def parsed(file, *more):
    return compare.parse(["--config", file, "--out", "tables", *more])


def test_models_pick_among_the_file_s_with_their_options(file):
    assert parsed(file, "--models", "mambamoe_tiny,wide,svm").models == {
        "mambamoe_tiny": FILE["models"]["mambamoe_tiny"],
        "wide": FILE["models"]["wide"],
        "svm": None,
    }
    assert parsed(file).models == FILE["models"]


def test_splits_pick_among_the_file_s_with_their_options(file):
    assert parsed(file, "--splits", "near,random").splits == {
        "near": FILE["splits"]["near"],
        "random": None,
    }


def test_sections_are_laid_over_key_by_key_to_any_depth(file):
    args = parsed(file, "--train.lr", "0.5", "--augment.tilt", "0.2", "--pca.b", "9")
    assert args.sections["train"] == {"steps": 3, "lr": 0.5}
    assert args.sections["samples"]["augment"] == {"noise": 0.1, "tilt": 0.2}
    assert args.pca == {"a": 3, "b": 9}


@pytest.mark.parametrize("flag", ["--models", "--splits"])
def test_a_name_twice_and_one_that_does_not_exist(file, flag, capsys, tmp_path):
    out = str(tmp_path / "out")
    assert main(["compare", "--config", file, "--out", out, flag, "near,near"]) == 2
    assert f"{flag} names 'near' twice" in capsys.readouterr().err
    assert main(["compare", "--config", file, "--out", out, flag, "wid"]) == 2
    assert "'wid'" in capsys.readouterr().err


def test_a_cell_stores_the_file_s_options(tmp_path, capsys):
    own = {"model": "m3amba_tiny", "width": 8, "depth": 1, "crop": 8, "batch": 2, "steps": 1}
    path, out = tmp_path / "compare.yaml", tmp_path / "tables"
    path.write_text(
        yaml.safe_dump(
            {
                "models": {"small": own, "m3amba_tiny": {**own, "width": 12}, "knn": {}},
                "scenes": [SCENE],
                "splits": {"near": {"name": "blocks", "size": 8, "guard": 1, "drop": True}},
            }
        )
    )
    command = ["compare", "--config", str(path), "--models", "m3amba_tiny,small", "--seeds", "1"]
    assert main([*command, "--out", str(out), "--no-features", "--no-maps", "--quiet"]) == 0
    stored = [yaml.safe_load(each.read_text()) for each in sorted(out.rglob("config.yaml"))]
    assert sorted(each["model"]["width"] for each in stored) == [8, 12]
    assert {each["samples"]["batch"] for each in stored} == {2}
    assert {each["split"]["guard"] for each in stored} == {1}
    assert "knn" not in json.dumps(yaml.safe_load((out / "compare.yaml").read_text()))


def test_sharpen_compare_picks_alike(tmp_path):
    path = tmp_path / "compare.yaml"
    models = {"blur": {"model": "mmmamba_small", "steps": 5, "less_blur": 0}, "gsa": {}}
    path.write_text(yaml.safe_dump({"models": models, "test": "t.yaml", "train": {"lr": 0.1}}))
    args = sharpen_compare.parse(
        ["--config", str(path), "--out", "tables", "--models", "blur,brovey", "--train.steps", "9"]
    )
    assert args.models == {"blur": models["blur"], "brovey": None}
    assert args.sections["train"] == {"lr": 0.1, "steps": 9}


def test_train_says_which_options_another_model_leaves_out(tmp_path, capsys, caplog):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"name": "m3amba_tiny", "width": 12}}))
    assert main(["train", "--config", str(path), "--model", "mambamoe_tiny"]) == 2  # no scene
    said = caplog.text + capsys.readouterr().err
    assert "the options under `model:`" in said
    caplog.clear()
    assert main(["train", "--config", str(path), "--model", "m3amba_tiny"]) == 2
    assert "the options under" not in caplog.text + capsys.readouterr().err
