"""train, map, score, report and info: a run from beginning to end through the command."""

from __future__ import annotations

import json
import signal
import time

import rasterio
import yaml
from safetensors.numpy import load_file

from bandweave.training.history import read_history

from .conftest import TINY


def weights(run):
    return load_file(run / "model.safetensors")


def same(first, second):
    return set(first) == set(second) and all((first[n] == second[n]).all() for n in first)


def test_a_run_in_processes_of_its_own(forked, scene_file, tmp_path):
    """Train, map and score in processes of their own; results on stdout, the rest on stderr."""
    run, image = tmp_path / "run", tmp_path / "map.tif"
    trained = forked("train", "--scene", scene_file, "--out", run, *TINY)
    assert trained.status == 0, trained.err
    assert f"bandweave map {run} {scene_file} map.tif" in trained.out
    assert f"bandweave score {run} {scene_file}" in trained.out
    assert "training 3/3" in trained.err
    assert "split 'blocks', seed 0, transductive inputs" in trained.err
    assert {file.name for file in run.iterdir()} == {
        *("config.yaml", "model.safetensors", "last.ckpt", "history.csv")
    }
    mapped = forked("map", run, scene_file, image, "--confidence", "--quiet")
    assert mapped.status == 0, mapped.err
    assert mapped.out.split() == [str(image), str(tmp_path / "map_confidence.tif")]
    assert mapped.err == ""
    with rasterio.open(image) as written:
        assert (written.height, written.width, written.crs.to_epsg()) == (48, 64, 32632)


def test_the_table_is_what_the_file_says(call, run_copy, scene_file):
    result = call("score", run_copy, scene_file, "--quiet")
    assert (result.status, result.err) == (0, "")
    stored = json.loads((run_copy / "scores.json").read_text())
    assert f"({stored['pixels']['protocol']['pixels']['test']} test pixels)" in result.out
    assert "split: blocks" in result.out
    assert f"hash: {stored['pixels']['protocol']['hash']}" in result.out


def test_another_split_than_the_run_s(call, run_copy, scene_file):
    result = call("score", run_copy, scene_file, "--split", "random", "--train", "0.2", "--quiet")
    assert result.status == 0
    protocol = json.loads((run_copy / "scores.json").read_text())["pixels"]["protocol"]
    assert (protocol["split"], protocol["train"], protocol["guard_label_px"]) == ("random", 0.2, 0)
    assert call("score", run_copy, scene_file, "--guard", "2", "--quiet").status == 0
    protocol = json.loads((run_copy / "scores.json").read_text())["pixels"]["protocol"]
    assert (protocol["split"], protocol["size_label_px"]) == ("blocks", 8), "the rest is the run's"
    assert protocol["guard_label_px"] == 2


def test_the_options_of_map(call, trained, scene_file, tmp_path):
    out = tmp_path / "m.tif"
    result = call(
        *("map", trained, scene_file, out, "--probabilities", tmp_path / "p.tif", "--confidence"),
        *("--overlap", "2", "--batch", "3", "--device", "cpu", "--overviews", "mode", "--tta"),
        *("--match-bands", "--precision", "fp32", "--uncertainty"),
    )
    assert result.status == 0, result.err
    assert set(result.out.split()) == {
        str(tmp_path / name) for name in ("m.tif", "m_confidence.tif", "m_uncertainty.tif", "p.tif")
    }
    assert "mapping scene" in result.err or "mapping simulated-0" in result.err
    with rasterio.open(tmp_path / "p.tif") as written:
        assert written.count == 10


def test_report(call, run_copy, scene_file):
    assert call("map", run_copy, scene_file, run_copy / "map.tif", "--quiet").status == 0
    assert call("score", run_copy, scene_file, "--quiet").status == 0
    result = call("report", run_copy, scene_file, "--quiet")
    assert result.status == 0, result.err
    assert result.out == f"{run_copy / 'report.html'}\n"
    assert "bandweave train" in (run_copy / "report.html").read_text()


def test_the_configuration_of_a_run_repeats_it(call, trained, tmp_path):
    again = tmp_path / "again"
    result = call("train", "--config", trained / "config.yaml", "--out", again, "--quiet")
    assert result.status == 0, result.err
    assert yaml.safe_load((again / "config.yaml").read_text()) == yaml.safe_load(
        (trained / "config.yaml").read_text()
    )
    assert same(weights(trained), weights(again))


def test_a_finished_run_is_neither_lost_nor_trained_again(call, refused, run_copy, scene_file):
    before = weights(run_copy)
    words = ("train", "--scene", scene_file, "--out", run_copy, "--quiet", *TINY)
    assert "holds a finished run" in refused(*words)
    assert "train.steps: 3 then, 4 now" in refused(*words, "--resume", "--steps", "4")
    assert "train.seed: 0 then, 1 now" in refused(
        "train", "--out", run_copy, "--resume", "--train.seed", "1"
    )
    for asked in (words, ("train", "--out", run_copy, "--quiet")):  # as it was, or as it stands
        assert call(*asked, "--resume").status == 0
    assert same(before, weights(run_copy))
    without = ("--clip", "frozen", "--clip.weights", "/nowhere")
    assert "no CLIP weights at '/nowhere'" in refused(*words, "--overwrite", *without)
    assert same(before, weights(run_copy)), "what cannot be trained replaces nothing"
    assert call(*words, "--overwrite", "--steps", "1").status == 0
    assert len(read_history(run_copy / "history.csv")) == 1


def test_a_killed_run_continues_to_the_same_weights(begin, call, scene_file, tmp_path):
    """SIGKILL at some moment after the first checkpoint; then `--resume` with nothing else."""
    options = (*TINY, "--steps", "60", "--checkpoint_every", "2", "--ema", "0.9")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert call("train", "--scene", scene_file, "--out", whole, *options).status == 0
    words = ("train", "--scene", scene_file, "--out", killed, *options)
    process = begin(*words)
    deadline = time.monotonic() + 200
    while not (killed / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()

    told = call("info", killed)
    assert "interrupted after step " in told.out
    assert f"bandweave train --out {killed} --resume" in told.out
    assert call("train", "--out", killed, "--resume", "--quiet").status == 0
    assert same(weights(whole), weights(killed))
    assert [row["step"] for row in read_history(killed / "history.csv")] == list(range(1, 61))


def test_two_processes_train_one_run(call, shell, scene_file, tmp_path):
    out = tmp_path / "two"
    words = ("--devices", "2", "--accelerator", "cpu", "--scene", scene_file, "--out", out)
    result = shell("train", *TINY, *words)
    assert result.status == 0, result.err
    assert result.out.count("score it") == 1, "rank 0 alone prints"
    assert result.err.count("2 process(es)") == 1
    assert "warning" not in result.err
    assert [row["step"] for row in read_history(out / "history.csv")] == [1, 2, 3]
    assert call("score", out, scene_file, "--quiet").status == 0


def test_an_interrupt_says_how_to_go_on(call, monkeypatch, run_copy, scene_file):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bandweave.cli.train.train", interrupt)
    result = call("train", "--out", run_copy, "--resume")
    assert (result.status, result.out) == (130, "")
    assert f"warning: continue with `bandweave train --out {run_copy} --resume`" in result.err
    assert result.err.endswith("bandweave: interrupted\n")
