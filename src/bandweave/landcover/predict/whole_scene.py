"""A part's logits from a model that takes whole scenes: at once where that fits, else in windows.

What such a model makes of a pixel depends on all that it is given, through its norms and its
routers. So where a part is too large to go in whole, a first pass over its windows side by side
collects their statistics (nn/window_statistics.py), and a second one over overlapping windows is
made with these instead of each window's own: one set of norms and one choice of experts for all of
the part. The windows begin where the model's own pixels do in the part.

Which way a part goes follows from its size and the model alone, not from the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isqrt

import numpy as np

from bandweave.data.scene import Part
from bandweave.errors import ConfigError
from bandweave.landcover.predict.net import MEMORY, Net, Strip
from bandweave.landcover.predict.windows import BATCH, WindowPredictor
from bandweave.nn.window_statistics import Statistics, collect_statistics, freeze_statistics
from bandweave.raster.grid import Window, tiles

WHOLE = 2 * 2**30  # bytes: a part that takes no more, as the model counts them, goes in at once
ROWS = 256  # px of the grid: of a strip of a part that went in at once


class ScenePredictor:
    """Maps by a net that takes whole parts: at once what fits, else in windows.

    memory  bytes, as of WindowPredictor
    whole   bytes: a larger part, of a model that was trained on whole ones, goes in windows

    The net's window is the side of the windows that the model was trained on; 0: it was trained on
    whole parts. A part goes in whole, whatever its form, if it is no larger than the window, or
    fits where the window is 0. Windows are no larger than the part's shorter side, so that nothing
    is padded to a square; they overlap by about half where the net does not say.
    """

    def __init__(self, net: Net, *, memory: int = MEMORY, whole: int = WHOLE) -> None:
        self.net, self.memory, self.whole = net, memory, whole

    def can_divide(self, part: Part) -> bool:
        """No: a part goes in at once, or its statistics are taken from all of it before."""
        return False

    def swath(self, part: Part) -> int:
        """All columns of a part that goes in whole, else those of windows."""
        windows = self._windows(part)
        return part.grid.width if windows is None else windows.swath(part)

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips of the part; `only` spares windows where it does not go in at once.

        Raises ConfigError for an overlap that the windows cannot have, else as WindowPredictor.
        """
        windows = self._windows(part)
        if windows is None:
            yield from self._at_once(part, swath or part.grid.width)
            return
        with freeze_statistics(self.net.model, self.statistics(part, windows.net.window)):
            yield from windows.strips(part, only, swath)

    def _windows(self, part: Part) -> WindowPredictor | None:
        """Windows as large as fit; None for a part that goes in whole."""
        net, whole, pixel = self.net, self.whole, self.net.model.bytes_per_pixel
        height, width, window = part.grid.height, part.grid.width, net.window
        if max(height, width) <= window if window else height * width * pixel <= whole:
            return None
        step = net.model.window_step
        side = min(window or isqrt(whole // pixel), height, width)
        side = max(side - side % step, step)
        if net.overlap is not None and not 0 <= net.overlap < side:
            raise ConfigError(
                f"overlap {net.overlap} px must be at least 0 and below the window's {side} px"
            )
        overlap = side // 2 if net.overlap is None else net.overlap
        stride = max((side - overlap) // step * step, step)
        batch = BATCH if net.batch is None else net.batch
        windows = replace(
            net,
            window=side,
            overlap=side - min(stride, side),
            batch=max(min(batch, whole // (side**2 * pixel)), 1),
        )
        return WindowPredictor(windows, step=step, memory=self.memory)

    def statistics(self, part: Part, side: int) -> Statistics:
        """Of windows of that side that cover the part, those without data left out."""
        net = replace(self.net, tta=False)
        with net.evaluated(), collect_statistics(net.model) as statistics:
            for place in tiles(part.grid.height, part.grid.width, side):
                slab = net.slab(part, place)
                if slab.data.any():
                    net.answer({name: array[None] for name, array in slab.arrays.items()})
        return statistics

    def _at_once(self, part: Part, swath: int) -> Iterator[Strip]:
        net, height, width = self.net, part.grid.height, part.grid.width
        ratio = net.output_ratio
        slab = net.slab(part, Window(0, 0, height, width))
        valid = slab.valid(0, height, ratio)
        logits = None
        if valid.any():
            with net.evaluated():
                logits = net.answer({name: array[None] for name, array in slab.arrays.items()})
            net.check(logits, (1, net.classes, height * ratio, width * ratio), part)
        for columns in part.grid.window.divide(height, swath):
            for piece in columns.divide(ROWS, swath):
                place = piece.finer(ratio)
                seen = valid[place.slices()]
                if logits is None:
                    rows = np.zeros((net.classes, *seen.shape), np.float32)
                else:
                    rows = logits[0, :, *place.slices()].astype(np.float32)
                    rows[:, ~seen] = 0
                yield Strip(place, rows, seen)
