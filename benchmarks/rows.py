"""What benchmarks of many runs share: results of a line each, and every run in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The runs in a results file; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def add_run(path: Path, script: str, words: Sequence[str], threads: int) -> dict[str, Any]:
    """Run a script with `--job` and these words; its last line is the row that is added to `path`.

    Ends this process where that one failed.
    """
    command = [sys.executable, script, "--threads", str(threads), "--job", *words]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if ended.returncode:
        raise SystemExit(f"failed: {', '.join(words)}")
    row = json.loads(ended.stdout.splitlines()[-1])
    path.parent.mkdir(exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def accuracies(rows: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Overall accuracy of a method's runs, by seed."""
    return {row["seed"]: row["overall_accuracy"] for row in rows}


def mean_and_spread(values: Sequence[float]) -> str:
    """In percent: mean ± standard deviation, 0 of a single value."""
    import numpy as np

    percent = 100 * np.array(values)
    spread = percent.std(ddof=1) if percent.size > 1 else 0.0
    return f"{percent.mean():.1f} ± {spread:.1f}"


def mean_gain(own: Mapping[int, float], other: Mapping[int, float], test_to_train: float) -> str:
    """Of two methods' accuracies by seed: the mean difference in points, its 95 % interval.

    test_to_train  test pixels over training pixels where seeds split one scene; 0 where each seed
                   has a scene of its own

    The interval is that of `bandweave.significance`, and with fewer than five seeds there is none.
    """
    import numpy as np

    from bandweave.significance import corrected_interval

    gains = [100 * (own[seed] - other[seed]) for seed in own if seed in other]
    if not gains:
        return "–"
    mean, low, high = corrected_interval(gains, test_to_train)
    return f"{mean:+.1f}" + ("" if np.isnan(low) else f" ({low:+.1f} to {high:+.1f})")


def test_to_train(rows: Iterable[Mapping[str, Any]]) -> float:
    """Test pixels over training pixels, the mean over runs."""
    ratios = [row["test_pixels"] / row["train_pixels"] for row in rows]
    return sum(ratios) / len(ratios)
