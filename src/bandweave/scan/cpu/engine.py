"""The Numba engine: arranges the arrays, runs the kernels, adds the parts.

Channels are padded to whole vectors of 16 only in the small tables (rates, bias, skip, states); u,
delta and their gradients keep their layout, and the kernels mask the last vector. dB and dC come
in one part per block of channels and are added in the order of the blocks; how many blocks there
are does not depend on the number of threads, so neither does a result, to the bit.

The tensors are checked, of float32 and on the CPU, step sizes whole: (B, K, T, E). The kernels take
every array as contiguous, so it is made so here, last of all.
"""

import os

import torch
from torch import Tensor

from bandweave.scan.arguments import ScanArguments
from bandweave.scan.cpu import backward as backward_kernels
from bandweave.scan.cpu import forward as forward_kernels
from bandweave.scan.cpu import single_state
from bandweave.scan.cpu.backward import LOG2E
from bandweave.scan.cpu.lanes import WIDTH
from bandweave.scan.cpu.threads import run_tasks
from bandweave.scan.cpu.workspace import empty

CORES = os.cpu_count() or 1
ALONE = 0.3  # what a task costs by itself, in vectors: to sum its lanes of dB and dC, and start
WIDEST = 8  # vectors per block: its rows stay in the second cache
WIDEST_SINGLE = 24  # where N = 1, which has no rows: the wider, the fewer places in memory


def compute_saved_shape(arguments: ScanArguments) -> tuple[int, ...]:
    """The shape of the states at the chunks' starts, (B, K, chunks, V, N, 16)."""
    (batch, T, E), (K, _, N) = arguments.u.shape, arguments.A.shape
    chunk = single_state.CHUNK if N == 1 else forward_kernels.CHUNK
    return (batch, K, -(-T // chunk), -(-E // WIDTH), N, WIDTH)


def forward(arguments: ScanArguments, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, T, E), the last states (B, K, E, N), and what `backward` needs: empty if not kept."""
    arguments = _make_contiguous(arguments)
    u, (K, E, N) = arguments.u, arguments.A.shape
    batch, V = u.shape[0], -(-E // WIDTH)
    y, last = empty(*u.shape), u.new_empty(batch, K, V, N, WIDTH)
    starts = empty(*(compute_saved_shape(arguments) if keep else (batch, K, 0, V, N, WIDTH)))
    tasks, width = _plan_tasks(batch, E, N)
    work = arguments.delta.numel() * N * (1 if arguments.delta2 is None else 2)
    initial = _pack_states(arguments.initial, arguments)
    results = (value.numpy() for value in (initial, y, last, starts))
    arrays = (*_list_arrays(arguments), *results, keep)
    if N == 1:
        run_tasks(single_state.forward_single_tasks, tasks, work, width, *arrays)
    else:
        run_tasks(forward_kernels.forward_tasks, tasks, work, width, _choose_group(N), *arrays)
    return y, _unpack_vectors(last, E), starts if keep else u.new_empty(0)


def backward(
    arguments: ScanArguments, saved: Tensor, dy: Tensor, dlast: Tensor | None
) -> ScanArguments:
    """The gradients, in the places of the tensors."""
    arguments = _make_contiguous(arguments)
    u, delta, delta2, B = arguments.u, arguments.delta, arguments.delta2, arguments.B
    batch, (K, E, N), V = u.shape[0], arguments.A.shape, saved.shape[3]
    tasks, width = _plan_tasks(batch, E, N)
    du, ddelta = empty(*u.shape), empty(*delta.shape)
    ddelta2 = None if delta2 is None else empty(*delta2.shape)
    dB, dC = (empty(-(-V // width), *B.shape) for _ in range(2))
    dskip, dinitial = u.new_empty(batch, V, WIDTH), u.new_empty(batch, K, V, N, WIDTH)
    drates, dbias = torch.empty_like(dinitial), u.new_empty(batch, K, V, WIDTH)
    drates2, dbias2 = None, None
    if delta2 is not None:
        drates2, dbias2 = torch.empty_like(drates), torch.empty_like(dbias)
    upstream = (saved.contiguous(), dy.contiguous(), _pack_states(dlast, arguments))
    results = (du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dB, dC, dskip, dinitial)
    given = (None if value is None else value.numpy() for value in (*upstream, *results))
    arrays = (*_list_arrays(arguments), *given)
    work = 3 * delta.numel() * N
    if N == 1:
        run_tasks(single_state.backward_single_tasks, tasks, work, width, *arrays)
    else:
        run_tasks(backward_kernels.backward_tasks, tasks, work, width, _choose_group(N), *arrays)
    bias, bias2, initial = arguments.delta_bias, arguments.delta2_bias, arguments.initial
    return arguments._replace(
        u=du,
        delta=ddelta,
        A=_unpack_vectors(_add_parts(drates), E),
        B=_add_parts(dB),
        C=_add_parts(dC),
        D=_unpack_channels(_add_parts(dskip), E).expand(K, E).contiguous(),
        delta_bias=None if bias is None else _unpack_channels(_add_parts(dbias), E),
        delta2=ddelta2,
        A2=None if drates2 is None else _unpack_vectors(_add_parts(drates2), E),
        delta2_bias=None
        if bias2 is None or dbias2 is None
        else _unpack_channels(_add_parts(dbias2), E),
        initial=None if initial is None else _unpack_vectors(dinitial, E),
    )


def _make_contiguous(arguments: ScanArguments) -> ScanArguments:
    given = (x.contiguous() if isinstance(x, Tensor) else x for x in arguments)
    return ScanArguments(*given)  # type: ignore[arg-type]


def _plan_tasks(batch: int, E: int, N: int) -> tuple[int, int]:
    """The number of tasks, and of vectors of channels in each, that the cores finish first.

    They follow from the shapes and the machine, not from the number of threads, and so do the
    parts of the sums.
    """
    vectors = -(-E // WIDTH)
    widest = WIDEST_SINGLE if N == 1 else WIDEST

    def time(width: int) -> float:
        return -(-batch * -(-vectors // width) // CORES) * (width + ALONE)

    width = min(range(min(vectors, widest), 0, -1), key=time)
    return batch * -(-vectors // width), width


def _choose_group(N: int) -> tuple[int, ...]:
    """A group of states that divides them all; what counts is its length."""
    return next((0,) * size for size in (4, 1) if N % size == 0)


def _list_arrays(arguments: ScanArguments) -> tuple:
    """The arguments that both kernels share, in their order."""
    a = arguments
    no_bias = torch.zeros_like(a.D)
    second: tuple = (None, None, None)
    if a.delta2 is not None and a.A2 is not None:
        padded = _pad_channels(no_bias if a.delta2_bias is None else a.delta2_bias)
        second = (a.delta2.numpy(), padded.numpy(), _pack_vectors(a.A2 * LOG2E).numpy())
    return (
        a.u.numpy(),
        a.delta.numpy(),
        _pad_channels(no_bias if a.delta_bias is None else a.delta_bias).numpy(),
        _pack_vectors(a.A * LOG2E).numpy(),
        *second,
        a.softplus,
        a.B.numpy(),
        a.C.numpy(),
        _pad_channels(a.D.sum(0)).numpy(),
        a.table.numpy(),
    )


def _pad_channels(values: Tensor) -> Tensor:
    """(…, E) to (…, V, 16), with zeros beyond the last channel."""
    missing = -values.shape[-1] % WIDTH
    padded = torch.nn.functional.pad(values, (0, missing))
    return padded.unflatten(-1, (-1, WIDTH)).contiguous()


def _pack_states(states: Tensor | None, arguments: ScanArguments) -> Tensor:
    """(B, K, E, N) to (B, K, V, N, 16); without an item if there are none."""
    if states is None:
        K, E, N = arguments.A.shape
        return arguments.A.new_empty(0, K, -(-E // WIDTH), N, WIDTH)
    return _pack_vectors(states)


def _pack_vectors(values: Tensor) -> Tensor:
    """(…, E, N) to (…, V, N, 16)."""
    return _pad_channels(values.transpose(-1, -2)).transpose(-2, -3).contiguous()


def _unpack_vectors(values: Tensor, E: int) -> Tensor:
    """(…, V, N, 16) to (…, E, N)."""
    return values.transpose(-1, -2).flatten(-3, -2)[..., :E, :].contiguous()


def _unpack_channels(values: Tensor, E: int) -> Tensor:
    """(…, V, 16) to (…, E)."""
    return values.flatten(-2)[..., :E].contiguous()


def _add_parts(parts: Tensor) -> Tensor:
    """The parts added one after the other, whatever the number of threads."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
