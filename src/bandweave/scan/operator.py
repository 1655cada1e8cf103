"""The selective scan as an operator of torch: autograd, `torch.compile` and `torch.export` see it.

    bandweave::selective_scan            the tensors of a scan → y, last, saved
    bandweave::selective_scan_backward   the same tensors, saved, dy, dlast → a gradient of each

An engine with kernels is a module with three functions of ScanArguments:

    saved_shape(arguments)                   of `saved`; it holds for symbolic sizes too
    forward(arguments, keep)                 y (B, T, E) of u's type, last (B, K, E, N) and saved in
                                             float32; saved is empty, (0,), if not to be kept
    backward(arguments, saved, dy, dlast)    the gradients, each in the place of its tensor
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments


def engine_module(name: str) -> ModuleType:
    """An engine with kernels, imported when it is needed."""
    if name == "numba":
        from bandweave.scan import numba_engine

        return numba_engine
    raise ScanError(f"the operator has no engine {name}")


@torch.library.custom_op("bandweave::selective_scan", mutates_args=())
def scan_operator(
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
    """y, last and saved."""
    arguments = ScanArguments(
        u, delta, A, B, C, D, table, softplus, delta_bias, delta2, A2, delta2_bias,
        delta_weight, delta2_weight, initial,
    )  # fmt: skip
    return engine_module(engine).forward(arguments, keep)


@scan_operator.register_fake
def _(u, delta, A, B, C, D, table, softplus, *rest):
    *optional, engine, keep = rest
    arguments = ScanArguments(u, delta, A, B, C, D, table, softplus, *optional)
    last = u.new_empty(u.shape[0], *A.shape, dtype=torch.float32)
    shape = engine_module(engine).saved_shape(arguments) if keep else (0,)
    return u.new_empty(u.shape), last, u.new_empty(shape, dtype=torch.float32)


@torch.library.custom_op("bandweave::selective_scan_backward", mutates_args=())
def backward_operator(
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
    """The gradients of the tensors that are given, without the table, in their order."""
    arguments = ScanArguments(
        u, delta, A, B, C, D, table, softplus, delta_bias, delta2, A2, delta2_bias,
        delta_weight, delta2_weight, initial,
    )  # fmt: skip
    return _given(engine_module(engine).backward(arguments, saved, dy, dlast))


@backward_operator.register_fake
def _(u, delta, A, B, C, D, table, softplus, *rest):
    *optional, _engine, _saved, _dy, _dlast = rest
    arguments = ScanArguments(u, delta, A, B, C, D, table, softplus, *optional)
    return [value.new_empty(value.shape) for value in _given(arguments)]


def _given(arguments: ScanArguments) -> list[Tensor]:
    tensors = (*arguments[:6], *arguments[8:])
    return [value for value in tensors if value is not None]


def _setup(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    *arguments, ctx.engine, _keep = inputs
    ctx.softplus = arguments.pop(7)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*arguments, output[2])


def _backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None, _: None) -> tuple:
    *tensors, saved = ctx.saved_tensors
    required, optional = tensors[:7], tensors[7:]
    if dy is None:
        dy = torch.zeros_like(tensors[0])
    arguments = ScanArguments(*required, ctx.softplus, *optional)
    gradients = iter(backward_operator(*arguments, ctx.engine, saved, dy, dlast))
    first = [next(gradients) for _ in range(6)]
    others = [None if value is None else next(gradients) for value in optional]
    return (*first, None, None, *others, None, None)


scan_operator.register_autograd(_backward, setup_context=_setup)
