"""Who makes the cells of a piece of work: this process, others of this machine, or a Dask cluster.

A cell is a part of the work that is finished, as a file or a folder, or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bandweave.cluster.processes import make_in_processes, share_threads_out
from bandweave.errors import ConfigError

C = TypeVar("C")  # a cell
Options = TypeVar("Options")  # how cells are made


@dataclass(frozen=True)
class Sharing:
    """The processes or machines that make the cells.

    processes  cells at a time on this machine; 1 makes them in this process
    dask       address of a Dask scheduler whose workers make them instead
    """

    processes: int = 1
    dask: str | None = None


def share_threads(sharing: Sharing, threads: int | None) -> int | None:
    """The threads that a cell may compute with; None for what the process has.

    Raises ConfigError for numbers below 1.
    """
    processes, dask = sharing.processes, sharing.dask
    if processes < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"processes {processes}, threads {threads}: at least 1 of each")
    if threads is None and (processes > 1 or dask):
        return 1 if dask else share_threads_out(processes)
    return threads


def make_cells(
    root: Path,
    cells: Sequence[C],
    options: Options,
    run_cell: Callable[[Path, C, Options], dict[str, Any]],
    sharing: Sharing,
) -> Iterator[tuple[C, dict[str, Any]]]:
    """Make the cells; each with what came of it, as they are done.

    run_cell   a function of a module, by which other processes find it
    """
    if sharing.dask is not None:
        from bandweave.cluster.dask import make_on_cluster

        return make_on_cluster(root, cells, options, sharing.dask, run_cell)
    if sharing.processes > 1 and len(cells) > 1:
        processes = min(sharing.processes, len(cells))
        return make_in_processes(root, cells, options, processes, run_cell.__module__)
    return ((cell, run_cell(root, cell, options)) for cell in cells)
