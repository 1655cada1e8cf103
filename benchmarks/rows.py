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


def mean_gain(own: Mapping[int, float], other: Mapping[int, float]) -> str:
    """Of two methods' accuracies by seed: the mean difference in points, its 95 % interval (t)."""
    import numpy as np
    from scipy.stats import t

    gains = 100 * np.array([own[seed] - other[seed] for seed in own if seed in other])
    if gains.size < 2:
        return f"{gains[0]:+.1f}" if gains.size else "–"
    half = t.ppf(0.975, gains.size - 1) * gains.std(ddof=1) / gains.size**0.5
    return f"{gains.mean():+.1f} ({gains.mean() - half:+.1f} to {gains.mean() + half:+.1f})"
