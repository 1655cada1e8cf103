"""A classical method as what `map_scene` maps with: it answers for whole parts by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from bandweave.data.match import describe_layers
from bandweave.data.scaling import Scaling
from bandweave.data.scene import ClassInfo, Part
from bandweave.data.splits.masks import regrid
from bandweave.landcover.baselines.methods import FittedBaseline
from bandweave.landcover.predict.windows import Strip
from bandweave.raster.grid import Window

ROWS = 256  # label px: of a strip


class BaselineModule(nn.Module):
    """Makes the strips of a part itself: the class that the method gives has all the probability.

    It maps the scene that it was trained on, whose parts it knows by name and place.
    """

    fed = "itself"

    def __init__(self, fitted: FittedBaseline) -> None:
        super().__init__()
        self.fitted = fitted

    def strips(self, part: Part, *, reference: str, classes: int, **_: Any) -> Iterator[Strip]:
        """As `predict.stream_logits`; logits are 0 for the class and −∞ for others."""
        parts = [(each.name, each.grid) for each in self.fitted.scene.parts]
        own = parts.index((part.name, part.grid))
        layer, ratio = part.layers[reference], self.fitted.split.ratio
        valid = regrid(layer.read(part.grid.window)[1], layer.ratio, ratio)
        predicted = self.fitted.predict(own)
        for row in range(0, len(valid), ROWS):
            rows = slice(row, row + ROWS)
            known, given = valid[rows], predicted[rows]
            logits = np.where(given == np.arange(classes)[:, None, None], 0, -np.inf)
            logits = np.where(known, logits, 0).astype(np.float32)
            yield Strip(Window(row, 0, *known.shape), logits, known)


@dataclass(frozen=True)
class BaselineRun:
    """See `mapping.TrainedRun`."""

    model: BaselineModule
    classes: tuple[ClassInfo, ...]
    layers: Mapping[str, Mapping[str, Any]]
    output_ratio: int
    scaling: Scaling
    window: int = 0
    temperature: float = 1.0

    @classmethod
    def of(cls, fitted: FittedBaseline) -> BaselineRun:
        """Of a method that is trained."""
        return cls(
            BaselineModule(fitted),
            fitted.scene.classes,
            describe_layers(fitted.scene),
            fitted.split.ratio,
            Scaling({}),
        )
