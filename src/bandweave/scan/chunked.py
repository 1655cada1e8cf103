"""The selective scan in plain torch, for devices and installations without a kernel.

The T steps are cut into chunks of about √T. All chunks are stepped together from h = 0, which
gives every local state and the product of the decays since the chunk's start; a second loop then
carries the true state from chunk to chunk, and the local states are corrected with it:

    h[t] = local[t] + product[t] · carried[chunk]

Decays are only ever multiplied, never summed as logarithms and divided, so large decays underflow
to zero, as they should, where the cumulative-sum scans overflow. Costs 2 √T torch steps and the
memory of about four tensors (B, K, T, E, N) with their gradients. Steps are taken apart by `unbind`
and put together by `stack`: an index in the loop would make autograd fill a whole tensor with zeros
at every step. Symbols as in reference.py.
"""

import math

import torch
from torch import Tensor

from bandweave.scan.reference import put_in_order


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
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y and last, a chunk at a time; every tensor of one floating type on one device."""
    T = table.shape[1]
    length = math.isqrt(T - 1) + 1 if T > 1 else 1
    tokens = u[:, table]  # (B, K, T, E)
    skip = D[:, None] * tokens
    drive = delta if delta2 is None else delta2
    xs = _steps(put_in_order(drive, table) * tokens, length)  # length × (B, K, chunks, E, 1)
    ds = _steps(put_in_order(delta, table), length)
    bs, cs = ([v.mT for v in _steps(put_in_order(v, table), length)] for v in (B, C))  # (…, 1, N)
    rate = A[:, None]  # (K, 1, E, N)
    transitions = [torch.exp(d * rate) for d in ds]  # length × (B, K, chunks, E, N)
    if delta2 is not None and A2 is not None:
        seconds = _steps(put_in_order(delta2, table), length)
        rate2 = A2[:, None]
        transitions = [
            (a + torch.exp(d * rate2)) / 2 for a, d in zip(transitions, seconds, strict=True)
        ]

    h, product = xs[0] * bs[0], transitions[0]
    local, products = [h], [product]
    for a, x, b in zip(transitions[1:], xs[1:], bs[1:], strict=True):
        h = a * h + x * b
        product = a * product
        local.append(h)
        products.append(product)

    state = torch.zeros_like(h[:, :, 0]) if initial is None else initial  # (B, K, E, N)
    carried = []
    for end, whole in zip(h.unbind(2), product.unbind(2), strict=True):
        carried.append(state)
        state = whole * state + end
    start = torch.stack(carried, dim=2)  # (B, K, chunks, E, N)

    parts = [
        ((h + product * start) * c).sum(-1)
        for h, product, c in zip(local, products, cs, strict=True)
    ]  # length × (B, K, chunks, E)
    y = torch.stack(parts, dim=3).flatten(2, 3)[:, :, :T]  # (B, K, T, E)
    return put_in_order(y + skip, inverse).sum(1), state


def _steps(values: Tensor, length: int) -> tuple[Tensor, ...]:
    """(B, K, T, ·) to the steps of all chunks, length × (B, K, chunks, ·, 1).

    A last chunk that is short is filled with 0, which leaves the state as it is.
    """
    missing = -values.shape[2] % length
    values = torch.nn.functional.pad(values, (0, 0, 0, missing))
    return values.unflatten(2, (-1, length))[..., None].unbind(3)
