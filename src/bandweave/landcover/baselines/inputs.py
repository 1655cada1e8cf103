"""What a classical method is given of each pixel of the labels: bands, profiles, Gaussian means.

A layer of another resolution is brought to the labels': averaged where it is finer, interpolated
where it is coarser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bandweave.data.scaling import Scaling
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Part, Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.options import MeanOptions, MethodOptions, ProfileOptions
from bandweave.landcover.baselines.radii import COMPONENTS, radii_for
from bandweave.raster.deriving.gaussian import mean_of, reach_of
from bandweave.raster.deriving.profiles import profile
from bandweave.raster.grid import Window

ROWS = 256  # of the labels, that are described at a time
MEMORY = 64 * 2**20  # bytes of the values of these rows, if a single row of the grid takes no more

Slices = tuple[slice, slice]
Described = Callable[[Window], np.ndarray]  # a place of the grid -> its values (h, w, C)


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """What describes the label pixels of any part.

    layers  names, in the order of their values
    ratio   how many times finer than the grid the labels are
    """

    options: ClassVar[tuple[type[MethodOptions], ...]] = ()  # that it has of its own

    layers: Sequence[str]
    ratio: int

    @classmethod
    @abstractmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Inputs:
        """Make it for the pixels that a split trains on."""

    @abstractmethod
    def describe(self, part: Part, hidden: np.ndarray | None = None) -> Described:
        """What gives the values of a place of a part.

        hidden  (H, W) bool: label pixels that take no part; none by default
        """

    @abstractmethod
    def reach(self, scene: Scene) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its values."""

    def places(self, part: Part, swath: int | None = None) -> Iterator[Window]:
        """Rows of the grid from the top, as many as are described at a time.

        swath  columns of the grid that are gone down, one swath after the other; all by default
        """
        width, ratio = min(swath or part.grid.width, part.grid.width), self.ratio
        layers = [part.layers[name] for name in self.layers]
        row_bytes = 4 * width * sum(one.source.bands * max(one.ratio, ratio) ** 2 for one in layers)
        rows = max(min(MEMORY // row_bytes, ROWS // ratio), 1)
        for columns in part.grid.window.divide(part.grid.height, width):
            yield from columns.divide(rows, width)

    def strips(
        self, part: Part, hidden: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Rows of a part's labels from the top: where, and their values (h, w, C) float32."""
        described = self.describe(part, hidden)
        for place in self.places(part, swath):
            yield place.finer(self.ratio), described(place)

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

    def describe(self, part: Part, hidden: np.ndarray | None = None) -> Described:
        """Read and described a few rows at a time."""
        return lambda place: np.concatenate(
            [read_bands(part, name, self.ratio, place) for name in self.layers], axis=-1
        )

    def reach(self, scene: Scene) -> int:
        """No other pixel matters, but to derived layers."""
        return scene.reach(self.layers)

    @classmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Bands:
        """There is nothing to read."""
        return cls(layers, ratio)


@dataclass(frozen=True, eq=False)
class Components(Inputs):
    """What is made of the bands, or of the first principal components of layers of many bands.

    scaling  reduces those layers
    sizes    px of the labels' grid
    """

    named: ClassVar[str]  # the option, and the run's key, for its sizes

    scaling: Scaling
    sizes: tuple[float, ...]

    @classmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Components:
        """Components of the scene, and sizes by the smallest part where the options name none."""
        shortest = min(min(part.grid.height, part.grid.width) for part in scene.parts)
        asked = getattr(options, cls.named)
        sizes = tuple(sorted(set(asked))) or radii_for(shortest * split.ratio)
        many = {name for name in layers if scene.layers[name].bands > COMPONENTS}
        scaling = fit_scaling(scene, split, dict.fromkeys(many, COMPONENTS), layers)
        return cls(layers, split.ratio, scaling, sizes)

    def read(self, part: Part, name: str, place: Window) -> tuple[np.ndarray, np.ndarray]:
        """A layer's components (h, w, C) at the labels of a place, and where it has data (h, w)."""
        layer = part.layers[name]
        wider, own = widen(part, place, int(layer.ratio < self.ratio), self.ratio)
        components, valid = self.scaling.read(name, layer, wider)
        brought = resample(components, layer.ratio, self.ratio, name)
        shares = resample(valid[None].astype(np.float32), layer.ratio, self.ratio, name)
        return brought[own], shares[own][..., 0] > 0

    def to_dict(self) -> dict[str, Any]:
        """Scaling and sizes."""
        return {"scaling": self.scaling.to_dict(), self.named: list(self.sizes)}

    @classmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Components:
        """From what `to_dict` gave."""
        sizes = tuple(stored[cls.named])
        if not sizes or not all(type(each) in (int, float) and 0 < each < np.inf for each in sizes):
            raise ValueError(f"the {cls.named} {sizes}")
        return cls(layers, ratio, Scaling.from_dict(stored["scaling"]), sizes)


class Profiles(Components):
    """Extended morphological profiles of all layers, which are made of a whole part at once."""

    options, named = (ProfileOptions,), "radii"

    def describe(self, part: Part, hidden: np.ndarray | None = None) -> Described:
        """Made at once, and given in pieces."""
        whole = np.concatenate([*self._profiles(part, hidden)], axis=-1)
        return lambda place: whole[place.finer(self.ratio).slices()]

    def _profiles(self, part: Part, hidden: np.ndarray | None) -> Iterator[np.ndarray]:
        hidden = np.zeros((), bool) if hidden is None else hidden
        for name in self.layers:
            components, known = self.read(part, name, part.grid.window)
            for band in np.moveaxis(components, -1, 0):
                yield profile(band, known & ~hidden, [int(size) for size in self.sizes])

    def reach(self, scene: Scene) -> int:
        """Reconstruction reaches as far as a part does."""
        return max(max(part.grid.height, part.grid.width) for part in scene.parts)


class Means(Components):
    """Gaussian means of all layers around a pixel."""

    options, named = (MeanOptions,), "sigmas"

    def describe(self, part: Part, hidden: np.ndarray | None = None) -> Described:
        """Made of a few rows at a time, and of what lies around them."""
        margin = self.reach_px

        def described(place: Window) -> np.ndarray:
            wider, own = widen(part, place, margin, self.ratio)
            seen = True if hidden is None else ~hidden[wider.finer(self.ratio).slices()]
            found = []
            for name in self.layers:
                components, known = self.read(part, name, wider)
                found += [mean_of(components, known & seen, sigma) for sigma in self.sizes]
            return np.concatenate([each[own] for each in found], axis=-1)

        return described

    @property
    def reach_px(self) -> int:
        """Pixels of the grid that the widest mean takes in on each side."""
        return -(-reach_of(max(self.sizes)) // self.ratio)

    def reach(self, scene: Scene) -> int:
        """As far as the widest mean, from what derived layers look at."""
        return self.reach_px + scene.reach(self.layers)


@dataclass(frozen=True, eq=False)
class Together(Inputs):
    """Several inputs side by side."""

    kinds: ClassVar[tuple[type[Inputs], ...]]

    several: Sequence[Inputs]

    def __init_subclass__(cls) -> None:
        """Its options are those of all."""
        cls.options = tuple(option for kind in cls.kinds for option in kind.options)

    @classmethod
    def fit(cls, scene: Scene, split: Split, layers: Sequence[str], options: Any) -> Together:
        """Make each."""
        several = [kind.fit(scene, split, layers, options) for kind in cls.kinds]
        return cls(layers, split.ratio, several)

    def describe(self, part: Part, hidden: np.ndarray | None = None) -> Described:
        """The values of each, one after another."""
        several = [each.describe(part, hidden) for each in self.several]
        return lambda place: np.concatenate([one(place) for one in several], axis=-1)

    def reach(self, scene: Scene) -> int:
        """As far as the farthest."""
        return max(each.reach(scene) for each in self.several)

    def to_dict(self) -> dict[str, Any]:
        """That of all; what several have is the same."""
        return {key: value for each in self.several for key, value in each.to_dict().items()}

    @classmethod
    def from_dict(cls, layers: Sequence[str], ratio: int, stored: dict[str, Any]) -> Together:
        """From what `to_dict` gave."""
        return cls(layers, ratio, [kind.from_dict(layers, ratio, stored) for kind in cls.kinds])


def read_bands(part: Part, name: str, ratio: int, place: Window) -> np.ndarray:
    """A layer's bands (h, w, C) float32 at the label pixels of a place of the grid; holes are 0."""
    layer = part.layers[name]
    wider, own = widen(part, place, int(layer.ratio < ratio), ratio)  # for interpolation
    values, valid = layer.read(wider)
    values = np.where(valid, values, 0).astype(np.float32)
    return resample(values, layer.ratio, ratio, name)[own]


def widen(part: Part, place: Window, margin: int, ratio: int) -> tuple[Window, Slices]:
    """A place of the grid and what the part has around it, and where its labels lie in that."""
    wider = place.grow(margin).clip(part.grid.height, part.grid.width) or place
    return wider, place.finer(ratio).slices((wider.row * ratio, wider.col * ratio))


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
