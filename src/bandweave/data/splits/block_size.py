"""The side of a split's blocks: the one asked for, or one that fits the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bandweave.data.scene import IGNORED, Scene
from bandweave.data.splits.assign import FEW_BLOCKS, Drawing
from bandweave.data.splits.protocols import BLOCK, SplitConfig
from bandweave.errors import SplitError

SIZES = (64, 48, 32, 24, 16, 12, 8, 6, 4)  # px of the label grid, tried in place of another


def draw(scene: Scene, config: SplitConfig) -> tuple[Drawing, list[np.ndarray]]:
    """Draw a split and its roles; the drawing's config states the side of the blocks used.

    Without a size, blocks are of 64 px where at least 6 of them hold labels and are half as high
    and wide or more; else of the largest smaller side of which that is true and which loses the
    fewest classes, if any can be drawn.

    Raises SplitError where the split cannot be drawn, with a smaller size that was drawn, if any.
    """
    resolved = replace(config, size=config.side)
    drawing = Drawing(scene, resolved)
    if not config.has_blocks:
        return drawing, drawing.draw_roles()
    if config.size is None and not _has_enough(drawing.values, BLOCK):
        enough = [size for size in SIZES if size < BLOCK and _has_enough(drawing.values, size)]
        if found := _find_least_loss(scene, resolved, enough):
            return found
    try:
        return drawing, drawing.draw_roles()
    except SplitError as error:
        smaller = [size for size in SIZES if size < config.side]
        if not smaller:
            raise
        found = _find_least_loss(scene, resolved, smaller)
        if found is None:
            tried = ", ".join(map(str, sorted(smaller)))
            raise SplitError(f"{error} (blocks of {tried} px cannot be drawn either)") from None
        raise SplitError(f"{error}; a size of {found[0].config.side} px can be drawn") from None


def _find_least_loss(
    scene: Scene, config: SplitConfig, sizes: list[int]
) -> tuple[Drawing, list[np.ndarray]] | None:
    """Find the first drawing with blocks of these sizes among those that drop fewest classes."""
    best: tuple[Drawing, list[np.ndarray]] | None = None
    for size in sizes:
        drawing = Drawing(scene, replace(config, size=size))
        try:
            roles = drawing.draw_roles()
        except SplitError:
            continue
        if best is None or len(drawing.dropped) < len(best[0].dropped):
            best = drawing, roles
        if not drawing.dropped:
            break
    return best


def _has_enough(values: list[np.ndarray], size: int) -> bool:
    """Tell whether FEW_BLOCKS blocks hold labels and are at least half a block high and wide.

    Blocks end where the labels of their part end; one of all a part's labels is a whole one.
    """
    number = 0
    for value in values:
        held = value != IGNORED
        if not held.any():
            continue
        wide_enough = []
        for axis in (0, 1):
            starts = np.arange(0, value.shape[axis], size)
            labelled = np.flatnonzero(held.any(axis=1 - axis))
            first, end = labelled[0], labelled[-1] + 1
            inside = np.minimum(starts + size, end) - np.maximum(starts, first)
            wide_enough.append(2 * inside >= min(size, end - first))
        blocks = held
        for axis in (0, 1):
            starts = np.arange(0, value.shape[axis], size)
            blocks = np.logical_or.reduceat(blocks, starts, axis=axis)
        number += int((blocks & np.outer(*wide_enough)).sum())
    return number >= FEW_BLOCKS
