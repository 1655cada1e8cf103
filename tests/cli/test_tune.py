"""bandweave tune, from a scene file to options that train."""

from __future__ import annotations

from bandweave.landcover import length

from .conftest import TINY


def test_options_are_found_and_train(call, scene_file, tmp_path, monkeypatch):
    monkeypatch.setattr(length, "LOOKS", 1)
    out = tmp_path / "tuned"
    words = [*TINY[:-1], "5", "--minutes", "1e-6", "--out", out, "--quiet"]
    tuned = call("tune", scene_file, *words)
    assert (tuned.status, tuned.err) == (0, "")
    assert tuned.out.startswith("trial 0")
    assert "as given" in tuned.out
    assert f"bandweave train --config {out}/config.yaml --out RUN" in tuned.out
    assert {each.name for each in out.iterdir()} >= {"trials.jsonl", "config.yaml", "tune.yaml"}
    trained = call("train", "--config", out / "config.yaml", "--out", tmp_path / "run", "--quiet")
    assert trained.status == 0, trained.err
    assert "5 steps" in trained.out


def test_what_is_missing_or_wrong_is_said(call, scene_file, tmp_path):
    assert "which scene? Give SCENE" in call("tune", "--out", tmp_path / "a").err
    assert "where to? Give --out DIR" in call("tune", scene_file).err
    few = call("tune", scene_file, *TINY, "--out", tmp_path / "few")
    assert (few.status, few.out) == (2, "")
    assert "steps is 3: too few" in few.err
    svm = call("tune", scene_file, "--model", "svm", "--out", tmp_path / "svm")
    assert "'svm' is a classical method" in svm.err
    assert not any(tmp_path.iterdir())
