"""Everything a land-cover run was asked for, as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bandweave.data.samples.crops import SampleConfig
from bandweave.data.splits.splitting import SplitConfig
from bandweave.models import DEFAULT_MODEL, LAND_COVER, find_preset
from bandweave.schema import from_dict, to_dict
from bandweave.training.config import TrainConfig
from bandweave.training.sections import in_sections, merged


@dataclass
class LandCoverConfig:
    """The options of a run, as config.yaml holds them.

    scene    path, benchmark name or simulation that the run was trained on
    model    name of a preset, and its options
    layers   names of the layers that are used; empty for all
    pca      principal components a layer is reduced to, by layer name
    temperature  fit what logits are divided by for probabilities, to the validation pixels
    """

    scene: str = ""
    name: str = DEFAULT_MODEL
    model: Any = None
    layers: list[str] = field(default_factory=list)
    pca: dict[str, int] = field(default_factory=dict)
    temperature: bool = False
    split: SplitConfig = field(default_factory=SplitConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """As config.yaml holds it; `read` gives it back."""
        stored = to_dict(self)
        name, options = stored.pop("name"), stored.pop("model")
        return {"scene": stored.pop("scene"), "model": {"name": name, **options}, **stored}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> LandCoverConfig:
        """Strictly from a mapping, on top of the preset that it names."""
        plain = ("scene", "layers", "pca", "temperature")
        sections, given = in_sections(
            stored, ("model", "split", "samples", "train"), plain, named=("model", "split")
        )
        model = sections["model"]
        preset = find_preset(name := model.pop("name", DEFAULT_MODEL), LAND_COVER)
        if isinstance(model.get("clip"), str):
            model["clip"] = {"mode": model["clip"]}
        return replace(
            from_dict(cls, given, "config"),
            name=name,
            model=from_dict(type(preset.config), merged(to_dict(preset.config), model), "model"),
            split=from_dict(SplitConfig, sections["split"], "split"),
            samples=from_dict(SampleConfig, merged(preset.samples, sections["samples"]), "samples"),
            train=from_dict(TrainConfig, merged(preset.train, sections["train"]), "train"),
        )


def option_groups(name: str) -> dict[str, Any]:
    """The sections whose options go by their bare name, with a preset's model."""
    return {
        "model": find_preset(name, LAND_COVER).config,
        "samples": SampleConfig(),
        "train": TrainConfig(),
    }
