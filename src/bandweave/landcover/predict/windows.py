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

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bandweave.data.scene import Part
from bandweave.errors import ConfigError
from bandweave.landcover.predict.blend import Accumulator
from bandweave.landcover.predict.net import MEMORY, Net, Slab, Strip, empty_strip, swaths
from bandweave.raster.grid import Window, tiles

BATCH = 16  # windows
SWATH = 1024  # px of the grid, or four windows if that is more
BLOCK = 512  # px: files are mostly stored in blocks of this size, or a whole part of it


class WindowPredictor:
    """Maps by a net over overlapping windows.

    step    px of the grid: windows begin at its multiples, and the last ones may reach outside
    memory  bytes for the sums of a swath, and as many for the pixels of a slab

    A part smaller than the window is padded: what is outside is 0 after scaling, as in training,
    and left out of the strips. Windows without any data, or any pixel that is asked for, are not
    run. Windows overlap by half where the net does not say.

    Raises ConfigError for an impossible window, overlap or batch; `strips` raises RunError where
    the model answers in another shape or with values that are not finite.
    """

    def __init__(self, net: Net, *, step: int = 1, memory: int = MEMORY) -> None:
        self.batch = BATCH if net.batch is None else net.batch
        if net.window < 1 or self.batch < 1:
            raise ConfigError(f"window {net.window} px and batch {self.batch} must be at least 1")
        self.overlap = net.window // 2 if net.overlap is None else net.overlap
        if not 0 <= self.overlap < net.window:
            raise ConfigError(
                f"overlap {self.overlap} px must be at least 0 and less than the window of "
                f"{net.window} px"
            )
        self.net, self.step, self.memory = net, step, memory

    def can_divide(self, part: Part) -> bool:
        """Yes: windows that no wanted pixel lies in are not run."""
        return True

    def swath(self, part: Part) -> int:
        """As many columns as the memory holds sums of, and no more than pay."""
        net, window = self.net, self.net.window
        column_bytes = 8 * (net.classes + 1) * window * net.output_ratio**2
        columns = max(min(self.memory // column_bytes, max(SWATH, 4 * window)), window)
        return columns - columns % BLOCK if columns > BLOCK else columns

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips down each swath, swaths from left to right.

        Pixels beside those of `only` have the mean of those windows that were run.
        """
        net, memory = self.net, self.memory
        window, ratio, classes = net.window, net.output_ratio, net.classes
        size = window * ratio
        rows = _starts(part.grid.height, window, self.overlap, self.step)
        columns = _starts(part.grid.width, window, self.overlap, self.step)
        with net.evaluated():
            for left, right in swaths(part, swath or self.swath(part)):
                accumulator = Accumulator(classes, size, (right - left) * ratio)
                starts = [col for col in columns if col < right and col + window > left]
                asked = {row: _asked(only, row, starts, window, ratio) for row in rows}
                first, end, last = _bounds(asked, window)
                height = max(memory // _row_bytes(part, net.layers, end - first), window)
                slab: Slab | None = None
                pending = 0  # where the last window that was run ends
                for row, below in zip(rows, [*rows[1:], part.grid.height], strict=True):
                    if asked[row]:
                        if slab is None or not slab.holds(row, window):
                            slab = None  # the memory is for the next one
                            lines = min(height, last - row)
                            slab = net.slab(part, Window(row, first, lines, end - first))
                        accumulator.mark(slab.valid(row, window, ratio), (first - left) * ratio)
                        for col, answer in self._answers(part, slab, row, asked[row]):
                            accumulator.add(answer, (col - left) * ratio)
                        pending = row + window
                    done = Window(row, left, below - row, right - left).finer(ratio)
                    if row < pending:
                        yield Strip(done, *accumulator.take(done.height))
                    else:
                        yield empty_strip(done, classes)

    def _answers(
        self, part: Part, slab: Slab, row: int, cols: list[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """First columns and logits (K, h, w) of those windows of a row that have data."""
        net, size = self.net, self.net.window * self.net.output_ratio
        cols = [col for col in cols if slab.has_data(row, col, net.window)]
        for first in range(0, len(cols), self.batch):
            some = cols[first : first + self.batch]
            logits = net.answer(slab.windows(row, some, net.window))
            net.check(logits, (len(some), net.classes, size, size), part)
            yield from zip(some, logits, strict=True)


def _asked(
    only: np.ndarray | None, row: int, cols: list[int], window: int, ratio: int
) -> list[int]:
    """The first columns of those windows of a row that hold a pixel that is asked for."""
    if only is None:
        return cols
    rows = only[row * ratio : (row + window) * ratio]
    if not rows.any():
        return []
    return [col for col in cols if rows[:, col * ratio : (col + window) * ratio].any()]


def _bounds(asked: Mapping[int, list[int]], window: int) -> tuple[int, int, int]:
    """Of the windows that run, by their rows: the first column, and column and row behind the last.

    >>> _bounds({0: [], 4: [4, 8], 8: [8]}, 8)
    (4, 16, 16)
    """
    running = {row: cols for row, cols in asked.items() if cols}
    if not running:
        return 0, window, window
    first, end = (pick(pick(cols) for cols in running.values()) for pick in (min, max))
    return first, end + window, max(running) + window


def _starts(length: int, window: int, overlap: int, step: int) -> list[int]:
    """Where windows begin along a side; the last one at the next multiple of `step`."""
    starts = [tile.row for tile in tiles(length, window, window, overlap)]
    return [*starts[:-1], -(-starts[-1] // step) * step]


def _row_bytes(part: Part, names: Sequence[str], width: int) -> int:
    """What a row of the grid takes in float32, all layers together."""
    layers = [part.layers[name] for name in names]
    return 4 * width * max(sum(layer.source.bands * layer.ratio**2 for layer in layers), 1)
