"""The arguments of an engine of the selective scan, checked and of one device."""

from typing import NamedTuple

from torch import Tensor


class ScanArguments(NamedTuple):
    """The tensors of a scan; in a backward pass, a gradient in the place of each.

    Symbols and formula as in reference.py; raw step sizes: bias and softplus are the engine's.

    u              (B, T, E)
    delta          (B, K, T, E); (B, K, T, R) with `delta_weight`
    A              (K, E, N)
    B, C           (B, K, T, N)
    D              (K, E)
    table          (K, T), int64
    delta_bias     (K, E)
    delta2         (B, K, T, E) or (B, K, T, R)    second pair, with A2 (K, E, N)
    delta_weight   (K, R, E): the step sizes are delta @ delta_weight; delta2_weight: of delta2
    initial        (B, K, E, N), the states before the first step; None: zero
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    table: Tensor
    softplus: bool
    delta_bias: Tensor | None = None
    delta2: Tensor | None = None
    A2: Tensor | None = None
    delta2_bias: Tensor | None = None
    delta_weight: Tensor | None = None
    delta2_weight: Tensor | None = None
    initial: Tensor | None = None
