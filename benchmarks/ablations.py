"""Ablations of the land-cover models, one row each, over a simulated town of 96 × 128 pixels.

    python benchmarks/ablations.py [--models mambamoe_tiny] [--seeds 0 1 3] [--threads 2]

The town has 48 bands, height, and ten classes with names; half of its blocks of 16 px train, the
others test, with a guard of 2 px. The seed is that of the scene, the split and the training. All
rows of a model take its tiny preset, the same steps and the same samples. M³amba's and CF-IPT's
CLIP is the embedded one, which has seen scenes of seeds from 90,000 on, and none of these.

Every finished run is a line of benchmarks/results/ablations.jsonl and is not repeated; the tables
are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rows import accuracies, add_run, mean_and_spread, mean_gain, read_rows

RESULTS = Path(__file__).parent / "results" / "ablations.jsonl"
SCENE = {"height": 96, "width": 128, "bands": 48}
SPLIT = {"name": "blocks", "size": 16, "guard": 2}
SEEDS = (0, 1, 3)  # town 2 has all of its tiled roofs in one block
WHOLE = "whole model"
FOREST = "random forest"  # a row of every table, of the same pixels
NAMELESS = "classes by numbers"  # the whole model, of a town whose classes have no names

ADAPTERS: dict[str, Any] = {"clip": {"mode": "adapters", "weights": "embedded"}}
FROZEN: dict[str, Any] = {"clip": {"mode": "frozen", "weights": "embedded"}}
FINE: dict[str, Any] = {"detail": 2}  # the first scale, of 2×2 tokens each, is the grid then
SAMPLE: dict[str, Any] = {"text": "sample"}
ROWS: dict[str, dict[str, dict[str, Any]]] = {  # of each preset: options in place of its own
    "m3amba_tiny": {
        WHOLE: ADAPTERS,
        "no CLIP (A)": {},
        "no Cross-SS2D (B)": {**ADAPTERS, "cross": False},
        "no consistency loss (C)": {**ADAPTERS, "consistency": 0.0},
        "CLIP without adapters": FROZEN,
        "guidance at every iteration": {**ADAPTERS, "guidance_at": "every"},
        "averaged transitions": {**ADAPTERS, "average": "transition"},
    },
    "mambamoe_tiny": {
        WHOLE: FINE,
        "a token of four pixels": {},
        "spatial experts alone": {**FINE, "experts": "spatial"},
        "spectral expert alone": {**FINE, "experts": "spectral"},
        "all four directions": {**FINE, "active": 4},
        "one direction": {**FINE, "active": 1},
        "the finest head alone": {**FINE, "heads": "finest"},
        "no corrective learning": {**FINE, "corrective": "none"},
        "uncertainty as published": {**FINE, "corrective": "as_published"},
        "load balance 0.01": {**FINE, "load_balance": 0.01},
    },
    "cf_ipt_tiny": {
        WHOLE: SAMPLE,
        "matrices all ones (1)": {**SAMPLE, "matrices": "ones"},
        "channels concatenated (2)": {**SAMPLE, "fusion": "concat"},
        "bilinear for IAE (3)": {**SAMPLE, "upsampling": "bilinear"},
        "vision prompts only (4a)": {**SAMPLE, "exchange": "vision"},
        "text prompts only (4b)": {**SAMPLE, "exchange": "text"},
        "no exchange (4c)": {**SAMPLE, "exchange": "none"},
        "Transformer for S2GPT (4d)": {**SAMPLE, "exchange": "transformer"},
        "no diversity loss": {**SAMPLE, "diversity": 0.0},
        "text once a batch": {"text": "batch"},
        NAMELESS: SAMPLE,
    },
}


def run(model: str, row: str, seed: int, threads: int) -> dict[str, Any]:
    """One run: simulate, split, train, score."""
    import torch

    import bandweave as bw
    from bandweave.landcover.baselines.methods import score_baseline
    from bandweave.training.folder import machine

    torch.set_num_threads(threads)
    scene = bw.simulated_scene(seed, **SCENE)
    if row == NAMELESS:
        numbered = tuple(replace(each, name=f"class {each.code}") for each in scene.classes)
        scene = replace(scene, classes=numbered)
    split = bw.split(scene, seed=seed, **SPLIT)
    options, parameters, began = {}, None, time.monotonic()
    if model == FOREST:
        layers = list(scene.layers)
        scores = score_baseline("random_forest", scene, split, layers, seed=seed, threads=threads)
    else:
        options = ROWS[model][row]
        with tempfile.TemporaryDirectory() as folder:
            trained = bw.train(
                scene, split, model=model, out=f"{folder}/run", seed=seed, quiet=True, **options
            )
            scores = bw.score(trained, scene, split, quiet=True).pixels
        parameters = trained.parameters
    return {
        "model": model,
        "row": row,
        "seed": seed,
        "options": options,
        "scene": SCENE,
        "split": SPLIT,
        "overall_accuracy": scores.overall_accuracy,
        "average_accuracy": scores.average_accuracy,
        "kappa": scores.kappa,
        "test_pixels": int(scores.support.sum()),
        "split_hash": split.hash,
        "parameters": parameters,
        "seconds": round(time.monotonic() - began, 1),
        "threads": threads,
        "machine": machine(),
    }


def table(model: str, done: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, and the gain over the whole model of the same seed."""
    lines = [f"| `{model}` | OA | AA | κ×100 | seeds | to the whole | trained |"]
    lines.append("|---|---|---|---|---|---|---|")

    def of(kind: str, row: str) -> list[dict[str, Any]]:
        return [each for each in done if (each["model"], each["row"]) == (kind, row)]

    whole = accuracies(of(model, WHOLE))
    for kind, row in [*((model, row) for row in ROWS[model]), (FOREST, FOREST)]:
        runs = of(kind, row)
        if not runs:
            continue
        cells = [
            mean_and_spread([each[key] for each in runs])
            for key in ("overall_accuracy", "average_accuracy", "kappa")
        ]
        cells += [f"{len(runs)}", "–" if row == WHOLE else mean_gain(accuracies(runs), whole, 0)]
        parameters = runs[0]["parameters"]
        cells.append(f"{parameters:,}" if parameters else "–")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--threads", type=int, default=2, help="of each run")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        model, row, seed = options.job
        print(json.dumps(run(model, row, int(seed), options.threads)))
        return
    done = {(each["model"], each["row"], each["seed"]) for each in read_rows(RESULTS)}
    for seed in options.seeds:
        for model in [FOREST, *options.models]:
            for row in ROWS.get(model, [FOREST]):
                if (model, row, seed) not in done:
                    one(model, row, seed, options.threads)
    for model in options.models:
        print(table(model, read_rows(RESULTS)), end="\n\n")


def one(model: str, row: str, seed: int, threads: int) -> None:
    """A run in a process of its own, and its line in the results."""
    result = add_run(RESULTS, __file__, [model, row, str(seed)], threads)
    accuracy = 100 * result["overall_accuracy"]
    print(f"{model}, {row}, seed {seed}: OA {accuracy:.2f}, {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
