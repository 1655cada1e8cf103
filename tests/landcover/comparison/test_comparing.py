"""Cells in run folders: made once, continued, refused, and traced to."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
import yaml

import bandweave as bw
from bandweave.cluster.lock import wait_for_folder
from bandweave.errors import ConfigError, OutputError, RunError
from bandweave.output_files import FOLDER_LOCK, only_writer_of_folder

from .conftest import SCENE, TWO

COPIED = ("cell.json", "scores.json", "map.tif", "features.json", "model.safetensors")


@pytest.fixture
def copy(made, tmp_path):
    """The comparison in a folder of the test's own."""
    import shutil

    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def rows(folder):
    return list(csv.DictReader((folder / "results.csv").open()))


def test_every_number_can_be_traced(made):
    names = {path.name for path in made.folder.iterdir()}
    texts = {"results.csv", "times.csv", "table.md", "table.tex", "compare.html", "compare.yaml"}
    assert names == {"runs", *texts}
    assert not made.failed
    totals = [row for row in rows(made.folder) if row["row"] == "total"]
    assert [(row["model"], row["seed"]) for row in totals] == [
        ("tiny", "0"), ("tiny", "1"), ("knn", "0"), ("knn", "1"),
    ]  # fmt: skip
    text = (made.folder / "table.md").read_text()
    for row in totals:
        folder = made.folder / row["run"]
        assert f"`{Path(row['run']).parent}/seed-*`" in text
        stored = json.loads((folder / "scores.json").read_text())["pixels"]
        assert float(row["overall_accuracy"]) == stored["overall_accuracy"]
        cell = json.loads((folder / "cell.json").read_text())
        assert cell["seed"] == int(row["seed"])
        assert cell["split_hash"] == row["split_hash"] == stored["protocol"]["hash"]
        assert {"bandweave", "torch", "scikit-learn", "python"} <= set(cell["versions"])
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["split"]["seed"] == int(row["seed"])
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["name"] == "knn"
    assert len({row["split_hash"] for row in totals}) == 2, "models share the split of a seed"


def test_maps_and_features_of_all_models(made):
    for model in ("tiny", "knn"):
        for seed in (0, 1):
            folder = made.folder / "runs" / "simulated-0" / "blocks" / model / f"seed-{seed}"
            with rasterio.open(folder / "map.tif") as written:
                assert (written.height, written.width, written.crs.to_epsg()) == (32, 48, 32632)
            assert (folder / "features.json").exists() == (seed == 0)
    stored = json.loads((folder.parent / "seed-0" / "features.json").read_text())
    assert stored["what"] == "its inputs, standardised"
    assert len(stored["x"]) == len(stored["y"]) == len(stored["classes"]) > 100


def test_the_page_needs_nothing_else_and_says_the_protocol(made):
    page = (made.folder / "compare.html").read_text()
    for what in ("Maps", "Accuracy of each class", "What accuracy costs", "Features of test pix"):
        assert f"<h3>{what}" in page
    assert page.count("guard 1 px (2 m); reach, and test pixels within it: tiny 15 px") == 4
    assert page.count('src="data:image/png') == 3 + 2 + 2, "image, two sides, two maps, two t-SNE"
    assert "http" not in page.replace("http-equiv", "")


def test_what_is_finished_is_not_repeated(copy, files, monkeypatch):
    before = files(copy)
    monkeypatch.setattr("bandweave.landcover.comparison.cell.train", None)
    bw.compare(**TWO, out=copy)
    assert files(copy) == before


def test_a_comparison_may_grow(copy, files):
    before = files(copy / "runs")
    seeds = {"seeds": 3, "models": {"nearest": {"model": "knn"}, **TWO["models"]}}
    grown = bw.compare(**{**TWO, **seeds}, out=copy)
    after = files(copy / "runs")
    assert {name: after[name] for name in before} == before
    assert [(r.cell.model, r.cell.seed) for r in grown.results] == [
        (model, seed) for model in ("nearest", "tiny", "knn") for seed in range(3)
    ]


@pytest.mark.parametrize("lost", COPIED)
def test_what_a_kill_left_half_done_is_completed(copy, files, lost):
    """Without one of its files, and without cell.json, a cell comes out as it was."""
    whole = files(copy)
    folder = copy / "runs" / "simulated-0" / "blocks" / "tiny" / "seed-0"
    (folder / "cell.json").unlink()
    (folder / lost).unlink(missing_ok=True)
    bw.compare(**TWO, out=copy)
    after = files(copy)
    assert after.keys() == whole.keys()
    assert after["results.csv"] == whole["results.csv"]
    assert after["table.md"] == whole["table.md"]


def test_broken_scores_are_measured_again(copy, files):
    whole = files(copy)["results.csv"]
    folder = copy / "runs" / "simulated-0" / "blocks" / "tiny" / "seed-1"
    (folder / "cell.json").unlink()
    (folder / "scores.json").write_text('{"pixels": {')
    bw.compare(**TWO, out=copy)
    assert files(copy)["results.csv"] == whole


def test_another_configuration_is_refused_and_changes_nothing(copy, files):
    before = files(copy)
    slower = {**TWO["models"], "tiny": {**TWO["models"]["tiny"], "steps": 4}}
    with pytest.raises(
        RunError, match=r"holds another comparison: tiny.train.steps: 3 then, 4 now"
    ):
        bw.compare(**{**TWO, "models": slower}, out=copy)
    wider = {"blocks": {"size": 8, "guard": 2, "drop": True}}
    with pytest.raises(RunError, match=r"blocks\.guard: 1 then, 2 now"):
        bw.compare(**{**TWO, "splits": wider}, out=copy)
    with pytest.raises(RunError, match="it has 'knn' among its models"):
        bw.compare(**{**TWO, "models": {"tiny": TWO["models"]["tiny"]}}, out=copy)
    with pytest.raises(RunError, match="it has the seed 1"):
        bw.compare(**{**TWO, "seeds": 1}, out=copy)
    assert files(copy) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("years")
    with pytest.raises(RunError, match=r"holds no comparison \(there is: thesis.doc\)"):
        bw.compare(**TWO, out=tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        bw.compare(**TWO, out=tmp_path / "thesis.doc")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_cell_whose_folder_is_another_s_is_refused(copy):
    cell = copy / "runs" / "simulated-0" / "blocks" / "knn" / "seed-0" / "cell.json"
    stored = json.loads(cell.read_text())
    stored["identity"]["split"]["guard"] = 7
    cell.write_text(json.dumps(stored))
    with pytest.raises(RunError, match=r"seed-0 was made with another.*split.guard: 7 then, 1 now"):
        bw.compare(**TWO, out=copy)


def test_models_on_other_pixels_are_not_put_side_by_side(copy):
    cell = copy / "runs" / "simulated-0" / "blocks" / "knn" / "seed-0" / "cell.json"
    stored = json.loads(cell.read_text())
    stored["split_hash"] = "0" * 64
    cell.write_text(json.dumps(stored))
    with pytest.raises(RunError, match=r"but of other pixels \(hashes 000000000000"):
        bw.compare(**TWO, out=copy)


def test_a_cell_that_fails_stops_no_other_and_is_tried_again(made, tmp_path, monkeypatch, files):
    from bandweave.landcover.comparison import cell

    train = cell.train

    def sometimes(scene, split, **options):
        if options["config"].name != "knn" and options["config"].train.seed == 0:
            raise MemoryError
        return train(scene, split, **options)

    monkeypatch.setattr(cell, "train", sometimes)
    found = bw.compare(**TWO, out=tmp_path / "c")
    (failed,) = found.failed
    assert (failed.cell.model, failed.cell.seed, failed.failed) == ("tiny", 0, "not enough memory")
    folder = tmp_path / "c" / failed.cell.place
    stored = json.loads((folder / "failed.json").read_text())
    assert stored["failed"] == "not enough memory"
    assert "raise MemoryError" in stored["traceback"]
    assert "| tiny | – [1] |" in str(found)
    assert "some cells failed" in (tmp_path / "c" / "compare.html").read_text().lower()

    monkeypatch.setattr(cell, "train", train)
    assert not bw.compare(**TWO, out=tmp_path / "c").failed
    assert not (folder / "failed.json").exists()
    assert files(tmp_path / "c")["results.csv"] == files(made.folder)["results.csv"]


def test_a_split_that_a_scene_has_not_fails_there_alone(tmp_path):
    asked = {**TWO, "models": ["knn"], "splits": ["official", "given"], "seeds": 1}
    found = bw.compare(**{**asked, "scenes": [SCENE]}, out=tmp_path / "c", maps=False)
    assert {r.cell.case[1] for r in found.failed} == {"official", "given"}
    assert "has no official masks" in str(found)


def test_scenes_that_are_open(tmp_path):
    """A scene made in Python has no name to open it by: in this process it can be compared."""
    from dataclasses import replace

    scene = replace(bw.simulated_scene(seed=1, height=32, width=32, bands=3), origin="")
    asked = {**TWO, "models": ["knn"], "scenes": [scene, scene], "seeds": 1}
    found = bw.compare(**asked, out=tmp_path / "c", features=False, maps=False)
    assert list({r.cell.case[0]: 0 for r in found.results}) == ["simulated-1", "simulated-1-2"]
    with pytest.raises(ConfigError, match="was made in this process, and others cannot open it"):
        bw.compare(**{**asked, "seeds": 2}, out=tmp_path / "d", processes=2)
    with pytest.raises(ConfigError, match="is named twice"):
        bw.compare(**{**asked, "scenes": [SCENE, SCENE]}, out=tmp_path / "e")


def test_two_processes_never_work_in_one_folder(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from bandweave.cluster.lock import wait_for_folder\n"
        "with wait_for_folder(Path(sys.argv[1])): print('in', flush=True); time.sleep(0.6)\n"
        "open(sys.argv[1] + '/left', 'w').close(); time.sleep(9)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "in\n"
        with wait_for_folder(tmp_path):
            assert other.poll() is None, "it is alive and has given the folder up"
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_second_comparison_in_a_folder_is_refused(copy, files):
    """Told who writes there; a dead holder's lock is taken over."""
    before = files(copy)
    with (
        only_writer_of_folder(copy, "a comparison"),
        pytest.raises(OutputError, match=rf"written by process {os.getpid()} on \S+; wait"),
    ):
        bw.compare(**{**TWO, "seeds": 3}, out=copy)
    assert files(copy) == before
    (copy / FOLDER_LOCK).write_text('{"pid": 1, "host": "gone"}')
    assert not bw.compare(**TWO, out=copy).failed
    assert not (copy / FOLDER_LOCK).exists()


def test_a_lock_goes_with_its_process(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from bandweave.cluster.lock import wait_for_folder\n"
        "with wait_for_folder(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "in\n"
    other.kill()
    with wait_for_folder(tmp_path):
        assert other.wait() != 0
    other.stdout.close()
