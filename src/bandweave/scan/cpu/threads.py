"""Threads for kernels that release the interpreter's lock.

Numba's parallel loops bring a second OpenMP runtime beside torch's: it slows torch down, raises
its thread count, kills a forked child (omp) or aborts when two Python threads launch (workqueue).
Here ordinary Python threads call one kernel with a shared counter, from which each takes its next
task: as many threads as torch would use at that moment, and none in a forked child.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import torch

_PROCESS = os.getpid()
WORTH_A_THREAD = 1 << 19  # exponentials, about 0.1 ms: waking a thread costs a third of it


def run_tasks(kernel: Callable[..., None], tasks: int, work: int, *arguments: Any) -> None:
    """Call kernel(counter, tasks, *arguments) on as many threads as there is work for.

    kernel: takes tasks from the counter until none is left.
    work: exponentials that all tasks compute together.
    """
    counter = np.zeros(1, np.int64)
    others = min(torch.get_num_threads(), tasks, 1 + work // WORTH_A_THREAD) - 1
    futures = []
    if others > 0 and os.getpid() == _PROCESS:
        pool = _pool()
        with suppress(RuntimeError):  # the interpreter shuts down: this thread takes every task
            futures = [pool.submit(kernel, counter, tasks, *arguments) for _ in range(others)]
    kernel(counter, tasks, *arguments)
    for future in futures:
        future.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="bandweave-scan")
