"""A classical method as what `map_scene` maps with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.data.match import describe_layers
from bandweave.data.scene import ClassInfo, Part
from bandweave.data.splits.masks import regrid
from bandweave.landcover.baselines.methods import FittedBaseline
from bandweave.landcover.predict.net import Strip
from bandweave.raster.grid import Window

ROWS = 256  # label px: of a strip


class BaselinePredictor:
    """Maps by a classical method: the class that it gives has all the probability.

    It maps the scene that it was trained on, whose parts it knows by name and place.
    """

    def __init__(self, fitted: FittedBaseline, reference: str) -> None:
        self.fitted, self.reference = fitted, reference

    def strips(self, part: Part, only: np.ndarray | None = None) -> Iterator[Strip]:
        """Strips of whole rows; logits are 0 for the class and −∞ for others."""
        fitted, classes = self.fitted, len(self.fitted.scene.classes)
        parts = [(each.name, each.grid) for each in fitted.scene.parts]
        own = parts.index((part.name, part.grid))
        layer, ratio = part.layers[self.reference], fitted.split.ratio
        valid = regrid(layer.read(part.grid.window)[1], layer.ratio, ratio)
        predicted = fitted.predict(own)
        for row in range(0, len(valid), ROWS):
            rows = slice(row, row + ROWS)
            known, given = valid[rows], predicted[rows]
            logits = np.where(given == np.arange(classes)[:, None, None], 0, -np.inf)
            logits = np.where(known, logits, 0).astype(np.float32)
            yield Strip(Window(row, 0, *known.shape), logits, known)


@dataclass(frozen=True)
class BaselineRun:
    """A fitted classical method as `map_scene` takes a run; see `mapping.Mappable`."""

    fitted: FittedBaseline
    classes: tuple[ClassInfo, ...]
    layers: Mapping[str, Mapping[str, Any]]
    output_ratio: int
    temperature: float = 1.0

    @classmethod
    def of(cls, fitted: FittedBaseline) -> BaselineRun:
        """Of a method that is trained."""
        return cls(fitted, fitted.scene.classes, describe_layers(fitted.scene), fitted.split.ratio)

    def predictor(self, reference: str, **_: Any) -> BaselinePredictor:
        """What maps parts; how a net is run makes no difference to a classical method."""
        return BaselinePredictor(self.fitted, reference)

    @property
    def files(self) -> tuple[str, ...]:
        """It has none."""
        return ()
