"""A small, plain U-Net on crops: what one tries first where a whole map is to be made.

Source: Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (MICCAI 2015); with batch norm, edges padded, and few channels.

    x_0      (B, D, H, W)            all layers side by side, two convolutions
    x_i      (B, D·2^i, H/2^i, …)    maximum of 2×2 pixels, two convolutions
    y_i      (B, D·2^i, H/2^i, …)    two convolutions of x_i and of y_{i+1} twice as fine
    logits   W y_0

A convolution is 3×3, batch norm, ReLU. Sizes that halve to no whole number are padded by their
edges, and cut again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.models.contract import LandCoverModel
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import supervise
from bandweave.nn.output import Output
from bandweave.schema import check_ranges


@dataclass
class UNetConfig:
    """A small U-Net; its sizes are ours."""

    width: int = 32  # D
    depth: int = 3  # how often pixels are halved
    dropout: float = 0.0  # of the features that are classified
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        least = {"width": 1, "depth": 1}
        check_ranges(self, least, shares=["dropout", "label_smoothing"])


class UNet(LandCoverModel):
    """A U-Net for layers with any bands, which enter side by side.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named); the r² finer
                  pixels of a band are as many bands
    output_ratio  how many times finer than the grid the labels and logits are
    """

    fed = "crops"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: UNetConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.output_ratio = config, output_ratio
        self.grid = LayerGrid(bands, classes, ratios, output_ratio)
        count = sum(self.grid.channels.values())
        widths = [config.width * 2**i for i in range(config.depth + 1)]
        self.down = nn.ModuleList(
            _convolve_twice(before, after)
            for before, after in zip([count, *widths], widths, strict=False)
        )
        self.finer = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1]
        )
        self.up = nn.ModuleList(_convolve_twice(2 * width, width) for width in widths[:-1])
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(config.width, len(classes) * output_ratio**2, 1)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its class."""
        depth = self.config.depth
        convolutions = sum(4 * 2**i for i in range(depth)) + 2 * 2**depth
        return min(window - 1, convolutions + 2**depth - 1)

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED, or HIDDEN.
        """
        height, width = self.grid.tokens(layers, labels)
        x = torch.cat(self.grid.unshuffle(layers), dim=1)
        step = 2**self.config.depth
        x = F.pad(x, (0, -width % step, 0, -height % step), mode="replicate")
        x = self.dropout(self._see(x)[..., :height, :width])
        logits = F.pixel_shuffle(self.head(x), self.output_ratio)
        if labels is None:
            return Output(logits)
        return supervise(logits, labels, self.config.label_smoothing)

    def _see(self, x: Tensor) -> Tensor:
        """Features (B, D, H, W) of all layers."""
        seen = []
        for i, convolve in enumerate(self.down):
            x = convolve(F.max_pool2d(x, 2) if i else x)
            seen.append(x)
        for i in reversed(range(self.config.depth)):
            x = self.up[i](torch.cat([seen[i], self.finer[i](x)], dim=1))
        return x


def _convolve_twice(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
