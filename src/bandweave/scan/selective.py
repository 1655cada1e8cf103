"""The one entrance to the selective scan: checks its arguments, then hands them to an engine."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments
from bandweave.scan.engine import engine_name, torch_engine, warn_if_slow
from bandweave.scan.operator import scan_operator
from bandweave.scan.order import ScanOrder, forward_order
from bandweave.scan.reference import step_sizes


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    order: ScanOrder | Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    softplus: bool = False,
    delta2: Tensor | None = None,
    A2: Tensor | None = None,
    delta2_bias: Tensor | None = None,
) -> Tensor:
    """Scan tokens with K input-dependent linear recurrences and sum the K results.

    Sequence k visits the tokens in the order of row k of `order`. For each token s, channel and
    state: h ← exp(delta·A)·h + delta·B·u, and y = Σ C·h + D·u (see `scan/reference.py`).
    The state is float32 whatever the inputs' type; float64 inputs are computed in float64 by the
    torch engines. Differentiable in every tensor.

    Args:
        u: tokens in natural order, (B, T, E).
        delta: step sizes, (B, K, T, E).
        A: decay rates, negative, (K, E, N).
        B: input projections, (B, K, T, N).
        C: output projections, (B, K, T, N).
        D: skip, (K, E).
        order: the K orders over the T tokens; a raw table (K, T) is checked at every call.
            None: every sequence runs forward.
        delta_bias: added to delta, (K, E).
        softplus: pass delta (and delta2), after the bias, through softplus.
        delta2: step sizes of a steering modality, (B, K, T, E), with A2, (K, E, N): the transition
            becomes ½ (exp(delta·A) + exp(delta2·A2)) and the input term delta2·B·u
            (Cross-SS2D: M³amba, eq. 10-13).
        A2: decay rates of delta2.
        delta2_bias: added to delta2, (K, E).

    Returns:
        y in natural order and of u's type, (B, T, E).

    Raises:
        ScanError: shapes, types or devices do not fit together; the message has them.

    >>> u = torch.ones(1, 3, 1)
    >>> ones = torch.ones(1, 1, 3, 1)
    >>> selective_scan(u, ones, torch.zeros(1, 1, 1), ones, ones, torch.zeros(1, 1)).flatten()
    tensor([1., 2., 3.])
    """
    tensors = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D}
    optional = {
        "delta_bias": delta_bias,
        "delta2": delta2,
        "A2": A2,
        "delta2_bias": delta2_bias,
    }
    tensors |= {name: value for name, value in optional.items() if value is not None}
    _check(tensors)
    if order is None:
        order = forward_order(u.shape[1], A.shape[0])
    elif not isinstance(order, ScanOrder):
        order = ScanOrder(order)
    _check_order(order, tensors)
    if 0 in (*u.shape, A.shape[2]):
        return _without_steps(tensors)

    engine = engine_name(u.device, u.dtype)
    warn_if_slow(engine, u.device, u.dtype)
    double = u.dtype == torch.float64 and engine != "numba"
    state_type = torch.float64 if double else torch.float32
    t = {name: value.to(state_type) for name, value in tensors.items()}
    table, inverse = order.on(u.device)
    with _without_autocast(u.device):
        if engine == "numba":
            t = {name: value.contiguous() for name, value in t.items()}
            keep = torch.is_grad_enabled() and any(value.requires_grad for value in t.values())
            arguments = ScanArguments(table=table, softplus=softplus, **t)
            y = scan_operator(*arguments, engine, keep)[0]
        else:
            t["delta"] = step_sizes(t["delta"], t.pop("delta_bias", None), softplus)
            if "delta2" in t:
                t["delta2"] = step_sizes(t["delta2"], t.pop("delta2_bias", None), softplus)
            y = torch_engine(engine)(table=table, inverse=inverse, **t)
    return y.to(u.dtype)


def _check(tensors: dict[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ScanError(f"{name} is a {type(value).__name__}, not a tensor")
        if not value.is_floating_point():
            raise ScanError(f"{name} is of {value.dtype}; a scan needs floating-point tensors")
    if len({value.device for value in tensors.values()}) > 1:
        places = ", ".join(f"{name} on {value.device}" for name, value in tensors.items())
        raise ScanError(f"the tensors of a scan lie on different devices: {places}")
    if ("delta2" in tensors) != ("A2" in tensors):
        raise ScanError("delta2 and A2 go together: give both or neither")
    if "delta2_bias" in tensors and "delta2" not in tensors:
        raise ScanError("delta2_bias is given without delta2")

    if tensors["u"].ndim != 3 or tensors["A"].ndim != 3 or tensors["A"].shape[0] == 0:
        raise ScanError(
            "u is (B, T, E) and A is (K, E, N) with at least one sequence, here "
            f"u {tuple(tensors['u'].shape)} and A {tuple(tensors['A'].shape)}"
        )
    batch, T, E = tensors["u"].shape
    K, _, N = tensors["A"].shape
    steps, rates, projection, skip = (batch, K, T, E), (K, E, N), (batch, K, T, N), (K, E)
    expected: dict[str, Sequence[int]] = {
        **{"delta": steps, "delta2": steps, "A": rates, "A2": rates},
        **{"B": projection, "C": projection},
        **{"D": skip, "delta_bias": skip, "delta2_bias": skip},
    }
    for name, shape in expected.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise ScanError(
                f"{name} is {tuple(tensors[name].shape)}, expected {shape}, because "
                f"u (B, T, E) is {(batch, T, E)} and A (K, E, N) is {tuple(tensors['A'].shape)}"
            )


def _check_order(order: ScanOrder, tensors: dict[str, Tensor]) -> None:
    K, T = tensors["A"].shape[0], tensors["u"].shape[1]
    if (order.sequences, order.tokens) != (K, T):
        raise ScanError(
            f"the scan order has {order.sequences} sequences over {order.tokens} tokens, the "
            f"tensors have K = {K} and T = {T}"
        )


def _without_steps(tensors: dict[str, Tensor]) -> Tensor:
    """No batch, token, channel or state: what is left is the skip; every gradient is zero."""
    y = tensors["u"] * tensors["D"].sum(0).to(tensors["u"].dtype)
    nothing = sum(value[:0].sum() for value in tensors.values())
    return y + torch.as_tensor(nothing).to(y.dtype)


def _without_autocast(device: torch.device):
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
