"""The benchmarks run, compare equal things, resume, and judge by the marks."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture
def run_here(timing, monkeypatch, capsys):
    """run_here(name, out, …): what a benchmark prints and writes, run in this process."""

    def run(name: str, out: Path, *options: str) -> tuple[str, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [name, "--out", str(out), "--threads", "1", *options])
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out, json.loads(out.read_text())

    return run


@pytest.fixture
def timing(monkeypatch):
    """timing(name): a module of what the benchmarks share."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    return lambda name: importlib.import_module(f"timing.{name}")


def test_the_scan_against_its_peers(run_here, tmp_path):
    sizes = "--batch 2 --channels 8 --tokens 16 --states 2 --rounds 2 --budget 0.02 --no-memory"
    text, content = run_here("scan.py", tmp_path / "scan.json", *sizes.split())
    (row,) = content["rows"]
    assert row["key"]["case"]["batch"] == 2
    assert row["forward"]["ours"]["ratio"] == 1
    assert "loop" in row["forward"]
    assert "loop" not in row["forward_backward"]
    expected = {"ours", "chunked", "copies", "permuted", "associative"}
    if find_spec("mambapy"):
        expected.add("pscan")
    else:
        assert "mambapy" in row["errors"]["pscan"]
    assert expected <= row["forward_backward"].keys()
    assert all(entry["ms"] > 0 for part in ("forward", "forward_backward") for entry in
               row[part].values())  # fmt: skip
    assert row["limits"].keys() == {"exp2", "torch.exp", "copy"}
    assert 0 < row["share_of_exp2"] < 1
    assert content["facts"]["threads"] == 1
    assert "loop reference" in text


def test_a_models_step_and_map(run_here, tmp_path):
    sizes = "--presets m3amba_tiny --crop 4 --batch 1 --repeats 1 --no-operators"
    text, content = run_here("model.py", tmp_path / "model.json", *sizes.split())
    (row,) = content["rows"]
    for part in ("step", "megapixel"):
        assert 0 < row[part]["scan_share"] < 1
        assert row[part]["scan_calls"] == 6  # two branches and the fusion, twice
    assert row["step"]["scan_backward_seconds"] > 0
    assert row["megapixel"]["scan_backward_seconds"] == 0
    assert "training step" in text


def test_a_sharpeners_step_and_map(run_here, tmp_path):
    sizes = "--presets mmmamba_tiny --crop 4 --batch 1 --repeats 1 --no-operators"
    _, content = run_here("model.py", tmp_path / "model.json", *sizes.split())
    (row,) = content["rows"]
    assert row["key"] == {"preset": "mmmamba_tiny", "scene": "landsat7"}
    for part in ("step", "megapixel"):
        assert 0 < row[part]["scan_share"] < 1
        assert row[part]["scan_calls"] == 1  # of both streams at once


def test_memory_is_what_one_run_adds(timing):
    tokens = 128**2
    case = {"batch": 1, "channels": 16, "tokens": tokens, "states": 1}
    step = timing("fresh").in_fresh_process
    extra = step("memory", case=case, method="ours", backward=False, threads=1)["bytes"]
    y = 4 * 16 * tokens
    assert 0.9 * y < extra < 16 * y  # y itself, and no tensor of states


def test_methods_that_differ_are_not_timed(timing):
    measure, case = timing("measure"), timing("inputs").Case(2, 3, 4, 1)
    truth = {"y": torch.ones(2, 4, 3), "A": torch.ones(4, 3, 1)}
    measure._check_agreement("same", {"y": truth["y"][:1], "A": 0 * truth["A"]}, truth, 1, case)
    with pytest.raises(SystemExit, match="wrong is not the same scan: A differs"):
        measure._check_agreement("wrong", {"A": 2 * truth["A"]}, truth, 2, case)
    with pytest.raises(SystemExit, match="y differs by nan"):
        measure._check_agreement("wrong", {"y": torch.nan * truth["y"]}, truth, 2, case)


def test_every_method_computes_the_same_from_an_uneven_case(timing):
    case = timing("inputs").Case(3, 5, 36, 3, softplus=False)
    names = ["ours", "loop", "chunked", "copies", "permuted", "sequential", "associative"]
    methods, batches, errors, _ = timing("measure")._ready(case, names)  # checks that they agree
    assert list(methods) == names
    assert set(batches.values()) == {3}
    assert not errors


def test_turns_and_ratios(timing):
    turns = timing("turns")
    seconds = {"fast": 0.01, "slow": 3.0}
    counted = {"fast": 0, "slow": 0}

    def clock(run, calls):
        counted[run] += calls
        return seconds[run]

    times = turns.in_turn({"fast": "fast", "slow": "slow"}, clock, rounds=4, budget=2.0)
    assert len(times["fast"].rounds) == 4
    assert len(times["slow"].rounds) == 1
    assert counted == {"fast": 2 + 4 * 5, "slow": 2}
    assert times["slow"].ratio(times["fast"]) == pytest.approx(300)


def test_results_resume_and_are_not_mixed(timing, tmp_path):
    Results = timing("results").Results
    path = tmp_path / "rows.json"
    first = Results(path, {"rounds": 2})
    first.add({"kind": "table", "sizes": (1, 2)}, {"ms": 3.0})
    again = Results(path, {"rounds": 2})
    assert again.find({"kind": "table", "sizes": (1, 2)})["ms"] == 3.0
    assert again.find({"kind": "table", "sizes": (1, 3)}) is None
    with pytest.raises(SystemExit, match="rounds 2, this run has 3"):
        Results(path, {"rounds": 3})
    assert not Results(path, {"rounds": 3}, fresh=True).content["rows"]


def test_marks_take_the_worst(timing):
    def row(kind, tokens, **values):
        case = {"batch": 8, "channels": 96, "tokens": tokens, "states": 16}
        return {"key": {"kind": kind, "case": case}, **values}

    rows = [
        row("table", tokens, forward={"loop": {"ratio": ratio}}, forward_backward={},
            backward_over_forward=2.4, share_of_exp2=0.5)
        for tokens, ratio in ((1024, 160.0), (4096, 140.0))
    ]  # fmt: skip
    rows += [
        row("length", n, forward_backward={"ms": n**1.05}, memory={"bytes": 1e4 * n})
        for n in (256, 1024, 4096)
    ]
    found = {mark.name: mark for mark in timing("marks").marks(rows)}
    loop = found["forward, loop reference over ours, N ≥ 8"]
    assert not loop.met
    assert loop.worst == ("B 8, E 96, L 4096, N 16", 140.0)
    assert "NOT MET (1 of 2" in loop.line()
    assert found["backward / forward"].met
    growth = found["growth of time, forward + backward with L, exponent"]
    assert growth.met
    assert growth.worst[1] == pytest.approx(1.05)
    assert "not measured" in found["error of outputs"].line()


def test_the_batch_that_memory_allows(timing):
    case, methods = timing("inputs").Case(8, 96, 1024, 16), timing("methods")
    assert methods.affordable_batch("ours", case, 1) == 8
    whole = 4 * case.exponentials * methods.TENSORS["pscan"]
    assert methods.affordable_batch("pscan", case, whole) == 8
    assert methods.affordable_batch("pscan", case, whole // 3) == 2
    assert methods.affordable_batch("pscan", case, 1) == 1
