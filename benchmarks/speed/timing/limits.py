"""What the machine can do at most: exponentials and bytes a second, timed like the methods.

exp2        the kernels' own exponential, compiled, over an array in the first cache, on as many
            threads as torch uses
torch.exp   torch's, over an array in the second cache
copy        torch's copy of an array that no cache holds, bytes read and written
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

SMALL = 4096  # numbers: 16 KiB
PASSES = 4000
COPIED = 256 * 2**20  # bytes


class Limit(NamedTuple):
    """A run, and how many exponentials or bytes it is."""

    run: Callable[[], object]
    amount: float


def limits(device: str = "cpu") -> dict[str, Limit]:
    if device.startswith("cuda"):
        from timing.gpu import exponentials

        return {"exp2": Limit(*exponentials()), "copy": _copy(device)}
    return {"exp2": _exp2(), "torch.exp": _torch_exp(), "copy": _copy(device)}


def _exp2() -> Limit:
    from numba import njit

    from bandweave.scan.cpu.lane_math import exp2
    from bandweave.scan.cpu.lanes import WIDTH, load, store

    four = (0, 0, 0, 0)

    @njit(nogil=True, error_model="numpy")
    def sweep(x, y, passes):
        for _ in range(passes):
            for i in range(0, x.size, 4 * WIDTH):
                store(y, (i,), exp2(load(x, (i,), four)))

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(max(1, threads - 1))
    arrays = [
        (-np.random.default_rng(0).random(SMALL, np.float32), np.empty(SMALL, np.float32))
        for _ in range(threads)
    ]
    sweep(*arrays[0], 1)

    def run() -> None:
        others = [pool.submit(sweep, *pair, PASSES) for pair in arrays[1:]]
        sweep(*arrays[0], PASSES)
        for other in others:
            other.result()

    return Limit(run, threads * SMALL * PASSES)


def _torch_exp() -> Limit:
    values = -torch.rand(torch.get_num_threads() * 2**15)  # torch gives a thread no fewer
    out = torch.empty_like(values)

    def run() -> None:
        for _ in range(100):
            torch.exp(values, out=out)

    return Limit(run, 100 * values.numel())


def _copy(device: str) -> Limit:
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return Limit(lambda: target.copy_(source), 2 * COPIED)
