"""A classical method as what maps the parts of a scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bandweave.data.scene import Part
from bandweave.data.splits.masks import distance, regrid
from bandweave.landcover.baselines.inputs import widen
from bandweave.landcover.baselines.methods import FittedMethod
from bandweave.landcover.baselines.smoothing import smooth
from bandweave.landcover.predict.net import Strip, empty_strip
from bandweave.raster.grid import Window


class MethodPredictor:
    """Maps by a classical method, whose logits are log-probabilities.

    reference  name of the layer whose data decide where there is a map
    classes    of the run
    """

    def __init__(self, fitted: FittedMethod, reference: str, classes: int) -> None:
        self.fitted, self.reference, self.classes = fitted, reference, classes

    def can_divide(self, part: Part) -> bool:
        """Yes: each pixel is asked for itself."""
        return True

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
        for place in inputs.places(part, swath):
            window = place.finer(inputs.ratio)
            if only is not None and not only[window.slices()].any():
                yield empty_strip(window, self.classes)
                continue
            wider, own = widen(part, place, -(-margin // inputs.ratio), inputs.ratio)
            known = self._known(part, wider)
            if only is not None:
                known = known & _near(only, wider.finer(inputs.ratio), margin)
            logits = self._decide(described(wider), known)[:, *own]
            valid = known[own]
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


def _near(only: np.ndarray, place: Window, margin: int) -> np.ndarray:
    """Pixels of a place (h, w) that lie at most `margin` px from one of `only` (H, W)."""
    around = place.grow(margin).clip(*only.shape)
    assert around is not None
    return (distance(only[around.slices()]) <= margin)[place.slices((around.row, around.col))]
