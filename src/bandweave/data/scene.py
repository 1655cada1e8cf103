"""A scene: named layers on one grid, in one or many parts, with labels and classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from bandweave.raster.deriving.source import reach
from bandweave.raster.grid import Grid, Window
from bandweave.raster.source import BandInfo, Source

IGNORED = -1  # in label arrays: no class here
HIDDEN = -2  # in training crops: no data here, or not to be learnt from in any loss


@dataclass(frozen=True)
class ClassInfo:
    """A land-cover class: its code in files, its name, its colour as '#rrggbb'."""

    code: int
    name: str
    color: str


@dataclass(frozen=True)
class Layer:
    """Pixels of one sensor over one part, `ratio` times finer than the part's grid.

    derived  how it is computed from another layer, as the scene file says it; '' for files
    """

    source: Source
    ratio: int = 1
    derived: str = ""

    @property
    def reach(self) -> int:
        """Pixels of the part's grid beside a pixel that change its values."""
        return -(-reach(self.source) // self.ratio)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Values (C, h·ratio, w·ratio) and valid (h·ratio, w·ratio) of a window of the grid."""
        return self.source.read(window.finer(self.ratio))


@dataclass(frozen=True)
class Labels:
    """Reference labels of one part, `ratio` times finer than the part's grid.

    values   (H·ratio, W·ratio) int16: index into the scene's classes, or IGNORED
    objects  (H·ratio, W·ratio) int32: number of the shape from 1, 0 outside; None for rasters
    given    (H·ratio, W·ratio) uint8: the role that came with the files (TRAIN, TEST); None if none
    shapes   what `objects` number: "polygons", "points", or "shapes" where there are both
    """

    values: np.ndarray
    ratio: int = 1
    objects: np.ndarray | None = None
    given: np.ndarray | None = None
    shapes: str = "polygons"

    def count_objects(self, classes: int) -> np.ndarray | None:
        """Count the objects with pixels of each class (classes,); None where there are none."""
        if self.objects is None:
            return None
        has = self.values != IGNORED
        pairs = np.unique(np.stack([self.objects[has], self.values[has]]), axis=1)
        return np.bincount(pairs[1], minlength=classes)


@dataclass(frozen=True)
class Part:
    """One place of a scene: a plot, a tile, or all of it."""

    name: str
    grid: Grid
    layers: dict[str, Layer]
    labels: Labels | None = None


@dataclass(frozen=True)
class LayerInfo:
    """Facts on a layer that must agree between two scenes for a model to serve both."""

    bands: int
    ratio: int
    info: BandInfo
    derived: str = ""
    reach: int = 0


@dataclass(frozen=True)
class Scene:
    """Named layers over one or many parts, with classes.

    reference  name of the layer whose grid is the parts' grid: where it has no data, nothing is
               trained, mapped or scored
    classes    in the order of label indices; empty where the scene has no labels
    official   the `given` roles are a benchmark's official masks
    sampling   the design by which the labelled places (those given for tests, where labels have
               roles) were drawn at random from a map; '' where none is declared
    origin     how to open it again: a path, a benchmark's name or the simulation's seed
    notes      what was decided on the way (warps, joins, overlaps), one line each
    numbered   the classes' codes are numbers from 1 that stand in no label file
    doubt      a question on the labels that no split is drawn without an answer to; '' for none
    files      all that it is read from, which no output may replace
    """

    name: str
    parts: tuple[Part, ...]
    reference: str
    classes: tuple[ClassInfo, ...] = ()
    official: bool = False
    sampling: str = ""
    origin: str = ""
    notes: list[str] = field(default_factory=list)
    numbered: bool = False
    doubt: str = ""
    files: tuple[str, ...] = ()

    @property
    def layers(self) -> dict[str, LayerInfo]:
        """The layers, the same in every part."""
        return {
            name: LayerInfo(
                layer.source.bands, layer.ratio, layer.source.info, layer.derived, layer.reach
            )
            for name, layer in self.parts[0].layers.items()
        }

    def reach(self, layers: Iterable[str]) -> int:
        """Pixels of the grid beside a pixel that change its values in these layers."""
        return max((self.layers[name].reach for name in layers), default=0)

    @property
    def label_ratio(self) -> int:
        """The ratio by which labels are finer than the grid; 1 without labels."""
        return next((part.labels.ratio for part in self.parts if part.labels), 1)
