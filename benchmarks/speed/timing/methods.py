"""The ways to compute the same scan that are compared.

    ours          bandweave's function, on the engine that it chooses
    loop          its definition, a Python loop over the tokens (engine `reference`)
    chunked       its chunked form in plain torch (engine `torch`)
    copies        its own kernels as 1-D scans: u copied into the four orders, four scans, merged
    permuted      the same, where delta, B and C have to be copied into the orders as well
    sequential    the loop of mambapy and mamba-ssm: all decays and inputs first, then h ← a·h + x
    pscan         mambapy's parallel scan: u copied, all orders in one batch, merged
    associative   torch's associative_scan in the place of pscan
    mamba_ssm     the CUDA kernel of mamba-ssm: u copied, orders as groups of channels, merged
    vmamba        VMamba's CUDA kernel (selective_scan_cuda_oflex, or _core), likewise

All but `permuted` get delta, B and C in the layout and order that they want, which costs them
nothing: a model that copies its tokens into the orders projects the copies. Where a peer has no
bias and softplus inside, torch computes them before it, as its users do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bandweave.scan import engine_name, selective_scan
from timing.cross import CrossMerge, CrossScan
from timing.inputs import Case
from timing.method import Leaves, Method, in_order


def engine(case: Case, inputs: dict[str, Tensor], name: str | None) -> Method:
    """bandweave's function on one engine; None: the one that it chooses."""
    order = case.order

    def scan(leaves: Leaves) -> Tensor:
        _force(name)
        return selective_scan(
            **{k: v[0] for k, v in leaves.items()}, order=order, softplus=case.softplus
        )

    return Method({k: [v.clone()] for k, v in inputs.items()}, scan, lambda _, group: group[0])


def copies(case: Case, inputs: dict[str, Tensor]) -> Method:
    """Four 1-D scans of copied tokens, merged; delta, B and C come in the order of the scans."""
    table, inverse = case.order.on(case.device)
    size = (case.side, case.side)
    rows = ("delta", "B", "C")
    leaves: Leaves = {"u": [inputs["u"].clone()]}
    for name in rows:  # K tensors (B, 1, T, ·), as for K calls with one sequence
        ordered = in_order(inputs[name], table).unbind(1)
        leaves[name] = [values[:, None].contiguous() for values in ordered]
    for name in [name for name in inputs if name not in leaves]:
        leaves[name] = [values[None].contiguous() for values in inputs[name]]

    def scan(leaves: Leaves) -> Tensor:
        _force(None)
        xs = CrossScan.apply(leaves["u"][0], size, "apart")
        rest = [name for name in leaves if name != "u"]
        ys = [
            selective_scan(x, **{n: leaves[n][k] for n in rest}, softplus=case.softplus)
            for k, x in enumerate(xs)
        ]
        return CrossMerge.apply(size, "apart", *ys)

    def natural(name: str, group: list[Tensor]) -> Tensor:
        if len(group) == 1:
            return group[0]
        return in_order(torch.cat(group, 1), inverse) if name in rows else torch.cat(group)

    return Method(leaves, scan, natural)


def permuted(case: Case, inputs: dict[str, Tensor]) -> Method:
    """As `copies`, from delta, B and C in natural order."""
    size = (case.side, case.side)

    def in_orders(values: Tensor) -> list[Tensor]:
        """(B, K, T, ·) to K tensors (B, 1, T, ·), each a copy in its order."""
        rows, columns, back, up = values.unbind(1)

        def turned(x: Tensor) -> Tensor:
            return x.unflatten(1, size).transpose(1, 2).flatten(1, 2)

        ordered = (rows.contiguous(), turned(columns), back.flip(1), turned(up).flip(1))
        return [x[:, None] for x in ordered]

    def scan(leaves: Leaves) -> Tensor:
        _force(None)
        per_order = {n: in_orders(leaves[n][0]) for n in ("delta", "B", "C")}
        for name in ("A", "D", "delta_bias"):
            if name in leaves:
                per_order[name] = list(leaves[name][0].split(1))
        ys = [
            selective_scan(x, **{n: v[k] for n, v in per_order.items()}, softplus=case.softplus)
            for k, x in enumerate(CrossScan.apply(leaves["u"][0], size, "apart"))
        ]
        return CrossMerge.apply(size, "apart", *ys)

    return Method({k: [v.clone()] for k, v in inputs.items()}, scan, lambda _, group: group[0])


def pscan(case: Case, inputs: dict[str, Tensor]) -> Method:
    from mambapy.pscan import pscan as parallel_scan

    return _in_torch(case, inputs, parallel_scan)


def sequential(case: Case, inputs: dict[str, Tensor]) -> Method:
    def states(decay: Tensor, drive: Tensor) -> Tensor:
        h, kept = torch.zeros_like(drive[:, 0]), []
        for t in range(drive.shape[1]):
            h = decay[:, t] * h + drive[:, t]
            kept.append(h)
        return torch.stack(kept, dim=1)

    return _in_torch(case, inputs, states)


def associative(case: Case, inputs: dict[str, Tensor]) -> Method:
    from torch._higher_order_ops.associative_scan import associative_scan

    def combine(left: Any, right: Any) -> Any:
        return left[0] * right[0], right[0] * left[1] + right[1]

    def states(decay: Tensor, drive: Tensor) -> Tensor:
        return associative_scan(combine, (decay, drive), dim=1, combine_mode="generic")[1]

    return _in_torch(case, inputs, states)


def _in_torch(
    case: Case, inputs: dict[str, Tensor], states: Callable[[Tensor, Tensor], Tensor]
) -> Method:
    """A scan around states(decay, drive) -> h, each (K·B, T, E, N), h = decay·h + drive."""
    table, inverse = case.order.on(case.device)
    size = (case.side, case.side)
    rows = ("delta", "B", "C")
    leaves = {
        name: [
            in_order(values, table).transpose(0, 1).contiguous() if name in rows else values.clone()
        ]
        for name, values in inputs.items()
    }  # delta (K, B, T, E); B and C (K, B, T, N)

    def scan(leaves: Leaves) -> Tensor:
        t = {name: group[0] for name, group in leaves.items()}
        (xs,) = CrossScan.apply(t["u"], size, "stacked")  # (K, B, T, E)
        delta = t["delta"]
        if case.softplus:
            delta = F.softplus(delta + t["delta_bias"][:, None, None])
        decay = torch.exp(delta[..., None] * t["A"][:, None, None])  # (K, B, T, E, N)
        drive = (delta * xs)[..., None] * t["B"][..., None, :]
        h = states(decay.flatten(0, 1), drive.flatten(0, 1)).unflatten(0, xs.shape[:2])
        y = (h @ t["C"][..., None]).squeeze(-1) + t["D"][:, None, None] * xs
        return CrossMerge.apply(size, "stacked", y)

    def natural(name: str, group: list[Tensor]) -> Tensor:
        return in_order(group[0].transpose(0, 1), inverse) if name in rows else group[0]

    return Method(leaves, scan, natural)


def _force(name: str | None) -> None:
    if name is None:
        os.environ.pop("BANDWEAVE_SCAN", None)
    else:
        os.environ["BANDWEAVE_SCAN"] = name


def make(name: str, case: Case, inputs: dict[str, Tensor], dy: Tensor) -> Method:
    """A method by its name, or bandweave's function on the engine of that name."""
    if name in METHODS:
        method = METHODS[name](case, inputs)
    elif name in ("mamba_ssm", "vmamba"):
        from timing.gpu import peer

        method = peer(name, case, inputs)
    else:
        method = engine(case, inputs, name)
    method.dy = method.natural("y", [dy]).contiguous()  # a transposition, if anything: its inverse
    return method


METHODS: dict[str, Callable[[Case, dict[str, Tensor]], Method]] = {
    "ours": lambda case, inputs: engine(case, inputs, None),
    "loop": lambda case, inputs: engine(case, inputs, "reference"),
    "chunked": lambda case, inputs: engine(case, inputs, "torch"),
    "copies": copies,
    "permuted": permuted,
    "sequential": sequential,
    "pscan": pscan,
    "associative": associative,
}
FORWARD_ONLY = ("loop", "sequential")  # their backward passes take minutes
# Tensors of B·K·T·E·N numbers that a method holds at its peak, forward and backward.
TENSORS = {"sequential": 5, "chunked": 11, "pscan": 10, "associative": 22}


def label(name: str, case: Case) -> str:
    """What the table calls a method."""
    if name == "ours":
        _force(None)
        return f"ours ({engine_name(case.device, getattr(torch, case.dtype))})"
    if name == "pscan":
        return f"mambapy pscan {_version('mambapy')}"
    return {
        "loop": "loop reference",
        "chunked": "chunked torch",
        "sequential": "loop over decays and inputs",
        "copies": "1-D, u copied, merged",
        "permuted": "1-D, all copied, merged",
        "associative": "associative_scan",
        "mamba_ssm": "mamba-ssm",
        "vmamba": "VMamba",
    }.get(name, f"ours ({name})")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def affordable_batch(name: str, case: Case, memory: int) -> int:
    """The largest batch, the case's or a half of it and so on, that a method has memory for."""
    each = 4 * case.exponentials // case.batch * TENSORS.get(name, 0)
    batch = case.batch
    while batch > 1 and batch * each > memory:
        batch = -(-batch // 2)
    return batch
