"""Everything a sharpening run was asked for, as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bandweave.models import SHARPENERS, find_preset
from bandweave.pansharp.patches import PatchConfig
from bandweave.schema import OneOrMore, from_dict, to_dict
from bandweave.training.config import TrainConfig
from bandweave.training.sections import in_sections, merged

DEFAULT = "mmmamba"
SECTIONS = ("model", "samples", "train")


@dataclass(frozen=True)
class PairFiles:
    """The files of a pair.

    pan  a file of one band, or FILE:KEY where it holds several arrays
    ms   a file, or one file a band
    """

    pan: str
    ms: OneOrMore[str]


@dataclass
class SharpenConfig:
    """The options of a run, as config.yaml holds them.

    pairs       files that it was trained on
    validation  files whose patches choose the weights that are kept; empty for none
    model       name of a preset, and its options
    sensor      how sharp its bands are
    register    pairs were moved by the misregistration that was measured
    ratio       PAN pixels that an MS pixel is wide, where the files do not tell
    crs         assigned where a file has none
    nodata      the value of a hole in all files, instead of the one they state
    """

    pairs: list[PairFiles] = field(default_factory=list)
    validation: list[PairFiles] = field(default_factory=list)
    name: str = DEFAULT
    model: Any = None
    sensor: str = "generic"
    register: bool = False
    ratio: int | None = None
    crs: str | None = None
    nodata: float | None = None
    samples: PatchConfig = field(default_factory=PatchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """As config.yaml holds it; `read` gives it back."""
        stored = to_dict(self)
        name, options = stored.pop("name"), stored.pop("model")
        pairs = {key: stored.pop(key) for key in ("pairs", "validation")}
        return {**pairs, "model": {"name": name, **options}, **stored}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> SharpenConfig:
        """Strictly from a mapping, on top of the preset that it names."""
        plain = ("pairs", "validation", "sensor", "register", "ratio", "crs", "nodata")
        sections, given = in_sections(stored, SECTIONS, plain)
        model = sections["model"]
        preset = find_preset(name := model.pop("name", DEFAULT), SHARPENERS)
        return replace(
            from_dict(cls, given, "config"),
            name=name,
            model=from_dict(type(preset.config), merged(to_dict(preset.config), model), "model"),
            samples=from_dict(PatchConfig, merged(preset.samples, sections["samples"]), "samples"),
            train=from_dict(TrainConfig, merged(preset.train, sections["train"]), "train"),
        )


def option_groups(name: str) -> dict[str, Any]:
    """The sections whose options go by their bare name, with a preset's model."""
    preset = find_preset(name, SHARPENERS)
    return {"model": preset.config, "samples": PatchConfig(), "train": TrainConfig()}
