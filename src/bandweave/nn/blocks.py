"""Residual blocks around the 2-D scans, and the stems that make tokens of bands.

Source: VSS block of VMamba; M³amba, Fig. 2.

    x, z   (B, H, W, D)   tokens, channels last
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.ss2d import SS2D, Average, CrossSS2D


class Stem(nn.Module):
    """Bands (B, C, h, w) to tokens (B, H, W, D): convolution with bias, then LayerNorm.

    A layer finer than the tokens enters by a strided convolution over the pixels of one token; a
    coarser one is brought to the tokens by bilinear interpolation first.
    """

    def __init__(self, bands: int, width: int, stride: int = 1, upsample: int = 1) -> None:
        super().__init__()
        self.upsample = upsample
        self.conv = nn.Conv2d(bands, width, stride, stride=stride)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample > 1:
            x = F.interpolate(x, scale_factor=self.upsample, mode="bilinear")
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class DropPath(nn.Module):
    """Skip a residual branch for whole samples with probability `rate` (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class VSSBlock(nn.Module):
    """a = x + DropPath(SS2D(LN x)); out = a + DropPath(MLP(LN a))."""

    def __init__(
        self, width: int, *, state: int, expand: float, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = SS2D(width, state, expand)
        self.mlp = _mlp(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.scan(self.norm(x)))
        return x + self.drop_path(self.mlp(x))


class CrossBlock(nn.Module):
    """The same with Cross-SS2D, which takes a guide: a = x + DropPath(op(LN x, LN z)); …"""

    def __init__(
        self,
        width: int,
        *,
        state: int,
        expand: float,
        mlp_ratio: float,
        drop_path: float,
        average: Average,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = CrossSS2D(width, state, expand, average=average)
        self.mlp = _mlp(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = x + self.drop_path(self.scan(self.norm(x), self.norm(z)))
        return x + self.drop_path(self.mlp(x))


def _mlp(width: int, ratio: float) -> nn.Sequential:
    """LayerNorm and two linear layers with GELU between."""
    hidden = int(width * ratio)
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
    )
