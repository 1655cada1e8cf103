"""A land-cover model of this checkout against the same one of another, in turn.

    git worktree add ../before 81c6a63
    python benchmarks/speed/two_versions.py --before ../before --presets mambamoe_small
    python benchmarks/speed/two_versions.py --before ../before --presets mambamoe --out two.json

step       forward, backward, clipping and AdamW on one scene
map        the scene without gradients
expert     forward and backward of MambaMoE's spectral expert alone, on the scene's first scale

Each version runs in a process of its own, and both are asked in turn for one run of each part. What
is told are medians of the seconds that a core spent, so that other work on the machine counts for
little; with more than one thread they are those of all threads. Values are random numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[2]
PARTS = ("step", "map", "expert")


class Worker:
    """A process with one version's model."""

    def __init__(self, folder: Path, preset: str, options: argparse.Namespace) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        environment["OMP_NUM_THREADS"] = str(options.threads)
        sizes = [str(value) for value in (*options.size, options.bands, options.classes)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", preset, *sizes],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, part: str) -> float | None:
        """Seconds of one run; None for a part that the model does not have."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(part + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("a version's process ended; its error stands above")
        return json.loads(answer)


def compare(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Medians of both versions, and how many times faster the present one is."""
    workers = [Worker(folder, preset, options) for folder in (options.before, HERE)]
    found: dict[str, Any] = {"preset": preset, "size": options.size}
    for part in PARTS:
        turns = [[worker.run(part) for worker in workers] for _ in range(options.rounds + 1)][1:]
        if None in turns[0]:
            continue
        before, now = (median(turn[i] for turn in turns) for i in range(2))
        ratio = median(turn[0] / turn[1] for turn in turns)
        found[part] = {"before": before, "now": now, "ratio": ratio}
        print(
            f"{preset} {part}: before {before:.3g} s, now {now:.3g} s, {ratio:.2f} times as fast "
            f"(median of {options.rounds} in turn)",
            flush=True,
        )
    for worker in workers:
        worker.process.terminate()
    return found


def serve(preset: str, height: int, width: int, bands: int, classes: int) -> None:
    """Run the parts that are asked for, of the version on the path."""
    import torch

    from bandweave.models import LAND_COVER

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    found = LAND_COVER[preset]
    model = found.model({"hsi": bands}, [f"class {i}" for i in range(classes)], found.config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    layers = {"hsi": torch.randn(1, bands, height, width)}
    labels = torch.randint(-1, classes, (1, height, width))
    expert = next(iter(m for n, m in model.named_modules() if n.endswith("spectral")), None)
    tokens = torch.randn(1, height // 2, width // 2, found.config.width)

    def step() -> None:
        model.train()
        model(layers, labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()

    def map_scene() -> None:
        model.eval()
        with torch.no_grad():
            model(layers)

    def run_expert() -> None:
        given = tokens.clone().requires_grad_()
        expert(given).square().sum().backward()

    parts = {"step": step, "map": map_scene, "expert": run_expert if expert else None}
    for line in sys.stdin:
        run = parts[line.strip()]
        seconds = None
        if run:
            start = time.process_time()
            run()
            seconds = time.process_time() - start
        print(json.dumps(seconds), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], *map(int, sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--before", type=Path, required=True, help="folder of the other version's checkout")
    add("--presets", nargs="+", default=["mambamoe", "mambamoe_small", "mambamoe_tiny"])
    add("--size", nargs=2, type=int, default=[128, 128], help="rows and columns, px")
    add("--bands", type=int, default=48)
    add("--classes", type=int, default=10)
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=1)
    add("--out", type=Path, help="JSON")
    options = parser.parse_args()
    rows = [compare(preset, options) for preset in options.presets]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
