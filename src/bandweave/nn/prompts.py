"""Prompts of one CLIP branch made from the other's, guided by matrices; CF-IPT's S2GPT Mamba.

Source: CF-IPT (CVPR 2026), section on V-TPI. One transfer serves all layers, another the other
direction:

    P₂  = S2PtTrans(SiLU(DWConv(L(P))))
    out = L(SiLU(L(P)) ⊙ LN(SSM(P₂)))

The SSM scans along the channels, both ways: its tokens are the E channels, its features the n
prompts. In S2PtTrans the channels' first half is modulated by the spatial matrix, the other by the
spectral one. What is ours: that the modulation adds to what it modulates, and its scale.

    P         (L, n, M)        prompts of one branch, its width M
    matrices  (B, C, C), (B, P, P)   spectral and spatial, of P pixels
    out       (B, L, n, M')    for the other branch
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.mfpg import Matrices
from bandweave.nn.scans.ss2d import StreamParameters
from bandweave.scan import bidirectional_order, selective_scan

Mixing = Literal["mamba", "transformer"]
HEADS = 4  # of the Transformer that may take the scan's place


class PromptTransfer(nn.Module):
    """f or g of CF-IPT: prompts (L, n, M) and matrices to prompts (B, L, n, M').

    mixing  'mamba', or 'transformer' in its place (ablation 4d): a layer of self-attention over
            the n prompts instead of convolution and scan
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        prompts: int,
        bands: int,
        pixels: int,
        width: int,
        state: int,
        mixing: Mixing = "mamba",
    ) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width_in, width)
        self.gate = nn.Linear(width_in, width)
        self.guide = MatrixGuide(width, bands, pixels)
        self.mix: nn.Module
        if mixing == "mamba":
            self.conv: nn.Module = nn.Conv1d(prompts, prompts, 3, padding=1, groups=prompts)
            self.mix = ChannelScan(prompts, state)
        else:
            self.conv = nn.Identity()
            self.mix = nn.TransformerEncoderLayer(
                width, HEADS, 2 * width, dropout=0.0, activation="gelu", batch_first=True
            )
        self.norm = nn.LayerNorm(width)
        self.out_proj = nn.Linear(width, width_out)

    def forward(self, prompts: Tensor, matrices: Matrices) -> Tensor:
        guided = self.guide(F.silu(self.conv(self.in_proj(prompts))), matrices)  # (B, L, n, E)
        mixed = self.mix(guided.flatten(0, 1)).unflatten(0, guided.shape[:2])
        return self.out_proj(F.silu(self.gate(prompts)) * self.norm(mixed))


class MatrixGuide(nn.Module):
    """S2PtTrans: one half of the channels is led through pixels, the other through bands.

    Each half is projected to as many numbers as the matrix has rows, multiplied by it, projected
    back and added to what it was.
    """

    def __init__(self, width: int, bands: int, pixels: int) -> None:
        super().__init__()
        self.width = width // 2, width - width // 2
        self.to_pixels, self.from_pixels = (
            nn.Linear(self.width[0], pixels),
            nn.Linear(pixels, self.width[0]),
        )
        self.to_bands, self.from_bands = (
            nn.Linear(self.width[1], bands),
            nn.Linear(bands, self.width[1]),
        )

    def forward(self, x: Tensor, matrices: Matrices) -> Tensor:
        """Channels (L, n, E), the same for all samples, to (B, L, n, E)."""
        over_pixels, over_bands = x.split(self.width, dim=-1)
        spatial = _product(self.to_pixels(over_pixels), matrices.spatial)
        spectral = _product(self.to_bands(over_bands), matrices.spectral)
        guided = [
            over_pixels + self.from_pixels(spatial),
            over_bands + self.from_bands(spectral),
        ]
        return torch.cat(guided, dim=-1)


class ChannelScan(nn.Module):
    """A selective scan of n features along E channels, forward and backward, summed."""

    def __init__(self, features: int, state: int) -> None:
        super().__init__()
        self.stream = StreamParameters(features, state, math.ceil(features / 16), orders=2)

    def forward(self, x: Tensor) -> Tensor:
        """(S, n, E) to the same shape."""
        u = x.transpose(1, 2).contiguous()  # (S, E, n)
        delta, B, C = self.stream(u)
        y = selective_scan(
            u, delta, self.stream.A, B, C, self.stream.D, bidirectional_order(u.shape[1]),
            delta_weight=self.stream.step_weight, delta_bias=self.stream.step_bias, softplus=True,
        )  # fmt: skip
        return y.transpose(1, 2)


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """Rows (L, n, R) times matrices (B, R, R), so scaled that R does not matter: (B, L, n, R)."""
    rows = x.flatten(0, 1) @ (matrix / math.sqrt(matrix.shape[-1]))
    return rows.unflatten(1, x.shape[:2])
