"""A plain Mamba layer over sequences.

Source: Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), fig. 3.

    x      (B, T, D)   tokens
    u, g   (B, T, E)   halves of a projection; E = expand·D
    u      ← SiLU(depthwise causal convolution of u over `kernel` tokens, the last one the present)
    y      = selective scan of u with Δ, B and C of it; Δ of rank R = ⌈D/16⌉
    out    = W (y · SiLU(g))
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.ss2d import StreamParameters
from bandweave.scan import forward_order, selective_scan


class MambaLayer(nn.Module):
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
        super().__init__()
        channels = int(expand * width)
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.stream = StreamParameters(channels, state, rank or math.ceil(width / 16), orders=1)
        self.out_proj = nn.Linear(channels, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        before = self.conv.kernel_size[0] - 1
        u = F.silu(self.conv(F.pad(u.transpose(1, 2), (before, 0))).transpose(1, 2))
        delta, B, C = self.stream(u)
        y = selective_scan(
            u, delta, self.stream.A, B, C, self.stream.D, forward_order(u.shape[1]),
            delta_weight=self.stream.step_weight, delta_bias=self.stream.step_bias, softplus=True,
        )  # fmt: skip
        return self.out_proj(y * F.silu(gate))
