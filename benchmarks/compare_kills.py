"""`bandweave compare`, killed three times at random moments: the CSV is that of an undisturbed run.

3 models × 2 scenes × 2 splits × 3 seeds, in two processes, with tiny models. The undisturbed run is
timed first; the moments of the kills are drawn over what it took.

    python benchmarks/compare_kills.py [--kills 3] [--seed 0] [--steps 40]

Writes benchmarks/results/compare_kills.json and exits with 1 where the CSVs differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "compare_kills.json"
SCENES = [f"simulated_scene(seed={seed}, height=64, width=64, bands=32)" for seed in (0, 1)]
GRID = [
    *("--models", "m3amba_tiny,mambamoe_tiny,random_forest"),
    *("--scenes", ",".join(SCENES)),
    *("--splits", "blocks,random"),
    *("--seeds", "3", "--split.size", "8", "--split.guard", "1", "--split.drop", "true"),
    *("--processes", "2", "--threads", "1", "--quiet"),
]


def start(out: Path, steps: int) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    words = ["compare", *GRID, "--train.steps", str(steps), "--train.checkpoint_every", "5"]
    return subprocess.Popen(
        [sys.executable, "-m", "bandweave.cli.main", *words, "--out", str(out)],
        stdout=subprocess.DEVNULL,
    )


def finished(out: Path) -> int:
    """Cells that are done."""
    return len(list(out.glob("runs/**/cell.json")))


def begun(out: Path) -> int:
    """Cells that have a checkpoint and are not done: a kill met them in training."""
    return sum(
        not (file.parent / "cell.json").exists()
        and not (file.parent / "model.safetensors").exists()
        for file in out.glob("runs/**/last.ckpt")
    )


def digest(out: Path) -> str:
    """Of results.csv."""
    return hashlib.sha256((out / "results.csv").read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=40, help="of training, in each cell")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, disturbed = Path(folder) / "whole", Path(folder) / "disturbed"
        began = time.monotonic()
        if start(whole, arguments.steps).wait():
            raise SystemExit("the undisturbed comparison failed")
        took = time.monotonic() - began
        print(f"undisturbed: {finished(whole)} cells in {took:.0f} s", flush=True)
        kills = []
        while len(kills) < arguments.kills:
            process = start(disturbed, arguments.steps)
            seconds = moments.uniform(0.25, 0.6) * took
            try:
                process.wait(seconds)
                break  # it was done before
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            kill = {"seconds": round(seconds, 2), "finished": finished(disturbed)}
            kill["in_training"] = begun(disturbed)
            kills.append(kill)
            print(f"killed after {seconds:.1f} s: {kill}", flush=True)
        if start(disturbed, arguments.steps).wait():
            raise SystemExit("the disturbed comparison failed at its end")
        same = digest(whole) == digest(disturbed)
        print(f"after {len(kills)} kills results.csv is {'the same' if same else 'ANOTHER'}")
        from bandweave.run.folder import machine

        found = {
            "cells": finished(whole),
            "seconds_undisturbed": round(took, 1),
            "kills": kills,
            "sha256": [digest(whole), digest(disturbed)],
            "same": same,
            "steps": arguments.steps,
            "load": [round(value, 1) for value in os.getloadavg()],
            "machine": machine(),
        }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    return int(not same or len(kills) < arguments.kills)


if __name__ == "__main__":
    sys.exit(main())
