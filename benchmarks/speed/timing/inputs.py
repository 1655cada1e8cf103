"""The scan that every method computes: SS2D's four orders over an image.

u       (B, T, E)      tokens, in natural order, T = H·W
delta   (B, K, T, E)   step sizes, before bias and softplus
A       (K, E, N)      decay rates, -1 … -N as Mamba starts them
B, C    (B, K, T, N)   input and output projections
D, bias (K, E)         skip; bias of the step sizes
K = 4 orders, T tokens, E channels, N states
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bandweave.scan import ScanOrder, cross_order

ORDERS = 4
BATCHED = ("u", "delta", "B", "C")  # the others have no axis for the batch


@dataclass(frozen=True)
class Case:
    """Sizes of a scan; tokens = side²."""

    batch: int
    channels: int
    tokens: int
    states: int
    dtype: str = "float32"
    device: str = "cpu"
    softplus: bool = True  # step sizes through bias and softplus; or as they are

    @property
    def side(self) -> int:
        side = math.isqrt(self.tokens)
        if side**2 != self.tokens:
            raise SystemExit(f"{self.tokens} tokens are no square image")
        return side

    @property
    def order(self) -> ScanOrder:
        return cross_order(self.side, self.side)

    @property
    def exponentials(self) -> int:
        """One per item of the batch, order, token, channel and state."""
        return self.batch * ORDERS * self.tokens * self.channels * self.states

    @property
    def bytes_moved(self) -> int:
        """Of a forward pass: u, delta and y once per order, B and C once."""
        size = getattr(torch, self.dtype).itemsize
        rows = self.batch * ORDERS * self.tokens
        return size * rows * (3 * self.channels + 2 * self.states)

    def with_batch(self, batch: int) -> Case:
        return replace(self, batch=batch)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"batch {self.batch}, E {self.channels}, L {self.tokens}, N {self.states}"


def make_inputs(case: Case) -> dict[str, Tensor]:
    """The tensors of a case; those of a smaller batch are the first of a larger one's."""
    generator = torch.Generator()
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)

    def normal(seed: int, *shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator.manual_seed(seed))
        return values.to(device, dtype)

    rows = (case.batch, ORDERS, case.tokens)
    skip = (ORDERS, case.channels)
    rates = torch.arange(1.0, case.states + 1).expand(*skip, case.states)
    inputs = {
        "u": normal(1, case.batch, case.tokens, case.channels),
        "delta": normal(2, *rows, case.channels),
        "A": -rates.contiguous().to(device),
        "B": normal(3, *rows, case.states),
        "C": normal(4, *rows, case.states),
        "D": normal(5, *skip).float(),
    }
    if case.softplus:
        inputs["delta_bias"] = normal(6, *skip).float() - 3  # step sizes of about 0.05
    else:
        inputs["delta"] = torch.nn.functional.softplus(inputs["delta"] - 3)
    return inputs


def output_gradient(case: Case) -> Tensor:
    """What flows back into y, (B, T, E)."""
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(case.batch, case.tokens, case.channels, generator=generator)
    return values.to(case.device, getattr(torch, case.dtype))


def first_of_batch(inputs: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    """The inputs of the first items alone."""
    return {name: v[:batch] if name in BATCHED else v for name, v in inputs.items()}
