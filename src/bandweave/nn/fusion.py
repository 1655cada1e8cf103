"""Blocks that fuse co-registered streams of tokens, and their parts.

Source: MMMamba (Wang et al. 2025); the norm and the gated network are Restormer's (Zamir et al.
2022).

    streams  (B, H, W, D)   S of them, channels last
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BiasFreeNorm(nn.Module):
    """x / √(var + ε) · weight over the channels: LayerNorm that takes no mean away."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        variance = (x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True)  # faster than var
        return x * torch.rsqrt(variance + self.eps) * self.weight


class GatedNetwork(nn.Module):
    """Linear D → ratio·D, depthwise 3×3, GELU of one half times the other, linear back; no bias."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        half = int(width * ratio / 2)
        self.widen = nn.Linear(width, 2 * half, bias=False)
        self.conv = nn.Conv2d(2 * half, 2 * half, 3, padding=1, groups=2 * half, bias=False)
        self.narrow = nn.Linear(half, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.widen(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        a, b = x.chunk(2, dim=-1)
        return self.narrow(F.gelu(a) * b)


class CrossAttention(nn.Module):
    """Each stream asks, all tokens of the other stream answer; a lone stream asks itself.

    The projections serve both streams, the depthwise convolution and the way out are each
    stream's own. Time grows with the square of the window's pixels.
    """

    def __init__(self, width: int, streams: int = 2, outputs: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width) for _ in range(streams)
        )
        self.out_projs = nn.ModuleList(
            nn.Linear(width, width, bias=False)
            for _ in range(streams if outputs is None else outputs)
        )

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Streams (B, H, W, D) to those that come out, (B, H, W, D)."""
        size = streams[0].shape[1:3]
        asked = []
        for conv, x in zip(self.convs, streams, strict=False):
            projected = conv(self.project(x).permute(0, 3, 1, 2))  # (B, 3·D, H, W)
            asked.append(projected.flatten(2).transpose(1, 2).chunk(3, dim=-1))  # q, k, v (B, T, D)
        answers = []
        for out_proj, (query, _, _), (_, key, value) in zip(
            self.out_projs, asked, reversed(asked), strict=False
        ):
            y = F.scaled_dot_product_attention(query, key, value)
            answers.append(out_proj(y).unflatten(1, size))
        return answers


class FusionBlock(nn.Module):
    """x ← x + fuse(LN x) over all streams; x ← x + network(LN x) in each, with the same network.

    The norms are each stream's own, before `fuse` and before the network.

    fuse     takes the streams and returns those that leave the block
    streams  the most streams that come in
    outputs  the number of streams that come out, the first ones; None: all
    """

    def __init__(
        self,
        width: int,
        fuse: nn.Module,
        ratio: float,
        streams: int = 2,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        leaving = streams if outputs is None else outputs
        self.fuse_norms = nn.ModuleList(BiasFreeNorm(width) for _ in range(streams))
        self.fuse = fuse
        self.network_norms = nn.ModuleList(BiasFreeNorm(width) for _ in range(leaving))
        self.network = GatedNetwork(width, ratio)

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        fused = self.fuse(_norm_each(self.fuse_norms, streams))
        fused = [x + y for x, y in zip(streams, fused, strict=False)]
        normed = _norm_each(self.network_norms, fused)
        return [x + self.network(y) for x, y in zip(fused, normed, strict=True)]


def _norm_each(norms: nn.ModuleList, streams: Sequence[Tensor]) -> list[Tensor]:
    return [norm(x) for norm, x in zip(norms, streams, strict=False)]
