"""Everything a sharpening run was asked for, as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from bandweave.models import SHARPENERS, Preset, find_preset
from bandweave.models.contract import SharpeningModel
from bandweave.pansharp.pair.files import PairFiles
from bandweave.pansharp.patches import PatchConfig
from bandweave.training.config import TrainConfig
from bandweave.training.sections import RunConfig

DEFAULT = "mmmamba"
SECTIONS = ("model", "samples", "train")


@dataclass
class SharpenConfig(RunConfig):
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

    default_name: ClassVar[str] = DEFAULT

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

    @classmethod
    def preset(cls, name: str) -> Preset[SharpeningModel]:
        """The preset of that name."""
        return find_preset(name, SHARPENERS)


option_groups = SharpenConfig.option_groups
