"""DualMamba: the class of a pixel by light scans beside convolutions of the patch around it.

Source: Sheng et al., "DualMamba: A Lightweight Spectral–Spatial Mamba-Convolution Network for
Hyperspectral Image Classification", IEEE TGRS 63, 2025 (arXiv 2406.07050), and its release.

    X      (B, S, p, p)   all bands of a patch, side by side; the last is repeated until `groups`
                          divides their number
    x₀     (B, D, p, p)   grouped 3×3 convolution, BN, ReLU
    x      x₀ + depthwise 3×3 of x₀
    a      (B, p², D)     spatial: one scan of LN x, row by row
    e      (B, D, 1)      spectral: the D channels of LN x in the middle pixel are D tokens, scanned
                          forward and backward
    G      a · softmax(e), + e · softmax(mean of a) in the middle pixel alone, + x; both softmaxes
           over channels
    L      x₀ + convolutions of x₀: 1×1, then depthwise 3×3 beside three taps, then 1×1 of both
    w      (B, 1)         sigmoid of an MLP on the mean of G + L
    F      G + L + (1-w)·G + w·L
    out    LN F, mean over the positions, linear to the classes

The release's three taps lie along the image's columns (`taps: columns`); they are to weigh
neighbouring channels, as they do here. Its configuration for Pavia University, which cannot run
there, adds a gate to both scans and an MLP: here `gate: true`, `mlp_ratio: 4`, without the 3×3
convolution that stops it. It mirrors the image at its edge, where patches here hold zeros.
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
from bandweave.nn.blocks import mlp
from bandweave.nn.scans.mamba import NormedScan
from bandweave.scan import bidirectional_order, forward_order
from bandweave.schema import check_choices, check_ranges

HIDDEN = 32  # channels at least of what weighs the branches


@dataclass
class DualMambaConfig:
    """The release's model for Indian Pines and LongKou."""

    patch: int = 7  # p, px; 15 for Houston 2018
    width: int = 64  # D
    groups: int = 4  # of bands that are convolved by themselves; 2 for Houston 2018
    state: int = 16  # N of both scans
    expand: float = 2.0  # channels of the spatial scan per D; the spectral one has 2
    taps: Literal["channels", "columns"] = "channels"  # what three taps of the convolutions lie
    # along; the release's lie along the columns
    gate: bool = False  # of what is scanned, in both scans; the release's for Pavia University
    mlp_ratio: float = 0.0  # hidden channels per D of an MLP at the end; 0: there is none

    def __post_init__(self) -> None:
        check_choices(self)
        check_ranges(self, {"patch": 1, "width": 1, "groups": 1, "state": 1})
        if self.width % self.groups:
            raise ConfigError(
                f"groups is {self.groups}; it must divide the width, which is {self.width}"
            )
        check_ranges(self, {"expand": 1 / self.width})
        if self.mlp_ratio:
            check_ranges(self, {"mlp_ratio": 1 / self.width})


class DualMamba(PatchModel):
    """DualMamba for layers with any bands, which enter side by side.

    Arguments, ratios and errors are those of a PatchModel.
    """

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: DualMambaConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        self.repeated = -self.source_bands[0] % config.groups
        self.stem = nn.Sequential(
            *norm_conv(self.source_bands[0] + self.repeated, config.width, 3, groups=config.groups),
            nn.ReLU(),
        )
        self.block = Block(config)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.outputs)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of a source (B, S, p, p)."""
        x = sources[0]
        x = torch.cat([x, x[:, -1:].expand(-1, self.repeated, -1, -1)], dim=1)
        x = self.block(self.stem(x))  # (B, p, p, D)
        return self.head(self.norm(x).mean((1, 2)))


class Block(nn.Module):
    """Scans and convolutions of a patch, weighed and added. (B, D, p, p) to (B, p, p, D)."""

    def __init__(self, config: DualMambaConfig) -> None:
        super().__init__()
        width = config.width
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = NormedScan(
            width,
            int(config.expand * width),
            config.state,
            math.ceil(width / 16),
            gated=config.gate,
        )
        self.spectral_norm = nn.LayerNorm(width)
        self.spectral = NormedScan(1, 2, config.state, 1, sequences=2, gated=config.gate)
        self.convolutions = Convolutions(width, config.taps)
        self.share = Share(width)
        self.mlp = mlp(width, config.mlp_ratio) if config.mlp_ratio else None

    def forward(self, x: Tensor) -> Tensor:
        scanned = self.scan_both((x + self.place(x)).permute(0, 2, 3, 1))  # G, (B, p, p, D)
        convolved = self.convolutions(x).permute(0, 2, 3, 1)  # L
        w = self.share((scanned + convolved).mean((1, 2)))[:, None, None]  # (B, 1, 1, 1)
        y = scanned + convolved + (1 - w) * scanned + w * convolved
        return y if self.mlp is None else y + self.mlp(y)

    def scan_both(self, x: Tensor) -> Tensor:
        """Both scans of a patch (B, p, p, D), each weighed by the other, added to it."""
        height, breadth, width = x.shape[1:]
        row, column = height // 2, breadth // 2
        tokens = self.spatial_norm(x).flatten(1, 2)
        spatial = self.spatial(tokens, forward_order(height * breadth))  # (B, T, D)
        channels = self.spectral_norm(x[:, row, column])[..., None]
        spectral = self.spectral(channels, bidirectional_order(width))[..., 0]  # (B, D)
        weighed = spectral * spatial.mean(1).softmax(-1)
        scanned = spatial * spectral.softmax(-1)[:, None]
        around = (column, breadth - column - 1, row, height - row - 1)
        weighed = F.pad(weighed[..., None, None], around).permute(0, 2, 3, 1)
        return x + scanned.view(x.shape) + weighed


class Convolutions(nn.Module):
    """x + 1×1, then depthwise 3×3 beside three taps, then 1×1 of both; each with BN and SiLU."""

    def __init__(self, width: int, taps: Literal["channels", "columns"]) -> None:
        super().__init__()
        self.first = nn.Sequential(*norm_conv(width, width, 1), nn.SiLU())
        self.depthwise = nn.Sequential(*norm_conv(width, width, 3, groups=width), nn.SiLU())
        size = (3, 1, 1) if taps == "channels" else (1, 1, 3)
        self.taps = nn.Sequential(
            nn.Conv3d(1, 1, size, padding="same", bias=False), nn.BatchNorm3d(1), nn.SiLU()
        )
        self.last = nn.Sequential(*norm_conv(2 * width, width, 1), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return x + self.last(torch.cat([self.depthwise(y), self.taps(y[:, None])[:, 0]], dim=1))


class Share(nn.Module):
    """One number from 0 to 1 (B, 1) of features (B, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width, HIDDEN)
        self.first = nn.Linear(width, hidden, bias=False)
        self.first_norm = BatchNormOfAny(hidden)
        self.second = nn.Linear(hidden, 1, bias=False)
        self.second_norm = BatchNormOfAny(1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        return self.second_norm(self.second(x)).sigmoid()


class BatchNormOfAny(nn.BatchNorm1d):
    """BatchNorm of features (B, D) that takes a sample alone, by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1 or not self.training:
            return super().forward(x)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)


def norm_conv(inputs: int, outputs: int, size: int, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the image's size, and BN; the bias is the norm's."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]
