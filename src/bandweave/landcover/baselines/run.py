"""A classical method that a comparison fitted, as what `map_scene` maps with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandweave.data.match import describe_layers
from bandweave.data.scene import ClassInfo
from bandweave.landcover.baselines.methods import FittedBaseline
from bandweave.landcover.baselines.predictor import MethodPredictor


@dataclass(frozen=True)
class BaselineRun:
    """A fitted classical method as `map_scene` takes a run; see `mapping.Mappable`."""

    fitted: FittedBaseline
    classes: tuple[ClassInfo, ...]
    layers: Mapping[str, Mapping[str, Any]]
    output_ratio: int
    temperature: float = 1.0
    gives_probabilities: bool = False

    @classmethod
    def of(cls, fitted: FittedBaseline) -> BaselineRun:
        """Make it of a method that is trained."""
        return cls(fitted, fitted.scene.classes, describe_layers(fitted.scene), fitted.split.ratio)

    def use_device(self, device: Any = None) -> None:
        """It computes on the CPU."""

    def predictor(self, reference: str, **_: Any) -> MethodPredictor:
        """What maps parts; how a net is run makes no difference to a classical method."""
        return MethodPredictor(self.fitted.fitted, reference, len(self.classes))

    @property
    def files(self) -> tuple[str, ...]:
        """It has none."""
        return ()
