"""A convolutional network over the bands and pixels of a patch: 3-D convolutions.

    source  (B, 1, C, p, p)        all layers side by side, their bands as depth
    x       (B, D·2^i, C/2^i, …)   depth × {convolution 7×3×3 at every other band, batch norm, ReLU}
    logits  W x, of the mean over the pixels

Source of the idea: Li, Zhang & Shen, "Spectral-Spatial Classification of Hyperspectral Imagery with
3D Convolutional Neural Network" (Remote Sensing 2017). The sizes are ours, and so is the padding,
with which any number of bands will do.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.models.patch_model import PatchModel
from bandweave.schema import check_ranges

BANDS = 7  # of a convolution


@dataclass
class CNN3DConfig:
    """A small network."""

    patch: int = 7  # px, p
    width: int = 8  # D: channels of the first convolution; each further one has twice as many
    depth: int = 3  # convolutions
    dropout: float = 0.0  # of the mean that is classified

    def __post_init__(self) -> None:
        check_ranges(self, {"patch": 1, "width": 1, "depth": 1}, shares=["dropout"])


class BandConv(nn.Conv3d):
    """A convolution over BANDS bands, every second one, and 3 × 3 pixels, padded by zeros.

    It goes over pixels as a 2-D one that has the bands of a place side by side. The 3-D one of
    oneDNN, which torch 2.13 takes on processors with AVX-512, writes beyond its memory where there
    are about as many bands as in the kernel.
    """

    def __init__(self, channels: int, width: int) -> None:
        padding = (BANDS // 2, 1, 1)
        super().__init__(channels, width, (BANDS, 3, 3), (2, 1, 1), padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, bands, p, p) to (B, D, ⌈bands/2⌉, p, p)."""
        batch, channels = x.shape[:2]
        around = F.pad(x, (0, 0, 0, 0, BANDS // 2, BANDS // 2)).unfold(2, BANDS, 2)
        places = around.permute(0, 2, 1, 5, 3, 4)  # (B, ⌈bands/2⌉, C, BANDS, p, p)
        sides = places.reshape(-1, channels * BANDS, *x.shape[3:])
        answers = F.conv2d(sides, self.weight.flatten(1, 2), padding=1)
        return answers.unflatten(0, (batch, -1)).transpose(1, 2)


class CNN3D(PatchModel):
    """A 3-D convolutional network on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: CNN3DConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        widths = [1, *(config.width * 2**i for i in range(config.depth))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [BandConv(before, after), nn.BatchNorm3d(after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        left = math.ceil(self.source_bands[0] / 2**config.depth)  # of the bands
        self.head = nn.Linear(widths[-1] * left, self.outputs)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of all layers side by side, (B, C, p, p)."""
        x = self.convolutions(sources[0][:, None]).mean((3, 4))  # (B, D·2^depth, bands left)
        return self.head(self.dropout(x.flatten(1)))
