"""A run folder is made once, continued on request, and written whole."""

from __future__ import annotations

import json

import pytest

from bandweave.errors import ConfigError, OutputError, RunError
from bandweave.training.folder import RunFolder, machine

CONFIG = {"model": {"depth": 2}, "train": {"lr": 0.1}}


def test_create_and_read(tmp_path):
    run = RunFolder.create(tmp_path / "runs" / "a", CONFIG)
    assert run.read_config() == CONFIG
    assert [p.name for p in run.path.iterdir()] == ["config.yaml"]
    assert not run.finished


def test_a_run_that_cost_time_is_not_replaced_unasked(tmp_path):
    run = RunFolder.create(tmp_path / "a", CONFIG)
    RunFolder.create(tmp_path / "a", {"model": {"depth": 3}})  # nothing trained yet: nothing lost
    run = RunFolder.create(tmp_path / "a", CONFIG)
    for file, state in ((run.checkpoint, "an interrupted"), (run.model, "a finished")):
        file.write_bytes(b"weights")
        with pytest.raises(RunError, match=f"holds {state} run; continue it with `--resume`"):
            RunFolder.create(run.path, CONFIG)
        RunFolder.create(run.path, CONFIG, resume=True)
        harmless = {"train": {"lr": 0.1, "checkpoint_every": 5}}
        RunFolder.create(run.path, {**CONFIG, **harmless}, resume=True)
        RunFolder.create(run.path, CONFIG, resume=True)
        with pytest.raises(RunError, match=r"train\.lr: 0\.1 then, 0\.2 now"):
            RunFolder.create(run.path, {**CONFIG, "train": {"lr": 0.2}}, resume=True)
        assert run.read_config() == CONFIG
    (run.path / "notes.txt").write_text("mine")
    RunFolder.create(run.path, {"model": {}}, overwrite=True)
    assert sorted(p.name for p in run.path.iterdir()) == ["config.yaml", "notes.txt"]
    assert run.read_config() == {"model": {}}


def test_resume_where_nothing_stands_begins(tmp_path):
    assert RunFolder.create(tmp_path / "a", CONFIG, resume=True).read_config() == CONFIG


def test_other_ranks_touch_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("RANK", raising=False)
    run = RunFolder.create(tmp_path / "a", CONFIG)
    assert not run.path.exists()


def test_folders_that_are_none(tmp_path):
    with pytest.raises(RunError, match="there is no such run folder"):
        RunFolder(tmp_path / "missing").read_config()
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(RunError, match=r"no config\.yaml \(there is: photo\.jpg\)"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(OutputError, match="is a file; a run is a folder"):
        RunFolder.create(tmp_path / "photo.jpg", CONFIG)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml, line \d"):
        RunFolder(tmp_path).read_config()


def test_scores_and_report(tmp_path, no_space):
    run = RunFolder.create(tmp_path, CONFIG)
    run.write_scores({"overall_accuracy": 0.9, "class": "Gräser"})
    run.write_report("<html>é</html>")
    assert json.loads(run.scores.read_text(encoding="utf-8"))["class"] == "Gräser"
    assert run.report.read_text(encoding="utf-8") == "<html>é</html>"
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write_scores({"kappa": float("nan")})
    with no_space(1000), pytest.raises(OutputError, match=r"scores\.json could not be written"):
        run.write_scores({"confusion": [0] * 1000})
    assert json.loads(run.scores.read_text(encoding="utf-8"))["overall_accuracy"] == 0.9
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.yaml",
        "report.html",
        "scores.json",
    ]


def test_machine_is_json():
    facts = json.loads(json.dumps(machine()))
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert facts["torch"].startswith("2.")
