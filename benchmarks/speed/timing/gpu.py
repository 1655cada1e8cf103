"""The CUDA kernels of others, and the exponential rate of a GPU.

Both peers want channels first, the orders as groups of channels, and the rates, skip and bias in
float32; bias and softplus are inside.

    u (B, K·E, T)   delta (B, K·E, T)   A (K·E, N)   B, C (B, K, N, T)   D, bias (K·E)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from timing.cross import CrossMerge, CrossScan
from timing.inputs import ORDERS, Case
from timing.method import Leaves, Method, in_order


def peer(name: str, case: Case, inputs: dict[str, Tensor]) -> Method:
    """mamba_ssm or vmamba. Raises ImportError where it is not installed."""
    scan_1d = _mamba_ssm() if name == "mamba_ssm" else _vmamba()
    table, inverse = case.order.on(case.device)
    size = (case.side, case.side)
    leaves: Leaves = {"u": [inputs["u"].transpose(1, 2).contiguous()]}  # (B, E, T)
    for name in ("delta", "B", "C"):
        ordered = in_order(inputs[name], table)
        leaves[name] = [ordered.transpose(2, 3).contiguous()]  # (B, K, ·, T)
    leaves["delta"] = [leaves["delta"][0].flatten(1, 2)]
    for name in [name for name in inputs if name not in leaves]:
        leaves[name] = [inputs[name].float().flatten(0, 1).contiguous()]

    def scan(leaves: Leaves) -> Tensor:
        t = {name: group[0] for name, group in leaves.items()}
        (xs,) = CrossScan.apply(t["u"], size, "first")  # (B, K, E, T)
        ys = scan_1d(
            xs.flatten(1, 2), t["delta"], t["A"], t["B"], t["C"], t["D"],
            t.get("delta_bias"), case.softplus,
        )  # fmt: skip
        y = CrossMerge.apply(size, "first", ys.unflatten(1, (ORDERS, -1)))
        return y.to(t["u"].dtype)  # VMamba's is float32

    def natural(name: str, group: list[Tensor]) -> Tensor:
        value = group[0]
        if name in ("u", "y"):
            return value.transpose(1, 2)
        if name in ("delta", "B", "C"):
            value = value.unflatten(1, (ORDERS, -1)) if name == "delta" else value
            return in_order(value.transpose(2, 3), inverse)
        return value.unflatten(0, (ORDERS, -1))

    return Method(leaves, scan, natural)


def _mamba_ssm() -> Callable[..., Tensor]:
    interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")

    def scan(u, delta, A, B, C, D, bias, softplus):
        return interface.selective_scan_fn(
            u, delta, A, B, C, D, delta_bias=bias, delta_softplus=softplus
        )

    return scan


def _vmamba() -> Callable[..., Tensor]:
    """`SelectiveScanOflex` or `SelectiveScanCore` of VMamba's csms6s.py."""
    try:
        kernels, rest = importlib.import_module("selective_scan_cuda_oflex"), (1, True)
    except ImportError:
        kernels, rest = importlib.import_module("selective_scan_cuda_core"), (1,)

    class Scan(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u, delta, A, B, C, D, bias, softplus):
            ctx.softplus = softplus
            y, states, *_ = kernels.fwd(u, delta, A, B, C, D, bias, softplus, *rest)
            ctx.save_for_backward(u, delta, A, B, C, D, bias, states)
            return y

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor):
            u, delta, A, B, C, D, bias, states = ctx.saved_tensors
            du, ddelta, dA, dB, dC, dD, dbias, *_ = kernels.bwd(
                u, delta, A, B, C, D, bias, upstream[0].contiguous(), states, ctx.softplus, 1
            )
            return du, ddelta, dA, dB, dC, dD, dbias, None

    return Scan.apply


def exponentials() -> tuple[Callable[[], object], float]:
    """A run that takes exponentials in registers alone, and how many."""
    import triton
    import triton.language as tl

    block, passes, programs = 1024, 512, 8192

    @triton.jit
    def sweep(out, passes, block: tl.constexpr):
        at = tl.program_id(0) * block + tl.arange(0, block)
        x = at.to(tl.float32) * 1e-9
        for _ in range(passes):
            x = tl.exp2(-x)
        tl.store(out + at, x)

    out = torch.empty(programs * block, device="cuda")
    return lambda: sweep[(programs,)](out, passes, block=block), float(programs * block * passes)
