"""S²Mamba: the class of a pixel by a scan over the patch around it and one over its channels.

Source: Wang et al., "S²Mamba: A Spatial-spectral State Space Model for Hyperspectral Image
Classification", IEEE TGRS 2025 (arXiv 2404.18213).

    X      (B, S, p, p)    all bands of a patch, side by side
    x      (B, p, p, D)    stem: GELU of a 1×1 convolution
    z      (B, p, p, D)    LN x, which both branches take
    y₁     (B, p, p, D)    spatial (PCS): SS2D of z, with a gate through GELU
    y₂     (B, p, p, D)    spectral (BSS): a scan whose tokens are the E hidden channels and whose
                           features are the p² positions, forward and backward
    g      (B, p, p, 2)    softmax of an MLP on [y₁; y₂]; what is below a threshold becomes 0 (SMG)
    out    x + g₁·y₁ + g₂·y₂, then LN, mean over the positions, linear to the classes

The spectral scan's parameters are one set per position, so the patch's side is fixed.

In the release both spectral sequences run forward, and what the second gives is then reversed, so
that different channels are added: `spectral: as_published`. It mirrors the image at its edge, where
patches here hold zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.blocks import DropPath
from bandweave.nn.scans.ss2d import (
    SS2D,
    InputProjection,
    StreamParameters,
    scan_tokens,
    scan_twice_forward,
)
from bandweave.scan import bidirectional_order
from bandweave.schema import check_choices, check_ranges


@dataclass
class S2MambaConfig:
    """The release's model for Houston."""

    patch: int = 9  # p, px; 7 for Indian Pines, 11 for Pavia University
    width: int = 64  # D
    state: int = 16  # N of both scans
    expand: float = 2.0  # E / D
    threshold: float = 0.1  # a branch whose share of a position is less than this has none
    spectral: Literal["bidirectional", "as_published"] = "bidirectional"  # order of the channels:
    # 'as_published': twice forward, the second's result reversed
    dropout: float = 0.1  # of each branch; 0.4 for Indian Pines
    drop_path: float = 0.1  # of the branches together; the release's are the same number

    def __post_init__(self) -> None:
        check_choices(self)
        least = {"patch": 1, "width": 1, "state": 1}
        check_ranges(self, least, shares=["dropout", "drop_path"])
        check_ranges(self, {"expand": 1 / self.width})
        if not 0 <= self.threshold <= 0.5:
            raise ConfigError(f"threshold is {self.threshold}; it must be from 0 to 0.5")


class S2Mamba(PatchModel):
    """S²Mamba for layers with any bands, which enter side by side.

    Arguments, ratios and errors are those of a PatchModel.
    """

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: S2MambaConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        self.stem = nn.Sequential(nn.Conv2d(self.source_bands[0], config.width, 1), nn.GELU())
        self.block = Block(config)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.outputs)
        self.apply(_init_linear)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of a source (B, S, p, p)."""
        x = self.stem(sources[0]).permute(0, 2, 3, 1)  # (B, p, p, D)
        x = self.norm(self.block(x))
        return self.head(x.mean((1, 2)))


class Block(nn.Module):
    """x + DropPath(mixture of PCS(LN x) and BSS(LN x)); takes and returns (B, p, p, D)."""

    def __init__(self, config: S2MambaConfig) -> None:
        super().__init__()
        width, rank = config.width, math.ceil(config.width / 16)
        self.norm = nn.LayerNorm(width)
        self.spatial = SS2D(width, config.state, config.expand, rank, gate=F.gelu)
        self.spectral = ChannelScan(config, rank)
        self.dropout = nn.Dropout(config.dropout)
        self.mixture = GatedMixture(width, config.threshold)
        self.drop_path = DropPath(config.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(x)
        y = self.mixture(self.dropout(self.spatial(z)), self.dropout(self.spectral(z)))
        return x + self.drop_path(y)


class ChannelScan(nn.Module):
    """Selective scan along the hidden channels of a patch, both ways, by its p² positions (BSS).

    Takes and returns (B, h, w, D), h·w = p².
    """

    def __init__(self, config: S2MambaConfig, rank: int) -> None:
        super().__init__()
        positions, self.spectral = config.patch**2, config.spectral
        self.channels = int(config.expand * config.width)
        self.in_proj = InputProjection(config.width, self.channels, gate=F.gelu)
        self.stream = StreamParameters(positions, config.state, rank, orders=2)
        self.norm = nn.LayerNorm(positions)
        self.out_proj = nn.Linear(self.channels, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x)  # (B, p², E) each
        y = self.norm(self.scan_channels(u.transpose(1, 2)))  # (B, E, p²)
        return self.out_proj(y.transpose(1, 2) * gate).view(x.shape)

    def scan_channels(self, u: Tensor) -> Tensor:
        """Scan channels whose features are positions: (B, E, p²) to the same."""
        if self.spectral == "as_published":
            return scan_twice_forward(u, self.stream)
        return scan_tokens(u, self.stream, bidirectional_order(self.channels))


class GatedMixture(nn.Module):
    """Two branches (B, h, w, D) each to their mixture, by shares of each position (SMG)."""

    def __init__(self, width: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.shares = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, 2),
            nn.Softmax(dim=-1),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        shares = self.shares(torch.cat([first, second], dim=-1))
        shares = torch.where(shares < self.threshold, 0, shares)  # not made to add up again
        return shares[..., :1] * first + shares[..., 1:] * second


def _init_linear(module: nn.Module) -> None:
    """Normal weights of standard deviation 0.02, and no bias, as in the release."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
