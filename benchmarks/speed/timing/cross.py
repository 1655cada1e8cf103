"""Four copies of an image's tokens in SS2D's orders, and the four results merged again.

As VMamba's CrossScan and CrossMerge (Liu et al. 2024, `csms6s.py`): what a scan that only runs
forward needs around it. The copies come in one of three forms:

    apart     K tensors (B, T, E)     one call of a scan per order
    stacked   (K, B, T, E)            one call with the orders in the batch
    first     (B, K, E, T)            channels first, from (B, E, T): the CUDA kernels' layout

K = 4 orders, T = H·W tokens, E channels
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Size = tuple[int, int]


def scan_order(x: Tensor, size: Size, form: str) -> tuple[Tensor, ...]:
    """Every order a copy; a tuple of four, or of one tensor that holds the four."""
    if form == "first":
        batch, channels, tokens = x.shape
        xs = x.new_empty(batch, 4, channels, tokens)
        xs[:, 0] = x
        xs[:, 1] = x.unflatten(2, size).transpose(2, 3).flatten(2)
        xs[:, 2:] = xs[:, :2].flip(-1)
        return (xs,)
    xs = x.new_empty(4, *x.shape)
    xs[0] = x
    xs[1] = x.unflatten(1, size).transpose(1, 2).flatten(1, 2)
    xs[2:] = xs[:2].flip(2)
    return (xs,) if form == "stacked" else tuple(xs.unbind())


def natural_sum(ys: tuple[Tensor, ...], size: Size, form: str) -> Tensor:
    """What `scan_order` returns, each in its order, to their sum in natural order."""
    turned = (size[1], size[0])
    if form == "first":
        both = ys[0][:, :2] + ys[0][:, 2:].flip(-1)
        return both[:, 0] + both[:, 1].unflatten(2, turned).transpose(2, 3).flatten(2)
    first, second, third, fourth = ys if form == "apart" else ys[0]
    columns = (second + fourth.flip(1)).unflatten(1, turned).transpose(1, 2).flatten(1, 2)
    return first + third.flip(1) + columns


class CrossScan(torch.autograd.Function):
    """CrossScan.apply(x, size, form) -> the four copies, as a tuple."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Size, form: str) -> tuple[Tensor, ...]:
        ctx.how = (size, form)
        return scan_order(x, size, form)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return natural_sum(upstream, *ctx.how), None, None


class CrossMerge(torch.autograd.Function):
    """CrossMerge.apply(size, form, *ys) -> their sum in natural order."""

    @staticmethod
    def forward(ctx: Any, size: Size, form: str, *ys: Tensor) -> Tensor:
        ctx.how = (size, form)
        return natural_sum(ys, size, form)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
        return None, None, *scan_order(upstream[0], *ctx.how)
