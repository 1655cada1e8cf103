"""A run that is killed, at any moment and often, ends with the weights of one that was not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bandweave.training.history import read_history

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills processes: POSIX")

STEPS = 60


def test_killed_at_random_moments(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("toy.py")), "serve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def launch(out: Path, pause: float) -> int:
        server.stdin.write(f"{out} {STEPS} {pause}\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def ended() -> int:
        return int(server.stdout.readline())

    try:
        launch(tmp_path / "whole", 0)
        assert ended() == 0

        rng, killed = random.Random(), 0
        out = tmp_path / "killed"
        out.mkdir()
        for _ in range(8):
            pid = launch(out, 0.003)
            grown = rows(out) + rng.randint(0, 12)
            waited = time.monotonic()
            while rows(out) < min(grown, STEPS) and time.monotonic() - waited < 5:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.01)
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
            killed += ended() == -signal.SIGKILL
        assert killed >= 2
        launch(out, 0)
        assert ended() == 0
    finally:
        server.stdin.close()
        server.wait(timeout=20)

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
