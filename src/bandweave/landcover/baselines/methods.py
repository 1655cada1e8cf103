"""Classical methods that tell pixels apart, by scikit-learn: rows of METHODS, trained like a model.

They are trained on the training pixels of a split. A row is an estimator on inputs (inputs.py):

    random_forest      500 trees (Breiman 2001)
    gradient_boosting  trees on histograms, one after another (Ke et al. 2017); their size chosen by
                       cross-validation on training pixels
    svm                radial kernel on standardised values (Melgani and Bruzzone 2004); penalty and
                       width chosen so
    knn                the nearest of standardised values; how many, chosen so

    without an ending  bands
    …_emp              extended morphological profiles (raster/deriving/profiles.py). In an
                       inductive split what is hidden takes no part in the profiles of the training
                       pixels; those of test pixels are of the whole image
    …_gauss            bands, and Gaussian means (raster/deriving/gaussian.py), of which the same
                       holds
    …_all              bands, profiles and Gaussian means

What is kept of a trained method is the table of its training pixels and the options that were
chosen, and it is fitted again, to the same numbers, when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bandweave.data.scene import Scene
from bandweave.data.splits.hidden import blind_derived_layers
from bandweave.data.splits.splitting import TRAIN, Split
from bandweave.errors import FileError, SplitError
from bandweave.landcover.baselines.choosing import choose, number_places
from bandweave.landcover.baselines.inputs import Bands, Inputs, Means, Profiles, Together
from bandweave.landcover.baselines.options import (
    BoostingOptions,
    ForestOptions,
    NeighboursOptions,
    SvmOptions,
)
from bandweave.landcover.baselines.pairwise import count_votes, couple, decide_pairs
from bandweave.landcover.baselines.radii import radii_for
from bandweave.landcover.baselines.smoothing import reach_of

CHUNK = 2**15  # pixels whose class is asked at a time

Choices = Mapping[str, Sequence[float]]

# The table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A row of METHODS.

    config   a dataclass of its options
    make     (options, seed, threads) -> an estimator of scikit-learn, not fitted
    choices  (options, values, pixels) -> what cross-validation chooses among, by the estimator's
             parameter
    pairs    it decides between pairs of classes (pairwise.py), and has no probabilities
    inputs   what it is given of each pixel
    """

    config: Any
    make: Callable[[Any, int, int], Any]
    choices: Callable[[Any, int, int], Choices] = lambda *_: {}
    pairs: bool = False
    inputs: type[Inputs] = Bands
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def on(self, inputs: type[Inputs]) -> Method:
        """The same on other inputs, whose options it has too."""
        own = type(self.config)
        kind = make_dataclass(own.__name__, [], bases=(own, *inputs.options))
        kind.__doc__ = own.__doc__
        return Method(kind(), self.make, self.choices, self.pairs, inputs)


def _make_forest(options: Any, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(options.trees, random_state=seed, n_jobs=threads)


def _make_boosting(options: Any, seed: int, threads: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(early_stopping=False, random_state=seed)


def _make_svm(options: Any, seed: int, threads: int) -> Any:
    from sklearn.svm import SVC

    return _standardised(SVC(cache_size=1000, decision_function_shape="ovo"))


def _make_neighbours(options: Any, seed: int, threads: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return _standardised(KNeighborsClassifier())


def _standardised(estimator: Any) -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("on", estimator)])


def _boosting_choices(options: Any, values: int, pixels: int) -> Choices:
    return {
        "learning_rate": options.rates,
        "max_leaf_nodes": options.leaves,
        "max_iter": options.iterations,
    }


def _svm_choices(options: Any, values: int, pixels: int) -> Choices:
    return {"on__C": options.penalties, "on__gamma": [gamma / values for gamma in options.gammas]}


def _neighbour_choices(options: Any, values: int, pixels: int) -> Choices:
    return {"on__n_neighbors": [n for n in options.neighbours if n <= pixels // 2] or [1]}


class BandsAndMeans(Together):
    """Bands, and Gaussian means."""

    kinds = Bands, Means


class AllInputs(Together):
    """Bands, profiles and Gaussian means."""

    kinds = Bands, Profiles, Means


ESTIMATORS = {
    "random_forest": Method(ForestOptions(), _make_forest),
    "svm": Method(SvmOptions(), _make_svm, _svm_choices, pairs=True),
    "knn": Method(NeighboursOptions(), _make_neighbours, _neighbour_choices),
    "gradient_boosting": Method(BoostingOptions(), _make_boosting, _boosting_choices),
}
INPUTS: dict[str, type[Inputs]] = {
    "": Bands,
    "_emp": Profiles,
    "_gauss": BandsAndMeans,
    "_all": AllInputs,
}

METHODS: dict[str, Method] = {
    name + ending: method.on(inputs)
    for ending, inputs in INPUTS.items()
    for name, method in ESTIMATORS.items()
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
    slope    of its decisions between pairs of classes; None where it gives classes alone, as a
             support vector machine of earlier versions
    radius   px of the labels' grid: of the smoothing, if any
    """

    name: str
    options: Any
    seed: int
    inputs: Inputs
    values: np.ndarray
    labels: np.ndarray
    chosen: dict[str, float]
    slope: float | None = 1.0
    radius: int = 0

    @cached_property
    def estimator(self) -> Any:
        """The fitted estimator of scikit-learn, which follows from all the rest."""
        made = METHODS[self.name].make(self.options, self.seed, _threads())
        return made.set_params(**self.chosen).fit(self.values, self.labels)

    @property
    def smoothing_reach(self) -> int:
        """Pixels of the labels by which another can lie away and change a pixel's class."""
        return reach_of(self.options.smooth, self.radius)

    def reach(self, scene: Scene) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its class."""
        return self.inputs.reach(scene) + -(-self.smoothing_reach // self.inputs.ratio)

    @cached_property
    def _axis(self) -> tuple[np.ndarray, np.ndarray]:
        """What is taken from a pixel's values, and weights of the rest that give the guide."""
        mean, std = self.values.mean(axis=0), self.values.std(axis=0)
        std[std == 0] = 1
        table = (self.values - mean) / std
        spread, axes = np.linalg.eigh((table.T @ table).astype(np.float64) / len(table))
        return mean, (axes[:, -1] / np.sqrt(spread[-1]) / std).astype(np.float32)

    def guide(self, values: np.ndarray) -> np.ndarray:
        """The first principal component (…) of the training pixels, of values (…, C)."""
        mean, weights = self._axis
        return (values - mean) @ weights

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
        if self.slope is not None and not 0 < self.slope < np.inf:
            raise ValueError(f"the slope {self.slope}")
        if type(self.radius) is not int or (self.radius > 0) != (self.options.smooth != "none"):
            raise ValueError(f"the radius {self.radius}")
        offered = method.choices(self.options, values.shape[1], len(labels))
        for name, value in {**dict.fromkeys(offered), **self.chosen}.items():
            if value not in offered.get(name, ()):
                raise ValueError(f"the choice {name!r}: {value!r}")

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Class indices (…) int16 of pixels with the values (…, C)."""
        logits = self.logits(values, int(self.labels.max()) + 1)
        return logits.argmax(axis=-1).astype(np.int16)

    def logits(self, values: np.ndarray, classes: int) -> np.ndarray:
        """Log-probabilities (…, classes) float32 of pixels with the values (…, C).

        The highest is that of the class which the estimator gives; −∞ of classes without a vote.
        """
        flat = values.reshape(-1, values.shape[-1])
        logits = np.full((len(flat), classes), -np.inf, np.float32)
        for start in range(0, len(flat), CHUNK):
            logits[start : start + CHUNK, self.estimator.classes_] = self._decide(
                flat[start : start + CHUNK]
            )
        return logits.reshape(*values.shape[:-1], classes)

    def _decide(self, values: np.ndarray) -> np.ndarray:
        """Log-probabilities (P, K) float32 of the classes with training pixels."""
        if METHODS[self.name].pairs:
            decisions, classes = decide_pairs(self.estimator, values), len(self.estimator.classes_)
            votes = count_votes(decisions, classes)
            logs = couple(decisions, classes, self.slope or 1.0)
        else:
            votes = self.estimator.predict_proba(values)
            with np.errstate(divide="ignore"):
                logs = np.log(votes)
        given, pixels = votes.argmax(axis=1), np.arange(len(votes))
        if self.slope is None:
            logs = np.where(given[:, None] == np.arange(votes.shape[1]), 0, -np.inf)
        logs = logs.astype(np.float32)
        beaten = logs.argmax(axis=1) != given
        logs[pixels[beaten], given[beaten]] = np.nextafter(logs[beaten].max(axis=1), np.float32(1))
        return logs


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
    method = METHODS[name]
    inputs = method.inputs.fit(scene, split, layers, options)
    values, labels = pixels_of(scene, split, TRAIN, inputs)
    if len(np.unique(labels)) < 2:
        raise SplitError(
            f"the split {split.config.name!r} trains on a single class; there is nothing to tell "
            f"apart"
        )
    if not np.isfinite(values).all():
        raise FileError("training pixels have values that are not finite; declare them as nodata")
    places = number_places(split) if options.folds == "blocks" else None
    chosen, slope = choose(method, options, values, labels, places, seed, _threads())
    shortest = min(min(part.grid.height, part.grid.width) for part in scene.parts)
    radius = 0 if options.smooth == "none" else -(-radii_for(shortest * split.ratio)[-1] // 2)
    fitted = FittedMethod(name, options, seed, inputs, values, labels, chosen, slope, radius)
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
    scene = blind_derived_layers(scene, split) if hides else scene
    for index, (part, roles) in enumerate(zip(scene.parts, split.roles, strict=True)):
        if part.labels is None or not (roles == role).any():
            continue
        for place, found in inputs.strips(part, split.hidden(index) if hides else None):
            chosen = roles[place.slices()] == role
            values.append(found[chosen])
            labels.append(part.labels.values[place.slices()][chosen])
    return np.concatenate(values), np.concatenate(labels)


def _threads() -> int:
    """How many threads may compute: as many as torch takes."""
    import torch

    return torch.get_num_threads()
