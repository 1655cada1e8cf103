"""MambaHSI: land cover of a whole scene by a scan over its pixels and one over groups of channels.

Source: Li et al., "MambaHSI: Spatial-Spectral Mamba for Hyperspectral Image Classification", IEEE
TGRS 62 (2024), doi 10.1109/TGRS.2024.3430985 (arXiv 2501.04944).

    x         (B, D, H, W)     stem: all bands on one grid by a 1×1 convolution, group norm, SiLU
    spatial   (B, H·W, D)      a Mamba layer over all pixels, row by row
    spectral  (B·H·W, G, D/G)  a Mamba layer over G groups of consecutive channels of each pixel
    branch    x + SiLU(group norm of what its layer gives)
    block     w₁·spatial branch + w₂·spectral branch + x, (w₁, w₂) a learnt softmax
    encoder   block, means of 2×2 pixels, block, means of 2×2 pixels, block
    head      1×1 convolution, group norm, SiLU, 1×1 convolution; interpolated to H×W
    D width, K classes

Norms are over the whole scene or window (nn/window_statistics.py).

In the release an odd last row or column is left out of the means, and the head's map is stretched
corner to corner, which shifts classes by up to two pixels and by another amount in every window:
`as_published` does so, else each pixel stays where it lies. The release makes one sequence of all
scenes of a batch; here each has its own. It clips bands at two percentiles and rounds them to 8
bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.blocks import Stem
from bandweave.nn.halving import bring_to_labels, halve, make_finer
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import balancing_weights, supervise
from bandweave.nn.output import Output
from bandweave.nn.scans.mamba import MambaLayer
from bandweave.nn.window_statistics import WindowGroupNorm
from bandweave.schema import check_ranges

BLOCKS = 3
NORM_GROUPS = 4  # of every group norm


@dataclass
class MambaHSIConfig:
    """The release's model, as its training script makes it."""

    width: int = 128  # D
    groups: int = 4  # G of the channels of a pixel
    state: int = 16  # N of both scans
    expand: float = 2.0  # channels of a scan, per channel that goes into it
    head_width: int = 128  # channels of the head, whatever D is
    as_published: bool = False  # the release's sizes of coarse maps, which move with the window
    class_balance: float = 0.0  # of the loss; 0: by pixels (the release's classes have as many
    # each); 1: a class counts as much as any, however few its pixels
    detail: int = 1  # pixels of x per pixel of the grid, along each side

    def __post_init__(self) -> None:
        for name in ("width", "head_width"):
            value, least = getattr(self, name), 2 * NORM_GROUPS  # a pixel's group is not one number
            if value % NORM_GROUPS or value < least:
                raise ConfigError(
                    f"{name} is {value}; it must be a multiple of {NORM_GROUPS}, {least} or more"
                )
        if self.groups < 1 or self.width % self.groups:
            raise ConfigError(
                f"groups is {self.groups}; it must divide the width, which is {self.width}"
            )
        check_ranges(self, {"state": 1, "detail": 1, "expand": self.groups / self.width})
        if not 0 <= self.class_balance <= 1:
            raise ConfigError(f"class_balance is {self.class_balance}; it must be from 0 to 1")


class MambaHSI(LandCoverModel):
    """MambaHSI for layers with any bands, which enter side by side.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels and logits are

    Raises ConfigError for layers or ratios that the config's `detail` does not fit.
    """

    fed = "scene"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: MambaHSIConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.output_ratio, self.classes = config, output_ratio, len(classes)
        self.grid = LayerGrid(bands, classes, ratios, output_ratio, config.detail)
        self.stem = Stem(bands, config.width, self.grid.ratios, config.detail, norm=False)
        self.norm = WindowGroupNorm(NORM_GROUPS, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(BLOCKS))
        self.head = nn.Sequential(
            nn.Conv2d(config.width, config.head_width, 1),
            WindowGroupNorm(NORM_GROUPS, config.head_width),
            nn.SiLU(),
            nn.Conv2d(config.head_width, len(classes), 1),
        )

    @property
    def window_step(self) -> int:
        """Pixels of the grid at whose multiples a window must begin, to be cut as the scene is."""
        coarse = 2 ** (BLOCKS - 1)
        return coarse // math.gcd(coarse, self.config.detail)

    @property
    def bytes_per_pixel(self) -> int:
        """About what a pixel of the grid takes in memory while a scene is mapped at once."""
        numbers = sum(self.grid.channels.values())
        numbers += int(self.config.detail**2 * (4 + 6 * self.config.expand) * self.config.width)
        return 4 * (numbers + self.classes * self.output_ratio**2)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED (unlabelled), or HIDDEN (no data, padding, or not to
        be learnt from).
        """
        size, config = self.grid.tokens(layers, labels), self.config
        coarse = self.classify_coarse(self.stem(layers).permute(0, 3, 1, 2))
        logits = make_finer(coarse, size, config.as_published)
        logits = bring_to_labels(logits, config.detail, self.output_ratio)
        if labels is None:
            return Output(logits)
        weights = balancing_weights(labels, self.classes, config.class_balance)
        return supervise(logits, labels, class_weights=weights)

    def classify_coarse(self, x: Tensor) -> Tensor:
        """What the stem gives, (B, D, H, W), to logits (B, K, H/4, W/4)."""
        x = F.silu(self.norm(x))
        for number, block in enumerate(self.blocks):
            x = block(halve(x, self.config.as_published) if number else x)
        return self.head(x)


class Block(nn.Module):
    """A mixture of a spatial and a spectral branch, and the input once more; (B, D, H, W)."""

    def __init__(self, config: MambaHSIConfig) -> None:
        super().__init__()
        self.spatial = SpatialBranch(config)
        self.spectral = SpectralBranch(config)
        self.shares = nn.Parameter(torch.ones(2))  # before their softmax

    def forward(self, x: Tensor) -> Tensor:
        spatial, spectral = self.shares.softmax(0)
        return spatial * self.spatial(x) + spectral * self.spectral(x) + x


class SpatialBranch(nn.Module):
    """x + SiLU(norm of a Mamba layer over the pixels, row by row); (B, D, H, W)."""

    def __init__(self, config: MambaHSIConfig) -> None:
        super().__init__()
        self.mamba = MambaLayer(config.width, config.state, config.expand)
        self.norm = WindowGroupNorm(NORM_GROUPS, config.width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mamba(x.flatten(2).transpose(1, 2))  # (B, H·W, D)
        return x + F.silu(self.norm(y.transpose(1, 2).reshape(x.shape)))


class SpectralBranch(nn.Module):
    """x + SiLU(norm of a Mamba layer over each pixel's groups of channels); (B, D, H, W)."""

    def __init__(self, config: MambaHSIConfig) -> None:
        super().__init__()
        self.groups = config.groups
        self.mamba = MambaLayer(config.width // config.groups, config.state, config.expand)
        self.norm = WindowGroupNorm(NORM_GROUPS, config.width)

    def forward(self, x: Tensor) -> Tensor:
        B, D, H, W = x.shape
        groups = x.permute(0, 2, 3, 1).reshape(B * H * W, self.groups, D // self.groups)
        y = self.mamba(groups).reshape(B, H, W, D).permute(0, 3, 1, 2)
        return x + F.silu(self.norm(y))
