"""The one entrance to the selective scan: checks its arguments, then hands them to an engine."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, overload

import torch
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments
from bandweave.scan.engine import choose_engine, torch_engine
from bandweave.scan.operator import scan_operator
from bandweave.scan.order import ScanOrder, forward_order
from bandweave.scan.reference import step_sizes


@overload
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
    delta_weight: Tensor | None = None,
    delta2_weight: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_last_state: Literal[False] = False,
) -> Tensor: ...


@overload
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
    delta_weight: Tensor | None = None,
    delta2_weight: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_last_state: Literal[True],
) -> tuple[Tensor, Tensor]: ...


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
    delta_weight: Tensor | None = None,
    delta2_weight: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan tokens with K input-dependent linear recurrences and sum the K results.

    Sequence k visits the tokens in the order of row k of `order`. For each token s, channel and
    state: h ← exp(delta·A)·h + delta·B·u, and y = Σ C·h + D·u (see `scan/reference.py`).
    The state is float32 whatever the inputs' type; where u is float64 all is computed in float64,
    by the torch engines. Differentiable in every tensor. Autocast does not reach into it.

    Step sizes are used as they are, negative ones and rates above zero too: the state then grows.
    What is not a number spreads to all that depends on it.

    u              tokens in natural order, (B, T, E)
    delta          step sizes, (B, K, T, E), or (B, K, T, R) with delta_weight
    A              decay rates, negative, (K, E, N)
    B              input projections, (B, K, T, N)
    C              output projections, (B, K, T, N)
    D              skip, (K, E)
    order          the K orders over the T tokens; a raw table (K, T) is checked at every call.
                   None: every sequence runs forward
    delta_bias     added to delta, (K, E)
    softplus       pass delta (and delta2), after the bias, through softplus
    delta2         step sizes of a steering modality, (B, K, T, E), with A2, (K, E, N): the
                   transition becomes ½ (exp(delta·A) + exp(delta2·A2)) and the input term
                   delta2·B·u (Cross-SS2D: M³amba, eq. 10-13)
    A2             decay rates of delta2
    delta2_bias    added to delta2, (K, E)
    delta_weight   (K, R, E); the step sizes are then delta @ delta_weight, which a kernel on a
                   GPU multiplies inside, with no (B, K, T, E) in memory
    delta2_weight  the same for delta2
    initial_state  h before each sequence's first token, (B, K, E, N). None: zero
    return_last_state  return h after each sequence's last token too

    Returns y in natural order and of u's type, (B, T, E); with return_last_state (y, last), last
    (B, K, E, N) in float32, or float64 where u is. Raises ScanError where shapes, types or devices
    do not fit together; the message has them.

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
        "delta_weight": delta_weight,
        "delta2_weight": delta2_weight,
        "initial_state": initial_state,
    }
    tensors |= {name: value for name, value in optional.items() if value is not None}
    _check(tensors)
    if order is None:
        order = forward_order(u.shape[1], A.shape[0])
    elif not isinstance(order, ScanOrder):
        order = ScanOrder(order)
    _check_order(order, tensors)
    if initial_state is not None:
        tensors["initial"] = tensors.pop("initial_state")
    y, last = _scan(tensors, order, softplus)
    return (y, last) if return_last_state else y


def _scan(t: dict[str, Tensor], order: ScanOrder, softplus: bool) -> tuple[Tensor, Tensor]:
    """y of u's type, and the last states, by the engine that the tensors and the user choose."""
    u = t["u"]
    state_type = torch.float64 if u.dtype == torch.float64 else torch.float32
    if 0 in (*u.shape, t["A"].shape[2]):
        return _scan_nothing(t, state_type)
    engine = choose_engine(u.device, u.dtype)
    table, inverse = order.on(u.device)
    with _disable_autocast(u.device):
        if engine == "triton":
            return _run_kernels(t, table, softplus, engine)
        t = {name: value.to(state_type) for name, value in t.items()}
        if engine == "numba":
            for steps in ("delta", "delta2"):
                if (weight := t.pop(f"{steps}_weight", None)) is not None:
                    t[steps] = torch.matmul(t[steps], weight)
            y, last = _run_kernels(t, table, softplus, engine)
        else:
            for steps in ("delta", "delta2"):
                weight, bias = t.pop(f"{steps}_weight", None), t.pop(f"{steps}_bias", None)
                if steps in t:
                    t[steps] = step_sizes(t[steps], weight, bias, softplus)
            y, last = torch_engine(engine)(table=table, inverse=inverse, **t)
    return y.to(u.dtype), last


def _run_kernels(
    t: dict[str, Tensor], table: Tensor, softplus: bool, engine: str
) -> tuple[Tensor, Tensor]:
    arguments = ScanArguments(table=table, softplus=softplus, **t)
    keep = torch.is_grad_enabled() and any(value.requires_grad for value in t.values())
    y, last, _ = scan_operator(*arguments, engine, keep)
    return y, last


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
    for name in ("delta2_bias", "delta2_weight"):
        if name in tensors and "delta2" not in tensors:
            raise ScanError(f"{name} is given without delta2")

    u, A = tensors["u"], tensors["A"]
    if u.ndim != 3 or A.ndim != 3 or A.shape[0] == 0:
        raise ScanError(
            "u is (B, T, E) and A is (K, E, N) with at least one sequence, here "
            f"u {tuple(u.shape)} and A {tuple(A.shape)}"
        )
    (batch, T, E), (K, _, N) = u.shape, A.shape
    projection, skip = (batch, K, T, N), (K, E)
    expected: dict[str, Sequence[int]] = {
        **{"A": (K, E, N), "A2": (K, E, N), "B": projection, "C": projection},
        **{"D": skip, "delta_bias": skip, "delta2_bias": skip},
        **{"initial_state": (batch, K, E, N)},
    }
    for steps, weight in (("delta", "delta_weight"), ("delta2", "delta2_weight")):
        expected[steps] = (batch, K, T, E)
        if weight in tensors and tensors[steps].ndim == 4:
            rank = tensors[steps].shape[3]
            expected |= {steps: (batch, K, T, rank), weight: (K, rank, E)}
    for name, shape in expected.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            factor = name.removesuffix("_weight")
            reason = f"u (B, T, E) is {(batch, T, E)} and A (K, E, N) is {tuple(A.shape)}"
            if factor != name:
                reason += f" and {factor} (B, K, T, R) is {tuple(tensors[factor].shape)}"
            raise ScanError(
                f"{name} is {tuple(tensors[name].shape)}, expected {shape}, because {reason}"
            )


def _check_order(order: ScanOrder, tensors: dict[str, Tensor]) -> None:
    K, T = tensors["A"].shape[0], tensors["u"].shape[1]
    if (order.sequences, order.tokens) != (K, T):
        raise ScanError(
            f"the scan order has {order.sequences} sequences over {order.tokens} tokens, the "
            f"tensors have K = {K} and T = {T}"
        )


def _scan_nothing(tensors: dict[str, Tensor], state_type: torch.dtype) -> tuple[Tensor, Tensor]:
    """The skip and the states as they were, where there is no batch, token, channel or state."""
    u, A = tensors["u"], tensors["A"]
    nothing = torch.stack([value[:0].sum().to(state_type) for value in tensors.values()]).sum()
    y = u * tensors["D"].sum(0).to(u.dtype) + nothing.to(u.dtype)
    last = u.new_zeros((u.shape[0], *A.shape), dtype=state_type) + nothing
    if "initial" in tensors:
        last = last + tensors["initial"]
    return y, last.to(state_type)


def _disable_autocast(device: torch.device):
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
