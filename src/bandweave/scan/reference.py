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
    initial (B, K, E, N)   the states before the first step, zero if not given
    last    (B, K, E, N)   the states after the last step
    y       (B, T, E)      the sum of the K sequences, in natural order
    K sequences, T tokens, E channels, N states

For each sequence k, with the tokens s = table[k, i] in the order of their steps i and
h = initial before the first, for every channel e and state n:

    h ← a · h + d · B[s] · u[s]        a = exp(delta[s] · A),  d = delta[s]
    y[s] += Σₙ C[s] · h + D · u[s]

With the second pair a = ½ (exp(delta[s] · A) + exp(delta2[s] · A2)) and d = delta2[s].
Nothing asks for delta > 0 or A < 0: where delta · A > 0 a state grows, and may overflow.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus as softplus_of


def step_sizes(delta: Tensor, weight: Tensor | None, bias: Tensor | None, softplus: bool) -> Tensor:
    """Raw step sizes (B, K, T, E), or the product of (B, K, T, R) and weight (K, R, E), plus their
    bias (K, E), through softplus if asked."""
    if weight is not None:
        delta = torch.matmul(delta, weight)
    if bias is not None:
        delta = delta + bias[:, None]
    return softplus_of(delta, threshold=50.0) if softplus else delta


def put_in_order(values: Tensor, table: Tensor) -> Tensor:
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
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y and last, step by step; every tensor of one floating type on one device."""
    tokens = u[:, table]  # (B, K, T, E)
    delta, B, C = put_in_order(delta, table), put_in_order(B, table), put_in_order(C, table)
    drive = delta if delta2 is None else put_in_order(delta2, table)
    h = u.new_zeros(u.shape[0], *A.shape) if initial is None else initial  # (B, K, E, N)
    outputs = []
    steps = (delta, drive, tokens, B, C)
    for d, d2, x, b, c in zip(*(values.unbind(2) for values in steps), strict=True):
        a = torch.exp(d[..., None] * A)
        if A2 is not None:
            a = (a + torch.exp(d2[..., None] * A2)) / 2
        h = a * h + (d2 * x)[..., None] * b[:, :, None]
        outputs.append((h * c[:, :, None]).sum(-1))
    y = torch.stack(outputs, dim=2) + D[:, None] * tokens  # (B, K, T, E)
    return put_in_order(y, inverse).sum(1), h
