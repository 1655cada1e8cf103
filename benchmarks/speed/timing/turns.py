"""Runs taken in turn, so that a busy machine slows them alike.

Every round gives each method one turn; a turn repeats a short run until it has lasted `TURN`
seconds, and its mean counts. A method's time is the median of its turns. A ratio is the median of
the ratios within a round, so what slows a whole round cancels out. A method that takes long has
fewer turns: none after the first once it has spent its `budget` of seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

TURN = 0.05  # seconds
MOST = 100  # runs in a turn

Run = Callable[[], Any]
Clock = Callable[[Run, int], float]


@dataclass
class Times:
    """Seconds per run of one method, by the number of the round."""

    rounds: dict[int, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return median(self.rounds.values())

    def ratio(self, first: Times) -> float:
        """How many times longer than the first's, in the rounds that both ran."""
        both = self.rounds.keys() & first.rounds.keys()
        return median(self.rounds[i] / first.rounds[i] for i in both)


def cpu_clock(run: Run, calls: int) -> float:
    """Mean seconds of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def cuda_clock(run: Run, calls: int) -> float:
    """Mean seconds of so many calls, between two events on the GPU's stream."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


def clock_of(device: str) -> Clock:
    return cuda_clock if device.startswith("cuda") else cpu_clock


def in_turn(
    runs: dict[str, Run],
    clock: Clock,
    rounds: int,
    budget: float,
    known: dict[str, float] | None = None,
) -> dict[str, Times]:
    """Times of each run.

    Each runs twice before, which does not count; once, or not at all if how long it takes is
    known, where that is longer than the budget.
    """
    calls, spent = {}, {}
    for name, run in runs.items():
        seconds = (known or {}).get(name) or clock(run, 1)
        if seconds < budget:
            seconds = clock(run, 1)
        calls[name] = max(1, min(MOST, math.ceil(TURN / max(seconds, 1e-7))))
        spent[name] = 0.0
    times = {name: Times() for name in runs}
    for i in range(rounds):
        for name, run in runs.items():
            if i and spent[name] >= budget:
                continue
            mean = clock(run, calls[name])
            spent[name] += mean * calls[name]
            times[name].rounds[i] = mean
    return times
