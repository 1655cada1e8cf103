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

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation
from torch import Tensor

from bandweave.data.scene import Part
from bandweave.errors import ConfigError
from bandweave.landcover.predict.net import MEMORY, Net, Slab, Strip, swaths
from bandweave.raster.grid import Window

PATCHES = 256  # that go through the model together
BATCHES = 4  # of patches, from whose logits a strip is made


class PixelPredictor:
    """Maps by a net that answers for one pixel at a time; the net's window is the patch's side.

    memory  bytes for the pixels of a slab, as layers and as the model makes of them

    Raises ConfigError for an overlap or an impossible window or batch; `strips` raises RunError
    where the model answers in another shape or with values that are not finite.
    """

    def __init__(self, net: Net, *, memory: int = MEMORY) -> None:
        self.batch = PATCHES if net.batch is None else net.batch
        if net.window < 1 or self.batch < 1:
            raise ConfigError(f"window {net.window} px and batch {self.batch} must be at least 1")
        if net.overlap is not None:
            raise ConfigError(
                f"overlap {net.overlap} px: this model is fed with a patch around every pixel, "
                f"which overlap in all but one row or column; leave the overlap out"
            )
        self.net, self.memory = net, memory

    def can_divide(self, part: Part) -> bool:
        """Yes: each pixel is asked for itself."""
        return True

    def swath(self, part: Part) -> int:
        """As many columns as the memory holds two patches' rows of."""
        window, beside = self.net.window, int(self.net.output_ratio > 1)
        widest = self.memory // (self._bytes_of_pixel(part) * 2 * window)
        return max(widest - window + 1 - 2 * beside, 1)

    def _bytes_of_pixel(self, part: Part) -> int:
        net = self.net
        layers = sum(4 * net.scaling.bands(n) * part.layers[n].ratio ** 2 for n in net.layers)
        return layers + net.model.bytes_per_pixel

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips down each swath, swaths from left to right; pixels not in `only` are not valid."""
        net, memory, bytes_of = self.net, self.memory, self._bytes_of_pixel(part)
        window, ratio, height = net.window, net.output_ratio, part.grid.height
        before = window // 2  # pixels of a patch above and left of its middle
        beside = int(ratio > 1)  # pixels that interpolation looks at, on each side
        wanted = None if only is None else _cells(only, ratio)
        with net.evaluated():
            for left, right in swaths(part, swath or self.swath(part)):
                first, end = max(left - beside, 0), min(right + beside, part.grid.width)
                span = end - first + window - 1
                rows = max(memory // (bytes_of * span) - window + 1, 1)
                finer = _Finer(ratio, slice(left - first, right - first), left)
                for top in range(0, height, rows):
                    below = min(top + rows, height)
                    ground = Window(top - before, first - before, below - top + window - 1, span)
                    some = wanted is None or wanted[top:below, first:end].any()
                    answer = _SlabAnswer(net, part, ground, self.batch) if some else None
                    lines = max(BATCHES * self.batch // (end - first), 1)
                    for row in range(top, below, lines):
                        place = Window(row, first, min(lines, below - row), end - first)
                        last = row + place.height == height
                        if answer is None:
                            strip = finer.add(*_nothing(place, net.classes, ratio), last)
                        else:
                            seen, fine = (_seen(answer.slab, place, each) for each in (1, ratio))
                            if only is not None and wanted is not None:
                                seen &= wanted[place.slices()]
                                fine &= only[place.finer(ratio).slices()]
                            strip = finer.add(answer(place, seen), seen, fine, last)
                        if strip is not None:
                            yield strip


class _SlabAnswer:
    """Logits of the pixels of a slab; what the model makes of single pixels is made once."""

    def __init__(self, net: Net, part: Part, ground: Window, batch: int) -> None:
        self.net, self.part, self.batch = net, part, batch
        self.slab = slab = net.slab(part, ground)
        self.pixels: Tensor | None = None  # (h, w, F)
        if not net.tta and slab.data.any():
            layers = {
                name: torch.from_numpy(np.ascontiguousarray(array))[None].to(net.device)
                for name, array in slab.arrays.items()
            }
            with net.inference():
                made = net.model.pixels(layers)
                self.pixels = None if made is None else made[0].float()

    def __call__(self, place: Window, seen: np.ndarray) -> np.ndarray:
        """Logits (K, h, w) of the pixels in `place` that `seen` (h, w) says; 0 of others."""
        classes, before = self.net.classes, self.net.window // 2
        logits = np.zeros((classes, *seen.shape), np.float32)
        rows, cols = np.nonzero(seen)
        ground = self.slab.ground
        above, beside = place.row - before - ground.row, place.col - before - ground.col
        for first in range(0, rows.size, self.batch):
            chosen = slice(first, first + self.batch)
            tops, lefts = rows[chosen] + above, cols[chosen] + beside
            found = self._logits(tops, lefts)
            self.net.check(found, (tops.size, classes, 1, 1), self.part)
            logits[:, rows[chosen], cols[chosen]] = found[:, :, 0, 0].T
        return logits

    def _logits(self, tops: np.ndarray, lefts: np.ndarray) -> np.ndarray:
        """Of patches by their upper left corners in the slab: (B, K, 1, 1)."""
        net = self.net
        if self.pixels is None:
            return net.answer(_patches(self.slab, tops, lefts, net.window))[..., :1, :1]
        side = np.arange(net.window)
        rows, cols = (torch.from_numpy(corners[:, None] + side) for corners in (tops, lefts))
        patches = self.pixels[rows[:, :, None], cols[:, None, :]]  # (B, p, p, F)
        with net.inference():
            return net.model.classify(patches).float().cpu().numpy()[:, :, None, None]


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


def _nothing(place: Window, classes: int, ratio: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, seen and fine of a place where no pixel is asked for."""
    finer = place.finer(ratio)
    return (
        np.zeros((classes, place.height, place.width), np.float32),
        np.zeros((place.height, place.width), bool),
        np.zeros((finer.height, finer.width), bool),
    )


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
