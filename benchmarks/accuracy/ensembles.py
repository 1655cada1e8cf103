"""What the mean of a net and a classical method is worth on the Houston crop.

    BANDWEAVE_DATA=folder python benchmarks/accuracy/ensembles.py [--net m3amba_small] [--seeds 10]

On the splits of benchmarks/plans/recipe-houston.yaml, with nothing chosen on test pixels: a net of
so many steps, a support vector machine whose options are chosen on blocks of training pixels, and
the equal mean of their probabilities. Runs that stand in the folder of --work already (SEED/NAME)
are used, so that it goes on where it stopped. Results go to benchmarks/results/ensembles.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "ensembles.json"
NETS: dict[str, dict[str, Any]] = {
    "m3amba_small": {"steps": 600, "hold_out": 0.0},
    "m3amba_tiny": {"steps": 400, "hold_out": 0.0},
}
CLASSICAL: dict[str, dict[str, Any]] = {"svm": {"folds": "blocks"}}


def measure(net: str, seed: int, work: Path) -> dict[str, Any]:
    """Overall and average accuracy of both runs and of their mean, for the split of a seed."""
    import bandweave as bw

    scene = bw.open_scene(ROOT / "examples" / "scenes" / "houston2018-crop.yaml")
    split = bw.split(scene, "blocks", size=64, guard=8, seed=seed)
    runs = {}
    for name, options in {net: NETS[net], **CLASSICAL}.items():
        folder = work / str(seed) / name
        if not (folder / "model.safetensors").exists():
            options = {**options, "layers": ["hsi", "rgb"], "seed": seed}
            bw.train(scene, split, name, folder, quiet=True, overwrite=True, **options)
        runs[name] = bw.Run.open(folder)
    found = {}
    for name, run in {**runs, "mean": [*runs.values()]}.items():
        scores = bw.score(run, scene, split, quiet=True).pixels
        found[name] = {"oa": scores.overall_accuracy, "aa": scores.average_accuracy}
    return {"net": net, "seed": seed, "split": split.hash, "scores": found}


def main() -> None:
    """Measure the seeds that are missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="m3amba_small")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("runs/ensembles"))
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for seed in range(args.seeds):
        if all((row["net"], row["seed"]) != (args.net, seed) for row in rows):
            rows.append(measure(args.net, seed, args.work))
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    mine = [row["scores"] for row in rows if row["net"] == args.net]
    for name in mine[0]:
        each = [(100 * scores[name]["oa"], 100 * scores[name]["aa"]) for scores in mine]
        means = [sum(one) / len(each) for one in zip(*each, strict=True)]
        shown = "  ".join(f"{oa:.2f}/{aa:.2f}" for oa, aa in each)
        print(f"{name:<14}{shown}   mean OA {means[0]:.2f}  AA {means[1]:.2f}")


if __name__ == "__main__":
    main()
