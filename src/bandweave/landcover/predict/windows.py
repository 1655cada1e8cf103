"""A part's logits as a stream of finished strips, whatever its size.

Windows of the training crop's size go through the model row by row of windows, each overlapping
the next; their logits are blended (blend.py) on the output grid, `output_ratio` times
finer than the part's. A strip leaves as soon as no later window touches it.

What is held at a time follows from window, batch, bands and classes, and not from the part's rows
or columns: a part goes through in swaths of columns, one after the other, and a swath in slabs of
rows. The sums of a swath's unfinished rows take at most `MEMORY` bytes, and so do the pixels of a
slab, unless a single window takes more. The windows across the border of two swaths run in both.
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
from bandweave.landcover.predict.blend import Accumulator
from bandweave.raster.grid import Window, tiles

if TYPE_CHECKING:
    from bandweave.data.scaling import Scaling

MEMORY = 64 * 2**20  # bytes
BATCH = 16  # windows
SWATH = 1024  # px of the grid, or four windows if that is more
BLOCK = 512  # px: files are mostly stored in blocks of this size, or a whole part of it
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
    batch: int = BATCH,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    tta: bool = False,
    memory: int = MEMORY,
    step: int = 1,
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
    memory        bytes for the sums of a swath, and as many for the pixels of a slab
    step          windows begin at its multiples; the last ones may reach outside for that

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
    rows = _starts(part.grid.height, window, overlap, step)
    columns = _starts(part.grid.width, window, overlap, step)

    was_training = model.training
    model.to(device).eval()
    try:
        for left, right in _swaths(part.grid.width, classes, window, output_ratio, memory):
            accumulator = Accumulator(classes, size, (right - left) * output_ratio)
            starts = [col for col in columns if col < right and col + window > left]
            span = starts[-1] + window - starts[0]
            height = max(memory // _row_bytes(part, names, span), window)
            slab: Slab | None = None
            for row, below in zip(rows, [*rows[1:], part.grid.height], strict=True):
                if slab is None or not slab.holds(row, window):
                    slab = None  # the memory is for the next one
                    ground = Window(row, starts[0], min(height, rows[-1] + window - row), span)
                    slab = Slab(part, names, scaling, reference, ground)
                accumulator.mark(
                    slab.valid(row, window, output_ratio), (starts[0] - left) * output_ratio
                )
                with_data = [col for col in starts if slab.has_data(row, col, window)]
                for first in range(0, len(with_data), batch):
                    cols = with_data[first : first + batch]
                    inputs = slab.windows(row, cols, window)
                    logits = answered(model, inputs, device, AUTOCAST[precision], tta)
                    check_answer(logits, (len(cols), classes, size, size), part, precision)
                    for col, answer in zip(cols, logits, strict=True):
                        accumulator.add(answer, (col - left) * output_ratio)
                done = Window(row, left, below - row, right - left).finer(output_ratio)
                yield Strip(done, *accumulator.take(done.height))
    finally:
        model.train(was_training)


def _starts(length: int, window: int, overlap: int, step: int) -> list[int]:
    """Where windows begin along a side; the last one at the next multiple of `step`."""
    starts = [tile.row for tile in tiles(length, window, window, overlap)]
    return [*starts[:-1], -(-starts[-1] // step) * step]


def _swaths(
    width: int, classes: int, window: int, output_ratio: int, memory: int
) -> Iterator[tuple[int, int]]:
    """First and past-the-last column of each swath, in px of the grid."""
    column_bytes = 8 * (classes + 1) * window * output_ratio**2
    step = max(min(memory // column_bytes, max(SWATH, 4 * window)), window)
    if step > BLOCK:
        step -= step % BLOCK
    for left in range(0, width, step):
        yield left, min(left + step, width)


def _row_bytes(part: Part, names: list[str], width: int) -> int:
    """What a row of the grid takes in float32, all layers together."""
    layers = [part.layers[name] for name in names]
    return 4 * width * max(sum(layer.source.bands * layer.ratio**2 for layer in layers), 1)


class Slab:
    """Scaled layers of some rows of a swath, read at once; windows are cut from them."""

    def __init__(
        self, part: Part, names: list[str], scaling: Scaling, reference: str, ground: Window
    ) -> None:
        self.ground = ground
        self.ratios = {name: part.layers[name].ratio for name in names}
        self.reference_ratio = part.layers[reference].ratio
        self.arrays: dict[str, np.ndarray] = {}
        if reference in names:
            scaled, self.data = scaling.read(reference, part.layers[reference], ground)
            self.arrays[reference] = scaled
        else:
            _, self.data = part.layers[reference].read(ground)
        if self.data.any():
            for name in names:
                if name != reference:
                    self.arrays[name], _ = scaling.read(name, part.layers[name], ground)

    def holds(self, row: int, window: int) -> bool:
        """Whether a row of windows lies in it."""
        return self.ground.row <= row and row + window <= self.ground.row + self.ground.height

    def has_data(self, row: int, col: int, window: int) -> bool:
        """Whether the reference layer has any data in a window."""
        return bool(self._cut(self.data, self.reference_ratio, row, col, window).any())

    def valid(self, row: int, window: int, output_ratio: int) -> np.ndarray:
        """Where the reference layer has data in a row of windows, on the output grid."""
        top = (row - self.ground.row) * self.reference_ratio
        rows = self.data[top : top + window * self.reference_ratio]
        return _resample(rows, self.reference_ratio, output_ratio)

    def windows(self, row: int, cols: list[int], window: int) -> dict[str, np.ndarray]:
        """Windows of every layer, (B, C, h·r, w·r)."""
        return {
            name: np.stack([self._cut(array, self.ratios[name], row, col, window) for col in cols])
            for name, array in self.arrays.items()
        }

    def _cut(self, array: np.ndarray, ratio: int, row: int, col: int, window: int) -> np.ndarray:
        top, left = (row - self.ground.row) * ratio, (col - self.ground.col) * ratio
        return array[..., top : top + window * ratio, left : left + window * ratio]


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
def answered(
    model: torch.nn.Module,
    inputs: dict[str, np.ndarray],
    device: torch.device,
    autocast: torch.dtype | None,
    tta: bool,
) -> np.ndarray:
    """Logits (B, K, h, w): float32, or their float64 mean over flips and rotations."""
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


def check_answer(logits: np.ndarray, expected: tuple[int, ...], part: Part, precision: str) -> None:
    """Raises RunError for logits of another shape, or that are not finite."""
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
