"""What principal components of equal variance cost a class, on the Houston crop.

    BANDWEAVE_DATA=folder python benchmarks/accuracy/components.py [--seeds 0 1] [--components 24]

The rarest class of benchmarks/plans/houston-guard8.yaml is told from the one that it is taken for,
by the spectrum of a pixel: as scaled bands, as the components of `--pca` (which have one variance),
and as the same components in the proportions that they have in the bands. A support vector machine
(radial kernel, C = 10) and a logistic regression learn from the training pixels of a split; the
result is the share of its test pixels of the rarest class that each finds.

Results go to benchmarks/results/components.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PLAN = Path(__file__).parents[1] / "plans" / "houston-guard8.yaml"
RESULTS = Path(__file__).parents[1] / "results" / "components.json"
CLASSES = 0, 1  # the rarest, and the one that it is taken for
LAYER = "hsi"


def found(seed: int, components: int) -> dict[str, dict[str, float]]:
    """By form of the spectrum and classifier: the share of the rarest class that is found."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    import bandweave as bw
    from bandweave.data.splits.roles import TEST, TRAIN
    from bandweave.yaml_files import read_yaml

    plan = read_yaml(PLAN)
    (scene_file,), (options,) = plan["scenes"].values(), plan["splits"].values()
    scene = bw.open_scene(PLAN.parents[2] / scene_file)
    split = bw.split(scene, seed=seed, **options)
    (part,), (role,) = scene.parts, split.roles
    labels, ratio = part.labels.values, split.ratio
    sides = [(role == side) & np.isin(labels, CLASSES) for side in (TRAIN, TEST)]
    result: dict[str, dict[str, float]] = {}
    for form, spectrum in forms(scene, split, components).items():
        pixels = spectrum.repeat(ratio, axis=1).repeat(ratio, axis=2)
        (x, y), (x_test, y_test) = [(pixels[:, side].T, labels[side]) for side in sides]
        result[form] = {}
        for name, classifier in {
            "svm": SVC(C=10, gamma="scale"),
            "logistic": LogisticRegression(max_iter=500),
        }.items():
            answers = classifier.fit(x, y).predict(x_test[y_test == CLASSES[0]])
            result[form][name] = float((answers == CLASSES[0]).mean())
    return result


def forms(scene: Any, split: Any, components: int) -> dict[str, Any]:
    """The layer (C, h, w), scaled in each of the ways."""
    from bandweave.data.scaling import fit
    from bandweave.raster.grid import Window

    part = scene.parts[0]
    whole = Window(0, 0, part.grid.height, part.grid.width)
    bands, _ = fit(scene, split, layers=[LAYER]).read(LAYER, part.layers[LAYER], whole)
    scaling = fit(scene, split, {LAYER: components}, [LAYER])
    equal, _ = scaling.read(LAYER, part.layers[LAYER], whole)
    axes = scaling.layers[LAYER].components
    deviations = 1 / (axes**2).sum(axis=1) ** 0.5  # the axes are divided by these
    deviations /= (deviations**2).mean() ** 0.5
    return {
        "bands": bands,
        "components of one variance": equal,
        "components in their proportions": equal * deviations[:, None, None],
    }


def main() -> None:
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--components", type=int, default=24)
    options = parser.parse_args()
    runs = {seed: found(seed, options.components) for seed in options.seeds}
    RESULTS.parent.mkdir(exist_ok=True)
    stored = {"components": options.components, "found": runs}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"| the spectrum as ({options.components} components) | SVM | logistic |\n|---|---|---|")
    for form in runs[options.seeds[0]]:
        cells = []
        for name in ("svm", "logistic"):
            shares = 100 * np.array([runs[seed][form][name] for seed in runs])
            cells.append(f"{shares.mean():.0f} % ({shares.min():.0f}-{shares.max():.0f})")
        print(f"| {form} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
