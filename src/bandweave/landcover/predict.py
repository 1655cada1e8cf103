"""A part's logits as a stream of finished strips, whatever its size.

Windows of the training crop's size go through the model row by row of windows, each overlapping
the next; their logits are blended (landcover/blend.py) on the output grid, `output_ratio` times
finer than the part's. A strip leaves as soon as no later window touches it. Only the sums under
one row of windows are held, at most `ACCUMULATOR_BYTES`: a wider part goes through in swaths of
columns, one after the other, and the windows across the border of two swaths run in both. So
memory follows from window, batch, bands and classes, and not from the part's rows or columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch

from bandweave.data.scene import Part
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.blend import Accumulator
from bandweave.raster.grid import Window, tiles

if TYPE_CHECKING:
    from bandweave.data.scaling import Scaling

ACCUMULATOR_BYTES = 64 * 2**20
SWATH_ALIGNMENT = 512  # px: the block size of the files that are read and written
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Strip:
    """Finished rows of a part.

    window   where, on the output grid
    logits   (K, h, w) float32, 0 where not valid
    valid    (h, w) bool: the reference layer has data
    """

    window: Window
    logits: np.ndarray
    valid: np.ndarray


def stream_logits(
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
    batch: int = 8,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    tta: bool = False,
    accumulator_bytes: int = ACCUMULATOR_BYTES,
) -> Iterator[Strip]:
    """Map a part: strips that cover it once, down each swath, swaths from left to right.

    layers        names that the model takes
    reference     name of the layer whose data decide where there is a map
    classes       K
    window        side of the square windows in px of the part's grid: the training crop's
    output_ratio  how many times finer than the grid the model answers
    overlap       px of the grid that neighbouring windows share; None for half a window
    batch         windows that go through the model together
    precision     fp32, bf16 or fp16 (autocast)
    tta           mean over the eight flips and rotations of each window; takes eight times as long

    A part smaller than the window is padded: what is outside is 0 after scaling, as in training,
    and left out of the strips. Windows without any data are not run. The same part and options
    give the same strips. The model's training mode is restored at the end.

    Raises ConfigError for an impossible window, overlap, batch or precision, and RunError where
    the model answers in another shape or with values that are not finite.
    """
    if window < 1 or batch < 1:
        raise ConfigError(f"window {window} px and batch {batch} must both be at least 1")
    overlap = window // 2 if overlap is None else overlap
    if not 0 <= overlap < window:
        raise ConfigError(
            f"overlap {overlap} px must be at least 0 and less than the window of {window} px"
        )
    if precision not in AUTOCAST:
        raise ConfigError(f"precision '{precision}' is none of {', '.join(AUTOCAST)}")
    device = torch.device(device)
    names = list(layers)
    size = window * output_ratio
    rows = [tile.row for tile in tiles(part.grid.height, window, window, overlap)]
    columns = [tile.col for tile in tiles(window, part.grid.width, window, overlap)]

    was_training = model.training
    model.to(device).eval()
    try:
        for left, right in _swaths(
            part.grid.width, classes, window, output_ratio, accumulator_bytes
        ):
            accumulator = Accumulator(classes, size, (right - left) * output_ratio)
            starts = [col for col in columns if col < right and col + window > left]
            for row, below in zip(rows, [*rows[1:], part.grid.height], strict=True):
                for first in range(0, len(starts), batch):
                    cols = starts[first : first + batch]
                    offset = (cols[0] - left) * output_ratio
                    inputs, kept, valid = _read(
                        part, names, scaling, reference, row, cols, window, output_ratio
                    )
                    accumulator.mark(valid, offset)
                    if not kept:
                        continue
                    logits = _predict(model, inputs, device, AUTOCAST[precision], tta)
                    _check(logits, (len(kept), classes, size, size), part, precision)
                    for col, answer in zip(kept, logits, strict=True):
                        accumulator.add(answer, (col - left) * output_ratio)
                done = Window(row, left, below - row, right - left).finer(output_ratio)
                yield Strip(done, *accumulator.take(done.height))
    finally:
        model.train(was_training)


def _swaths(
    width: int, classes: int, window: int, output_ratio: int, limit: int
) -> Iterator[tuple[int, int]]:
    """First and past-the-last column of each swath, in px of the grid."""
    column_bytes = 8 * (classes + 1) * window * output_ratio**2
    step = max(limit // column_bytes, window)
    if step > SWATH_ALIGNMENT:
        step -= step % SWATH_ALIGNMENT
    for left in range(0, width, step):
        yield left, min(left + step, width)


def _read(
    part: Part,
    names: list[str],
    scaling: Scaling,
    reference: str,
    row: int,
    cols: list[int],
    window: int,
    output_ratio: int,
) -> tuple[dict[str, np.ndarray], list[int], np.ndarray]:
    """Scaled layers (B, C, h·r, w·r) of the neighbouring windows at `cols` that hold any data, the
    columns of those, and where the reference layer has data on the output grid (size, span).

    The ground under all of them is read once.
    """
    span = Window(row, cols[0], window, cols[-1] + window - cols[0])
    values, has_data = part.layers[reference].read(span)

    def cut(array: np.ndarray, col: int, ratio: int) -> np.ndarray:
        start = (col - cols[0]) * ratio
        return array[..., start : start + window * ratio]

    ratio = part.layers[reference].ratio
    valid = _resample(has_data, ratio, output_ratio)
    kept = [col for col in cols if cut(has_data, col, ratio).any()]
    inputs = {}
    for name in names if kept else ():
        layer = part.layers[name]
        read = (values, has_data) if name == reference else layer.read(span)
        scaled = scaling.apply(name, *read)
        inputs[name] = np.stack([cut(scaled, col, layer.ratio) for col in kept])
    return inputs, kept, valid


def _resample(valid: np.ndarray, ratio: int, output_ratio: int) -> np.ndarray:
    """A mask `ratio` times finer than the grid, on the output grid: a pixel there has data where
    any pixel of the mask that it touches has.
    """
    common = gcd(ratio, output_ratio)
    repeat, reduce = output_ratio // common, ratio // common
    valid = valid.repeat(repeat, axis=0).repeat(repeat, axis=1)
    height, width = valid.shape[0] // reduce, valid.shape[1] // reduce
    return np.logical_or.reduce(valid.reshape(height, reduce, width, reduce), axis=(1, 3))


@torch.inference_mode()
def _predict(
    model: torch.nn.Module,
    inputs: dict[str, np.ndarray],
    device: torch.device,
    autocast: torch.dtype | None,
    tta: bool,
) -> np.ndarray:
    """Logits (B, K, size, size): float32, or their float64 mean over flips and rotations."""
    tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}

    def forward(flip: bool, turns: int) -> np.ndarray:
        seen = {
            name: torch.rot90(tensor.flip(-1) if flip else tensor, turns, (-2, -1)).contiguous()
            for name, tensor in tensors.items()
        }
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            logits = model(seen).logits
        logits = torch.rot90(logits.float(), -turns, (-2, -1))
        return (logits.flip(-1) if flip else logits).cpu().numpy()

    if not tta:
        return forward(flip=False, turns=0)
    views = [(flip, turns) for flip in (False, True) for turns in range(4)]
    total = forward(*views[0]).astype(np.float64)
    for view in views[1:]:
        total += forward(*view)
    return total / len(views)


def _check(logits: np.ndarray, expected: tuple[int, ...], part: Part, precision: str) -> None:
    if logits.shape != expected:
        raise RunError(
            f"the model answered logits of shape {logits.shape} where (windows, classes, rows, "
            f"columns) are {expected}; its classes, window or output ratio are not the run's"
        )
    if not np.isfinite(logits).all():
        hint = "the run diverged in training" if precision == "fp32" else "map with precision fp32"
        raise RunError(
            f"the model's logits are not finite in part '{part.name}' at precision {precision}: "
            f"{hint}"
        )
