"""What a model is compared with: classical methods that tell pixels apart, by scikit-learn.

They are trained on the training pixels of the same split, on the bands of the same layers, and
scored on the same test pixels. A layer of another resolution is brought to the labels': averaged
where it is finer, interpolated where it is coarser.

    random_forest  500 trees (Breiman 2001)
    svm            radial kernel on standardised bands (Melgani and Bruzzone 2004); penalty and
                   width chosen by cross-validation on training pixels
    knn            the nearest of standardised bands; how many, chosen so too
    …_emp          the same on extended morphological profiles (profiles.py) in place of
                   the bands. In an inductive split what is hidden takes no part in the profiles
                   of the training pixels; those of test pixels are of the whole image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.data.scaling import Scaling
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Part, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, Split
from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.baselines.profiles import COMPONENTS, profile, radii_for
from bandweave.landcover.metrics import Scores, assert_supports, confusion_matrix
from bandweave.schema import nearest

TREES = 500
FOLDS = 3
SEARCHED = 300  # training pixels of each class, at most, on which options are chosen
PENALTIES, WIDTHS = (1.0, 10.0, 100.0, 1000.0), (0.25, 1.0, 4.0)  # widths: times 1 / bands
NEIGHBOURS = (1, 3, 5, 9, 15)
PROFILED = "_emp"  # the end of the name of a method that looks at profiles


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A trained classifier of pixels, with what it looks at.

    classifier  of scikit-learn
    describe    (index of a part, whether training looks) -> values (H, W, C) of its label pixels
    reach       px of the grid by which a pixel can lie away and still matter
    """

    name: str
    scene: Scene
    split: Split
    classifier: Any
    describe: Callable[[int, bool], np.ndarray]
    reach: int

    def predict(self, part: int) -> np.ndarray:
        """The class index of every label pixel of a part (H, W) int16."""
        values = self.describe(part, False)
        flat = values.reshape(-1, values.shape[-1])
        return self.classifier.predict(flat).astype(np.int16).reshape(values.shape[:2])

    def score(self) -> Scores:
        """Of the split's test pixels, each once."""
        values, truth = pixels_of(self.scene, self.split, TEST, self.describe)
        confusion = confusion_matrix(
            truth, self.classifier.predict(values), len(self.split.classes)
        )
        names = tuple(each.name for each in self.scene.classes)
        protocol = {
            **self.split.protocol(self.reach),
            "scene": self.scene.name,
            "model": self.name,
        }
        scores = Scores(confusion, names, protocol)
        assert_supports(scores, self.split)
        return scores


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

    Arguments and errors are those of `fit_baseline`.
    """
    return fit_baseline(name, scene, split, layers, seed=seed, threads=threads).score()


def fit_baseline(
    name: str,
    scene: Scene,
    split: Split,
    layers: Sequence[str] = (),
    *,
    seed: int = 0,
    threads: int = 1,
    radii: Sequence[int] = (),
) -> FittedBaseline:
    """Train a classifier of pixels on the split's training pixels.

    name     random_forest, svm, knn, random_forest_emp or svm_emp
    layers   names of the layers whose bands it sees; all by default
    threads  that may compute
    radii    px of the labels' grid, of the disks of profiles; by the size of the smallest part by
             default (`profiles.radii_for`)

    Raises ConfigError for another name or layer or a radius below 1 px, SplitError where a side
    has no pixels.
    """
    if name not in BASELINES:
        raise ConfigError(f"there is no baseline {name!r}{nearest(name, BASELINES)}")
    if missing := [layer for layer in layers if layer not in scene.layers]:
        raise ConfigError(
            f"scene {scene.name!r} has no layer {missing[0]!r}; it has {', '.join(scene.layers)}"
        )
    for role, what in ((TRAIN, "training"), (TEST, "test")):
        if not any((roles == role).any() for roles in split.roles):
            raise SplitError(f"the split {split.config.name!r} has no {what} pixel")
    if any(radius < 1 for radius in radii):
        raise ConfigError(f"radii of profiles are at least 1 px, not {min(radii)}")
    names = list(layers) or list(scene.layers)
    describe: Callable[[int, bool], np.ndarray]
    if name.endswith(PROFILED):
        describe, reach = Profiles(scene, split, names, radii), _longest_side(scene)
    else:
        describe, reach = Bands(scene, split, names), 0
    values, labels = pixels_of(scene, split, TRAIN, describe)
    if len(np.unique(labels)) < 2:
        raise SplitError(
            f"the split {split.config.name!r} trains on a single class; there is nothing to tell "
            f"apart"
        )
    classifier = BASELINES[name](values, labels, seed, threads)
    return FittedBaseline(name, scene, split, classifier, describe, reach)


def pixels_of(
    scene: Scene, split: Split, role: int, describe: Callable[[int, bool], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Values (P, C) and class indices (P,) of the pixels of a role."""
    values, labels = [], []
    for index, (part, roles) in enumerate(zip(scene.parts, split.roles, strict=True)):
        if part.labels is not None and (roles == role).any():
            values.append(describe(index, role == TRAIN)[roles == role])
            labels.append(part.labels.values[roles == role])
    return np.concatenate(values), np.concatenate(labels)


class Bands:
    """Bands (H, W, C) of all layers at the label pixels of a part; those of the last are kept."""

    def __init__(self, scene: Scene, split: Split, layers: Sequence[str]) -> None:
        self.scene, self.ratio, self.layers = scene, split.ratio, layers
        self._kept: tuple[int, np.ndarray] | None = None

    def __call__(self, part: int, training: bool = False) -> np.ndarray:
        """Of a part. What training looks at is no other: a pixel is described by itself."""
        if self._kept is None or self._kept[0] != part:
            bands = [on_labels(self.scene.parts[part], name, self.ratio) for name in self.layers]
            self._kept = part, np.concatenate(bands, axis=-1)
        return self._kept[1]


class Profiles:
    """Profiles (H, W, C) of all layers at the label pixels of a part.

    radii  px of the labels' grid; empty for those that fit the smallest part
    """

    def __init__(
        self, scene: Scene, split: Split, layers: Sequence[str], radii: Sequence[int] = ()
    ) -> None:
        self.scene, self.split, self.layers = scene, split, layers
        self.radii = tuple(sorted(set(radii))) or radii_for(_shortest_side(scene) * split.ratio)
        many = {name for name in layers if scene.layers[name].bands > COMPONENTS}
        self.scaling: Scaling = fit_scaling(scene, split, dict.fromkeys(many, COMPONENTS), layers)
        self._kept: tuple[tuple[int, bool], np.ndarray] | None = None

    def __call__(self, part: int, training: bool = False) -> np.ndarray:
        """Of a part; for training without what the split hides."""
        training = training and self.split.config.context == "inductive"
        if self._kept is None or self._kept[0] != (part, training):
            self._kept = (part, training), np.concatenate([*self._made(part, training)], axis=-1)
        return self._kept[1]

    def _made(self, part: int, training: bool) -> Iterator[np.ndarray]:
        ratio, one = self.split.ratio, self.scene.parts[part]
        hidden = self.split.hidden(part) if training else np.zeros((), bool)
        for name in self.layers:
            layer = one.layers[name]
            components, valid = self.scaling.read(name, layer, one.grid.window)
            brought = brought_to(components, layer.ratio, ratio, name)
            known = brought_to(valid[None].astype(np.float32), layer.ratio, ratio, name)[..., 0] > 0
            for band in np.moveaxis(brought, -1, 0):
                yield profile(band, known & ~hidden, self.radii)


def _shortest_side(scene: Scene) -> int:
    return min(min(part.grid.height, part.grid.width) for part in scene.parts)


def _longest_side(scene: Scene) -> int:
    return max(max(part.grid.height, part.grid.width) for part in scene.parts)


def on_labels(part: Part, name: str, ratio: int) -> np.ndarray:
    """A layer's bands at each label pixel (H, W, C) float32: interpolated or averaged, holes 0."""
    layer = part.layers[name]
    values, valid = layer.read(part.grid.window)
    return brought_to(np.where(valid, values, 0).astype(np.float32), layer.ratio, ratio, name)


def brought_to(values: np.ndarray, own: int, ratio: int, name: str) -> np.ndarray:
    """Bands (C, h, w), `own` times finer than the grid, as (H, W, C), `ratio` times finer."""
    from scipy.ndimage import zoom

    if own % ratio and ratio % own:
        raise ConfigError(
            f"layer {name!r} is {own} times finer than the grid and the labels {ratio} "
            f"times; for a baseline one must be a multiple of the other"
        )
    if own > ratio:
        step = own // ratio
        bands, height, width = values.shape
        values = values.reshape(bands, height // step, step, width // step, step).mean(axis=(2, 4))
    elif own < ratio:
        step = ratio // own
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
    f"random_forest{PROFILED}": _random_forest,
    f"svm{PROFILED}": _svm,
}
