"""Training crops around labelled pixels, drawn as a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bandweave.data.samples.augment import (
    AugmentConfig,
    draw_lost_layer,
    draw_orientation,
    jitter,
    orient,
)
from bandweave.data.samples.pool import Pool
from bandweave.data.samples.pseudo_labels import PseudoLabels
from bandweave.data.scaling import Scaling
from bandweave.data.scene import HIDDEN, IGNORED, Scene
from bandweave.data.splits.hidden import blind_derived_layers
from bandweave.data.splits.masks import regrid
from bandweave.data.splits.splitting import TRAIN, Split
from bandweave.errors import ConfigError, SplitError
from bandweave.raster.grid import Window

ROWS = 256  # of the scene's grid, read at once into the cache


@dataclass(frozen=True)
class SampleConfig:
    """The crops that a model is trained on.

    crop      px of the scene's grid: side of a crop; 0 for whole parts, where a model takes those
    batch     crops in a step of one process
    fill      px of the grid that these have together at least: of small crops or parts there are
              more than `batch`; 0: `batch` whatever their size
    scales    sides that crops have in turn, a batch each, as multiples of `crop`, so that the model
              answers alike in windows of any of them. A batch has about as many pixels as `batch`
              crops of `crop`; no side is longer than the scene's longest
    window    px of the grid: side of the windows that maps are made with; 0: `crop`, or of several
              scales the third smallest
    overlap   px of the grid that neighbouring windows of maps share; by default half a window, or
              of several scales a quarter
    balance   0: a class is drawn as often as it has training pixels; 1: all classes equally often
    cache_mb  scaled layers are kept in memory where they take no more; otherwise read by window
    unlabelled  patches around pixels that have no label in the scene, for each patch of a batch;
                for models of patches that learn from those (uacl)
    augment   how crops are changed
    """

    crop: int = 32
    batch: int = 8
    fill: int = 0
    scales: list[float] = field(default_factory=list)
    window: int = 0
    overlap: int | None = None
    balance: float = 0.5
    cache_mb: int = 2048
    unlabelled: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.crop, self.fill, self.cache_mb) < 0:
            raise ConfigError(
                f"batch {self.batch} must be at least 1, crop {self.crop}, fill {self.fill} and "
                f"cache_mb {self.cache_mb} at least 0"
            )
        if not all(0 < scale < np.inf for scale in self.scales) or self.window < 0:
            raise ConfigError(
                f"scales {self.scales} must be above 0, and window {self.window} at least 0"
            )
        largest = (self.map_window if self.crop else np.inf) - 1
        if self.overlap is not None and not 0 <= self.overlap <= largest:
            raise ConfigError(
                f"overlap is {self.overlap}; it must be at least 0 and less than the window of "
                f"{self.map_window} px"
            )
        if (self.scales or self.window) and not self.crop:
            raise ConfigError(
                "crop 0 is a whole part: `scales` and `window` are for crops of a given side"
            )
        if self.unlabelled < 0:
            raise ConfigError(f"unlabelled is {self.unlabelled}; it must be 0 or more")
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance is {self.balance}; it must lie between 0 and 1")

    @property
    def map_window(self) -> int:
        """Side in px of the windows that maps are made with; 0 for whole parts."""
        return self.window or [*sorted(self.sides)[:3]][-1]

    @property
    def map_overlap(self) -> int | None:
        """Px of the grid that these windows share; None where the predictor decides."""
        quarter = self.map_window // 4 if self.scales else None
        return quarter if self.overlap is None else self.overlap

    @property
    def sides(self) -> list[int]:
        """Sides of crops in px, in their turn."""
        sides = [max(round(self.crop * scale), 1) for scale in self.scales]
        return list(dict.fromkeys(sides)) or [self.crop]

    def sides_within(self, longest: int) -> list[int]:
        """The sides where several are cut to the longest side of a scene's parts, in px."""
        if not self.scales:
            return self.sides
        return list(dict.fromkeys(min(side, longest) for side in self.sides))


class Drawn(NamedTuple):
    """The draws of an example so far, and the generator of the rest."""

    rng: np.random.Generator
    part: int
    window: Window
    mirrored: bool
    turns: int


class CropSampler:
    """Batches of crops, each around a training pixel that lies anywhere in it.

    A class is drawn, then one of its training pixels, then a place of the crop that holds it, moved
    back into the part where it reaches out; what a small part leaves empty is 0 and has no label.
    Labels are those of training pixels alone. In an inductive split the inputs of test and guard
    pixels are 0 as well, and derived layers are computed without them. The layers are those of the
    scaling.

    pseudo  classes for pixels without a label: its share of the crops is around pixels that have
            such a class, and in each crop its share of them is given one

    The crop of a number (step, rank and place in the batch counted through, for each side) depends
    on nothing but the seed, its side and that number, so that two processes draw what one with
    twice the batch would.
    """

    whole_parts = False  # crop 0 means something
    draws_unlabelled = False
    one_side = False  # crops have one side alone
    one_pixel = False  # what is in the middle alone is learnt of a crop

    def __init__(
        self,
        scene: Scene,
        split: Split,
        scaling: Scaling,
        config: SampleConfig,
        seed: int = 0,
        pseudo: PseudoLabels | None = None,
    ) -> None:
        if config.crop == 0 and not self.whole_parts:
            raise ConfigError(
                "crop 0 is a whole part, and this model takes crops; give their side in px"
            )
        if config.unlabelled and not self.draws_unlabelled:
            raise ConfigError(
                f"unlabelled is {config.unlabelled}, and this model takes no patches of single "
                "pixels; set it to 0"
            )
        if self.one_side and (config.scales or config.window or config.overlap is not None):
            raise ConfigError(
                f"scales {config.scales}, window {config.window} and overlap {config.overlap} are "
                "for models of windows, and this one takes patches of one side; give `crop`"
            )
        self.scene, self.split, self.scaling = blind_derived_layers(scene, split), split, scaling
        self.config, self.seed, self.pseudo = config, seed, pseudo
        longest = max(max(part.grid.height, part.grid.width) for part in scene.parts)
        self.sides = config.sides_within(longest)
        self.layers = list(scaling.layers)
        self._ground = scene.reference if scene.reference in self.layers else self.layers[0]
        self.ratios = {name: scene.layers[name].ratio for name in self.layers}
        self._zeros = {name: scaling.zero(name) for name in self.layers}
        self._ordered = {name: layer.components is None for name, layer in scaling.layers.items()}
        self._labels = [
            np.where(role == TRAIN, part.labels.values, IGNORED).astype(np.int16)
            if part.labels is not None
            else np.full(role.shape, IGNORED, np.int16)
            for part, role in zip(scene.parts, split.roles, strict=True)
        ]
        self._starts = np.cumsum([0] + [labels.size for labels in self._labels])
        flat = np.concatenate([labels.ravel() for labels in self._labels])
        self._pixels = [np.flatnonzero(flat == index) for index in range(len(scene.classes))]
        counts = np.array([pixels.size for pixels in self._pixels])
        if not counts.any():
            raise SplitError(
                f"the split {split.config.name!r} of scene {scene.name!r} has no training pixel; "
                "choose another split"
            )
        weights = np.where(counts > 0, counts.astype(np.float64) ** (1 - config.balance), 0)
        self._cumulated = np.cumsum(weights / weights.sum())
        self._guessed = Pool([] if pseudo is None else self._find_guessed(pseudo))
        inductive = split.config.context == "inductive"
        self._hidden = [split.hidden(i) for i in range(len(scene.parts))] if inductive else None
        self._cache = self._fill_cache() if self.megabytes <= config.cache_mb else None
        self._prepare()

    def _prepare(self) -> None:
        """Prepare what a kind of sampler draws from besides."""

    @property
    def megabytes(self) -> float:
        """Memory that the scaled layers of all parts take."""
        pixels = sum(part.grid.height * part.grid.width for part in self.scene.parts)
        each = sum((4 * self.scaling.bands(n) + 1) * self.ratios[n] ** 2 for n in self.layers)
        return pixels * each / 2**20

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """The batch of a step and process.

        layers  by name: (B, C, crop·ratio, crop·ratio) float32, scaled
        labels  (B, crop·label ratio, crop·label ratio) int64, IGNORED where there is no training
                label, HIDDEN where there are no data or they are hidden: no loss may look there
        """
        turn, place = divmod(step, len(self.sides))
        side = self.sides[place]
        crops = self._count(side)
        first = (turn * world + rank) * crops
        return self._make_batch(self._draw_batch(first, crops, side), self.config.augment)

    def _count(self, side: int) -> int:
        """How many crops of a side are in a batch."""
        crop, least = self.config.crop, -(-self.config.fill // side**2)
        return max(self.config.batch * crop**2 // side**2, least, 1)

    def show_training_pixels(self) -> Iterator[dict[str, Any]]:
        """Batches of training samples as they are in the scene; none but of patches."""
        return iter(())

    def _make_batch(self, drawn: Iterable[Drawn], augment: AugmentConfig) -> dict[str, Any]:
        examples = [self._make_example(each, augment) for each in drawn]
        return {
            "layers": {
                name: _stack([layers[name] for layers, _ in examples]) for name in self.layers
            },
            "labels": _stack([labels for _, labels in examples]),
        }

    def _draw_batch(self, first: int, crops: int, side: int) -> Iterator[Drawn]:
        """Draw so many crops of a side, by the number of the first."""
        augment = self.config.augment
        other = [] if side == self.config.crop else [side]
        for number in range(first, first + crops):
            rng = np.random.default_rng([self.seed, number, *other])
            part, window = self._draw(rng, side)
            yield Drawn(rng, part, window, *draw_orientation(augment.flips, augment.rotations, rng))

    def _make_example(
        self, drawn: Drawn, augment: AugmentConfig
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Make the layers and labels of what was drawn, changed and turned."""
        rng, part, window, mirrored, turns = drawn
        layers = {}
        learnt = _copy_window(self._labels[part], window.finer(self.split.ratio), IGNORED)
        lost = draw_lost_layer(self.layers, augment, rng)
        for name in self.layers:
            values, valid = self._read_crop(part, name, window)
            if name == self._ground:
                seen = regrid(valid, self.ratios[name], self.split.ratio)
                learnt[~seen & (learnt == IGNORED)] = HIDDEN
            if name == lost:
                layers[name] = orient(np.zeros_like(values), mirrored, turns)
                continue
            jitter(values, valid, self._zeros[name], self._ordered[name], augment, rng)
            layers[name] = orient(values, mirrored, turns)
        if self.pseudo is not None:
            share = 1.0 if self.one_pixel else self.pseudo.share
            self.pseudo.fill(part, window.finer(self.split.ratio), learnt, rng, share)
        return layers, orient(learnt.astype(np.int64), mirrored, turns)

    def _draw(self, rng: np.random.Generator, side: int) -> tuple[int, Window]:
        """Draw a part and a window of the grid that holds a training pixel of a drawn class."""
        part, row, col = self._draw_pixel(rng)
        grid = self.scene.parts[part].grid
        starts = []
        for cell, length in ((row, grid.height), (col, grid.width)):
            start = cell - int(rng.integers(side))
            room = length - side  # negative where the part is smaller than the crop
            starts.append(min(max(start, min(room, 0)), max(room, 0)))
        return part, Window(starts[0], starts[1], side, side)

    def _draw_pixel(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw a part and the place in its grid of a training pixel of a drawn class.

        Of one with a pseudo-label instead, as often as is its share.
        """
        if self.pseudo is not None and self._guessed.size and rng.random() < self.pseudo.share:
            return self._guessed.draw(rng)
        # the last of the classes that have pixels takes what rounding leaves above the sum
        index = int(np.searchsorted(self._cumulated, rng.random() * self._cumulated[-1], "right"))
        pixels = self._pixels[index]
        return self._locate(int(pixels[rng.integers(pixels.size)]))

    def _find_guessed(self, pseudo: PseudoLabels) -> list[np.ndarray]:
        """Find the pixels (H, W) bool of each part with pseudo-labels, and no label to learn."""
        ratio = self.split.ratio
        return [
            pseudo.known(number, ratio) & regrid(labels == IGNORED, ratio, 1, every=True)
            for number, labels in enumerate(self._labels)
        ]

    def _locate(self, pixel: int) -> tuple[int, int, int]:
        """Find the part of a label pixel, counted through all parts, and its place in the grid."""
        part = int(np.searchsorted(self._starts, pixel, "right")) - 1
        row, col = divmod(pixel - int(self._starts[part]), self._labels[part].shape[1])
        return part, row // self.split.ratio, col // self.split.ratio

    def _read_crop(self, part: int, name: str, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Read scaled values (C, h·ratio, w·ratio), the caller's own, and where they are valid."""
        if self._cache is None:
            return self._read(part, name, window)
        values, valid = self._cache[part][name]
        finer = window.finer(self.ratios[name])
        return _copy_window(values, finer, 0), _copy_window(valid, finer, False)

    def _read(self, part: int, name: str, window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, valid = self.scaling.read(name, self.scene.parts[part].layers[name], window)
        if self._hidden is not None:
            hidden = _copy_window(self._hidden[part], window.finer(self.split.ratio), False)
            valid = valid & ~regrid(hidden, self.split.ratio, self.ratios[name])
            values *= valid
        return values, valid

    def _fill_cache(self) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
        cache = []
        for number, part in enumerate(self.scene.parts):
            kept = {}
            for name, ratio in self.ratios.items():
                height, width = part.grid.height, part.grid.width
                values = np.empty(
                    (self.scaling.bands(name), height * ratio, width * ratio), np.float32
                )
                valid = np.empty(values.shape[1:], bool)
                for window in part.grid.window.divide(ROWS, width):
                    rows, _ = window.finer(ratio).slices()
                    values[:, rows], valid[rows] = self._read(number, name, window)
                kept[name] = values, valid
            cache.append(kept)
        return cache


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Stack B arrays to (B, ...); a single one is not copied if it lies in order."""
    return np.ascontiguousarray(arrays[0])[None] if len(arrays) == 1 else np.stack(arrays)


def _copy_window(array: np.ndarray, window: Window, fill: float | bool) -> np.ndarray:
    """Copy a window of an array (..., H, W), `fill` where it reaches outside."""
    inside = window.clip(*array.shape[-2:])
    if inside == window:
        return array[..., *window.slices()].copy()
    cut = np.full((*array.shape[:-2], window.height, window.width), fill, array.dtype)
    if inside is not None:
        cut[..., *inside.slices((window.row, window.col))] = array[..., *inside.slices()]
    return cut
