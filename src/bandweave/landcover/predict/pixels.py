"""A part's logits from a model that answers for one pixel at a time, from the patch around it.

Every pixel of the grid with data goes through the model once. What the model makes of single pixels
(its `pixels`) is computed once for a slab of rows, and patches are cut from that, so neighbouring
patches share it. Where labels are finer than the grid, the logits of the grid's pixels are
interpolated between those that have data.

What is held at a time follows from bands, classes and `memory`, and not from the part's size: a
part goes through in swaths of columns as wide as memory allows, a swath in slabs of rows. Where
logits are interpolated, the columns beside the border of two swaths run in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation
from torch import Tensor

from bandweave.data.scene import Part
from bandweave.errors import ConfigError
from bandweave.landcover.predict.windows import (
    AUTOCAST,
    MEMORY,
    Slab,
    Strip,
    answered,
    check_answer,
)
from bandweave.raster.grid import Window

if TYPE_CHECKING:
    from bandweave.data.scaling import Scaling

PATCHES = 256  # that go through the model together
BATCHES = 4  # of patches, from whose logits a strip is made


def stream_pixels(
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
    batch: int = PATCHES,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    tta: bool = False,
    memory: int = MEMORY,
    only: np.ndarray | None = None,
) -> Iterator[Strip]:
    """As `predict.stream_logits`, for a model that has `pixels`, `classify` and `bytes_per_pixel`.

    window   side of the patches in px of the grid
    overlap  None: patches around neighbouring pixels overlap as they do
    batch    patches that go through the model together
    memory   bytes for the pixels of a slab, as layers and as the model makes of them
    only     (H·ratio, W·ratio) bool: pixels to answer for, others are not valid; None for all

    Raises ConfigError for an overlap or an impossible window, batch or precision, and RunError
    where the model answers in another shape or with values that are not finite.
    """
    if window < 1 or batch < 1:
        raise ConfigError(f"window {window} px and batch {batch} must both be at least 1")
    if overlap is not None:
        raise ConfigError(
            f"overlap {overlap} px: this model is fed with a patch around every pixel, which "
            f"overlap in all but one row or column; leave the overlap out"
        )
    if precision not in AUTOCAST:
        raise ConfigError(f"precision '{precision}' is none of {', '.join(AUTOCAST)}")
    names, height = list(layers), part.grid.height
    answer = _Answer(model, part, classes, torch.device(device), precision, tta, batch)
    before = window // 2  # pixels of a patch above and left of its middle
    beside = int(output_ratio > 1)  # pixels that interpolation looks at, on each side
    wanted = None if only is None else _cells(only, output_ratio)
    bytes_of = sum(4 * scaling.bands(name) * part.layers[name].ratio ** 2 for name in names)
    bytes_of += int(model.bytes_per_pixel)  # type: ignore[arg-type]

    was_training = model.training
    model.to(answer.device).eval()
    try:
        widest = max(memory // (bytes_of * 2 * window) - window + 1 - 2 * beside, 1)
        for left in range(0, part.grid.width, widest):
            right = min(left + widest, part.grid.width)
            first, end = max(left - beside, 0), min(right + beside, part.grid.width)
            span = end - first + window - 1
            rows = max(memory // (bytes_of * span) - window + 1, 1)
            finer = _Finer(output_ratio, slice(left - first, right - first), left)
            for top in range(0, height, rows):
                below = min(top + rows, height)
                ground = Window(top - before, first - before, below - top + window - 1, span)
                slab = Slab(part, names, scaling, reference, ground)
                answer.take(slab)
                lines = max(BATCHES * batch // (end - first), 1)
                for row in range(top, below, lines):
                    place = Window(row, first, min(lines, below - row), end - first)
                    seen, fine = _seen(slab, place, 1), _seen(slab, place, output_ratio)
                    if only is not None and wanted is not None:
                        seen &= wanted[place.slices()]
                        fine &= only[place.finer(output_ratio).slices()]
                    last = row + place.height == height
                    strip = finer.add(answer(place, seen, window), seen, fine, last)
                    if strip is not None:
                        yield strip
    finally:
        model.train(was_training)


class _Answer:
    """Logits of the pixels of a slab."""

    def __init__(
        self,
        model: Any,
        part: Part,
        classes: int,
        device: torch.device,
        precision: str,
        tta: bool,
        batch: int,
    ) -> None:
        self.model, self.part, self.classes, self.device = model, part, classes, device
        self.precision, self.tta, self.batch = precision, tta, batch
        self.autocast = AUTOCAST[precision]

    def take(self, slab: Slab) -> None:
        """Make what the model makes of single pixels, of a slab that has any data."""
        self.slab = slab
        self.pixels: Tensor | None = None
        if not self.tta and slab.data.any():
            layers = {
                name: torch.from_numpy(np.ascontiguousarray(array))[None].to(self.device)
                for name, array in slab.arrays.items()
            }
            self.pixels = self._computed(self.model.pixels, layers)[0]  # (h, w, F)

    def __call__(self, place: Window, seen: np.ndarray, window: int) -> np.ndarray:
        """Logits (K, h, w) of the pixels in `place` that `seen` (h, w) says; 0 of others."""
        logits = np.zeros((self.classes, *seen.shape), np.float32)
        rows, cols = np.nonzero(seen)
        ground, before = self.slab.ground, window // 2
        above, beside = place.row - before - ground.row, place.col - before - ground.col
        for first in range(0, rows.size, self.batch):
            chosen = slice(first, first + self.batch)
            tops, lefts = rows[chosen] + above, cols[chosen] + beside
            found = self._logits(tops, lefts, window)
            check_answer(found, (tops.size, self.classes, 1, 1), self.part, self.precision)
            logits[:, rows[chosen], cols[chosen]] = found[:, :, 0, 0].T
        return logits

    def _logits(self, tops: np.ndarray, lefts: np.ndarray, window: int) -> np.ndarray:
        """Of patches by their upper left corners in the slab: (B, K, 1, 1)."""
        if self.pixels is None:
            inputs = _patches(self.slab, tops, lefts, window)
            return answered(self.model, inputs, self.device, self.autocast, self.tta)[..., :1, :1]
        side = np.arange(window)
        rows, cols = (torch.from_numpy(corners[:, None] + side) for corners in (tops, lefts))
        patches = self.pixels[rows[:, :, None], cols[:, None, :]]  # (B, p, p, F)
        return self._computed(self.model.classify, patches).cpu().numpy()[:, :, None, None]

    @torch.inference_mode()
    def _computed(self, part_of_model: Any, inputs: Any) -> Tensor:
        autocast = self.autocast
        with torch.autocast(self.device.type, dtype=autocast, enabled=autocast is not None):
            return part_of_model(inputs).float()


class _Finer:
    """Rows of logits as they come to finished strips, `ratio` times finer.

    columns  of the rows that a strip keeps
    left     where they are in the part, in px of the grid
    """

    def __init__(self, ratio: int, columns: slice, left: int) -> None:
        self.ratio, self.columns, self.left = ratio, columns, left
        self.row = 0  # of the grid: the first that is not finished
        self.above = 0  # rows before that, which are only looked at
        self.kept: tuple[list[np.ndarray], ...] = [], [], []  # logits, seen, fine

    def add(
        self, logits: np.ndarray, seen: np.ndarray, fine: np.ndarray, last: bool
    ) -> Strip | None:
        """Take the rows that follow; give those that nothing below can change."""
        ratio, above, columns = self.ratio, self.above, _times(self.columns, self.ratio)
        logits = np.concatenate([*self.kept[0], logits], axis=1)
        seen = np.concatenate([*self.kept[1], seen])
        fine = np.concatenate([*self.kept[2], fine[:, columns]])
        end = seen.shape[0] - (ratio > 1 and not last)  # the last row waits for the one below it
        if end == above:
            self.kept = [logits], [seen], [fine]
            return None
        found = logits if ratio == 1 else _interpolated(logits, seen, ratio)
        found = found[:, _times(slice(above, end), ratio), columns]
        done = Window(self.row, self.left, end - above, self.columns.stop - self.columns.start)
        valid, rest = fine[: done.height * ratio], fine[done.height * ratio :]
        self.row, self.above = self.row + done.height, int(ratio > 1)
        keep = end - self.above
        self.kept = [logits[:, keep:]], [seen[keep:]], [rest]
        return Strip(done.finer(ratio), np.where(valid, found, np.float32(0)), valid)


def _times(part: slice, ratio: int) -> slice:
    return slice(part.start * ratio, part.stop * ratio)


def _interpolated(logits: np.ndarray, seen: np.ndarray, ratio: int) -> np.ndarray:
    """Bilinear between pixels that are seen: (K, h, w) and (h, w) to (K, h·ratio, w·ratio)."""
    weights = torch.from_numpy(seen.astype(np.float32))[None, None]
    values = torch.from_numpy(logits)[None] * weights
    both = torch.cat([values, weights], dim=1)
    fine = F.interpolate(both, scale_factor=ratio, mode="bilinear")[0]
    return (fine[:-1] / fine[-1:].clamp(min=1e-6)).numpy()


def _patches(slab: Slab, tops: np.ndarray, lefts: np.ndarray, window: int) -> dict[str, np.ndarray]:
    """Patches of every layer (B, C, p·r, p·r), by their upper left corners in the slab."""
    patches = {}
    for name, array in slab.arrays.items():
        ratio = slab.ratios[name]
        patches[name] = np.stack(
            [
                array[
                    :,
                    _times(slice(top, top + window), ratio),
                    _times(slice(left, left + window), ratio),
                ]
                for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
            ]
        )
    return patches


def _cells(only: np.ndarray, ratio: int) -> np.ndarray:
    """The grid's pixels (H, W) that those of a grid `ratio` times finer need: with interpolation,
    also the eight around each."""
    height, width = only.shape[0] // ratio, only.shape[1] // ratio
    cells = np.asarray(only.reshape(height, ratio, width, ratio).any(axis=(1, 3)))
    return cells if ratio == 1 else binary_dilation(cells, np.ones((3, 3), bool))


def _seen(slab: Slab, place: Window, ratio: int) -> np.ndarray:
    """Where the reference layer has data in a place of the grid, `ratio` times finer."""
    start = (place.col - slab.ground.col) * ratio
    return slab.valid(place.row, place.height, ratio)[:, start : start + place.width * ratio]
