"""What the side and the overlap of the windows of a map are worth: accuracy, and pixels a second.

    BANDWEAVE_DATA=folder python benchmarks/accuracy/windows.py runs/ensembles/*/m3amba_small

Each run is of a net that was trained on houston2018-crop by the split of its config (those that
benchmarks/accuracy/ensembles.py leaves behind, say). Nothing is trained: the run is opened, its
windows are changed, and the test pixels are scored. Seams show as pixels of another class where
windows begin elsewhere: the first rows and columns of the scene are cut off, half as many as from
one window to the next, and pixels farther than MARGIN from all sides are compared. Pixels of the
grid a second are of the whole scene and of the processor's time, with one thread. Results go to
benchmarks/results/windows.json, where what was measured is kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "windows.json"
MARGIN = 16  # px of the grid
WINDOWS = {16: (8, 4, 2), 24: (12, 6, 3), 32: (16, 8, 4), 64: (32, 16, 8, 4), 128: (0,)}


def find_classes(predictor: Any, part: Any, ratio: int) -> Any:
    """Indices of classes (H·ratio, W·ratio) of a part."""
    import numpy as np

    classes = np.empty((part.grid.height * ratio, part.grid.width * ratio), np.int16)
    for strip in predictor.strips(part):
        classes[strip.window.slices()] = strip.logits.argmax(0)
    return classes


def cut_off(part: Any, first: int) -> Any:
    """A part without so many of its first rows and columns."""
    from bandweave.raster.formats.arrays import ArraySource
    from bandweave.raster.grid import Window

    grid = part.grid
    rest = Window(first, first, grid.height - first, grid.width - first)
    layers = {
        name: replace(layer, source=ArraySource(layer.read(rest)[0]))
        for name, layer in part.layers.items()
    }
    return replace(part, grid=grid.crop(rest), layers=layers, labels=None)


def measure(folder: Path, window: int, overlap: int) -> dict[str, Any]:
    """Accuracy of a run on test pixels by such windows, and how fast it maps by them."""
    import numpy as np
    import torch

    import bandweave as bw
    from bandweave.data.scene import IGNORED
    from bandweave.data.splits.splitting import TEST
    from bandweave.landcover.metrics import Scores, confusion_matrix

    torch.set_num_threads(1)
    scene = bw.open_scene(ROOT / "examples" / "scenes" / "houston2018-crop.yaml")
    run = bw.Run.open(folder)
    split = bw.split(scene, **vars(run.config.split))
    assert split.hash == run.facts["split_hash"], f"{folder} is a run of another split"
    part, names = scene.parts[0], tuple(each.name for each in run.classes)
    assert part.labels is not None
    predictor = replace(run, window=window).predictor(scene.reference, overlap=overlap)
    began = time.process_time()
    predicted = find_classes(predictor, part, scene.label_ratio)
    seconds = time.process_time() - began
    cut = (window - overlap) // 2
    inside = slice((cut + MARGIN) * scene.label_ratio, -MARGIN * scene.label_ratio)
    moved = find_classes(predictor, cut_off(part, cut), scene.label_ratio)
    moved = np.pad(moved, ((cut * scene.label_ratio, 0),) * 2)
    changed = (predicted != moved)[inside, inside].mean()
    truth = np.where(split.roles[0] == TEST, part.labels.values, IGNORED)
    scores = Scores(confusion_matrix(truth, predicted, len(names)), names, {})
    return {
        "net": run.config.name,
        "seed": split.config.seed,
        "split": split.hash,
        "window": window,
        "overlap": overlap,
        "oa": scores.overall_accuracy,
        "aa": scores.average_accuracy,
        "changed": round(float(changed), 5),
        "pixels_per_cpu_second": round(part.grid.height * part.grid.width / seconds),
    }


def main() -> None:
    """Measure what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    pairs = [(window, overlap) for window, each in WINDOWS.items() for overlap in each]
    for folder in args.runs:
        found = [measure(folder, window, overlap) for window, overlap in pairs]
        key = found[0]["net"], found[0]["seed"]
        rows = [row for row in rows if (row["net"], row["seed"]) != key] + found
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for net in sorted({row["net"] for row in rows}):
        for pair in pairs:
            of_pair = [row for row in rows if (row["window"], row["overlap"]) == pair]
            mine = [row for row in of_pair if row["net"] == net]
            accuracy, average = (
                100 * statistics.mean(row[name] for row in mine) for name in ("oa", "aa")
            )
            changed = 100 * statistics.mean(row["changed"] for row in mine)
            speed = statistics.median(row["pixels_per_cpu_second"] for row in mine)
            print(
                f"{net} window {pair[0]:>3} overlap {pair[1]:>2}: OA {accuracy:.2f} AA "
                f"{average:.2f}, {changed:.2f} % changed, {speed:>6.0f} px/s ({len(mine)} seeds)"
            )


if __name__ == "__main__":
    main()
