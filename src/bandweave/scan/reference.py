"""The selective scan: its definition, in a loop. The oracle of every test.

Source: Mamba (Gu and Dao 2023), algorithm 2, with the zero-order hold for A and Euler for B;
several orders at once: VMamba (SS2D); the second pair: M³amba, section III-C, eq. 10-13.

    u       (B, T, E)      tokens, in natural order
    delta   (B, K, T, E)   step sizes, after bias and softplus
    A       (K, E, N)      decay rates, negative
    B, C    (B, K, T, N)   input and output projections
    D       (K, E)         skip
    delta2  (B, K, T, E)   step sizes of the steering modality, with its rates A2 (K, E, N)
    table   (K, T)         the token that sequence k visits at step i; inverse: the step of a token
    y       (B, T, E)      the sum of the K sequences, in natural order
    K sequences, T tokens, E channels, N states

For each sequence k, with the tokens s = table[k, i] in the order of their steps i and h = 0 before
the first, for every channel e and state n:

    h ← a · h + d · B[s] · u[s]        a = exp(delta[s] · A),  d = delta[s]
    y[s] += Σₙ C[s] · h + D · u[s]

With the second pair a = ½ (exp(delta[s] · A) + exp(delta2[s] · A2)) and d = delta2[s].
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus as softplus_of


def step_sizes(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    """Raw step sizes (B, K, T, E) plus their bias (K, E), through softplus if asked."""
    if bias is not None:
        delta = delta + bias[:, None]
    return softplus_of(delta, threshold=50.0) if softplus else delta


def in_order(values: Tensor, table: Tensor) -> Tensor:
    """Per-sequence values (B, K, T, ·), each sequence's second-last axis taken in its order."""
    sequence = torch.arange(table.shape[0], device=table.device)[:, None]
    return values[:, sequence, table]


def reference_scan(
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
    """The definition, step by step; every tensor of one floating type on one device."""
    tokens = u[:, table]  # (B, K, T, E)
    delta, B, C = in_order(delta, table), in_order(B, table), in_order(C, table)
    if delta2 is not None:
        delta2 = in_order(delta2, table)
    h = u.new_zeros(u.shape[0], *A.shape)  # (B, K, E, N)
    outputs = []
    for i in range(table.shape[1]):
        a = torch.exp(delta[:, :, i, :, None] * A)
        d = delta[:, :, i]
        if delta2 is not None and A2 is not None:
            a = (a + torch.exp(delta2[:, :, i, :, None] * A2)) / 2
            d = delta2[:, :, i]
        h = a * h + (d * tokens[:, :, i])[..., None] * B[:, :, i, None]
        outputs.append((h * C[:, :, i, None]).sum(-1))
    y = torch.stack(outputs, dim=2) + D[:, None] * tokens  # (B, K, T, E)
    return in_order(y, inverse).sum(1)
