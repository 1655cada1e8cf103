"""A tiny scene in files, a run trained on it, and three ways to give a command."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bandweave.cli.main import main
from bandweave.data.simulation.scene import simulated_scene
from bandweave.data.write_scene import write_scene

TINY = (
    *("--model", "m3amba_tiny", "--width", "8", "--depth", "1", "--crop", "8", "--batch", "2"),
    *("--size", "8", "--guard", "1", "--steps", "3"),
)
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """For a process of its own: one thread, and no rank of another run."""
    kept = {key: value for key, value in os.environ.items() if key not in RANKS}
    return kept | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def shell() -> Callable[..., Result]:
    """shell("info", "map.tif"): the command in a process of its own."""

    def run(*words: object, timeout: float = 300) -> Result:
        ended = subprocess.run(
            [sys.executable, "-m", "bandweave.cli.main", *map(str, words)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def forked(begin_in: Callable, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """forked("info", "map.tif"): as `shell`, without the seconds of its imports."""

    def run(*words: object, timeout: float = 300) -> Result:
        folder = tmp_path_factory.mktemp("forked")
        process = begin_in(folder, *words)
        status = process.wait(timeout)
        if status is None:
            process.send(signal.SIGKILL)
            process.wait(20)
            raise TimeoutError(f"{words} still ran after {timeout} s")
        return Result(status, *((folder / f"begun.{s}").read_text() for s in ("out", "err")))

    return run


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """call("info", "map.tif"): the command in this process."""

    def run(*words: object) -> Result:
        capfd.readouterr()
        status = main([str(word) for word in words])
        return Result(status, *capfd.readouterr())

    return run


@pytest.fixture
def refused(call: Callable[..., Result]) -> Callable[..., str]:
    """refused("map", …): the one line of a command that ends with 2 and prints no result."""

    def run(*words: object) -> str:
        result = call(*words)
        lines = [line for line in result.err.splitlines() if not line.startswith("info: ")]
        assert result.status == 2, result
        assert result.out == ""
        assert len(lines) == 1, result.err
        assert lines[0].startswith("bandweave: error: ")
        return lines[0].removeprefix("bandweave: error: ")

    return run


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """The command sets up the package's log; other tests find it as it was."""
    logger = logging.getLogger("bandweave")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scene.yaml of 48×64 px with 8 bands and a height, labelled for training."""
    scene = simulated_scene(seed=0, height=48, width=64, bands=8)
    return write_scene(scene, tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="session")
def trained(scene_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three steps; for reading only."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    words = ("train", "--scene", str(scene_file), "--out", str(out), "--quiet", *TINY)
    assert main(words) == 0
    return out


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to write into or to damage."""
    copy = tmp_path / "run"
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy
