"""Cells in other processes: of this machine, of a cluster, and of a command that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import bandweave as bw
from bandweave.cli.main import main
from bandweave.errors import ConfigError

from .conftest import SCENE, TINY, TWO

ASKED = {**TWO, "features": False, "maps": False}


@pytest.fixture(scope="module")
def undisturbed(made) -> bytes:
    """results.csv of the comparison in this process."""
    return (made.folder / "results.csv").read_bytes()


def when_one_is_in_training(folder: Path, do) -> threading.Thread:
    """Call `do` as soon as a cell has a checkpoint and is not done."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for file in folder.glob("runs/**/last.ckpt"):
                if not (file.parent / "cell.json").exists():
                    do()
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def until(holds, otherwise: str) -> None:
    """Wait until it holds, a minute at most."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def children_of(process: int) -> list[int]:
    """Process ids, by /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            if int(rest.split()[1]) == process:
                found.append(int(name.split()[0]))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds its children by /proc")
def test_a_killed_command_continues_to_the_same_csv(begin, undisturbed, tmp_path, capsys):
    """A worker is killed and replaced; then the command is, and its workers end with it."""
    plan, out = tmp_path / "plan.yaml", tmp_path / "c"
    own = ", ".join(f"{key}: {value}" for key, value in TINY.items())
    plan.write_text(
        f"models: {{tiny: {{model: m3amba_tiny, {own}}}, knn: {{}}}}\n"
        f'scenes: ["{SCENE}"]\n'
        "splits: {blocks: {size: 8, guard: 1, drop: true}}\nseeds: 2\n"
    )
    words = ["compare", "--config", str(plan), "--threads", "1", "--quiet"]
    words += ["--no-maps", "--no-features", "--out", str(out)]
    process = begin(*words, "--processes", "2")
    first: list[int] = []

    def kill_one() -> None:
        first.extend(children_of(process.pid))
        os.kill(first[0], signal.SIGKILL)

    when_one_is_in_training(out, kill_one).join()
    assert len(first) == 2
    until(lambda: set(children_of(process.pid)) - set(first), "no other takes its place")
    last = children_of(process.pid)
    process.send(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (out / "results.csv").exists()
    gone = [Path(f"/proc/{child}") for child in last]
    until(lambda: not any(place.exists() for place in gone), "workers outlive the command")

    assert main(words) == 0
    assert (out / "results.csv").read_bytes() == undisturbed
    assert capsys.readouterr().out == (out / "table.md").read_text() + "\n"


@pytest.mark.slow
def test_a_cluster_of_two_workers_of_which_one_is_killed(distributed, undisturbed, tmp_path):
    out = tmp_path / "c"
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        watch = when_one_is_in_training(out, lambda: os.kill(victim, signal.SIGKILL))
        found = bw.compare(**ASKED, out=out, dask=cluster.scheduler_address)
        watch.join()
        assert victim not in {worker.pid for worker in cluster.workers.values()}
        assert not found.failed
        assert (out / "results.csv").read_bytes() == undisturbed
        unseen = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": ":0"}
        with (
            distributed.LocalCluster(**unseen, silence_logs=50) as empty,
            pytest.raises(ConfigError, match="has no worker; start some with `dask worker"),
        ):
            bw.compare(**ASKED, out=tmp_path / "d", dask=empty.scheduler_address)


def test_no_worker_is_started_once_all_were_ended(tmp_path):
    """A signal ends the workers of a terminal's command too: their cells are not begun again."""
    from bandweave.cluster.processes import _Workers
    from bandweave.comparison.plan import Cell, CellOptions

    workers = _Workers(1, "bandweave.landcover.comparison.cell")
    workers.stop()
    cell = Cell(("town", "blocks"), "knn", 0, {})
    assert "its process ended" in workers.make(tmp_path, cell, CellOptions())["failed"]
    assert workers._all == []


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
def test_ctrl_c_ends_the_command_and_its_workers(begin, tmp_path):
    """Ctrl-C reaches all processes of a terminal at once."""
    plan, out = tmp_path / "plan.yaml", tmp_path / "c"
    own = ", ".join(f"{key}: {value}" for key, value in (TINY | {"steps": 100_000}).items())
    plan.write_text(
        f"models: {{tiny: {{model: m3amba_tiny, {own}}}}}\n"
        f'scenes: ["{SCENE}"]\n'
        "splits: {blocks: {size: 8, guard: 1, drop: true}}\nseeds: 2\n"
    )
    words = ["compare", "--config", str(plan), "--threads", "1", "--processes", "2", "--quiet"]
    process = begin(*words, "--out", out)
    try:
        when_one_is_in_training(out, lambda: process.send(signal.SIGINT)).join()
        assert process.wait(60) == 130
        assert (tmp_path / "begun.err").read_text() == "bandweave: interrupted\n"
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("bandweave.cluster.dask.PATIENCE", "0.2s")
    with pytest.raises(ConfigError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"):
        bw.compare(**ASKED, out=tmp_path / "c", dask="tcp://127.0.0.1:9")


def test_without_dask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"`pip install bandweave\[distributed\]`"):
        bw.compare(**ASKED, out=tmp_path / "c", dask="tcp://127.0.0.1:9")
