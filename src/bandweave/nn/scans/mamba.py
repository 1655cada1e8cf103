"""Mamba layers over sequences: the plain one, and one with a norm in place of the convolution.

Sources: Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
fig. 3, is the plain layer; NormedScan is what SS-Mamba (Huang et al. 2024), DualMamba (Sheng et al.
2025) and MSFMamba (Gao et al. 2025) make for sequences of the scan of images (VMamba, Liu et al.
2024).

    x      (B, T, D)   tokens
    u, g   (B, T, E)   halves of a projection; E = expand·D
    u      ← SiLU(depthwise causal convolution of u over `kernel` tokens, the last one the present)
    y      = selective scan of u with Δ, B and C of it; Δ of rank R = ⌈D/16⌉
    out    = W (y · SiLU(g)); of NormedScan W (LN y · SiLU(g))
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.scans.ss2d import OutputProjection, StreamParameters, scan_tokens
from bandweave.scan import ScanOrder, forward_order, selective_scan


class MambaBranch(nn.Module):
    """A Mamba layer up to its gate: takes (B, T, D) and returns y · SiLU(g), (B, T, E).

    channels  E
    kernel    tokens of the causal convolution
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        expand: float = 2.0,
        kernel: int = 4,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels = int(expand * width)
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.stream = StreamParameters(channels, state, rank or math.ceil(width / 16), orders=1)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(self.convolve(u))
        return scan_tokens(u, self.stream, forward_order(u.shape[1])) * F.silu(gate)

    def convolve(self, u: Tensor) -> Tensor:
        """Each channel of (B, T, E) over the tokens up to the present one.

        One tap after another, as a convolution's backward pass is slow over many short sequences.
        """
        taps = self.conv.weight[:, 0].T.to(u.dtype)  # (kernel, E)
        padded = F.pad(u, (0, 0, len(taps) - 1, 0))
        y = cast(Tensor, self.conv.bias).to(u.dtype)
        for k, tap in enumerate(taps):
            y = torch.addcmul(y, padded[:, k : k + u.shape[1]], tap)
        return y


class MambaLayer(MambaBranch):
    """A selective scan along the tokens as they lie. Takes and returns (B, T, D).

    state    N of the scan
    expand   channels of the scan per D
    kernel   tokens of the causal convolution
    rank     R of the step sizes, ⌈D/16⌉ where it is not given
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        expand: float = 2.0,
        kernel: int = 4,
        rank: int | None = None,
    ) -> None:
        super().__init__(width, state, expand, kernel, rank)
        self.out_proj = nn.Linear(self.channels, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(super().forward(x))


class NormedScan(nn.Module):
    """A selective scan of tokens, normalised before its gate. Takes and returns (B, T, D).

    width, channels  D, E
    state, rank      N, R
    sequences        K of the orders that it is called with; each sequence has its own weights
    before           what the scan's tokens go through first; SiLU by default
    gated            False: there is no g
    """

    def __init__(
        self,
        width: int,
        channels: int,
        state: int,
        rank: int,
        *,
        sequences: int = 1,
        before: nn.Module | None = None,
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.gated = gated
        self.in_proj = nn.Linear(width, channels * (1 + gated), bias=False)
        self.before = before or nn.SiLU()
        self.stream = StreamParameters(channels, state, rank, orders=sequences)
        self.out_proj = OutputProjection(channels, width)

    def forward(self, x: Tensor, *orders: ScanOrder) -> Tensor:
        """Scan tokens (B, T, D) in an order of K sequences, which are summed.

        Several orders share the weights; each is normalised by itself, and the mean is taken.
        """
        u, gate = self.in_proj(x), None
        if self.gated:
            u, gate = u.chunk(2, dim=-1)
            gate = F.silu(gate)
        u = self.before(u)
        delta, B, C = self.stream(u)
        each = []
        for order in orders:
            y = selective_scan(
                u, delta, self.stream.A, B, C, self.stream.D, order,
                delta_weight=self.stream.step_weight, delta_bias=self.stream.step_bias,
                softplus=True,
            )  # fmt: skip
            each.append(self.out_proj(y, gate))
        return torch.stack(each).mean(0)
