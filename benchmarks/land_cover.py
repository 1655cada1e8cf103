"""Models and classical methods on real scenes, over spatial splits that anyone can draw again.

guard8   128 m of Houston 2018: classes 4 and 8 dropped (68 and 143 pixels), labels on their grid of
         512×512 at 0.25 m, blocks of 64 px shared out half and half so that every class stands on
         both sides, a guard of 8 px, transductive inputs, seeds 0-9
reach    the same, trained on smaller crops, with a guard as wide as the model's reach
idtrees  59 forest plots of IDTReeS 2020, the eight commonest taxa, whole plots shared out

    BANDWEAVE_DATA=folder python benchmarks/land_cover.py [--only guard8] [--methods svm]
                                                          [--seeds 3] [--processes 2]

The folder holds houston2018-crop/ and idtrees2020/. Every finished run is a line of
benchmarks/results/land_cover.jsonl and is not repeated; the tables are printed at the end.
Presets were chosen on seed 100, which is in no table, by runs such as

    python benchmarks/land_cover.py --trial '{"table": "guard8", "method": "mambamoe_small",
        "seed": 100, "options": {"crop": 64, "steps": 600, "lr": 0.003}}'

Methods beside the forest and m3amba_small run on all layers together. "+ clip" is guidance by the
embedded CLIP, through adapters.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import accuracies, add_run, mean_and_spread, mean_gain, read_rows, test_to_train

HERE = Path(__file__).parent
SCENES = HERE.parent / "examples" / "scenes"
RESULTS = HERE / "results" / "land_cover.jsonl"
FOREST, MODEL = "random forest", "m3amba_small"
BASELINES = {FOREST: "random_forest", "svm": "svm"}
EMBEDDED = {"clip": {"mode": "adapters", "weights": "embedded"}}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {  # a preset, and options in place of its own
    MODEL: (MODEL, {}),
    f"{MODEL} + clip": (MODEL, EMBEDDED),
    "mambamoe_small": ("mambamoe_small", {}),
    "cf_ipt_small": ("cf_ipt_small", {"text": "batch"}),  # for time
}
METHODS = (*BASELINES, *MODELS)
STILL = {  # pixels of training patches as they are; they are still turned
    name: 0.0
    for name in (
        "illumination", "band_gain", "offset", "tilt", "noise", "band_dropout", "modality_dropout"
    )
}  # fmt: skip
REACH_CROP = 8  # px of the 1 m grid: its reach of 7 m leaves training pixels in blocks of 16 m


@dataclass(frozen=True)
class Table:
    """A protocol: the scene, how it is split, and how the model is trained."""

    scene: str
    split: dict[str, Any]
    layers: tuple[tuple[str, ...], ...]  # the first over all seeds, the others over three
    seeds: int
    methods: tuple[str, ...] = METHODS
    options: dict[str, Any] = field(default_factory=dict)  # of every model
    own: dict[str, dict[str, Any]] = field(default_factory=dict)  # options of a preset alone


HOUSTON_LAYERS = (("hsi", "rgb"), ("hsi",), ("rgb",))
TABLES = {
    "guard8": Table(
        "houston2018-crop", {"name": "blocks", "size": 64, "guard": 8}, HOUSTON_LAYERS, seeds=10,
        own={"cf_ipt_small": {"pca": {"hsi": 24}}},
    ),
    "reach": Table(
        "houston2018-crop",
        {"name": "blocks", "size": 64, "guard": (REACH_CROP - 1) * 4},
        HOUSTON_LAYERS[:1],
        seeds=10,
        methods=(FOREST, MODEL),
        own={MODEL: {"crop": REACH_CROP, "batch": 64}},
    ),
    "idtrees": Table(
        "idtrees2020", {"name": "parts"}, (("hsi", "chm", "rgb"),), seeds=5,
        options={"pca": {"hsi": 32}},
        own={
            MODEL: {"crop": 20, "batch": 10},
            "mambamoe_small": {"batch": 10, "detail": 2},
            "cf_ipt_small": {"balance": 0.0, "augment": STILL},
        },
    ),
}  # fmt: skip


def jobs() -> list[dict[str, Any]]:
    """Every run, those of all seeds first."""
    todo = []
    for single in (False, True):
        for name, table in TABLES.items():
            for layers in table.layers[1:] if single else table.layers[:1]:
                for seed in range(3 if single else table.seeds):
                    for method in (FOREST, MODEL) if single else table.methods:
                        todo.append(
                            {"table": name, "method": method, "layers": [*layers], "seed": seed}
                        )
    return todo


def run(job: dict[str, Any], threads: int) -> dict[str, Any]:
    """One run: split, train, predict, score."""
    import torch

    import bandweave as bw
    from bandweave.landcover.baselines.methods import score_baseline
    from bandweave.training.folder import machine
    from bandweave.training.history import read_history

    torch.set_num_threads(threads)
    table = TABLES[job["table"]]
    scene = bw.open_scene(SCENES / f"{table.scene}.yaml")
    split = bw.split(scene, seed=job["seed"], **table.split)
    began, objects, parameters, learnt = time.monotonic(), None, None, []
    if job["method"] in BASELINES:
        scores = score_baseline(
            BASELINES[job["method"]], scene, split, job["layers"], seed=job["seed"],
            threads=threads,
        )  # fmt: skip
        options = {}
    else:
        model, options = MODELS[job["method"]]
        options = {**table.options, **table.own.get(model, {}), **options, **job.get("options", {})}
        with tempfile.TemporaryDirectory() as folder:
            trained = bw.train(
                scene, split, model=model, out=f"{folder}/run", layers=job["layers"],
                seed=job["seed"], quiet=True, **options,
            )  # fmt: skip
            scored = bw.score(trained, scene, split, quiet=True)
            scores, objects = scored.pixels, scored.objects
            parameters = trained.parameters
            learnt = [row["accuracy"] for row in read_history(trained.folder.history)[-20:]]
    return {
        **job,
        "split": table.split,
        "options": options,
        "overall_accuracy": scores.overall_accuracy,
        "average_accuracy": scores.average_accuracy,
        "kappa": scores.kappa,
        "object_accuracy": objects.overall_accuracy if objects else None,
        "accuracy_in_training": sum(learnt) / len(learnt) if learnt else None,  # of last 20 steps
        "per_class": scores.accuracy.tolist(),
        "train_pixels": int(split.counts[1].sum()),
        "test_pixels": int(scores.support.sum()),
        "split_hash": split.hash,
        "parameters": parameters,
        "seconds": round(time.monotonic() - began, 1),
        "threads": threads,
        "machine": machine(),
    }


def same(job: dict[str, Any], done: dict[str, Any]) -> bool:
    """Whether a finished run is this job's."""
    return all(done[key] == value for key, value in job.items())


def tables(done: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, in percent, and the gain over the best classical one.

    gain  mean difference in overall accuracy on the same splits, in points, and its 95 % interval
          by the corrected resampled t-test; none with fewer than five seeds
    """
    lines = []
    for name, table in TABLES.items():
        chosen = [row for row in done if row["table"] == name]
        if not chosen:
            continue
        lines += [f"{name}: {table.scene}, {table.split}", ""]
        lines += [
            "| method | layers | OA | AA | κ×100 | seeds | to the best classical (95 %) "
            "| trained | minutes |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for layers in table.layers:
            for method in table.methods:
                lines += line(chosen, method, list(layers))
        lines += ["", *gain_of_guidance(chosen), ""]
    return "\n".join(lines)


def line(done: list[dict[str, Any]], method: str, layers: list[str]) -> list[str]:
    """The line of a method and its layers; none where there are no runs."""
    import numpy as np

    def of(name: str) -> list[dict[str, Any]]:
        return [row for row in done if (row["method"], row["layers"]) == (name, layers)]

    rows = of(method)
    if not rows:
        return []
    cells = [
        mean_and_spread([row[key] for row in rows])
        for key in ("overall_accuracy", "average_accuracy", "kappa")
    ]
    classical = {name: of(name) for name in BASELINES if of(name)}
    best = max(classical, key=lambda name: np.mean([*accuracies(classical[name]).values()]))
    gain = mean_gain(accuracies(rows), accuracies(classical[best]), test_to_train(rows))
    minutes = np.median([row["seconds"] for row in rows]) / 60
    trained = rows[-1]["parameters"]
    cells += [f"{len(rows)}", "–" if method == best else gain]
    cells += [f"{trained:,}" if trained else "–", f"{minutes:.1f}"]
    return [f"| {method} | {' + '.join(layers)} | {' | '.join(cells)} |"]


def gain_of_guidance(done: list[dict[str, Any]]) -> list[str]:
    """A sentence on guidance by CLIP, over the model without; none where it was not run."""
    guided = [row for row in done if row["method"] == f"{MODEL} + clip"]
    if not guided:
        return []
    plain = [r for r in done if r["method"] == MODEL and r["layers"] == guided[0]["layers"]]
    gain = mean_gain(accuracies(guided), accuracies(plain), test_to_train(guided))
    return [f"Guidance by CLIP over none: {gain}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="some of the methods")
    parser.add_argument("--seeds", type=int, help="the first so many alone")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=2, help="of each run")
    parser.add_argument("--trial", metavar="JSON", help="one run with options; nothing is kept")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trial:
        job = json.loads(arguments.trial)
        layers = [*TABLES[job["table"]].layers[0]]
        print(json.dumps(run({"layers": layers, **job}, arguments.threads), indent=2))
        return
    if arguments.job:
        print(json.dumps(run(json.loads(arguments.job), arguments.threads)))
        return
    done = read_rows(RESULTS)
    todo = [
        job
        for job in jobs()
        if arguments.only in (None, job["table"])
        and job["method"] in (arguments.methods or METHODS)
        and (arguments.seeds is None or job["seed"] < arguments.seeds)
        and not any(same(job, each) for each in done)
    ]

    def one(job: dict[str, Any]) -> None:
        result = add_run(RESULTS, __file__, [json.dumps(job)], arguments.threads)
        print(
            f"{job['table']} {job['method']} {'+'.join(job['layers'])} seed {job['seed']}: "
            f"OA {100 * result['overall_accuracy']:.2f} in {result['seconds']:.0f} s",
            flush=True,
        )

    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(one, todo))
    print(tables(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
