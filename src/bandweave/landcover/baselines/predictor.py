"""A classical method as what maps the parts of a scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bandweave.data.scene import Part
from bandweave.data.splits.masks import distance, regrid
from bandweave.landcover.baselines.inputs import widen
from bandweave.landcover.baselines.methods import FittedMethod
from bandweave.landcover.baselines.smoothing import smooth
from bandweave.landcover.predict.net import Strip
from bandweave.raster.grid import Window


class MethodPredictor:
    """Maps by a classical method, whose logits are log-probabilities.

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
        """Strips of whole rows, or of a swath; pixels not in `only` are not valid.

        Smoothed ones are made of what lies around them too, as if a part were smoothed at once.
        """
        inputs, margin = self.fitted.inputs, self.fitted.smoothing_reach
        described = inputs.describe(part)
        near = None if only is None else distance(only) <= margin
        for place in inputs.places(part, swath):
            wider, own = widen(part, place, -(-margin // inputs.ratio), inputs.ratio)
            known = self._known(part, wider)
            if near is not None:
                known = known & near[wider.finer(inputs.ratio).slices()]
            logits = self._decide(described(wider), known)[:, *own]
            window, valid = place.finer(inputs.ratio), known[own]
            if only is not None:
                valid = valid & only[window.slices()]
            yield Strip(window, np.where(valid, logits, 0), valid)

    def _known(self, part: Part, place: Window) -> np.ndarray:
        layer = part.layers[self.reference]
        return regrid(layer.read(place)[1], layer.ratio, self.fitted.inputs.ratio)

    def _decide(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Logits (K, h, w) of the known pixels (h, w)."""
        fitted = self.fitted
        logits = np.zeros((self.classes, *known.shape), np.float32)
        logits[:, known] = fitted.logits(values[known], self.classes).T
        kind = fitted.options.smooth
        if kind == "none" or not known.any():
            return logits
        return smooth(kind, logits, fitted.guide(values), known, fitted.radius)
