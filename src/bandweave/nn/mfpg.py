"""Fusion of a spectral and a spatial source, and the matrices that guide prompts; CF-IPT's MFPG.

Source: CF-IPT, "Cross-Modal Fusion Interactive Prompt Tuning" (CVPR 2026), section on MFPG: IS2PG
(the two matrices and the fusion by them), AMFF (attention over channels, convolutions of three
sizes) and the input adaptation encoder. Strides, channels and scales of products are ours.

    h      (B, C, H, W)    spectral source; as pixels (B, P, C), P = H·W
    x      (B, D, H, W)    spatial source
    spectral (B, C, C)     P_sp = σ(L_q(x)ᵀ L_k(h) / √P)
    spatial  (B, P, P)     P_sa = σ(L_q(h) L_k(x)ᵀ / √d), d = 16
    fused  (B, C + D, H, W)   [h + L_v([h, x]) P_sp, x + P_sa L_v([h, x])], then AMFF
    image  (B, 3, S, S)    what CLIP's vision tower takes
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUERY = 16  # d: channels in which pixels are compared for the spatial matrix
BOTTLENECK = 8  # of the attention over channels: as many times fewer than it has
KERNELS = 1, 3, 5  # of AMFF's convolutions
CHANNELS = 64, 32, 16, 3  # of the encoder's layers


class Matrices(NamedTuple):
    """The spectral prompt matrix (B, C, C) and the spatial one (B, P, P), values in 0..1."""

    spectral: Tensor
    spatial: Tensor


class CrossAttention(nn.Module):
    """IS2PG: what of two sources is compared, and their fusion by the two matrices.

    fuse     False: F_m is the two sources beside each other
    compare  False: there are no matrices; `fuse` needs them
    """

    def __init__(
        self, spectral: int, spatial: int, *, fuse: bool = True, compare: bool = True
    ) -> None:
        super().__init__()
        C, D = spectral, spatial
        self.fuse, self.compare = fuse, compare
        self.sizes = [C, D, *([C, C, QUERY, QUERY] if compare else []), *([C, D] if fuse else [])]
        if compare:
            self.spectral_query, self.spectral_key = nn.Linear(D, C), nn.Linear(C, C)
            self.spatial_query, self.spatial_key = nn.Linear(C, QUERY), nn.Linear(D, QUERY)
        if fuse:
            self.values = nn.Linear(C + D, C + D)  # L_v of F_H and of F_L

    def pixels(self, h: Tensor, x: Tensor) -> Tensor:
        """Pixels (…, C) and (…, D) as they are, and all projections of each, beside each other.

        No pixel's depend on another's, so neighbouring patches share them: (…, sum of sizes).
        """
        both = torch.cat([h, x], dim=-1)
        parts = [both]
        if self.compare:
            parts += [self.spectral_query(x), self.spectral_key(h)]
            parts += [self.spatial_query(h), self.spatial_key(x)]
        if self.fuse:
            parts.append(self.values(both))
        return torch.cat([part.to(both.dtype) for part in parts], dim=-1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Matrices | None]:
        """A patch's pixels (B, P, sum of sizes) to F_m (B, P, C + D) and the matrices."""
        pieces = pixels.split(self.sizes, dim=-1)
        h, x = pieces[:2]
        matrices = None
        if self.compare:
            query, key, spatial_query, spatial_key = pieces[2:6]
            spectral = query.transpose(1, 2) @ key / math.sqrt(pixels.shape[1])  # (B, C, C)
            spatial = spatial_query @ spatial_key.transpose(1, 2) / math.sqrt(QUERY)  # (B, P, P)
            matrices = Matrices(torch.sigmoid(spectral), torch.sigmoid(spatial))
        if self.fuse:
            assert matrices is not None
            h, x = h + pieces[-2] @ matrices.spectral, x + matrices.spatial @ pieces[-1]
        return torch.cat([h, x], dim=-1), matrices


def resize_spatial(spatial: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """Spatial matrices of patches of `size`, as of patches of patch×patch: both axes bilinear.

    (B, h·w, h·w) to (B, patch², patch²).
    """
    if size == (patch, patch):
        return spatial
    for _ in range(2):  # one axis of pixels, then the other
        maps = spatial.transpose(1, 2).unflatten(2, size)
        spatial = F.interpolate(maps, (patch, patch), mode="bilinear").flatten(2)
    return spatial


class AMFF(nn.Module):
    """F̃ = F ⊙ σ(z_avg + z_max), then the sum of convolutions of three sizes, and F again.

    The average and the maximum over the patch go through one bottleneck, as in CBAM.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // BOTTLENECK)
        self.attention = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, size, padding=size // 2) for size in KERNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C + D, H, W) to the same shape."""
        weight = self.attention(x.mean((2, 3))) + self.attention(x.amax((2, 3)))
        scaled = x * torch.sigmoid(weight)[:, :, None, None]
        return torch.stack([conv(scaled) for conv in self.convs]).sum(0) + x


class LearnedUpsampling(nn.Module):
    """The input adaptation encoder: four transposed convolutions, each with BN and GELU.

    patch   px: the side of the patches for which the strides are chosen: powers of two whose
            product brings it to `side` or just beyond; a bilinear step does what remains, and
            all of what patches of other sizes need
    """

    def __init__(self, channels: int, side: int, patch: int) -> None:
        super().__init__()
        self.side = side
        self.strides = strides(side, patch)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(
            pairwise([channels, *CHANNELS]), self.strides, strict=True
        ):
            kernel = {1: 3, 2: 4}.get(stride, stride)  # neighbours overlap where strides are small
            conv = nn.ConvTranspose2d(
                before, after, kernel, stride, padding=(kernel - stride) // 2, bias=False
            )
            layers += [conv, nn.BatchNorm2d(after), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C + D, H, W) to (B, 3, S, S)."""
        return _resize_image(self.layers(x), self.side)


class BilinearUpsampling(nn.Module):
    """Upsampling without learning (ablation 3): a 1×1 convolution to three channels, bilinear."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.mix = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C + D, H, W) to (B, 3, S, S)."""
        return _resize_image(self.mix(x), self.side)


def strides(side: int, patch: int) -> list[int]:
    """Strides of four layers: powers of two, larger ones first; times patch they reach side.

    >>> strides(224, 7), strides(224, 11), strides(64, 7), strides(8, 9)
    ([4, 2, 2, 2], [4, 2, 2, 2], [2, 2, 2, 2], [1, 1, 1, 1])
    """
    doublings = max(0, math.ceil(math.log2(side / patch)))
    each, more = divmod(doublings, len(CHANNELS))
    return [2 ** (each + (i < more)) for i in range(len(CHANNELS))]


def _resize_image(x: Tensor, side: int) -> Tensor:
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear")
