"""A part's logits from a model that takes whole scenes: at once where that fits, else in windows.

What such a model makes of a pixel depends on all that it is given, through its norms and its
routers. So where a part is too large to go in whole, a first pass over its windows side by side
collects their statistics (nn/window_statistics.py), and a second one over overlapping windows is
made with these instead of each window's own: one set of norms and one choice of experts for all of
the part. The windows begin where the model's own pixels do in the part.

Which way a part goes follows from its size and the model alone, not from the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bandweave.data.scene import Part
from bandweave.errors import ConfigError
from bandweave.landcover.predict.windows import (
    AUTOCAST,
    BATCH,
    MEMORY,
    Slab,
    Strip,
    answered,
    check_answer,
    stream_logits,
)
from bandweave.nn.window_statistics import Statistics, collected_statistics, frozen_statistics
from bandweave.raster.grid import Window, tiles

if TYPE_CHECKING:
    from bandweave.data.scaling import Scaling

WHOLE = 2 * 2**30  # bytes: a part that takes no more, as the model counts them, goes in at once
ROWS = 256  # px of the grid: of a strip of a part that went in at once


def stream_scene(
    model: torch.nn.Module,
    part: Part,
    layers: Iterable[str],
    scaling: Scaling,
    *,
    reference: str,
    classes: int,
    window: int,
    output_ratio: int = 1,
    overlap: int | None = None,
    batch: int = BATCH,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    tta: bool = False,
    memory: int = MEMORY,
    whole: int = WHOLE,
) -> Iterator[Strip]:
    """As `predict.stream_logits`, for a model that says `window_step` and `bytes_per_pixel`.

    window   side of the windows that the model was trained on; 0: it was trained on whole parts
    overlap  px that windows share; None for about half a window; no matter where a part fits
    whole    bytes: a larger part, of a model that was trained on whole ones, goes in windows

    A part goes in whole, whatever its form, if it is no larger than the window, or fits where
    `window` is 0. Windows are no larger than the part's shorter side, so that nothing is padded to
    a square.
    """
    shape: Any = model
    step, pixel = int(shape.window_step), int(shape.bytes_per_pixel)
    names, device = list(layers), torch.device(device)
    height, width = part.grid.height, part.grid.width
    if precision not in AUTOCAST:
        raise ConfigError(f"precision '{precision}' is none of {', '.join(AUTOCAST)}")
    fits = max(height, width) <= window if window else height * width * pixel <= whole
    if fits:
        slab = Slab(part, names, scaling, reference, Window(0, 0, height, width))
        yield from _at_once(
            model, part, slab, classes, output_ratio, device=device, precision=precision, tta=tta
        )
        return
    side = min(window or isqrt(whole // pixel), height, width)
    side = max(side - side % step, step)
    if overlap is not None and not 0 <= overlap < side:
        raise ConfigError(
            f"overlap {overlap} px must be at least 0 and below the window's {side} px"
        )
    stride = max((side - (side // 2 if overlap is None else overlap)) // step * step, step)
    statistics = scene_statistics(
        model, part, names, scaling, reference, side, device=device, precision=precision
    )
    with frozen_statistics(model, statistics):
        yield from stream_logits(
            model,
            part,
            names,
            scaling,
            reference=reference,
            classes=classes,
            window=side,
            output_ratio=output_ratio,
            overlap=side - min(stride, side),
            batch=max(min(batch, whole // (side**2 * pixel)), 1),
            device=device,
            precision=precision,
            tta=tta,
            memory=memory,
            step=step,
        )


def scene_statistics(
    model: torch.nn.Module,
    part: Part,
    layers: list[str],
    scaling: Scaling,
    reference: str,
    side: int,
    *,
    device: torch.device,
    precision: str = "fp32",
) -> Statistics:
    """Of windows of that side that cover the part, those without data left out."""
    was_training = model.training
    model.to(device).eval()
    try:
        with collected_statistics(model) as statistics:
            for place in tiles(part.grid.height, part.grid.width, side):
                slab = Slab(part, layers, scaling, reference, place)
                if slab.data.any():
                    inputs = {name: array[None] for name, array in slab.arrays.items()}
                    answered(model, inputs, device, AUTOCAST[precision], tta=False)
    finally:
        model.train(was_training)
    return statistics


def _at_once(
    model: torch.nn.Module,
    part: Part,
    slab: Slab,
    classes: int,
    output_ratio: int,
    *,
    device: torch.device,
    precision: str,
    tta: bool,
) -> Iterator[Strip]:
    height, width = part.grid.height, part.grid.width
    valid = slab.valid(0, height, output_ratio)
    expected = (1, classes, height * output_ratio, width * output_ratio)
    logits = None
    if valid.any():
        was_training = model.training
        model.to(device).eval()
        try:
            inputs = {name: array[None] for name, array in slab.arrays.items()}
            logits = answered(model, inputs, device, AUTOCAST[precision], tta)
        finally:
            model.train(was_training)
        check_answer(logits, expected, part, precision)
    for row in range(0, height, ROWS):
        place = Window(row, 0, min(ROWS, height - row), width).finer(output_ratio)
        seen = valid[place.row : place.row + place.height]
        if logits is None:
            rows = np.zeros((classes, *seen.shape), np.float32)
        else:
            rows = logits[0, :, place.row : place.row + place.height].astype(np.float32)
            rows[:, ~seen] = 0
        yield Strip(place, rows, seen)
