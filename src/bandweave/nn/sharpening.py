"""The two ends of a network that sharpens: an image's encoder, and the tail that makes detail.

Sources: half instance norm, Chen et al. 2021 (HINet); channel attention, Zhang et al. 2018 (RCAN).
MMMamba and Pan-Mamba have both ends in common.

    image     (B, C, H, W)
    features  (B, H, W, D)   channels last
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bandweave.nn.window_statistics import ChannelAttention, HalfInstanceNorm


class Encoder(nn.Module):
    """An image (B, C, H, W) to features (B, H, W, D).

    residuals      residual units behind the first convolution
    instance_norm  whether each unit normalises half of its channels
    """

    def __init__(self, bands: int, width: int, residuals: int, instance_norm: bool = True) -> None:
        super().__init__()
        self.in_proj = nn.Conv2d(bands, width, 3, padding=1)
        self.units = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.LeakyReLU(0.2),
                HalfInstanceNorm(width) if instance_norm else nn.Identity(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.LeakyReLU(0.2),
            )
            for _ in range(residuals)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x.contiguous(memory_format=torch.channels_last))
        for unit in self.units:
            x = x + unit(x)
        return x.permute(0, 2, 3, 1)


class Tail(nn.Module):
    """Features (B, H, W, D) to the detail that an interpolated image lacks, (B, C, H, W).

    hidden  channels between, in the channel attention; 0: a quarter of the width
    means   False: of the channel attention its convolutions alone
    """

    def __init__(self, bands: int, width: int, hidden: int = 0, means: bool = True) -> None:
        super().__init__()
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.attention = ChannelAttention(width, hidden or max(1, width // 4), means)
        self.out_proj = nn.Conv2d(width, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.attention(self.refine(x.permute(0, 3, 1, 2))))
