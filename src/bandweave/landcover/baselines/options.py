"""Options of classical methods: of the estimator, and of what it is given of each pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args, get_type_hints

import numpy as np

from bandweave.errors import ConfigError
from bandweave.schema import check_choices

Smoothing = Literal["none", "guided", "markov"]


@dataclass
class MethodOptions:
    """Options of every classical method.

    folds   what cross-validation holds back: pixels at random, or whole blocks (parts of a scene
            that trains on several), whose pixels have no neighbours among those it fits
    smooth  what is done to the map's probabilities: nothing, a guided filter, or a Markov field
    """

    folds: Literal["pixels", "blocks"] = "pixels"
    smooth: Smoothing = "none"

    def __post_init__(self) -> None:
        """Raise ConfigError for a number out of range, or a list without a value to choose."""
        check_choices(self)
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not isinstance(value, str):
                self._check_numbers(name, value if isinstance(value, list) else [value], hint)

    def _check_numbers(self, name: str, numbers: list[float], hint: object) -> None:
        if not numbers and name not in ("radii", "sigmas"):
            raise ConfigError(f"{name} is empty; give at least one")
        whole = int in (hint, *get_args(hint))
        least = 2 if name == "leaves" else 1
        for one in numbers:
            if not (one >= least if whole else 0 < one < np.inf):
                limit = f"{least} or more" if whole else "above 0, and finite"
                raise ConfigError(f"{name}={one!r} must be {limit}")


# Of estimators ------------------------------------------------------------------------------------


@dataclass
class ForestOptions(MethodOptions):
    """Options of a random forest."""

    trees: int = 500


@dataclass
class BoostingOptions(MethodOptions):
    """Options of gradient boosting, among which cross-validation chooses."""

    rates: list[float] = field(default_factory=lambda: [0.1])  # of learning
    leaves: list[int] = field(default_factory=lambda: [7, 31])  # of a tree, at most
    iterations: list[int] = field(default_factory=lambda: [100])  # a tree for each class in each


@dataclass
class SvmOptions(MethodOptions):
    """Options of a support vector machine, among which cross-validation chooses."""

    penalties: list[float] = field(default_factory=lambda: [1.0, 10.0, 100.0, 1000.0])  # C
    gammas: list[float] = field(default_factory=lambda: [0.25, 1.0, 4.0])  # times 1 / values


@dataclass
class NeighboursOptions(MethodOptions):
    """Options of nearest neighbours, among which cross-validation chooses."""

    neighbours: list[int] = field(default_factory=lambda: [1, 3, 5, 9, 15])


# Of inputs ----------------------------------------------------------------------------------------


@dataclass
class ProfileOptions(MethodOptions):
    """Options of profiles."""

    radii: list[int] = field(default_factory=list)  # px of the labels; none: by the smallest part


@dataclass
class MeanOptions(MethodOptions):
    """Options of Gaussian means."""

    sigmas: list[float] = field(default_factory=list)  # px of the labels; none: as radii
