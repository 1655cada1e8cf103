"""Everything a land-cover run was asked for, as one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bandweave.data.samples.crops import SampleConfig
from bandweave.data.splits.splitting import SplitConfig
from bandweave.models import DEFAULT_MODEL, LAND_COVER, Preset, find_preset
from bandweave.models.contract import LandCoverModel
from bandweave.training.config import TrainConfig
from bandweave.training.sections import RunConfig


@dataclass
class LandCoverConfig(RunConfig):
    """The options of a run, as config.yaml holds them.

    scene    path, benchmark name or simulation that the run was trained on
    model    name of a preset, and its options
    layers   names of the layers that are used; empty for all
    pca      principal components a layer is reduced to, by layer name
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
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def preset(cls, name: str) -> Preset[LandCoverModel]:
        """The preset of that name."""
        return find_preset(name, LAND_COVER)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> LandCoverConfig:
        """Strictly from a mapping, on top of the preset that it names; `clip: MODE` is its mode."""
        model = stored.get("model")
        if isinstance(model, Mapping) and isinstance(model.get("clip"), str):
            stored = {**stored, "model": {**model, "clip": {"mode": model["clip"]}}}
        return super().read(stored)


option_groups = LandCoverConfig.option_groups
