"""The spectral expert: a bidirectional scan along the channels of every position by itself.

Source: Xu et al., "MambaMoE", its shared spectral expert. The release makes the scan's parameters
anew, at random, in every forward pass; here they are trained, and do not depend on the image's
size: positions are the batch, the channels are the sequence. In the release's form, which is
`PublishedSpectralExpert`, all positions are the features of one sequence of channels.

    x     (P, D)      tokens; P positions
    s     (P, L)      what is scanned, L = 2·D channels, and a gate of the same size
    u     (P, L, F)   each channel and its two neighbours, lifted to F features
    B, C  (P, 2, L, N)  two orders, forward and backward; N states; steps of rank 1

    out = W (LN(lowered scan of u) · GELU(gate))

The scan is `scan_lifted`, which on a CPU keeps nothing of u, B and C. Elsewhere a position takes
2·L·(F + 2·N) numbers while it is scanned: gigabytes over a scene. So positions go through in
chunks, and where they learn and there is no kernel, a chunk is computed once more in the backward
pass instead of being kept.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bandweave.nn.scans.ss2d import StreamParameters, scan_twice_forward
from bandweave.scan.lifted import LiftedScan, fits_kernel, scan_lifted

STEPS = 2**17  # of a chunk: positions times channels


class SpectralExpert(nn.Module):
    """Takes and returns (..., D); every position by itself.

    features  F, of each channel in the scan
    steps     positions times channels of a chunk
    """

    def __init__(self, width: int, features: int = 8, state: int = 4, steps: int = STEPS) -> None:
        super().__init__()
        self.channels = 2 * width
        self.positions = max(1, steps // self.channels)  # of a chunk
        self.in_proj = nn.Linear(width, 2 * self.channels)
        self.lift = nn.Linear(3, features)  # a convolution over three channels
        self.stream = StreamParameters(features, state, rank=1, orders=2)
        self.lower = nn.Linear(features, 1, bias=False)  # the norm would take a bias away
        self.norm = nn.LayerNorm(self.channels)
        self.out_proj = nn.Linear(self.channels, width)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (P, D)
        again = torch.is_grad_enabled() and len(flat) > self.positions and not fits_kernel(flat)
        done = [
            checkpoint(self.scan_positions, chunk, use_reentrant=False, preserve_rng_state=False)
            if again
            else self.scan_positions(chunk)
            for chunk in flat.split(self.positions)
        ]
        return torch.cat(done).view(x.shape)

    def scan_positions(self, x: Tensor) -> Tensor:
        """Scan all positions (P, D) at once."""
        s, gate = self.in_proj(x).chunk(2, dim=-1)  # (P, L) each
        y = self.norm(scan_lifted(s, self.parameters_of_scan))
        return self.out_proj(y.to(gate.dtype) * F.gelu(gate))

    @property
    def parameters_of_scan(self) -> LiftedScan:
        """What the scan is of."""
        stream = self.stream
        return LiftedScan(
            self.lift.weight, self.lift.bias, stream.project, stream.step_weight.squeeze(1),
            stream.step_bias, stream.A, stream.D, self.lower.weight[0],
        )  # fmt: skip


class PublishedSpectralExpert(nn.Module):
    """The release's form, trained: E = 2·D channels are the tokens, T positions the features.

    Takes and returns (B, H, W, D), of T = H·W positions, which is also the number of parameters of
    each kind. The convolution goes along the positions, from all channels to all. Both sequences
    go forward, and what the second gives is turned around.

    state  N of the scan
    """

    def __init__(self, width: int, positions: int, state: int = 16) -> None:
        super().__init__()
        channels = 2 * width
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)
        self.stream = StreamParameters(positions, state, math.ceil(width / 16), orders=2)
        self.norm = nn.LayerNorm(positions)
        self.out_proj = nn.Linear(channels, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        s, gate = self.in_proj(x.flatten(1, 2)).chunk(2, dim=-1)  # (B, T, E) each
        u = F.silu(self.conv(s.transpose(1, 2)))  # (B, E, T)
        y = self.norm(scan_twice_forward(u, self.stream))
        return self.out_proj(y.transpose(1, 2) * F.gelu(gate)).view(x.shape)
