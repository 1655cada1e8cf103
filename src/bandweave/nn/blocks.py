"""Residual blocks around the 2-D scans, and the stems that make tokens of bands.

Source: VSS block of VMamba; M³amba, Fig. 2.

    x, z   (B, H, W, D)   tokens, channels last
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.scans.ss2d import SS2D, Average, CrossSS2D


class Stem(nn.Module):
    """Bands of some layers to tokens: one convolution over all of them, then LayerNorm.

    A layer finer than the tokens enters by a strided convolution over the pixels of one token, a
    coarser one by bilinear interpolation. A convolution over concatenated bands is the sum of one
    over each layer's, so that layers of different ratios enter together.

    bands    C of each layer that enters
    ratios   how many times finer than the grid each layer is
    detail   how many times finer than the grid the tokens are; divides each ratio or is a multiple
    norm     False leaves out the LayerNorm
    """

    def __init__(
        self,
        bands: Mapping[str, int],
        width: int,
        ratios: Mapping[str, int],
        detail: int = 1,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.upsample = {name: max(1, detail // ratios[name]) for name in bands}
        strides = {name: max(1, ratios[name] // detail) for name in bands}
        self.convs = nn.ModuleDict(
            {
                name: nn.Conv2d(count, width, strides[name], strides[name], bias=False)
                for name, count in bands.items()
            }
        )
        self.bias = nn.Parameter(torch.empty(width))
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        bound = sum(count * strides[name] ** 2 for name, count in bands.items()) ** -0.5
        for parameter in (*self.convs.parameters(), self.bias):  # as of the one convolution
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, layers: Mapping[str, Tensor]) -> Tensor:
        """Layers (B, C, H·r, W·r), by name, to tokens (B, H·detail, W·detail, D)."""
        total = self.bias[:, None, None]
        for name, conv in self.convs.items():
            x = conv(layers[name])
            if self.upsample[name] > 1:  # after the 1×1 convolution: the same, for fewer pixels
                x = F.interpolate(x, scale_factor=self.upsample[name], mode="bilinear")
            total = total + x  # (B, D, H, W)
        return self.norm(total.permute(0, 2, 3, 1))


class DropPath(nn.Module):
    """Skip a residual branch for whole samples with probability `rate` (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * (keep / (1 - self.rate))


class VSSBlock(nn.Module):
    """a = x + DropPath(SS2D(LN x)); out = a + DropPath(MLP(LN a))."""

    def __init__(
        self, width: int, *, state: int, expand: float, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = SS2D(width, state, expand)
        self.mlp = mlp(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.scan(self.norm(x)))
        return x + self.drop_path(self.mlp(x))


class CrossBlock(nn.Module):
    """A VSSBlock with Cross-SS2D, which takes a guide: a = x + DropPath(op(LN x, LN z)); …"""

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
        self.mlp = mlp(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = x + self.drop_path(self.scan(self.norm(x), self.norm(z)))
        return x + self.drop_path(self.mlp(x))


def mlp(width: int, ratio: float) -> nn.Sequential:
    """LayerNorm and two linear layers with GELU between."""
    hidden = int(width * ratio)
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
    )
