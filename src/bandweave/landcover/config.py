"""Everything a land-cover run was asked for, as one configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

from bandweave.data.samples.crops import SampleConfig
from bandweave.data.splits.splitting import SplitConfig
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.methods import METHODS, Method
from bandweave.models import DEFAULT_MODEL, LAND_COVER, Preset, find_preset
from bandweave.models.contract import LandCoverModel
from bandweave.training.config import TrainConfig
from bandweave.training.sections import RunConfig


@dataclass
class LandCoverTraining(TrainConfig):
    """How a net is trained, and how long.

    hold_out  share of the training side that is held out of a first training, to find how many
              steps are best, `steps` at most; the net is then trained on all of it for as long. 0:
              `steps` steps. Of no use where the split has validation pixels: on them the best
              weights are chosen
    self_training  trainings before the last one, each of as many steps, whose answers the next one
              learns from besides: classes of pixels without a label. 0: labels alone
    teacher   a classical method whose probabilities are averaged with the net's there; '': none
    pseudo_labels  share of the samples that are around pixels without a label, and of such pixels
              in a sample that learn from these answers
    """

    hold_out: float = 0.0
    self_training: int = 0
    teacher: str = "svm"
    pseudo_labels: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.self_training < 0 or not 0 < self.pseudo_labels <= 1:
            raise ConfigError(
                f"self_training is {self.self_training} and must be 0 or more, pseudo_labels "
                f"{self.pseudo_labels} and must be a share above 0"
            )
        if self.teacher and self.teacher not in METHODS:
            raise ConfigError(
                f"teacher {self.teacher!r} is no classical method; there are {', '.join(METHODS)}"
            )
        if not 0 <= self.hold_out < 1:
            raise ConfigError(f"hold_out is {self.hold_out}; it must be a share from 0 to below 1")


@dataclass
class LandCoverConfig(RunConfig):
    """The options of a run, as config.yaml holds them.

    scene    path, benchmark name or simulation that the run was trained on
    model    name of a preset, and its options
    layers   names of the layers that are used; empty for all
    pca      principal components a layer is reduced to, by layer name; 0: its bands as they are
    temperature  fit what logits are divided by for probabilities, to the validation pixels
    """

    default_name: ClassVar[str] = DEFAULT_MODEL

    scene: str = ""
    name: str = DEFAULT_MODEL
    model: Any = None
    layers: list[str] = field(default_factory=list)
    pca: dict[str, int] = field(default_factory=dict)
    temperature: bool = False
    split: SplitConfig = field(default_factory=SplitConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    train: LandCoverTraining = field(default_factory=LandCoverTraining)

    @classmethod
    def preset(cls, name: str) -> Preset[LandCoverModel]:
        """The preset of that name; ConfigError for a classical method too."""
        if name in METHODS:
            raise ConfigError(
                f"{name!r} is a classical method; this takes a model that is trained step by step: "
                f"{', '.join(LAND_COVER)}"
            )
        return find_preset(name, LAND_COVER)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> LandCoverConfig:
        """Strictly from a mapping, on top of the preset that it names; `clip: MODE` is its mode."""
        model = stored.get("model")
        if isinstance(model, Mapping) and isinstance(model.get("clip"), str):
            stored = {**stored, "model": {**model, "clip": {"mode": model["clip"]}}}
        return super().read(stored)


@dataclass
class SeedConfig:
    """How a classical method is trained: once, on all training pixels.

    seed  of the draw of pixels on which options are chosen, and of a forest
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed!r} must be 0 or more")


@dataclass
class ClassicalConfig(RunConfig):
    """The options of a run of a classical method, as config.yaml holds them.

    scene    path, benchmark name or simulation that the run was trained on
    model    name of a method, and its options
    layers   names of the layers that are used; empty for all
    """

    default_name: ClassVar[str] = "svm"

    scene: str = ""
    name: str = "svm"
    model: Any = None
    layers: list[str] = field(default_factory=list)
    split: SplitConfig = field(default_factory=SplitConfig)
    train: SeedConfig = field(default_factory=SeedConfig)

    @classmethod
    def preset(cls, name: str) -> Method:
        """The method of that name."""
        return find_preset(name, METHODS)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> ClassicalConfig:
        """Strictly from a mapping, on top of the method that it names."""
        refuse_idle(stored, ["model", *cls.section_types(), *cls.plain_options()])
        return super().read(stored)

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any]) -> ClassicalConfig:
        """On top of a method, of options by their bare name."""
        groups = cls.option_groups(name).values()
        known = [option.name for group in groups for option in fields(group)]
        refuse_idle(options, [*known, *cls.plain_options()])
        return super().from_options(name, options)


@dataclass
class EnsembleOptions:
    """Which runs an ensemble is the mean of.

    members  their folders when they were joined
    weights  how much the probabilities of each count
    """

    members: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.members):
            raise ConfigError(f"{len(self.weights)} weights for {len(self.members)} runs")
        if wrong := [weight for weight in self.weights if not 0 < weight < math.inf]:
            raise ConfigError(f"a weight of {wrong[0]:g} must be above 0, and finite")


class _Joined(NamedTuple):
    config: EnsembleOptions
    sections: Mapping[str, Mapping[str, Any]]


@dataclass
class EnsembleConfig(RunConfig):
    """The options of an ensemble of runs, as config.yaml holds them.

    scene    that the first of the runs was trained on
    split    of the first of the runs
    """

    default_name: ClassVar[str] = "ensemble"

    scene: str = ""
    name: str = "ensemble"
    model: Any = None
    split: SplitConfig = field(default_factory=SplitConfig)

    @classmethod
    def preset(cls, name: str) -> _Joined:
        """No runs at all."""
        return find_preset(name, {cls.default_name: _Joined(EnsembleOptions(), {})})


def refuse_idle(options: Iterable[str], known: Sequence[str]) -> None:
    """Raise ConfigError for an option that a classical method has no use for."""
    if idle := [name for name in options if name not in known]:
        raise ConfigError(
            f"{idle[0]}: a classical method has no use for it; its options are {', '.join(known)}"
        )


AnyConfig = LandCoverConfig | ClassicalConfig


def config_type(name: object) -> type[LandCoverConfig] | type[ClassicalConfig]:
    """The kind of configuration that belongs to the name of a model or of a classical method.

    Raises ConfigError, with the nearest right one, for a name that is neither.
    """
    find_preset(name, {**LAND_COVER, **METHODS})
    return ClassicalConfig if name in METHODS else LandCoverConfig


def read_config(stored: Mapping[str, Any]) -> AnyConfig:
    """Strictly from a mapping, on top of the preset or the method that it names."""
    model = stored.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    return (config_type(name) if isinstance(name, str) else LandCoverConfig).read(stored)


option_groups = LandCoverConfig.option_groups
