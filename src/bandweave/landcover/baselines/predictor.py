"""A classical method as what maps the parts of a scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bandweave.data.scene import Part
from bandweave.data.splits.masks import regrid
from bandweave.landcover.baselines.methods import FittedMethod
from bandweave.landcover.predict.net import Strip
from bandweave.raster.grid import Window


class MethodPredictor:
    """Maps by a classical method: the class that it gives has all the probability.

    reference  name of the layer whose data decide where there is a map
    classes    of the run
    """

    def __init__(self, fitted: FittedMethod, reference: str, classes: int) -> None:
        self.fitted, self.reference, self.classes = fitted, reference, classes

    def swath(self, part: Part) -> int:
        """All columns."""
        return part.grid.width

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips of whole rows, or of a swath; logits are 0 for the class and −∞ for others.

        Pixels not in `only` are not valid.
        """
        inputs, layer = self.fitted.inputs, part.layers[self.reference]
        for place, values in inputs.strips(part, swath=swath):
            _, seen = layer.read(Window(*(each // inputs.ratio for each in place)))
            valid = regrid(seen, layer.ratio, inputs.ratio)
            if only is not None:
                valid = valid & only[place.slices()]
            given = np.zeros(valid.shape, np.int16)
            given[valid] = self.fitted.predict(values[valid])
            logits = np.where(given == np.arange(self.classes)[:, None, None], 0, -np.inf)
            yield Strip(place, np.where(valid, logits, 0).astype(np.float32), valid)
