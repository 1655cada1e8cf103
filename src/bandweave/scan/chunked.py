"""The selective scan in plain torch, for devices and installations without a kernel.

The T steps are cut into chunks of about √T. All chunks are stepped together from h = 0, which
gives every local state and the product of the decays since the chunk's start; a second loop then
carries the true state from chunk to chunk, and the local states are corrected with it:

    h[t] = local[t] + product[t] · carried[chunk]

Decays are only ever multiplied, never summed as logarithms and divided, so large decays underflow
to zero, as they should, where the cumulative-sum scans overflow. Costs 2 √T torch steps and the
memory of about four tensors (B, K, T, E, N) with their gradients. Symbols as in reference.py.
"""

import math

import torch
from torch import Tensor

from bandweave.scan.reference import in_order


def chunked_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    table: Tensor,
    inverse: Tensor,
    delta2: Tensor | None = None,
    A2: Tensor | None = None,
) -> Tensor:
    """As `reference_scan`; every tensor of one floating type on one device."""
    T = table.shape[1]
    length = math.isqrt(T - 1) + 1 if T > 1 else 1
    tokens = u[:, table]  # (B, K, T, E)
    skip = D[:, None] * tokens
    drive = delta if delta2 is None else delta2
    x = _cut(in_order(drive, table) * tokens, length)  # (B, K, chunks, length, E)
    delta, B, C = (_cut(in_order(v, table), length) for v in (delta, B, C))
    if delta2 is not None:
        delta2 = _cut(in_order(delta2, table), length)
    rate = A[:, None]  # (K, 1, E, N)
    rate2 = None if A2 is None else A2[:, None]

    h = u.new_zeros(*x.shape[:3], *A.shape[1:])  # (B, K, chunks, E, N)
    product = torch.ones_like(h)
    local, products = [], []
    for i in range(length):
        a = torch.exp(delta[:, :, :, i, :, None] * rate)
        if delta2 is not None and rate2 is not None:
            a = (a + torch.exp(delta2[:, :, :, i, :, None] * rate2)) / 2
        h = a * h + x[:, :, :, i, :, None] * B[:, :, :, i, None]
        product = a * product
        local.append(h)
        products.append(product)

    state = torch.zeros_like(h[:, :, 0])  # (B, K, E, N)
    carried = []
    for chunk in range(x.shape[2]):
        carried.append(state)
        state = h[:, :, chunk] + product[:, :, chunk] * state
    start = torch.stack(carried, dim=2)  # (B, K, chunks, E, N)

    steps = [
        ((local[i] + products[i] * start) * C[:, :, :, i, None]).sum(-1) for i in range(length)
    ]
    y = torch.stack(steps, dim=3).flatten(2, 3)[:, :, :T]  # (B, K, T, E)
    return in_order(y + skip, inverse).sum(1)


def _cut(values: Tensor, length: int) -> Tensor:
    """(B, K, T, ·) to (B, K, chunks, length, ·); a last chunk that is short is filled with 0."""
    missing = -values.shape[2] % length
    if missing:
        values = torch.nn.functional.pad(values, (0, 0, 0, missing))
    return values.unflatten(2, (-1, length))
