"""Cells on the workers of a Dask cluster, which see the same folders as this machine.

A worker that dies takes nothing with it but time: its cell goes to another one, which waits for the
folder's lock and goes on from what stands there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from bandweave.cluster.memory import keep_freed_memory
from bandweave.errors import ConfigError

C = TypeVar("C")  # a cell
Options = TypeVar("Options")  # how cells are made

PATIENCE = "8s"  # for the scheduler to answer
DEATHS = 3  # of workers, that a cell survives beyond what the scheduler itself allows


def make_on_cluster(
    root: Path,
    cells: Sequence[C],
    options: Options,
    address: str,
    run_cell: Callable[[Path, C, Options], dict[str, Any]],
) -> Iterator[tuple[C, dict[str, Any]]]:
    """Make the cells on a cluster by `run_cell`; each with what came of it, as they are done.

    Raises ConfigError where Dask is not installed, the scheduler does not answer, it has no worker,
    or a worker does not see the folder.
    """
    try:
        from distributed import Client, as_completed
        from distributed.comm.addressing import resolve_address
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise ConfigError(
            "dask: Dask is not installed; `pip install bandweave[distributed]`, or share the work "
            "among processes of this machine"
        ) from None
    try:
        resolve_address(address)  # a client that fails over this would complain when it is dropped
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"dask: no scheduler answers at {address!r} ({error}); start one with `dask scheduler` "
            f"and workers with `dask worker {address} --nthreads 1`"
        ) from None
    with client:
        _check(client, root, address)
        place = root.absolute()
        waiting: dict[Any, C] = {}
        deaths: dict[str, int] = {}

        def give(cell: C) -> Any:
            future = client.submit(_make, run_cell, place, cell, options, pure=False, retries=1)
            waiting[future] = cell
            return future

        answers = as_completed([give(cell) for cell in cells], loop=client.loop)
        for future in answers:
            cell = waiting.pop(future)
            died = future.exception()
            if died is None:
                yield cell, future.result()
                continue
            again = deaths[str(cell)] = deaths.get(str(cell), 0) + 1
            if isinstance(died, KilledWorker) and again <= DEATHS:
                answers.add(give(cell))
            else:
                yield cell, {"failed": f"on the cluster: {type(died).__name__}: {died}"}


def _make(
    run_cell: Callable[[Path, C, Options], dict[str, Any]], root: Path, cell: C, options: Options
) -> dict[str, Any]:
    """Make a cell on a worker, which Dask starts so that each free gives memory back."""
    keep_freed_memory()
    return run_cell(root, cell, options)


def _check(client: Any, root: Path, address: str) -> None:
    if not client.scheduler_info()["workers"]:
        raise ConfigError(
            f"dask: the scheduler at {address} has no worker; start some with "
            f"`dask worker {address} --nthreads 1`"
        )
    seen = _ask(client, os.path.isdir, str(root.absolute()))
    blind = [worker for worker, sees in seen.items() if not sees]
    if blind:
        raise ConfigError(
            f"dask: the worker {blind[0]} does not see {root.absolute()}; write into a folder "
            f"that all machines share"
        )
    own = version("bandweave")
    for worker, other in _ask(client, version, "bandweave").items():
        if other != own:
            raise ConfigError(
                f"dask: the worker {worker} has bandweave {other}, and this is {own}; install the "
                f"same version on all machines"
            )


def _ask(client: Any, question: Callable[..., Any], *words: str) -> dict[str, Any]:
    """What each worker answers; one that is lost meanwhile gives none."""
    answers = client.run(question, *words, on_error="return")
    return {
        worker: answer for worker, answer in answers.items() if not isinstance(answer, Exception)
    }
