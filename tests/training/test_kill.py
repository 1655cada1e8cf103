"""A run that is killed, at any moment and often, ends with the weights of one that was not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from bandweave.training.history import read_history

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills processes: POSIX")

STEPS = 60


def test_killed_at_random_moments(begin, tmp_path):
    def launch(out: Path, pause: float):
        return begin(Path(__file__).with_name("toy.py"), "one", out, STEPS, pause)

    assert launch(tmp_path / "whole", 0).wait(60) == 0
    rng, killed = random.Random(), 0
    out = tmp_path / "killed"
    out.mkdir()
    for _ in range(8):
        process = launch(out, 0.003)
        grown = rows(out) + rng.randint(0, 12)
        waited = time.monotonic()
        while rows(out) < min(grown, STEPS) and time.monotonic() - waited < 5:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        with contextlib.suppress(ProcessLookupError):  # it was faster
            process.send(signal.SIGKILL)
        killed += process.wait(20) == -signal.SIGKILL
    assert killed >= 2
    assert launch(out, 0).wait(60) == 0

    whole = torch.load(tmp_path / "whole" / "weights.pt", weights_only=True)
    again = torch.load(out / "weights.pt", weights_only=True)
    assert whole.keys() == again.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
    undisturbed = read_history(tmp_path / "whole" / "history.csv")
    disturbed = read_history(out / "history.csv")
    assert [row["step"] for row in disturbed] == list(range(1, STEPS + 1))
    for first, second in zip(undisturbed, disturbed, strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


def rows(out: Path) -> int:
    file = out / "history.csv"
    return len(read_history(file)) if file.exists() else 0
