"""The selective scan as an operator of torch: autograd, `torch.compile` and `torch.export` see it.

    bandweave::selective_scan            the tensors of a scan → y, last, saved
    bandweave::selective_scan_backward   the same tensors, saved, dy, dlast → a gradient of each

An engine with kernels is a module with three functions of ScanArguments:

    compute_saved_shape(arguments)           of `saved`; it holds for symbolic sizes too
    forward(arguments, keep)                 y (B, T, E) of u's type, last (B, K, E, N) and saved in
                                             float32; saved is empty, (0,), if not to be kept
    backward(arguments, saved, dy, dlast)    the gradients, each in the place and of the type of its
                                             tensor; dlast is None where nothing depends on last

Inputs may have any strides, whatever they had when a compiler traced the call; all outputs are
contiguous. The arguments are those that `selective_scan` has checked.

`torch.library.custom_op` would define the same operators, but its generated autograd function costs
0.1 ms a call, as much as a small scan; the one written here costs 0.02 ms.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments

NAME = "bandweave::selective_scan"
_LIBRARY = torch.library.Library("bandweave", "FRAGMENT")
KERNELS = {"numba": "cpu", "triton": "gpu"}  # the folder of each engine
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)


def engine_module(name: str) -> ModuleType:
    """An engine with kernels, imported when it is needed."""
    return import_module(f"bandweave.scan.{KERNELS.get(name, name)}.engine")


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    table: Tensor,
    softplus: bool,
    delta_bias: Tensor | None,
    delta2: Tensor | None,
    A2: Tensor | None,
    delta2_bias: Tensor | None,
    delta_weight: Tensor | None,
    delta2_weight: Tensor | None,
    initial: Tensor | None,
    engine: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    arguments = ScanArguments(
        u, delta, A, B, C, D, table, softplus, delta_bias, delta2, A2, delta2_bias,
        delta_weight, delta2_weight, initial,
    )  # fmt: skip
    return engine_module(engine).forward(arguments, keep)


def _forward_fake(u, delta, A, B, C, D, table, softplus, *rest):
    *optional, engine, keep = rest
    arguments = ScanArguments(u, delta, A, B, C, D, table, softplus, *optional)
    last = u.new_empty((u.shape[0], *A.shape), dtype=torch.float32)
    shape = engine_module(engine).compute_saved_shape(arguments) if keep else (0,)
    return u.new_empty(u.shape), last, u.new_empty(shape, dtype=torch.float32)


def _backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    table: Tensor,
    softplus: bool,
    delta_bias: Tensor | None,
    delta2: Tensor | None,
    A2: Tensor | None,
    delta2_bias: Tensor | None,
    delta_weight: Tensor | None,
    delta2_weight: Tensor | None,
    initial: Tensor | None,
    engine: str,
    saved: Tensor,
    dy: Tensor,
    dlast: Tensor | None,
) -> list[Tensor]:
    arguments = ScanArguments(
        u, delta, A, B, C, D, table, softplus, delta_bias, delta2, A2, delta2_bias,
        delta_weight, delta2_weight, initial,
    )  # fmt: skip
    return _list_differentiable(engine_module(engine).backward(arguments, saved, dy, dlast))


def _backward_fake(u, delta, A, B, C, D, table, softplus, *rest):
    *optional, _engine, _saved, _dy, _dlast = rest
    arguments = ScanArguments(u, delta, A, B, C, D, table, softplus, *optional)
    return [value.new_empty(value.shape) for value in _list_differentiable(arguments)]


def _list_differentiable(arguments: ScanArguments) -> list[Tensor]:
    """The tensors that are given, without the table, in their order."""
    return [value for value in (*arguments[:6], *arguments[8:]) if value is not None]


def _define(name: str, function: Any, fake: Any) -> Any:
    schema = torch.library.infer_schema(function, mutates_args=())
    _LIBRARY.define(name + schema, tags=_TAGS)
    _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"bandweave::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.bandweave, name).default


scan_operator = _define("selective_scan", _forward, _forward_fake)
backward_operator = _define("selective_scan_backward", _backward, _backward_fake)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, last, saved = scan_operator(*inputs)
        *arguments, ctx.engine, ctx.keep = inputs
        ctx.softplus = arguments.pop(7)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(saved)
        ctx.save_for_backward(*arguments, saved)
        return y, last, saved

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple:
        dy, dlast, _ = upstream
        *tensors, saved = ctx.saved_tensors
        if not ctx.keep:
            raise ScanError(f"{NAME} was called with keep=False: it has no gradient")
        if dy is None:
            dy = torch.zeros_like(tensors[0])
        required, optional = tensors[:7], tensors[7:]
        found = backward_operator(*required, ctx.softplus, *optional, ctx.engine, saved, dy, dlast)
        gradients = iter(found)
        first = [next(gradients) for _ in required[:6]]
        others = [None if value is None else next(gradients) for value in optional]
        return (*first, None, None, *others, None, None)


class _ScanBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            return tuple(backward_operator(*inputs))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> None:
        raise ScanError(
            "the scan's kernels have no second derivatives; BANDWEAVE_SCAN=torch has them, slowly"
        )


def _add_autograd(function: Any, operator: Any) -> Any:
    def call(*inputs: Any) -> Any:
        if torch.is_grad_enabled() and any(
            value.requires_grad for value in inputs if isinstance(value, Tensor)
        ):
            return function.apply(*inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    return call


_LIBRARY.impl("selective_scan", _add_autograd(_Scan, scan_operator), "Autograd")


def _run_backward(*inputs: Any) -> list[Tensor]:
    return list(_add_autograd(_ScanBackward, backward_operator)(*inputs))


_LIBRARY.impl("selective_scan_backward", _run_backward, "Autograd")
