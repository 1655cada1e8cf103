"""The class of every pixel of a part, in memory: for scores and validation, not for maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bandweave.data.scene import IGNORED, Part

if TYPE_CHECKING:
    from bandweave.landcover.predict.net import Predictor, Strip


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a run says of a part, on the labels' grid (H·ratio, W·ratio).

    classes     class indices, int16; IGNORED without data
    confidence  probability of that class, float32; NaN without data
    """

    classes: np.ndarray
    confidence: np.ndarray


def predict_classes(
    predictor: Predictor, part: Part, ratio: int, only: np.ndarray | None = None
) -> np.ndarray:
    """Class indices (H·ratio, W·ratio) int16 on the labels' grid, IGNORED without data.

    only  (H·ratio, W·ratio) bool: pixels that are wanted; others may be IGNORED
    """
    predicted = _empty(part, ratio, IGNORED, np.int16)
    for strip in predictor.strips(part, only):
        _fill(predicted, strip, strip.logits.argmax(axis=0), IGNORED)
    return predicted


def predict_part(
    predictor: Predictor,
    part: Part,
    ratio: int,
    temperature: float = 1.0,
    only: np.ndarray | None = None,
) -> Predicted:
    """Classes, and how sure they are at a temperature; `only` as in `predict_classes`."""
    classes = _empty(part, ratio, IGNORED, np.int16)
    confidence = _empty(part, ratio, np.nan, np.float32)
    for strip in predictor.strips(part, only):
        _fill(classes, strip, strip.logits.argmax(axis=0), IGNORED)
        _fill(confidence, strip, highest_probability(strip.logits, temperature), np.nan)
    return Predicted(classes, confidence)


def labelled_logits(
    predictor: Predictor, part: Part, where: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, K) and class indices (P,) of the label pixels `where` (H·ratio, W·ratio)."""
    assert part.labels is not None
    logits, labels = [], []
    for strip in predictor.strips(part, where):
        at = strip.window.slices()
        chosen = where[at] & strip.valid
        logits.append(strip.logits[:, chosen].T)
        labels.append(part.labels.values[at][chosen])
    return np.concatenate(logits), np.concatenate(labels)


def highest_probability(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Of softmax(logits / temperature) over the first axis.

    >>> highest_probability(np.log(np.array([[3.0], [1.0]])))
    array([0.75])
    """
    return 1 / np.exp((logits - logits.max(axis=0)) / temperature).sum(axis=0)


def _empty(part: Part, ratio: int, fill: float, dtype: type) -> np.ndarray:
    return np.full((part.grid.height * ratio, part.grid.width * ratio), fill, dtype)


def _fill(target: np.ndarray, strip: Strip, values: np.ndarray, hole: float) -> None:
    target[strip.window.slices()] = np.where(strip.valid, values, hole)
