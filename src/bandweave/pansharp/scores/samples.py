"""Places of a scored pair that a report shows: what each method made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bandweave.pansharp.pair.wald import ReducedPair
from bandweave.pansharp.pair.window import PairSource
from bandweave.raster.grid import Window, spread_windows

if TYPE_CHECKING:
    from bandweave.pansharp.scores.pairs import PairFacts

REGION = 256  # pixels of the PAN that is scored
CROP = 64
LOOKED = 5  # regions along each side of a pair that are compared


@dataclass
class Sample:
    """A region of a pair, at reduced resolution or at full.

    place    of the region on the scored PAN grid
    crops    of the region: where PAN has the most detail, and where colours differ most
    pan      (H, W)
    ms       (C, H, W) interpolated
    truth    (C, H, W) at reduced resolution; None at full resolution
    valid    (H, W) bool
    images   (C, H, W) of each method
    """

    facts: PairFacts
    place: Window
    crops: tuple[Window, ...]
    pan: np.ndarray
    ms: np.ndarray
    truth: np.ndarray | None
    valid: np.ndarray
    images: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """By which it was scored: there is a truth at reduced resolution only."""
        return "full" if self.truth is None else "reduced"


def take_sample(pair: PairSource, facts: PairFacts) -> Sample:
    """Take the region of a pair where PAN has the most detail, of 25 at most that are looked at."""
    best, place = -1.0, None
    for window in _choose_regions((pair.grid.height, pair.grid.width)):
        seen = pair.read(window)
        share = float(seen.pan_valid.mean())
        found = share * float(_detail(seen.pan)[seen.pan_valid].mean()) if share > 0 else 0.0
        if found > best:
            best, place = found, window
    assert place is not None
    seen = pair.read(place, 4 * pair.ratio)
    rows, cols = seen.core
    ms = seen.interpolate()[:, rows, cols]
    truth, valid = None, seen.valid[rows, cols]
    if isinstance(pair, ReducedPair):
        truth, valid = pair.read_truth(place)
    pan = seen.pan[rows, cols]
    crops = choose_crops(pan, ms if truth is None else truth, valid)
    return Sample(facts, place, crops, pan, ms, truth, valid)


def _choose_regions(shape: tuple[int, int]) -> list[Window]:
    sizes = [min(REGION, length) for length in shape]
    numbers = [min(LOOKED, length // size) for length, size in zip(shape, sizes, strict=True)]
    return spread_windows(shape, sizes, numbers)


def _detail(pan: np.ndarray) -> np.ndarray:
    return np.abs(pan - ndimage.uniform_filter(pan, 5, mode="nearest"))


def choose_crops(pan: np.ndarray, bands: np.ndarray, valid: np.ndarray) -> tuple[Window, ...]:
    """Squares of the region that do not overlap, those with holes last."""
    size = tuple(min(CROP, length) for length in pan.shape)
    total = bands.sum(axis=0)
    colours = bands / np.where(total == 0, 1, total)
    variety = np.abs(colours - ndimage.uniform_filter(colours, (1, 31, 31), mode="nearest"))
    chosen: list[Window] = []
    for measure in (_detail(pan), variety.sum(axis=0)):
        best, window = -np.inf, None
        for row in range(0, pan.shape[0] - size[0] + 1, 16):
            for col in range(0, pan.shape[1] - size[1] + 1, 16):
                candidate = Window(row, col, *size)
                if any(_overlap(candidate, other) for other in chosen):
                    continue
                at = candidate.slices()
                found = float((measure[at] * valid[at]).mean())
                if found > best:
                    best, window = found, candidate
        if window is not None:
            chosen.append(window)
    return tuple(chosen)


def _overlap(one: Window, other: Window) -> bool:
    return abs(one.row - other.row) < one.height and abs(one.col - other.col) < one.width
