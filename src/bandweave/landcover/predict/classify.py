"""The class of every pixel of a part, in memory: for scores and validation, not for maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bandweave.data.scene import IGNORED, Part
from bandweave.landcover.predict.feeding import stream_logits

if TYPE_CHECKING:
    from torch import nn

    from bandweave.landcover.predict.windows import Strip
    from bandweave.landcover.run import Run


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a run says of a part, on the labels' grid (H·ratio, W·ratio).

    classes     class indices, int16; IGNORED without data
    confidence  probability of that class, float32; NaN without data
    """

    classes: np.ndarray
    confidence: np.ndarray


def predict_classes(
    run: Run,
    part: Part,
    reference: str,
    *,
    model: nn.Module | None = None,
    tta: bool = False,
    only: np.ndarray | None = None,
) -> np.ndarray:
    """Class indices (H·ratio, W·ratio) int16 on the labels' grid, IGNORED without data.

    model  in place of the run's, as it is while it trains; it stays on its device
    only   (H·ratio, W·ratio) bool: pixels that are wanted; others may be IGNORED
    """
    predicted = _empty(run, part, IGNORED, np.int16)
    for strip in _strips(run, part, reference, model, tta, only):
        _fill(predicted, strip, strip.logits.argmax(axis=0), IGNORED)
    return predicted


def predict_part(
    run: Run, part: Part, reference: str, *, tta: bool = False, only: np.ndarray | None = None
) -> Predicted:
    """Classes, and how sure they are at the run's temperature; `only` as in `predict_classes`."""
    classes = _empty(run, part, IGNORED, np.int16)
    confidence = _empty(run, part, np.nan, np.float32)
    for strip in _strips(run, part, reference, None, tta, only):
        _fill(classes, strip, strip.logits.argmax(axis=0), IGNORED)
        _fill(confidence, strip, highest_probability(strip.logits, run.temperature), np.nan)
    return Predicted(classes, confidence)


def labelled_logits(
    run: Run, part: Part, reference: str, where: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, K) and class indices (P,) of the label pixels `where` (H·ratio, W·ratio)."""
    assert part.labels is not None
    logits, labels = [], []
    for strip in _strips(run, part, reference, None, False, where):
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


def _empty(run: Run, part: Part, fill: float, dtype: type) -> np.ndarray:
    shape = part.grid.height * run.output_ratio, part.grid.width * run.output_ratio
    return np.full(shape, fill, dtype)


def _fill(target: np.ndarray, strip: Strip, values: np.ndarray, hole: float) -> None:
    target[strip.window.slices()] = np.where(strip.valid, values, hole)


def _strips(
    run: Run,
    part: Part,
    reference: str,
    model: nn.Module | None,
    tta: bool,
    only: np.ndarray | None,
) -> Iterator[Strip]:
    module = run.model if model is None else model
    yield from stream_logits(
        module,
        part,
        run.layers,
        run.scaling,
        reference=reference,
        classes=len(run.classes),
        window=run.window,
        output_ratio=run.output_ratio,
        device=next(module.parameters()).device,
        tta=tta,
        only=only,
    )
