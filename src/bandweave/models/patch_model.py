"""What models have in common that answer for the pixel in the middle of a patch.

    layers   (B, C, h·r, w·r)   patches of each layer; r of a layer that is finer than the grid
    sources  (B, S, p, p)       layers on the grid: the r² finer pixels of a band are as many bands;
                                p the patch that the model is made for
    logits   (B, K, R, R)       of the labels in the pixel in row and column ⌊p / 2⌋; R × R of them

Of the sources there is one, with all layers side by side, or there are two: the first layer, and
the others side by side (the first once more where it is alone).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bandweave.errors import ConfigError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import supervise
from bandweave.nn.output import Output


class PatchModel(LandCoverModel):
    """A model of patches. A subclass makes its layers for `source_bands` and says `classify_patch`.

    bands         bands of each layer
    classes       names, in the order of label indices
    patch         p, px
    sources       1 or 2
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  R: how many times finer the labels are

    outputs       K·R²: logits that a subclass gives for a pixel, those of each label in it

    A patch of another side than p is cut about its middle, or has zeros around it.
    """

    fed = "pixels"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        patch: int,
        sources: int,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        if patch < 1:
            raise ConfigError(f"patch is {patch}; it must be 1 or more")
        self.grid = LayerGrid(bands, classes, ratios, output_ratio)
        self.patch, self.sources, self.output_ratio = patch, sources, output_ratio
        self.classes, self.outputs = len(classes), len(classes) * output_ratio**2
        counts = list(self.grid.channels.values())
        self.source_bands = (
            [sum(counts)] if sources == 1 else [counts[0], sum(counts[1:]) or counts[0]]
        )

    @abstractmethod
    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of sources (B, S, p, p), by class, then by label row by row."""

    @property
    def patch_side(self) -> int:
        """p."""
        return self.patch

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: half the patch."""
        return min(window, self.patch) // 2

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Patches (B, C, h·r, w·r) of each layer to logits (B, K, R, R) of the pixel in the middle.

        Labels (B, R, R) are class indices, or IGNORED, or HIDDEN.
        """
        logits = self.answer(self.classify_patch(*self.enter(layers)))
        if labels is None:
            return Output(logits)
        self.grid.check_middle(labels)
        return supervise(logits, labels)

    def enter(self, layers: Mapping[str, Tensor]) -> list[Tensor]:
        """The sources (B, S, p, p) of patches of layers. Raises GridMismatch for other sizes."""
        self.grid.tokens(layers, None)
        each = [fit_patch(layer, self.patch) for layer in self.grid.unshuffle(layers)]
        if self.sources == 1:
            return [torch.cat(each, dim=1)]
        return [each[0], torch.cat(each[1:] or each[:1], dim=1)]

    def answer(self, logits: Tensor) -> Tensor:
        """Logits (B, K·R²) of pixels of the grid as those of their labels, (B, K, R, R)."""
        return logits.view(-1, self.classes, self.output_ratio, self.output_ratio)


def fit_patch(x: Tensor, patch: int) -> Tensor:
    """Patches (B, C, h, w) cut or zero-padded to (B, C, p, p); ⌊h / 2⌋ comes to lie on ⌊p / 2⌋.

    >>> fit_patch(torch.arange(1.0, 4).view(1, 1, 1, 3), 2).squeeze().tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    height, width = x.shape[-2:]
    top, left = patch // 2 - height // 2, patch // 2 - width // 2
    right, bottom = patch - left - width, patch - top - height
    return F.pad(x, (left, right, top, bottom))  # what is negative is cut


def pad_bands(x: Tensor, least: int) -> Tensor:
    """Patches (B, C, h, w) with bands of zeros around theirs, where those are fewer than `least`.

    >>> pad_bands(torch.ones(1, 2, 1, 1), 5).flatten().tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    missing = max(0, least - x.shape[1])
    return F.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
