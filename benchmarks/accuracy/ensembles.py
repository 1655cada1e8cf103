"""What the mean of a net and a classical method is worth, on the splits of the tables.

    BANDWEAVE_DATA=folder python benchmarks/accuracy/ensembles.py --case "houston, guard 8"

For each seed of a case, with nothing chosen on test pixels: a net, a support vector machine whose
options are chosen on blocks of training pixels, and the equal mean of their probabilities, which is
what `bandweave map NET SVM …` maps. Runs that stand in the folder of --work already
(CASE/SEED/NAME) are used, so that it goes on where it stopped. Results go to
benchmarks/results/ensembles.json; without --case, it prints what stands there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "ensembles.json"
TOWN = {"height": 96, "width": 128, "bands": 48}
SVM = {"folds": "blocks"}


@dataclass(frozen=True)
class Case:
    """A scene and a split, for so many seeds.

    scene   of examples/scenes; None: a simulated town for each seed
    layers  that nets and classical methods look at; all where none is named
    """

    scene: str | None
    split: dict[str, Any]
    layers: list[str]
    nets: dict[str, dict[str, Any]]
    seeds: int


HOUSTON = {
    "m3amba_small": {"steps": 600, "hold_out": 0.0},
    "m3amba_tiny": {"steps": 400, "hold_out": 0.0},
}
CASES = {
    "houston, guard 8": Case(
        "houston2018-crop",
        {"name": "blocks", "size": 64, "guard": 8},
        ["hsi", "rgb"],
        HOUSTON,
        10,
    ),
    "houston, guard 28": Case(
        "houston2018-crop",
        {"name": "blocks", "size": 64, "guard": 28},
        ["hsi", "rgb"],
        HOUSTON,
        10,
    ),
    "idtrees, whole plots": Case(
        "idtrees2020",
        {"name": "parts"},
        ["hsi", "chm", "rgb"],
        {
            "mambamoe_small": {
                **{"pca": {"hsi": 32}, "batch": 10, "fill": 0, "detail": 2},
                **{"steps": 250, "hold_out": 0.0},
            }
        },
        5,
    ),
    "simulated towns": Case(
        None,
        {"name": "blocks", "size": 16, "guard": 2, "drop": True},
        [],
        {"m3amba_small": {"steps": 600, "hold_out": 0.0}},
        5,
    ),
}


def measure(name: str, net: str, seed: int, work: Path) -> dict[str, Any]:
    """Overall and average accuracy of both runs and of their mean, for the split of a seed."""
    import bandweave as bw
    from bandweave.data.splits.splitting import TEST, TRAIN

    case = CASES[name]
    if case.scene is None:
        scene = bw.simulated_scene(seed=seed, **TOWN)
    else:
        scene = bw.open_scene(ROOT / "examples" / "scenes" / f"{case.scene}.yaml")
    split = bw.split(scene, seed=seed, **case.split)
    runs = {}
    for model, options in {net: case.nets[net], "svm": SVM}.items():
        folder = work / name / str(seed) / model
        if not (folder / "model.safetensors").exists():
            options = {**options, "layers": case.layers or list(scene.layers), "seed": seed}
            bw.train(scene, split, model, folder, quiet=True, overwrite=True, **options)
        runs[model] = bw.Run.open(folder)
    found = {}
    for model, run in {**runs, "mean": [*runs.values()]}.items():
        scores = bw.score(run, scene, split, quiet=True).pixels
        found[model] = {"oa": scores.overall_accuracy, "aa": scores.average_accuracy}
    pixels = {"train": int(split.counts[TRAIN].sum()), "test": int(split.counts[TEST].sum())}
    facts = {"case": name, "net": net, "seed": seed, "split": split.hash, "pixels": pixels}
    return {**facts, "scores": found}


def print_table(rows: list[dict[str, Any]]) -> None:
    """OA and AA of each, by case and net, and how far each is ahead of the SVM.

    The 95 % interval is that of the corrected resampled t-test; towns share no pixels.
    """
    from bandweave.significance import corrected_interval

    for case, net in dict.fromkeys((row["case"], row["net"]) for row in rows):
        own = [row for row in rows if (row["case"], row["net"]) == (case, net)]
        mine = [row["scores"] for row in own]
        ratio = statistics.mean(row["pixels"]["test"] / row["pixels"]["train"] for row in own)
        print(f"{case}, {net}, {len(mine)} seeds")
        for name in mine[0]:
            each = [(100 * scores[name]["oa"], 100 * scores[name]["aa"]) for scores in mine]
            means = [statistics.mean(one) for one in zip(*each, strict=True)]
            gains = [100 * (scores[name]["oa"] - scores["svm"]["oa"]) for scores in mine]
            ahead = sum(gain > 0 for gain in gains)
            mean, low, high = corrected_interval(gains, ratio if CASES[case].scene else 0)
            print(
                f"  {name:<16} OA {means[0]:.2f} AA {means[1]:.2f}, "
                f"{mean:+.2f} ({low:+.2f} to {high:+.2f}) on the SVM, ahead on {ahead}:  "
                + " ".join(f"{oa:.1f}" for oa, _ in each)
            )


def main() -> None:
    """Measure the seeds that are missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--net", help="by default the first of the case")
    parser.add_argument("--work", type=Path, default=Path("runs/ensembles"))
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    if args.case:
        case = CASES[args.case]
        net = args.net or next(iter(case.nets))
        for seed in range(case.seeds):
            key = args.case, net, seed
            if all((row["case"], row["net"], row["seed"]) != key for row in rows):
                rows.append(measure(args.case, net, seed, args.work))
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print_table(rows)


if __name__ == "__main__":
    main()
