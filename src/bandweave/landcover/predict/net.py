"""A net as what answers for windows of a part, and what every way of mapping with it shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from bandweave.data.scaling import Scaling
from bandweave.data.scene import Part
from bandweave.data.splits.masks import regrid
from bandweave.errors import ConfigError, RunError
from bandweave.models.contract import LandCoverModel
from bandweave.raster.grid import Window

MEMORY = 64 * 2**20  # bytes, of what a predictor holds at a time of a part
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Strip:
    """Finished rows of a part.

    window   where, on the output grid
    logits   (K, h, w) float32, 0 where not valid
    valid    (h, w) bool: the reference layer has data
    """

    window: Window
    logits: np.ndarray
    valid: np.ndarray


def empty_strip(window: Window, classes: int) -> Strip:
    """Rows without an answer."""
    shape = window.height, window.width
    return Strip(window, np.zeros((classes, *shape), np.float32), np.zeros(shape, bool))


class Predictor(Protocol):
    """Whatever maps a part: a net over windows, pixels or whole scenes, or a classical method."""

    def can_divide(self, part: Part) -> bool:
        """Whether some rows of a part, by `only`, take about their share of the time."""
        ...

    def swath(self, part: Part) -> int:
        """Columns of the grid that it takes at a time, so that memory has a bound."""
        ...

    def strips(
        self, part: Part, only: np.ndarray | None = None, swath: int | None = None
    ) -> Iterator[Strip]:
        """Strips that cover the part once, on its grid made `output_ratio` times finer.

        They go down each swath of columns and are as wide; swaths go from left to right.

        only   (H·R, W·R) bool: pixels whose logits are wanted; a predictor may answer for others
               too, or leave them out as not valid
        swath  columns of the grid, no more than its own, which is the default

        The same part and predictor give the same strips.
        """
        ...


def swaths(part: Part, columns: int) -> Iterator[tuple[int, int]]:
    """First and past-the-last column of each swath of a part, in px of the grid."""
    for left in range(0, part.grid.width, columns):
        yield left, min(left + columns, part.grid.width)


@dataclass(frozen=True, eq=False)
class Net:
    """A net, how parts are brought to it, and how it is run.

    layers        names that it takes
    scaling       of these layers
    reference     name of the layer whose data decide where there is a map
    classes       K
    window        side of the square windows in px of the part's grid: the training crop's
    output_ratio  how many times finer than the grid it answers
    precision     fp32, bf16 or fp16 (autocast)
    tta           mean over the eight flips and rotations of each window; takes eight times as long
    overlap       px of the grid that neighbouring windows share; None for what suits the predictor
    batch         windows or patches that go through together; None for what suits the predictor

    Raises ConfigError for another precision.
    """

    model: LandCoverModel
    layers: Sequence[str]
    scaling: Scaling
    reference: str
    classes: int
    window: int
    output_ratio: int = 1
    device: torch.device | str = "cpu"
    precision: str = "fp32"
    tta: bool = False
    overlap: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in AUTOCAST:
            raise ConfigError(f"precision '{self.precision}' is none of {', '.join(AUTOCAST)}")

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Within, the model is on its device in evaluation mode; then as it was."""
        was_training = self.model.training
        self.model.to(self.device).eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def slab(self, part: Part, ground: Window) -> Slab:
        """The scaled layers of a window of a part."""
        return Slab(part, list(self.layers), self.scaling, self.reference, ground)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Within, nothing is kept for gradients, and numbers have the net's precision."""
        device, dtype = torch.device(self.device), AUTOCAST[self.precision]
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
        ):
            yield

    def answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits (B, K, h, w): float32, or their float64 mean over flips and rotations."""
        tensors = {name: torch.from_numpy(each).to(self.device) for name, each in inputs.items()}

        def forward(flip: bool, turns: int) -> np.ndarray:
            seen = {
                name: torch.rot90(tensor.flip(-1) if flip else tensor, turns, (-2, -1)).contiguous()
                for name, tensor in tensors.items()
            }
            with self.inference():
                logits = self.model(seen).logits.float()
                logits = torch.rot90(logits, -turns, (-2, -1))
                return (logits.flip(-1) if flip else logits).cpu().numpy()

        if not self.tta:
            return forward(flip=False, turns=0)
        views = [(flip, turns) for flip in (False, True) for turns in range(4)]
        total = forward(*views[0]).astype(np.float64)
        for view in views[1:]:
            total += forward(*view)
        return total / len(views)

    def check(self, logits: np.ndarray, expected: tuple[int, ...], part: Part) -> None:
        """Raises RunError for logits of another shape, or that are not finite."""
        if logits.shape != expected:
            raise RunError(
                f"the model answered logits of shape {logits.shape} where (windows, classes, rows, "
                f"columns) are {expected}; its classes, window or output ratio are not the run's"
            )
        if not np.isfinite(logits).all():
            exact = self.precision == "fp32"
            hint = "the run diverged in training" if exact else "map with precision fp32"
            raise RunError(
                f"the model's logits are not finite in part '{part.name}' at precision "
                f"{self.precision}: {hint}"
            )


class Slab:
    """Scaled layers of some rows of a swath, read at once; windows are cut from them."""

    def __init__(
        self, part: Part, names: list[str], scaling: Scaling, reference: str, ground: Window
    ) -> None:
        self.ground = ground
        self.ratios = {name: part.layers[name].ratio for name in names}
        self.reference_ratio = part.layers[reference].ratio
        self.arrays: dict[str, np.ndarray] = {}
        if reference in names:
            scaled, self.data = scaling.read(reference, part.layers[reference], ground)
            self.arrays[reference] = scaled
        else:
            _, self.data = part.layers[reference].read(ground)
        if self.data.any():
            for name in names:
                if name != reference:
                    self.arrays[name], _ = scaling.read(name, part.layers[name], ground)

    def holds(self, row: int, window: int) -> bool:
        """Whether a row of windows lies in it."""
        return self.ground.row <= row and row + window <= self.ground.row + self.ground.height

    def has_data(self, row: int, col: int, window: int) -> bool:
        """Whether the reference layer has any data in a window."""
        return bool(self._cut(self.data, self.reference_ratio, row, col, window).any())

    def valid(self, row: int, window: int, output_ratio: int) -> np.ndarray:
        """Where the reference layer has data in a row of windows, on the output grid."""
        top = (row - self.ground.row) * self.reference_ratio
        rows = self.data[top : top + window * self.reference_ratio]
        return regrid(rows, self.reference_ratio, output_ratio)

    def windows(self, row: int, cols: list[int], window: int) -> dict[str, np.ndarray]:
        """Windows of every layer, (B, C, h·r, w·r)."""
        return {
            name: np.stack([self._cut(array, self.ratios[name], row, col, window) for col in cols])
            for name, array in self.arrays.items()
        }

    def _cut(self, array: np.ndarray, ratio: int, row: int, col: int, window: int) -> np.ndarray:
        top, left = (row - self.ground.row) * ratio, (col - self.ground.col) * ratio
        return array[..., top : top + window * ratio, left : left + window * ratio]
