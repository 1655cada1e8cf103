"""What a model is compared with: classifiers that look at one pixel at a time, by scikit-learn.

They are trained on the training pixels of the same split, on the bands of the same layers, and
scored on the same test pixels. A layer of another resolution is brought to the labels': averaged
where it is finer, interpolated where it is coarser.

    random_forest  500 trees (Breiman 2001)
    svm            radial kernel on standardised bands (Melgani and Bruzzone 2004); penalty and
                   width chosen by cross-validation on training pixels
    knn            the nearest of standardised bands; how many, chosen so too
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bandweave.data.scene import Part, Scene
from bandweave.data.splits import TEST, TRAIN, Split
from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.metrics import Scores, assert_supports, confusion_matrix
from bandweave.schema import nearest

TREES = 500
FOLDS = 3
SEARCHED = 300  # training pixels of each class, at most, on which options are chosen
PENALTIES, WIDTHS = (1.0, 10.0, 100.0, 1000.0), (0.25, 1.0, 4.0)  # widths: times 1 / bands
NEIGHBOURS = (1, 3, 5, 9, 15)


def score_baseline(
    name: str,
    scene: Scene,
    split: Split,
    layers: Sequence[str] = (),
    *,
    seed: int = 0,
    threads: int = 1,
) -> Scores:
    """Train a classifier of pixels and score it on the split's test pixels, each once.

    name     random_forest, svm or knn
    layers   names of the layers whose bands it sees; all by default
    threads  that may compute

    Raises ConfigError for another name or layer, SplitError where a side has no pixels.
    """
    if name not in BASELINES:
        raise ConfigError(f"there is no baseline {name!r}{nearest(name, BASELINES)}")
    if missing := [layer for layer in layers if layer not in scene.layers]:
        raise ConfigError(
            f"scene {scene.name!r} has no layer {missing[0]!r}; it has {', '.join(scene.layers)}"
        )
    sides = pixels_of_sides(scene, split, list(layers) or list(scene.layers))
    if len(np.unique(sides[TRAIN][1])) < 2:
        raise SplitError(
            f"the split {split.config.name!r} trains on a single class; there is nothing to tell "
            f"apart"
        )
    classifier = BASELINES[name](*sides[TRAIN], seed, threads)
    values, truth = sides[TEST]
    confusion = confusion_matrix(truth, classifier.predict(values), len(scene.classes))
    scores = Scores(confusion, tuple(each.name for each in scene.classes))
    assert_supports(scores, split)
    return scores


def pixels_of_sides(
    scene: Scene, split: Split, layers: Sequence[str]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Bands (P, C) and class indices (P,) of the training and of the test pixels."""
    found: dict[int, tuple[list[np.ndarray], list[np.ndarray]]] = {TRAIN: ([], []), TEST: ([], [])}
    for part, roles in zip(scene.parts, split.roles, strict=True):
        if part.labels is None or not np.isin(roles, (TRAIN, TEST)).any():
            continue
        bands = np.concatenate([on_labels(part, name, split.ratio) for name in layers], axis=-1)
        for role, (values, labels) in found.items():
            values.append(bands[roles == role])
            labels.append(part.labels.values[roles == role])
    for role, what in ((TRAIN, "training"), (TEST, "test")):
        if not sum(labels.size for labels in found[role][1]):
            raise SplitError(f"the split {split.config.name!r} has no {what} pixel")
    return {role: (np.concatenate(v), np.concatenate(y)) for role, (v, y) in found.items()}


def on_labels(part: Part, name: str, ratio: int) -> np.ndarray:
    """A layer's bands at each label pixel (H, W, C) float32: interpolated or averaged, holes 0."""
    from scipy.ndimage import zoom

    layer = part.layers[name]
    values, valid = layer.read(part.grid.window)
    values = np.where(valid, values, 0).astype(np.float32)
    if layer.ratio % ratio and ratio % layer.ratio:
        raise ConfigError(
            f"layer {name!r} is {layer.ratio} times finer than the grid and the labels {ratio} "
            f"times; for a baseline one must be a multiple of the other"
        )
    if layer.ratio > ratio:
        step = layer.ratio // ratio
        bands, height, width = values.shape
        values = values.reshape(bands, height // step, step, width // step, step).mean(axis=(2, 4))
    elif layer.ratio < ratio:
        step = ratio // layer.ratio
        values = np.stack(
            [zoom(band, step, order=1, grid_mode=True, mode="nearest") for band in values]
        )
    return np.moveaxis(values, 0, -1)


def _random_forest(values: np.ndarray, labels: np.ndarray, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, random_state=seed, n_jobs=threads).fit(values, labels)


def _svm(values: np.ndarray, labels: np.ndarray, seed: int, threads: int) -> Any:
    from sklearn.svm import SVC

    widths = [width / values.shape[1] for width in WIDTHS]
    options = {"svc__C": PENALTIES, "svc__gamma": widths}
    return _searched(SVC(cache_size=1000), options, values, labels, seed, threads)


def _knn(values: np.ndarray, labels: np.ndarray, seed: int, threads: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    count = [n for n in NEIGHBOURS if n <= len(values) // 2] or [1]
    options = {"kneighborsclassifier__n_neighbors": count}
    return _searched(KNeighborsClassifier(), options, values, labels, seed, threads)


def _searched(
    classifier: Any,
    options: Mapping[str, Sequence[float]],
    values: np.ndarray,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> Any:
    """The classifier on standardised bands, with the options that some training pixels favour."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), classifier)
    rng = np.random.default_rng(seed)
    some = [np.flatnonzero(labels == index) for index in np.unique(labels)]
    some = [rng.permutation(each)[:SEARCHED] for each in some if each.size >= FOLDS]
    if len(some) < 2:  # too few pixels to hold any back
        return pipeline.set_params(**{k: v[0] for k, v in options.items()}).fit(values, labels)
    chosen = np.concatenate(some)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(pipeline, options, cv=folds, n_jobs=threads, refit=False)
    search.fit(values[chosen], labels[chosen])
    return pipeline.set_params(**search.best_params_).fit(values, labels)


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray, int, int], Any]] = {
    "random_forest": _random_forest,
    "svm": _svm,
    "knn": _knn,
}
