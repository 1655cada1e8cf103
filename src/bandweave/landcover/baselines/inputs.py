"""What a classical method is given of each pixel of the labels: bands, or morphological profiles.

A layer of another resolution is brought to the labels': averaged where it is finer, interpolated
where it is coarser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.data.scaling import Scaling
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Part, Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.profiles import COMPONENTS, profile, radii_for
from bandweave.raster.grid import Window

ROWS = 256  # of the labels, that are described at a time
MEMORY = 64 * 2**20  # bytes of the values of these rows, if a single row of the grid takes no more


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """What describes the label pixels of any part.

    layers  names, in the order of their values
    ratio   how many times finer than the grid the labels are
    """

    layers: Sequence[str]
    ratio: int

    @classmethod
    @abstractmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Inputs:
        """Make it for the pixels that a split trains on."""

    @abstractmethod
    def strips(
        self, part: Part, hidden: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Rows of a part's labels from the top: where, and their values (h, w, C) float32.

        hidden  (H, W) bool: pixels that take no part; none by default
        swath   columns of the grid that are gone down, one swath after the other; all by default
        """

    @abstractmethod
    def reach(self, scene: Scene) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its values."""

    def values(self, part: Part, hidden: np.ndarray | None = None) -> np.ndarray:
        """The values (H, W, C) of all of a part."""
        return np.concatenate([values for _, values in self.strips(part, hidden)])

    def to_dict(self) -> dict[str, Any]:
        """What a run keeps of it, besides layers and ratio."""
        return {}

    @classmethod
    @abstractmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Inputs:
        """From what `to_dict` gave."""


@dataclass(frozen=True, eq=False)
class Bands(Inputs):
    """The bands of all layers: a pixel is described by itself."""

    @classmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Bands:
        """There is nothing to fit."""
        return cls(layers, split.ratio)

    def strips(
        self, part: Part, hidden: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Read and described a few rows at a time."""
        width, ratio = min(swath or part.grid.width, part.grid.width), self.ratio
        layers = [part.layers[name] for name in self.layers]
        row_bytes = 4 * width * sum(one.source.bands * max(one.ratio, ratio) ** 2 for one in layers)
        rows = max(min(MEMORY // row_bytes, ROWS // ratio), 1)
        for columns in part.grid.window.divide(part.grid.height, width):
            for place in columns.divide(rows, width):
                bands = [read_bands(part, name, ratio, place) for name in self.layers]
                yield place.finer(ratio), np.concatenate(bands, axis=-1)

    def reach(self, scene: Scene) -> int:
        """No other pixel matters."""
        return 0

    @classmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Bands:
        """There is nothing to read."""
        return cls(layers, ratio)


@dataclass(frozen=True, eq=False)
class Profiles(Inputs):
    """Extended morphological profiles of all layers, which are made of a whole part at once.

    scaling  reduces layers of many bands to their first principal components
    radii    px of the labels' grid, of the disks
    """

    scaling: Scaling
    radii: tuple[int, ...]

    @classmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Profiles:
        """Components of the scene, and radii by the smallest part where the options name none."""
        shortest = min(min(part.grid.height, part.grid.width) for part in scene.parts)
        radii = tuple(sorted(set(options.radii))) or radii_for(shortest * split.ratio)
        many = {name for name in layers if scene.layers[name].bands > COMPONENTS}
        scaling = fit_scaling(scene, split, dict.fromkeys(many, COMPONENTS), layers)
        return cls(layers, split.ratio, scaling, radii)

    def strips(
        self, part: Part, hidden: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Made at once, and given in pieces."""
        whole = np.concatenate([*self._profiles(part, hidden)], axis=-1)
        height, width = whole.shape[:2]
        rows = max(ROWS // self.ratio, 1) * self.ratio
        span = (swath or width) * self.ratio
        for columns in Window(0, 0, height, width).divide(height, span):
            for place in columns.divide(rows, span):
                yield place, whole[place.slices()]

    def _profiles(self, part: Part, hidden: np.ndarray | None) -> Iterator[np.ndarray]:
        hidden = np.zeros((), bool) if hidden is None else hidden
        for name in self.layers:
            layer = part.layers[name]
            components, valid = self.scaling.read(name, layer, part.grid.window)
            brought = resample(components, layer.ratio, self.ratio, name)
            shares = resample(valid[None].astype(np.float32), layer.ratio, self.ratio, name)
            for band in np.moveaxis(brought, -1, 0):
                yield profile(band, (shares[..., 0] > 0) & ~hidden, self.radii)

    def reach(self, scene: Scene) -> int:
        """Reconstruction reaches as far as a part does."""
        return max(max(part.grid.height, part.grid.width) for part in scene.parts)

    def to_dict(self) -> dict[str, Any]:
        """Scaling and radii."""
        return {"scaling": self.scaling.to_dict(), "radii": list(self.radii)}

    @classmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Profiles:
        """From what `to_dict` gave."""
        radii = tuple(stored["radii"])
        if not radii or not all(type(radius) is int and radius > 0 for radius in radii):
            raise ValueError(f"the radii {radii}")
        return cls(layers, ratio, Scaling.from_dict(stored["scaling"]), radii)


def read_bands(part: Part, name: str, ratio: int, place: Window) -> np.ndarray:
    """A layer's bands (h, w, C) float32 at the label pixels of a place of the grid; holes are 0."""
    layer = part.layers[name]
    beside = int(layer.ratio < ratio)  # pixels around it, that interpolation looks at
    wider = place.grow(beside).clip(part.grid.height, part.grid.width) or place
    values, valid = layer.read(wider)
    values = resample(np.where(valid, values, 0).astype(np.float32), layer.ratio, ratio, name)
    return values[place.finer(ratio).slices((wider.row * ratio, wider.col * ratio))]


def resample(values: np.ndarray, own: int, ratio: int, name: str) -> np.ndarray:
    """Bands (C, h, w), `own` times finer than the grid, as (H, W, C), `ratio` times finer."""
    from scipy.ndimage import zoom

    if own % ratio and ratio % own:
        raise ConfigError(
            f"layer {name!r} is {own} times finer than the grid and the labels {ratio} "
            f"times; for a classical method one must be a multiple of the other"
        )
    if own > ratio:
        step = own // ratio
        bands, height, width = values.shape
        values = values.reshape(bands, height // step, step, width // step, step).mean(axis=(2, 4))
    elif own < ratio:
        step = ratio // own
        values = np.stack(
            [zoom(band, step, order=1, grid_mode=True, mode="nearest") for band in values]
        )
    return np.moveaxis(values, 0, -1)
