"""The part of a model's time that its scans take, forward and backward, whatever the engine.

The function that the blocks of bandweave.nn call is replaced by one that reads the clock before
and after it. In a backward pass the clock is read when the gradient of the scan's output is known,
and again when the gradients of all its inputs are: autograd runs nothing else in between, since a
scan's inputs are older than the scan.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bandweave.scan import selective_scan


@dataclass
class ScanTime:
    """Seconds in scans, and how many there were."""

    forward: float = 0.0
    backward: float = 0.0
    calls: int = 0
    started: float = 0.0

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


class _Enter(torch.autograd.Function):
    """The scan's inputs, unchanged; backward: the scan's gradients are known."""

    @staticmethod
    def forward(ctx: Any, taken: ScanTime, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.taken = taken
        return tuple(value.view_as(value) for value in inputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
        ctx.taken.backward += time.perf_counter() - ctx.taken.started
        return None, *upstream


class _Leave(torch.autograd.Function):
    """The scan's output, unchanged; backward: its gradient is known."""

    @staticmethod
    def forward(ctx: Any, taken: ScanTime, y: Tensor) -> Tensor:
        ctx.taken = taken
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor]:
        ctx.taken.started = time.perf_counter()
        return None, upstream[0]


@contextmanager
def timed_scans() -> Iterator[ScanTime]:
    """Within the block, what the scans of bandweave's blocks take is added up."""
    taken = ScanTime()
    callers = [
        module
        for name, module in sys.modules.items()
        if name.startswith("bandweave.nn.") and hasattr(module, "selective_scan")
    ]

    def timed(*args: Any, **options: Any) -> Tensor:
        names = [name for name, value in options.items() if isinstance(value, Tensor)]
        places = [i for i, value in enumerate(args) if isinstance(value, Tensor)]
        given = [args[i] for i in places] + [options[name] for name in names]
        given = list(_Enter.apply(taken, *given))
        positional = list(args)
        for i in places:
            positional[i] = given.pop(0)
        options |= zip(names, given, strict=True)
        start = time.perf_counter()
        y = selective_scan(*positional, **options)
        taken.forward += time.perf_counter() - start
        taken.calls += 1
        return _Leave.apply(taken, y)

    for module in callers:
        module.selective_scan = timed  # type: ignore[attr-defined]
    try:
        yield taken
    finally:
        for module in callers:
            module.selective_scan = selective_scan  # type: ignore[attr-defined]
