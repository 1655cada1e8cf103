"""2-D selective scans: SS2D of one stream, and Cross-SS2D of one modality steered by another.

Sources: SS2D from VMamba (Liu et al. 2024); Cross-SS2D from M³amba, section III-C, eq. 10-13 and
Algorithm 1.

    x      (B, H, W, D)   tokens, channels last
    u      (B, T, E)      tokens after projection and convolution, natural order, T = H·W
    delta  (B, K, T, R)   step sizes as their factor of rank R, before weight, bias and softplus
    B, C   (B, K, T, N)   input and output projections
    A      (K, E, N)      negative decay rates
    K orders, T tokens, E = expand·D channels, N states, R rank of the step sizes

Everything a direction needs is computed once per token; only the scan follows the orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.scan import ScanOrder, cross_order, forward_order, selective_scan

ORDERS = 4  # row-major, column-major, and the reverse of each

Average = Literal["transition", "rate"]
Activation = Callable[[Tensor], Tensor]


class StreamParameters(nn.Module):
    """The parameters that one stream gives to a scan of K orders: A, and any of Δ, B, C with D.

    A stream owns only what the scan reads, so no parameter is without influence.

    steps, inputs, outputs   True where it gives Δ; B; C and D
    source                   channels of the tokens that Δ, B and C are made of, where they are
                             those of another stream; by default they are the scan's
    """

    def __init__(
        self,
        channels: int,
        state: int,
        rank: int,
        *,
        steps: bool = True,
        inputs: bool = True,
        outputs: bool = True,
        orders: int = ORDERS,
        source: int | None = None,
    ) -> None:
        super().__init__()
        source = source or channels
        self.sizes = [rank * steps, state * inputs, state * outputs]
        bound = source**-0.5
        self.project = nn.Parameter(
            torch.empty(orders, sum(self.sizes), source).uniform_(-bound, bound)
        )
        if steps:
            self.step_weight = nn.Parameter(
                torch.empty(orders, rank, channels).uniform_(-(rank**-0.5), rank**-0.5)
            )
            self.step_bias = _no_decay(_initial_step_bias(orders, channels))
        decay = torch.arange(1, state + 1, dtype=torch.float32).log()
        self.A_log = _no_decay(decay.expand(orders, channels, state).clone())
        if outputs:
            self.D = _no_decay(torch.ones(orders, channels))

    @property
    def A(self) -> Tensor:
        """Negative decay rates (K, E, N)."""
        return -torch.exp(self.A_log)

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, T, E) to delta (B, K, T, R), B and C (B, K, T, N); empty where not owned."""
        orders, size, _ = self.project.shape
        projected = F.linear(u, self.project.flatten(0, 1))  # (B, T, K·(R+N+N))
        projected = projected.unflatten(-1, (orders, size)).transpose(1, 2)  # (B, K, T, R+N+N)
        delta, B, C = projected.split(self.sizes, dim=-1)
        return delta, B, C


def scan_tokens(
    u: Tensor, stream: StreamParameters, order: ScanOrder, guide: Tensor | None = None
) -> Tensor:
    """Scan tokens (B, T, E) in an order, by a stream that owns all the scan needs.

    guide  (B, T, F): what step sizes, B and C are made of, where it is not the tokens
    """
    delta, B, C = stream(u if guide is None else guide)
    return selective_scan(
        u, delta, stream.A, B, C, stream.D, order,
        delta_weight=stream.step_weight, delta_bias=stream.step_bias, softplus=True,
    )  # fmt: skip


def scan_twice_forward(u: Tensor, stream: StreamParameters) -> Tensor:
    """Scan tokens (B, T, E) by both sequences of a stream as they lie, as some releases do.

    What the second gives is turned around before it is added, so that it meets other tokens.
    """
    delta, B, C = stream(u)
    first, second = (
        selective_scan(
            u, delta[:, k], stream.A[k], B[:, k], C[:, k], stream.D[k], forward_order(u.shape[1]),
            delta_weight=stream.step_weight[k], delta_bias=stream.step_bias[k], softplus=True,
        )
        for k in (slice(0, 1), slice(1, 2))
    )  # fmt: skip
    return first + second.flip(1)


class SS2D(nn.Module):
    """Selective scan of an image along rows and columns, both ways (VMamba).

    Takes and returns (B, H, W, D). `rank` defaults to ⌈D/16⌉; `gate` is what the gate goes through.
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        expand: float = 2.0,
        rank: int | None = None,
        gate: Activation = F.silu,
    ) -> None:
        super().__init__()
        channels = int(expand * width)
        self.in_proj = InputProjection(width, channels, gate)
        self.stream = StreamParameters(channels, state, rank or math.ceil(width / 16))
        self.out_proj = OutputProjection(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        height, breadth = x.shape[1:3]
        u, gate = self.in_proj(x)
        y = scan_tokens(u, self.stream, cross_order(height, breadth))
        return self.out_proj(y, gate).unflatten(1, (height, breadth))


class CrossSS2D(nn.Module):
    """Selective scan of a modality whose input projection comes from a guide (M³amba).

    average  'transition': eq. 10-13, the transition is the mean of both streams' and the guide's
             step sizes drive the input; 'rate': Algorithm 1, the decay rates are averaged and
             discretised with the modality's step sizes.

    Takes the modality and the guide, both (B, H, W, D), and returns (B, H, W, D). The projections
    into and out of the scan serve both streams. The mirrored scan of the guide, which the paper
    discards, is not computed and has no parameters.
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        expand: float = 2.0,
        rank: int | None = None,
        average: Average = "transition",
    ) -> None:
        super().__init__()
        channels, rank = int(expand * width), rank or math.ceil(width / 16)
        self.average = average
        self.in_proj = InputProjection(width, channels)
        self.modality = StreamParameters(channels, state, rank, inputs=False)
        self.guide = StreamParameters(
            channels, state, rank, steps=average == "transition", outputs=False
        )
        self.out_proj = OutputProjection(channels, width)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        height, breadth = x.shape[1:3]
        order = cross_order(height, breadth)
        u, gate = self.in_proj(x)
        delta, _, C = self.modality(u)
        guide_delta, B, _ = self.guide(self.in_proj.tokens(z))
        modality, guide = self.modality, self.guide
        rates, second = modality.A, {}
        if self.average == "transition":
            second = {"delta2": guide_delta, "A2": guide.A}
            second |= {"delta2_weight": guide.step_weight, "delta2_bias": guide.step_bias}
        else:
            rates = (modality.A + guide.A) / 2
        y = selective_scan(
            u, delta, rates, B, C, modality.D, order,
            delta_weight=modality.step_weight, delta_bias=modality.step_bias, softplus=True,
            **second,
        )  # fmt: skip
        return self.out_proj(y, gate).unflatten(1, (height, breadth))


class InputProjection(nn.Module):
    """Project (B, H, W, D) to tokens (B, T, E) and a gate: linear, depthwise 3×3, SiLU.

    gate  what the gate goes through
    """

    def __init__(self, width: int, channels: int, gate: Activation = F.silu) -> None:
        super().__init__()
        self.gate = gate
        self.project = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate = F.linear(x, self.project.weight[self.conv.out_channels :])
        return self.tokens(x), self.gate(gate).flatten(1, 2)  # (B, T, E) each

    def tokens(self, x: Tensor) -> Tensor:
        """The tokens alone, where no gate is needed."""
        u = F.linear(x, self.project.weight[: self.conv.out_channels])  # whole, not a view: no copy
        u = self.conv(u.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return F.silu(u).flatten(1, 2)  # (B, T, E)


class OutputProjection(nn.Module):
    """Normalise the scan's tokens (B, T, E), gate them if there is a gate, project to (B, T, D)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width, bias=False)

    def forward(self, y: Tensor, gate: Tensor | None = None) -> Tensor:
        y = self.norm(y)
        return self.project(y if gate is None else y * gate)


def _initial_step_bias(
    orders: int, channels: int, low: float = 1e-3, high: float = 0.1, floor: float = 1e-4
) -> Tensor:
    """Inverse softplus of step sizes drawn log-uniformly from [low, high]."""
    spread = torch.rand(orders, channels) * (math.log(high) - math.log(low)) + math.log(low)
    step = spread.exp().clamp(min=floor)
    return step + torch.log(-torch.expm1(-step))


def _no_decay(value: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(value)
    parameter.no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
