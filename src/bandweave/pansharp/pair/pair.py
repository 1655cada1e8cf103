"""A PAN and an MS image of the same ground, read together by window.

The output's grid is the PAN grid, cropped to the MS pixels that lie wholly on the PAN image: it is
`ratio` times the MS pixels high and wide, and the MS corner lies at most half a PAN pixel from its
corner. Values are those that the files mean, with scale and offset applied, in float32 (exact to
16,777,216): methods that divide or weigh bands must not depend on how a file stores them. What is
written has the MS file's scale and offset again (pansharp/storage.py).

An MS image that was resampled to the PAN grid before is brought back to `ratio` times coarser
pixels as it is read, so that every method meets the same kind of pair: a coarse pixel is the mean
of its central 2×2 fine pixels, or its central one where the ratio is odd. Interpolated values have
no finer detail to be lost by that, and a wider mean would blur them a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from bandweave.errors import GridMismatch
from bandweave.pansharp.pair.nesting import Nesting, common_area
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.source import WindowSource


class Pair(PairSource):
    """A PAN and an MS source, and how their pixels lie to each other; nothing is read yet.

    pan, ms      sources; their values are taken as they come, scale and offset applied
    nesting      of the whole MS image on the whole PAN image, its ratio included
    resampled    the MS image has the PAN image's pixel size; `nesting` tells of its coarse pixels,
                 the first of which begins with its first pixel
    notes        what a user should know of the pair, sentences

    pan_dtype, ms_dtype   as stored
    scales, offsets       of the MS bands' stored values, or None

    A PAN without a transform has the place of the MS. Raises GridMismatch where no MS pixel lies
    wholly on the PAN image.
    """

    def __init__(
        self,
        pan: WindowSource,
        ms: WindowSource,
        nesting: Nesting,
        *,
        resampled: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.pan, self.ms, self.placed, self.resampled = pan, ms, nesting, resampled
        self.ratio, self.bands = nesting.ratio, ms.bands
        self.pan_dtype, self.ms_dtype = pan.dtype, ms.dtype
        self.scales, self.offsets = ms.info.scales, ms.info.offsets
        infos = pan.info, ms.info
        self.scaled = any(info.scales is not None or info.offsets is not None for info in infos)
        names = ms.info.names or ("",) * ms.bands
        self.names = tuple(name or f"band {i}" for i, name in enumerate(names, 1))
        step = self.ratio if resampled else 1
        area = common_area(
            nesting,
            (pan.grid.height, pan.grid.width),
            (ms.grid.height // step, ms.grid.width // step),
        )
        if area is None:
            raise GridMismatch(
                f"no MS pixel lies wholly on the PAN image: PAN is {pan.grid}, MS {ms.grid}, its "
                f"upper left corner {nesting.row:g} PAN pixels down and {nesting.col:g} to the "
                "right of PAN's; check that the two files show the same place"
            )
        self._pan_crop, self._ms_crop, self.nesting = area.pan, area.ms, area.nesting
        self._given_notes = tuple(notes)
        self.notes = [*notes, *([area.note] if area.note else [])]
        whole, size = pan.grid, area.pan[2:]
        if ms.grid.georeferenced and not whole.georeferenced:
            finer = ms.grid.finer(1 if resampled else self.ratio)
            whole = Grid(whole.height, whole.width, finer.transform, whole.crs or ms.grid.crs)
        georeferenced = whole.georeferenced
        self.grid = whole.crop(area.pan) if georeferenced else Grid(*size, PIXELS, whole.crs)

    @property
    def ms_shape(self) -> tuple[int, int]:
        """Rows and columns of the MS pixels: 1/ratio of the grid's."""
        return self._ms_crop.height, self._ms_crop.width

    def move(self, row: float, col: float) -> Pair:
        """The pair with its MS image moved down and right by PAN pixels.

        The output's grid stays PAN's, and may lose pixels at the border. Raises GridMismatch where
        nothing in common is left.
        """
        placed = Nesting(self.ratio, self.placed.row + row, self.placed.col + col)
        return self._of(self.pan, self.ms, placed)

    def load(self) -> Pair:
        """The pair with the pixels of both images in memory, as float32."""
        pan, ms = (
            ArraySource(
                source.read_nan(source.grid.window),
                source.grid,
                info=replace(source.info, scales=None, offsets=None),
            )
            for source in (self.pan, self.ms)
        )
        return self._of(pan, ms, self.placed)

    def _of(self, pan: WindowSource, ms: WindowSource, placed: Nesting) -> Pair:
        return Pair(pan, ms, placed, resampled=self.resampled, notes=self._given_notes)

    def read(self, window: Window, margin: int = 0) -> PairWindow:
        """A window on `grid` with `margin` PAN pixels around it.

        Raises ValueError for a window of which nothing lies on the grid.
        """
        size, reach = (self.grid.height, self.grid.width), -(-margin // self.ratio)
        pan, pan_valid = _read_filled(self._read_pan, window, size, margin, margin)
        outer = window.grow(margin)
        slots = outer.coarser(self.ratio)
        ms, ms_valid = _read_filled(self._read_ms, slots, self.ms_shape, reach)
        nesting = self.nesting.crop(outer[:2], slots[:2])
        return PairWindow(window, margin, nesting, pan[0], ms, pan_valid, ms_valid)

    def read_holes(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """PAN (1, H, W) and MS (C, h, w) of a window of whole MS pixels, NaN in every hole."""
        slots = Window(*(value // self.ratio for value in window))
        return self._read_pan(window), self._read_ms(slots)

    def _read_pan(self, window: Window) -> np.ndarray:
        crop = self._pan_crop
        return self.pan.read_nan(
            window._replace(row=window.row + crop.row, col=window.col + crop.col)
        )

    def _read_ms(self, window: Window) -> np.ndarray:
        crop = self._ms_crop
        there = window._replace(row=window.row + crop.row, col=window.col + crop.col)
        if not self.resampled:
            return self.ms.read_nan(there)
        r, (h, w) = self.ratio, window[2:]
        middle = slice((r - 1) // 2, r // 2 + 1)
        blocks = self.ms.read_nan(there.finer(r)).reshape(self.bands, h, r, w, r)
        return np.ascontiguousarray(blocks[:, :, middle, :, middle].mean(axis=(2, 4)))


def _read_filled(
    read: Callable[[Window], np.ndarray],
    window: Window,
    size: tuple[int, int],
    reach: int,
    margin: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Values (bands, h, w) without holes, and which are valid (h, w), of a window and a margin.

    A pixel with a NaN in any band gets all bands of the nearest one without.

    size    of the grid
    reach   pixels around the window in which the nearest valid one is looked for
    """
    window = window.grow(margin)
    inside = window.clip(*size)
    if inside is None:
        raise ValueError(f"{window} lies outside the grid of {size[0]}×{size[1]} pixels")
    values = read(inside)
    valid = ~np.isnan(values).any(axis=0)
    if not valid.all():
        around = inside.grow(reach).clip(*size)
        assert around is not None
        rows, cols = inside.slices((around.row, around.col))
        wide = read(around) if around != inside else values
        holes = np.isnan(wide).any(axis=0)
        if holes.all():
            values = np.zeros_like(values)
        else:
            nearest = ndimage.distance_transform_edt(
                holes, return_distances=False, return_indices=True
            )[:, rows, cols]
            values = wide[:, nearest[0], nearest[1]]
    if inside == window:
        return values, valid
    pads = inside.margins(window)
    return np.pad(values, ((0, 0), *pads), mode="edge"), np.pad(valid, pads)
