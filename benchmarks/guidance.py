"""Whether guidance by the embedded CLIP helps on scenes like the demo's.

none       M³amba as in the demo, whose guidance is a convolution over the raw bands
adapters   the tower frozen, with adapters in it
frozen     the tower as it is
random     as adapters, but the tower has random weights: what the added layers are worth without
           what CLIP has learnt

    python benchmarks/guidance.py [--only none adapters] [--seeds 3] [--threads 2]

Scene, split, model and steps are those of `bandweave demo`; the seed is that of the scene, the
split and the training. The embedded CLIP has seen scenes of seeds from 90,000 on, and none of
these. Every finished run is a line of benchmarks/results/guidance.jsonl and is not repeated; the
table is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from rows import accuracies, add_run, mean_and_spread, mean_gain, read_rows

RESULTS = Path(__file__).parent / "results" / "guidance.jsonl"
SEEDS = 5
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {"mode": "none"},
    "adapters": {"mode": "adapters", "weights": "embedded"},
    "frozen": {"mode": "frozen", "weights": "embedded"},
    "random": {"mode": "adapters"},
}


def run(setting: str, seed: int, threads: int) -> dict[str, Any]:
    """One run: simulate, split, train, score."""
    import torch

    import bandweave as bw
    from bandweave.cli import demo
    from bandweave.data.simulation.scene import simulated_scene
    from bandweave.nn.clip.weights import load_vision_weights
    from bandweave.training.folder import machine

    torch.set_num_threads(threads)
    scene = simulated_scene(seed, **demo.SIZE)
    split = bw.split(scene, "blocks", seed=seed, **demo.SPLIT)
    with tempfile.TemporaryDirectory() as folder:
        clip = dict(SETTINGS[setting])
        if setting == "random":
            clip["weights"] = write_random(Path(folder) / "clip", seed)
        began = time.monotonic()
        trained = bw.train(
            scene, split, model=demo.MODEL, out=f"{folder}/run", seed=seed, quiet=True,
            steps=demo.STEPS, crop=demo.CROP, batch=demo.BATCH, clip=clip,
        )  # fmt: skip
        seconds = time.monotonic() - began
        scores = bw.score(trained, scene, split, quiet=True).pixels
    digests = {} if setting == "none" else load_vision_weights("embedded").sha256
    return {
        "setting": setting,
        "seed": seed,
        "overall_accuracy": scores.overall_accuracy,
        "average_accuracy": scores.average_accuracy,
        "kappa": scores.kappa,
        "test_pixels": int(scores.support.sum()),
        "split_hash": split.hash,
        "parameters": trained.parameters,
        "train_seconds": round(seconds, 1),
        "steps": demo.STEPS,
        "clip": digests,
        "threads": threads,
        "machine": machine(),
    }


def write_random(folder: Path, seed: int) -> str:
    """A CLIP of the embedded one's shape with random weights."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from bandweave.nn.clip.files import EMBEDDED_FOLDER

    torch.manual_seed(seed)
    CLIPModel(CLIPConfig.from_pretrained(EMBEDDED_FOLDER)).save_pretrained(folder)
    return str(folder)


def table(done: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, in percent, and the gain over no guidance."""
    import numpy as np

    lines = ["| guidance | OA | AA | κ×100 | seeds | to none (95 %) | trained | training (s) |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    plain = accuracies(row for row in done if row["setting"] == "none")
    for setting in SETTINGS:
        rows = [row for row in done if row["setting"] == setting]
        if not rows:
            continue
        cells = [
            mean_and_spread([row[key] for row in rows])
            for key in ("overall_accuracy", "average_accuracy", "kappa")
        ]
        gain = mean_gain(accuracies(rows), plain, 0)
        seconds = np.mean([row["train_seconds"] for row in rows])
        cells += [str(len(rows)), "–" if setting == "none" else gain]
        cells += [f"{rows[-1]['parameters']:,}", f"{seconds:.0f}"]
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many")
    parser.add_argument("--threads", type=int, default=2, help="of each run")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run(options.job[0], int(options.job[1]), options.threads)))
        return
    done = {(row["setting"], row["seed"]) for row in read_rows(RESULTS)}
    for seed in range(options.seeds):
        for setting in options.only:
            if (setting, seed) not in done:
                one(setting, seed, options.threads)
    print(table(read_rows(RESULTS)))


def one(setting: str, seed: int, threads: int) -> None:
    """A run in a process of its own, and its line in the results."""
    result = add_run(RESULTS, __file__, [setting, str(seed)], threads)
    accuracy = 100 * result["overall_accuracy"]
    print(f"{setting}, seed {seed}: OA {accuracy:.2f}, {result['train_seconds']} s", flush=True)


if __name__ == "__main__":
    main()
