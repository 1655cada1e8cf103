"""Cells in processes of this machine, each with its share of the threads.

A process is started once and makes one cell after another (cluster/worker.py). One that dies
(killed, out of memory) is replaced, and its cell is tried again: it goes on from its folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

C = TypeVar("C")

TRIES = 3  # of a cell whose process dies
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def make_in_processes(
    root: Path, cells: Iterable[C], options: Any, processes: int, module: str
) -> Iterator[tuple[C, dict[str, Any]]]:
    """Make the cells, `processes` at a time; each with what came of it, as they are done.

    cells, options   dataclasses of plain values
    module           has `run_cell`, and their classes as `Cell` and `CellOptions`
    """
    workers = _Workers(options.threads or 1, module)
    pool = ThreadPoolExecutor(processes)
    try:
        waiting = {pool.submit(workers.make, root, cell, options): cell for cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        workers.stop()


def share_threads_out(processes: int) -> int:
    """Threads of each of so many processes, on the cores that this one may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max((there or 1) // processes, 1)


class _Workers:
    """A process for each thread that asks."""

    def __init__(self, threads: int, module: str) -> None:
        self.module = module
        # OMP_WAIT_POLICY: threads that wait sleep
        self.environment = {key: v for key, v in os.environ.items() if key not in RANKS}
        self.environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.environment |= {"NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self._own = threading.local()
        self._starting = threading.Lock()  # none is started once all were ended
        self._all: list[subprocess.Popen[str]] = []
        self._stopped = False

    def make(self, root: Path, cell: Any, options: Any) -> dict[str, Any]:
        """Make a cell and return its facts, or why it failed."""
        work = {"root": str(root.absolute()), "cell": asdict(cell), "options": asdict(options)}
        work["module"] = self.module
        ended = 0
        for _ in range(TRIES):
            process = self._process()
            if process is None:
                break
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                print(json.dumps(work), file=process.stdin, flush=True)
                if answer := process.stdout.readline():
                    return json.loads(answer)
            except BrokenPipeError:
                pass
            ended = process.wait()
            self._own.process = None
        how = f"was ended by signal {-ended}" if ended < 0 else f"ended with status {ended}"
        why = ", as it is where memory runs out" if ended == -9 else ""
        return {"failed": f"its process {how}{why}, {TRIES} times; see what it said above"}

    def _process(self) -> subprocess.Popen[str] | None:
        """The process of this thread, started where there is none; None once all were ended."""
        process = getattr(self._own, "process", None)
        if process is None:
            with self._starting:
                if self._stopped:
                    return None
                process = subprocess.Popen(
                    [sys.executable, "-m", "bandweave.cluster.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=self.environment,
                    text=True,
                )
                self._own.process = process
                self._all.append(process)
        return process

    def stop(self) -> None:
        """End all processes; a cell that one is at goes on from its folder another time."""
        with self._starting:
            self._stopped = True
        for process in self._all:
            process.kill()
            process.wait()
