"""Damaged inputs by the thousand, each read in a forked worker with limits on time and memory.

The parent has imported everything, and only watches: a worker that takes too long for one input,
needs too much memory, or dies is a finding, and another goes on with the next input.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from .kinds import KINDS
from .verdict import make, try_input

SECONDS = 20.0  # for one input
MEMORY = 4 << 30  # bytes that one input may add
BATCH = 250  # inputs of a worker

_NOW = struct.Struct("<qd")  # the seed that is read, and since when


@dataclass
class Batch:
    """What came of the inputs of one kind whose seeds lie in a row."""

    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    memory: int = 0  # bytes, the most that a worker had
    findings: list[dict[str, object]] = field(default_factory=list)


def prepare() -> None:
    """Import all that inputs need, and keep this process and its workers to one thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "CPL_LOG": os.devnull}
    from bandweave.cli.main import COMMANDS, name_module

    for command in COMMANDS:
        import_module(name_module(command))
    for name in (
        *("cli.run_facts", "cli.file_facts", "data.check.scene", "data.draft.write"),
        *("pansharp.sharpening", "landcover.audit.shortcuts"),
        *("landcover.comparison.comparing", "pansharp.comparison.comparing"),
        *("landcover.mapping", "landcover.report.page", "landcover.scoring"),
        *(
            "landcover.run",
            "pansharp.training",
            "pansharp.scoring",
            "nn.clip.weights",
            "data.write_scene",
        ),
    ):
        import_module(f"bandweave.{name}")
    for name in ("h5py", "scipy.io", "pyogrio.raw", "shapely", "sklearn.ensemble", "rasterio.warp"):
        import_module(name)
    import torch

    torch.set_num_threads(1)


def made(name: str, folder: Path) -> Path:
    """A kind's whole input."""
    in_child(lambda: make(name, folder), folder)
    return folder / name.replace(":", "_") / "whole"


def in_child(write: Callable[[], object], folder: Path) -> None:
    """Write inputs in a process of its own: the threads that it starts are none of the parent's."""
    child = os.fork()
    if not child:
        _quiet()
        status = 1
        try:
            write()
            status = 0
        except BaseException:
            (folder / "failed.txt").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"the inputs could not be made: {(folder / 'failed.txt').read_text()}")


def run_batch(name: str, seeds: range, whole: Path) -> Batch:
    """Read the inputs of these seeds, in as many workers as it needs."""
    batch = Batch()
    left = seeds
    while left:
        done = _worker(name, left, whole, batch)
        left = left[done:]
    return batch


def _worker(name: str, seeds: range, whole: Path, batch: Batch) -> int:
    """Read inputs in one worker until it ends or has to be ended: how many were read."""
    shared = mmap.mmap(-1, _NOW.size)
    shared[:] = _NOW.pack(seeds[0], time.monotonic())
    out = whole.with_name("found.jsonl")
    out.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _work(name, seeds, whole, shared, out)
    ended = _watch(child, shared, batch)
    lines = out.read_text().splitlines() if out.exists() else []
    for line in lines:
        seed, findings, refused, seconds = json.loads(line)
        batch.inputs += 1
        batch.refused += refused
        batch.slowest = max(batch.slowest, seconds)
        batch.findings += [{"seed": seed, "what": what} for what in findings]
    if ended:
        batch.inputs += 1
        batch.findings.append({"seed": _NOW.unpack(shared[:])[0], "what": ended})
    return len(lines) + bool(ended)


def _watch(child: int, shared: mmap.mmap, batch: Batch) -> str:
    """Wait for a worker, and end it where an input breaks a limit: what broke, '' if nothing."""
    broke = ""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return broke or (f"DIED of {code}" if code else "")
        used = _resident(child)
        batch.memory = max(batch.memory, used)
        since = time.monotonic() - _NOW.unpack(shared[:])[1]
        if not broke and (since > SECONDS or used > MEMORY):
            broke = f"HANG of {since:.0f} s" if since > SECONDS else f"MEMORY of {used >> 20} MiB"
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _work(name: str, seeds: range, whole: Path, shared: mmap.mmap, out: Path) -> None:
    """The worker: never returns."""
    status = 1
    try:
        _quiet()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with out.open("w", buffering=1) as file:
            for seed in seeds:
                began = time.monotonic()
                shared[:] = _NOW.pack(seed, began)
                verdict = try_input(name, seed, whole)
                seconds = round(time.monotonic() - began, 3)
                line = [seed, verdict.findings, verdict.refused, seconds]
                file.write(json.dumps(line) + "\n")
        status = 0
    finally:
        os._exit(status)


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _resident(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return int(pages[1]) * resource.getpagesize() if len(pages) > 1 else 0
    except OSError:
        return 0


def names(asked: str) -> list[str]:
    """The kinds that begin so, between commas; all for ''."""
    found = [name for name in KINDS if any(name.startswith(start) for start in asked.split(","))]
    if not found:
        raise SystemExit(f"no kind begins with {asked!r}; there are {', '.join(KINDS)}")
    return found
