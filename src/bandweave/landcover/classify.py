"""The class of every pixel of a part, in memory: for scores and validation, not for maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bandweave.data.scene import IGNORED, Part
from bandweave.landcover.feeding import stream_logits

if TYPE_CHECKING:
    from torch import nn

    from bandweave.landcover.run import Run


def predict_classes(
    run: Run, part: Part, reference: str, *, model: nn.Module | None = None, tta: bool = False
) -> np.ndarray:
    """Class indices (H·ratio, W·ratio) int16 on the labels' grid, IGNORED without data.

    model  in place of the run's, as it is while it trains; it stays on its device
    """
    module = run.model if model is None else model
    predicted = np.full(
        (part.grid.height * run.output_ratio, part.grid.width * run.output_ratio), IGNORED, np.int16
    )
    for strip in stream_logits(
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
    ):
        row, col, height, width = strip.window
        classes = strip.logits.argmax(axis=0).astype(np.int16)
        classes[~strip.valid] = IGNORED
        predicted[row : row + height, col : col + width] = classes
    return predicted
