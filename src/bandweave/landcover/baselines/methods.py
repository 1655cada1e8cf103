"""Classical methods that tell pixels apart, by scikit-learn: rows of METHODS, trained like a model.

They are trained on the training pixels of a split, on the bands of its layers (inputs.py).

    random_forest  500 trees (Breiman 2001)
    svm            radial kernel on standardised bands (Melgani and Bruzzone 2004); penalty and
                   width chosen by cross-validation on training pixels
    knn            the nearest of standardised bands; how many, chosen so too
    …_emp          the same on extended morphological profiles (profiles.py) in place of
                   the bands. In an inductive split what is hidden takes no part in the profiles
                   of the training pixels; those of test pixels are of the whole image

What is kept of a trained method is the table of its training pixels and the options that were
chosen, and it is fitted again, to the same numbers, when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import TRAIN, Split
from bandweave.errors import ConfigError, FileError, SplitError
from bandweave.landcover.baselines.inputs import Bands, Inputs, Profiles

FOLDS = 3
SEARCHED = 300  # training pixels of each class, at most, on which options are chosen


# Options ------------------------------------------------------------------------------------------


@dataclass
class ForestConfig:
    """Options of a random forest."""

    trees: int = 500

    def __post_init__(self) -> None:
        _check(self, lambda value: value >= 1, "1 or more")


@dataclass
class SvmConfig:
    """Options of a support vector machine, among which cross-validation chooses."""

    penalties: list[float] = field(default_factory=lambda: [1.0, 10.0, 100.0, 1000.0])  # C
    gammas: list[float] = field(default_factory=lambda: [0.25, 1.0, 4.0])  # times 1 / bands

    def __post_init__(self) -> None:
        _check(self, lambda value: 0 < value < np.inf, "above 0, and finite")


@dataclass
class NeighboursConfig:
    """Options of nearest neighbours, among which cross-validation chooses."""

    neighbours: list[int] = field(default_factory=lambda: [1, 3, 5, 9, 15])

    def __post_init__(self) -> None:
        _check(self, lambda value: value >= 1, "1 or more")


@dataclass
class ProfileForestConfig(ForestConfig):
    """Options of a random forest on profiles."""

    radii: list[int] = field(default_factory=list)  # px of the labels; none: by the smallest part


@dataclass
class ProfileSvmConfig(SvmConfig):
    """Options of a support vector machine on profiles."""

    radii: list[int] = field(default_factory=list)  # px of the labels; none: by the smallest part


def _check(config: Any, holds: Callable[[float], bool], what: str) -> None:
    """Raise ConfigError for a value that does not hold, and for a list without values."""
    for each in fields(config):
        value = getattr(config, each.name)
        values = value if isinstance(value, list) else [value]
        if not values and each.name != "radii":
            raise ConfigError(f"{each.name} is empty; give at least one")
        if wrong := [one for one in values if not holds(one)]:
            raise ConfigError(f"{each.name}={wrong[0]!r} must be {what}")


# The table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A row of METHODS.

    config   a dataclass of its options
    make     (options, seed, threads) -> an estimator of scikit-learn, not fitted
    choices  (options, bands, pixels) -> what cross-validation chooses among, by the estimator's
             parameter
    inputs   what it is given of each pixel
    """

    config: Any
    make: Callable[[Any, int, int], Any]
    choices: Callable[[Any, int, int], Mapping[str, Sequence[float]]] = lambda *_: {}
    inputs: type[Inputs] = Bands
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _make_forest(options: ForestConfig, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(options.trees, random_state=seed, n_jobs=threads)


def _make_svm(options: SvmConfig, seed: int, threads: int) -> Any:
    from sklearn.svm import SVC

    return _standardised(SVC(cache_size=1000))


def _make_neighbours(options: NeighboursConfig, seed: int, threads: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return _standardised(KNeighborsClassifier())


def _standardised(estimator: Any) -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("on", estimator)])


def _svm_choices(options: SvmConfig, bands: int, pixels: int) -> Mapping[str, Sequence[float]]:
    return {"on__C": options.penalties, "on__gamma": [gamma / bands for gamma in options.gammas]}


def _neighbour_choices(
    options: NeighboursConfig, bands: int, pixels: int
) -> Mapping[str, Sequence[float]]:
    return {"on__n_neighbors": [n for n in options.neighbours if n <= pixels // 2] or [1]}


METHODS: dict[str, Method] = {
    "random_forest": Method(ForestConfig(), _make_forest),
    "svm": Method(SvmConfig(), _make_svm, _svm_choices),
    "knn": Method(NeighboursConfig(), _make_neighbours, _neighbour_choices),
    "random_forest_emp": Method(ProfileForestConfig(), _make_forest, inputs=Profiles),
    "svm_emp": Method(ProfileSvmConfig(), _make_svm, _svm_choices, Profiles),
}


# Fitting ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FittedMethod:
    """A trained method: its training pixels, and what was chosen on them.

    options  a dataclass, of the method's kind
    seed     of the draw of pixels on which options are chosen, and of a forest
    inputs   what it is given of each pixel
    values   (P, C) float32, of the training pixels
    labels   (P,) int16: class indices
    chosen   values of the estimator's parameters
    """

    name: str
    options: Any
    seed: int
    inputs: Inputs
    values: np.ndarray
    labels: np.ndarray
    chosen: dict[str, float]

    @cached_property
    def estimator(self) -> Any:
        """The fitted estimator of scikit-learn, which follows from all the rest."""
        made = METHODS[self.name].make(self.options, self.seed, _threads())
        return made.set_params(**self.chosen).fit(self.values, self.labels)

    @property
    def named(self) -> dict[str, float]:
        """What was chosen, by the names that the field has for it: C, gamma, n_neighbors."""
        return {name.rpartition("__")[2]: value for name, value in self.chosen.items()}

    def check(self, classes: int) -> None:
        """Raise ValueError unless table and choice are such as training leaves them."""
        values, labels, method = self.values, self.labels, METHODS[self.name]
        if values.ndim != 2 or labels.shape != values.shape[:1]:
            raise ValueError(f"a table of shape {values.shape} for labels of shape {labels.shape}")
        if labels.dtype != np.int16 or not 0 <= labels.min() < labels.max() < classes:
            raise ValueError(f"labels {labels.min()} to {labels.max()} of {classes} classes")
        offered = method.choices(self.options, values.shape[1], len(labels))
        for name, value in {**dict.fromkeys(offered), **self.chosen}.items():
            if value not in offered.get(name, ()):
                raise ValueError(f"the choice {name!r}: {value!r}")

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Class indices (…) int16 of pixels with the values (…, C)."""
        flat = values.reshape(-1, values.shape[-1])
        if not len(flat):
            return np.zeros(values.shape[:-1], np.int16)
        return self.estimator.predict(flat).astype(np.int16).reshape(values.shape[:-1])


def fit_method(
    name: str, options: Any, scene: Scene, split: Split, layers: Sequence[str], seed: int = 0
) -> FittedMethod:
    """Train a classical method on the training pixels of a split.

    name     one of METHODS
    options  of its kind
    layers   names of the layers that it looks at

    Raises SplitError where there are no training pixels, or all are of one class.
    """
    if not any((roles == TRAIN).any() for roles in split.roles):
        raise SplitError(f"the split {split.config.name!r} has no training pixel")
    inputs = METHODS[name].inputs.fit(scene, split, layers, options)
    values, labels = pixels_of(scene, split, TRAIN, inputs)
    if len(np.unique(labels)) < 2:
        raise SplitError(
            f"the split {split.config.name!r} trains on a single class; there is nothing to tell "
            f"apart"
        )
    if not np.isfinite(values).all():
        raise FileError("training pixels have values that are not finite; declare them as nodata")
    chosen = _choose(name, options, values, labels, seed)
    fitted = FittedMethod(name, options, seed, inputs, values, labels, chosen)
    _ = fitted.estimator  # it is made now, and says now what does not work
    return fitted


def pixels_of(
    scene: Scene, split: Split, role: int, inputs: Inputs
) -> tuple[np.ndarray, np.ndarray]:
    """Values (P, C) float32 and class indices (P,) int16 of the pixels of a role.

    In an inductive split, training pixels are described without what the split hides.
    """
    values, labels = [], []
    hides = role == TRAIN and split.config.context == "inductive"
    for index, (part, roles) in enumerate(zip(scene.parts, split.roles, strict=True)):
        if part.labels is None or not (roles == role).any():
            continue
        for place, found in inputs.strips(part, split.hidden(index) if hides else None):
            chosen = roles[place.slices()] == role
            values.append(found[chosen])
            labels.append(part.labels.values[place.slices()][chosen])
    return np.concatenate(values), np.concatenate(labels)


def _choose(
    name: str, options: Any, values: np.ndarray, labels: np.ndarray, seed: int
) -> dict[str, float]:
    """The values of the estimator's parameters that some training pixels favour."""
    method = METHODS[name]
    candidates = method.choices(options, values.shape[1], len(values))
    if not candidates:
        return {}
    rng = np.random.default_rng(seed)
    some = [np.flatnonzero(labels == index) for index in np.unique(labels)]
    some = [rng.permutation(each)[:SEARCHED] for each in some if each.size >= FOLDS]
    if len(some) < 2:  # too few pixels to hold any back
        return {parameter: several[0] for parameter, several in candidates.items()}
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    pixels = np.concatenate(some)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    estimator, threads = method.make(options, seed, 1), _threads()
    search = GridSearchCV(estimator, candidates, cv=folds, n_jobs=threads, refit=False)
    with parallel_config(backend="threading"):  # processes would run a user's script again
        search.fit(values[pixels], labels[pixels])
    return {parameter: search.best_params_[parameter] for parameter in candidates}


def _threads() -> int:
    """How many threads may compute: as many as torch takes."""
    import torch

    return torch.get_num_threads()
