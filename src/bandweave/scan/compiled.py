"""The Numba engine as a torch function: arranges the arrays, runs the kernels, adds the parts.

Channels are padded to whole vectors of 16 only in the small tables (rates, bias, skip); u, delta
and their gradients keep their layout, and the kernels mask the last vector. dB and dC come in one
part per block of channels and are added in the order of the blocks; how many blocks there are
depends on the shapes alone, so a result does not depend on the number of threads, to the bit.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bandweave.scan import kernel_backward, kernel_forward, kernel_single
from bandweave.scan.kernel_backward import LOG2E
from bandweave.scan.simd import WIDTH
from bandweave.scan.threads import run_tasks

TASKS = 8  # at least, if there are so many channel vectors: enough for the cores of a laptop
WIDEST = 8  # vectors per block: its rows stay in the second cache


def numba_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    table: Tensor,
    delta_bias: Tensor | None = None,
    softplus: bool = False,
    delta2: Tensor | None = None,
    A2: Tensor | None = None,
    delta2_bias: Tensor | None = None,
) -> Tensor:
    """As `reference_scan` with the bias and softplus inside; checked float32 tensors on the CPU."""
    tensors = (u, delta, A, B, C, D, delta_bias, delta2, A2, delta2_bias)
    given = [value for value in tensors if value is not None]
    keep = torch.is_grad_enabled() and any(value.requires_grad for value in given)
    return _NumbaScan.apply(table, softplus, keep, *tensors)


class _NumbaScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        softplus: bool,
        keep: bool,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        bias: Tensor | None,
        delta2: Tensor | None,
        A2: Tensor | None,
        bias2: Tensor | None,
    ) -> Tensor:
        u, delta, B, C = (value.contiguous() for value in (u, delta, B, C))
        if delta2 is not None:
            delta2 = delta2.contiguous()
        arrays = _arrays(table, softplus, u, delta, A, B, C, D, bias, delta2, A2, bias2)
        batch, T, E = u.shape
        K, _, N = A.shape
        chunk = kernel_single.CHUNK if N == 1 else kernel_forward.CHUNK
        chunks = -(-T // chunk) if keep else 0
        starts = u.new_empty(batch, K, chunks, -(-E // WIDTH), N, WIDTH)
        y = torch.empty_like(u)
        tasks, width = _tasks(batch, E)
        work = delta.numel() * N * (1 if delta2 is None else 2)
        arrays = (*arrays, y.numpy(), starts.numpy(), keep)
        if N == 1:
            run_tasks(kernel_single.forward_single_tasks, tasks, work, width, *arrays)
        else:
            run_tasks(kernel_forward.forward_tasks, tasks, work, width, _states(N), *arrays)
        ctx.save_for_backward(table, u, delta, A, B, C, D, bias, delta2, A2, bias2, starts)
        ctx.softplus = softplus
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        table, u, delta, A, B, C, D, bias, delta2, A2, bias2, starts = ctx.saved_tensors
        dy = upstream[0].contiguous()
        arrays = _arrays(table, ctx.softplus, u, delta, A, B, C, D, bias, delta2, A2, bias2)
        (batch, _, E), (K, _, N) = u.shape, A.shape
        V = starts.shape[3]
        tasks, width = _tasks(batch, E)
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        ddelta2 = None if delta2 is None else torch.empty_like(delta2)
        dB, dC = (B.new_empty(-(-V // width), *B.shape) for _ in range(2))
        dskip = u.new_empty(batch, V, WIDTH)
        drates, dbias = u.new_empty(batch, K, V, N, WIDTH), u.new_empty(batch, K, V, WIDTH)
        drates2, dbias2 = None, None
        if delta2 is not None:
            drates2, dbias2 = torch.empty_like(drates), torch.empty_like(dbias)
        results = (du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dB, dC, dskip)
        gradients = (None if value is None else value.numpy() for value in results)
        arrays = (*arrays, starts.numpy(), dy.numpy(), *gradients)
        work = 3 * delta.numel() * N
        if N == 1:
            run_tasks(kernel_single.backward_single_tasks, tasks, work, width, *arrays)
        else:
            run_tasks(kernel_backward.backward_tasks, tasks, work, width, _states(N), *arrays)
        return (
            *(None, None, None, du, ddelta),
            _rates_back(_added(drates), E),
            *(_added(dB), _added(dC)),
            _channels_back(_added(dskip), E).expand(K, E),
            None if bias is None else _channels_back(_added(dbias), E),
            ddelta2,
            None if drates2 is None else _rates_back(_added(drates2), E),
            None if bias2 is None or dbias2 is None else _channels_back(_added(dbias2), E),
        )


def _tasks(batch: int, E: int) -> tuple[int, int]:
    """How many tasks, of how many vectors of channels each; from the shapes alone."""
    vectors = -(-E // WIDTH)
    blocks = min(vectors, max(-(-TASKS // batch), -(-vectors // WIDEST)))
    width = -(-vectors // blocks)
    return batch * -(-vectors // width), width


def _states(N: int) -> tuple[int, ...]:
    """A group of states that divides them all; what counts is its length."""
    return next((0,) * size for size in (4, 1) if N % size == 0)


def _arrays(
    table: Tensor,
    softplus: bool,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    bias: Tensor | None,
    delta2: Tensor | None,
    A2: Tensor | None,
    bias2: Tensor | None,
) -> tuple:
    """The arguments that both kernels share, in their order."""
    no_bias = torch.zeros_like(D)
    second: tuple = (None, None, None)
    if delta2 is not None and A2 is not None:
        padded = _padded(no_bias if bias2 is None else bias2)
        second = (delta2.detach().numpy(), padded.numpy(), _rates(A2).numpy())
    return (
        u.detach().numpy(),
        delta.detach().numpy(),
        _padded(no_bias if bias is None else bias).numpy(),
        _rates(A).numpy(),
        *second,
        softplus,
        B.detach().numpy(),
        C.detach().numpy(),
        _padded(D.sum(0)).numpy(),
        table.numpy(),
    )


def _padded(values: Tensor) -> Tensor:
    """(…, E) to (…, V, 16), with zeros beyond the last channel."""
    missing = -values.shape[-1] % WIDTH
    padded = torch.nn.functional.pad(values.detach(), (0, missing))
    return padded.unflatten(-1, (-1, WIDTH)).contiguous()


def _rates(A: Tensor) -> Tensor:
    """(K, E, N) to (K, V, N, 16), in the base of exp2."""
    return _padded((A * LOG2E).transpose(1, 2)).transpose(1, 2).contiguous()


def _rates_back(drates: Tensor, E: int) -> Tensor:
    """(K, V, N, 16) to (K, E, N)."""
    return drates.transpose(2, 3).flatten(1, 2)[:, :E]


def _channels_back(values: Tensor, E: int) -> Tensor:
    """(…, V, 16) to (…, E)."""
    return values.flatten(-2)[..., :E]


def _added(parts: Tensor) -> Tensor:
    """The parts added one after the other, whatever the number of threads."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
