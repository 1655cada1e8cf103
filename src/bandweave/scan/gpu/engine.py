"""The Triton engine: arranges the tensors, chooses the form of the scan, runs kernels, adds parts.

The kernels and their cost: forward.py and backward.py. Here a scan is cut into
programs of one block of channels and one chunk of steps; what several programs give a part of is
added by torch in a fixed order, so that a result is the same at every run, to the bit.
"""

import os
import shutil
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments
from bandweave.scan.gpu import backward as backward_kernels
from bandweave.scan.gpu import forward as forward_kernels

LANES = 32
RESIDENT = 8  # programs that a multiprocessor holds at once: 255 registers for each of 32 lanes
SHORTEST = 32  # steps of a chunk, at least: its start and end cost as much as a few steps
CARRIED = 64  # states of a program that carries them over the chunks


# Step sizes, their weight, their bias and their rates; or a gradient in the place of each.
Steps = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Block(NamedTuple):
    """The channels and states of one program, and how its lanes share them.

    States are (NA, NB), channels (EA, EB); NB · EB = 32 lanes hold NA · EA / warps of each tensor.
    """

    NA: int
    EA: int
    NB: int
    EB: int
    tile: int  # steps unrolled; the states before each tile are saved
    warps: int

    @property
    def channels(self) -> int:
        return self.EA * self.EB


class Plan(NamedTuple):
    """The programs that a scan is cut into."""

    block: Block
    blocks: int  # of channels
    inside: bool  # one program walks all K sequences
    chunk: int  # steps, whole tiles
    chunks: int  # more than one: the chunked form

    def programs(self, batch: int, K: int) -> int:
        return self.blocks * self.chunks * batch * (1 if self.inside else K)


def plan_block(E: int, N: int, pair: bool) -> Block:
    """Lanes, registers and tile, from the channels and states of a scan.

    The backward kernel keeps the states and decays of a tile in registers: tiles are as long as
    the compiler spills none, blocks as wide as costs the fewest exchanges between lanes.
    """
    states = triton.next_power_of_2(N)
    NB = min(states, 4)
    NA = states // NB
    EB = LANES // NB
    EA = 2 if 4 <= states <= 16 and E > EB else 1
    warps = min(max(NA // 8, 1), 16)
    tile = {1: 8, 2: 8, 4: 4, 8: 4}.get(NA * EA // warps, 1)
    return Block(NA, EA, NB, EB, tile // 2 if pair and tile > 1 else tile, warps)


def plan(
    batch: int, K: int, T: int, E: int, N: int, pair: bool, multiprocessors: int, tile: int = 0
) -> Plan:
    """The form of a scan: the one with the least traffic that fills the multiprocessors.

    One program walks the K sequences if there are enough programs even so; one sequence if that
    gives at least half of what fills the GPU; else sequences are cut into chunks, at the price of
    reading most inputs twice. `tile` replaces the block's own.
    """
    block = plan_block(E, N, pair)
    if tile:
        block = block._replace(tile=tile)
    blocks = -(-E // block.channels)
    wanted = max(multiprocessors * RESIDENT // block.warps, 1)
    inside = K > 1 and batch * blocks >= wanted
    programs = batch * blocks * (1 if inside else K)
    chunks = 1
    if 2 * programs < wanted:
        chunks = min(-(-wanted // programs), max(T // SHORTEST, 1))
    chunk = block.tile * -(-T // (chunks * block.tile))
    return Plan(block, blocks, inside, chunk, -(-T // chunk))


def compute_saved_shape(arguments: ScanArguments) -> tuple[int, ...]:
    """The shape of the saved states: those before each tile of steps of every sequence."""
    batch, T, E = arguments.u.shape
    K, _, N = arguments.A.shape
    tile = plan_block(int(E), int(N), arguments.A2 is not None).tile
    return batch, K, -(-T // tile), E, N


def forward(
    arguments: ScanArguments, keep: bool, form: Plan | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """y of u's type, the last states (B, K, E, N) and, if `keep`, the saved states, else (0,).

    arguments  checked tensors of one device, of any floating type each
    keep       a backward pass will follow
    form       replaces the plan that the shapes and the GPU give; the backward pass needs the same

    Raises ScanError where there is no C compiler, or a tensor is not on a GPU.
    """
    t = _check_arguments(arguments)
    form = form or _plan_scan(t)
    (batch, T, E), (K, _, N) = t.u.shape, t.A.shape
    last = _make_float(t.u, batch, K, E, N)
    saved = _make_float(t.u, batch, K, -(-T // form.block.tile), E, N) if keep else None
    y = _make_sequence_room(t.u, K, form)
    with _use_device(t.u):
        starts = None
        if form.chunks > 1:
            starts, product = (_make_float(t.u, batch, K, form.chunks, E, N) for _ in range(2))
            run = _make_launcher(forward_kernels.chunk_states, t, form)
            run(
                t.u,
                *_first_steps(t),
                *_second_steps(t),
                t.B,
                t.table,
                starts,
                product,
                *_sizes(t),
                *_list_pieces(form),
            )
            _carry(starts, product, t.initial, reverse=False)
        run = _make_launcher(forward_kernels.scan, t, form, INSIDE=form.inside)
        tensors = (t.B, t.C, t.D, t.table, t.initial, starts, y, last, saved)
        run(t.u, *_first_steps(t), *_second_steps(t), *tensors, *_sizes(t), *_list_pieces(form))
    return _add_parts(y, t.u, 1), last, _make_float(t.u, 0) if saved is None else saved


def backward(
    arguments: ScanArguments,
    saved: Tensor,
    dy: Tensor,
    dlast: Tensor | None,
    form: Plan | None = None,
) -> ScanArguments:
    """The gradient of every tensor, in its place and of its type; None where there is none.

    arguments  those of the forward pass
    saved      the states that it saved
    dy         the gradient of y, (B, T, E)
    dlast      the gradient of the last states, (B, K, E, N); None: zero
    form       the plan of the forward pass
    """
    t = _check_arguments(arguments)
    form = form or _plan_scan(t)
    (batch, T, E), (K, _, N) = t.u.shape, t.A.shape
    dy = dy.contiguous()
    dlast = None if dlast is None else dlast.contiguous()
    du = _make_sequence_room(t.u, K, form)
    first, second = (_make_room(steps, form) for steps in (_first_steps(t), _second_steps(t)))
    dB, dC = (_make_float(t.u, form.blocks, batch, K, T, N) for _ in range(2))
    dD = _make_float(t.u, batch, form.chunks, K, E)
    dinitial = None if t.initial is None else torch.empty_like(t.initial)
    with _use_device(t.u):
        incoming = None
        if form.chunks > 1:
            incoming, product = (_make_float(t.u, batch, K, form.chunks, E, N) for _ in range(2))
            run = _make_launcher(backward_kernels.chunk_adjoints, t, form)
            results = (incoming, product)
            run(
                *_first_steps(t),
                *_second_steps(t),
                t.C,
                t.table,
                dy,
                *results,
                *_sizes(t),
                *_list_pieces(form),
            )
            _carry(incoming, product, dlast, reverse=True)
        run = _make_launcher(backward_kernels.scan_backward, t, form, INSIDE=form.inside)
        tensors = (t.B, t.C, t.D, t.table, saved, incoming, dlast, dy)
        parts = (du, *first, *second, dB, dC, dD, dinitial)
        sizes = (*_sizes(t), batch * K, *_list_pieces(form))
        run(t.u, *_first_steps(t), *_second_steps(t), *tensors, *parts, *sizes)

    ddelta, dweight, dbias, dA = _add_room(first, _first_steps(t))
    ddelta2, dweight2, dbias2, dA2 = _add_room(second, _second_steps(t))
    return t._replace(
        u=_add_parts(du, t.u, 1),
        delta=ddelta,
        A=dA,
        B=_add_parts(dB, t.B, 0),
        C=_add_parts(dC, t.C, 0),
        D=_add_parts(dD, t.D, 0, 1),
        delta_bias=dbias,
        delta2=ddelta2,
        A2=dA2,
        delta2_bias=dbias2,
        delta_weight=dweight,
        delta2_weight=dweight2,
        initial=dinitial,
    )


def _check_arguments(arguments: ScanArguments) -> ScanArguments:
    """The arguments with contiguous tensors; ScanError where the kernels cannot run."""
    if isinstance(forward_kernels.scan, triton.JITFunction):  # not on Triton's interpreter
        if arguments.u.device.type != "cuda":
            raise ScanError(
                f"the triton engine runs on a GPU, the tensors are on {arguments.u.device}; move "
                "them there, or set TRITON_INTERPRET=1 before the start to try the kernels slowly"
            )
        _check_compiler()
    return ScanArguments(
        *(x.contiguous() if isinstance(x, Tensor) else x for x in arguments)  # type: ignore[arg-type]
    )


@cache
def _check_compiler() -> None:
    """Triton compiles a small launcher for its kernels when they first run."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        raise ScanError(
            "the triton engine needs a C compiler once, for the launcher of its kernels, and finds "
            "neither gcc nor clang; install one (`apt install gcc`, `conda install gcc`), name one "
            "in the environment variable CC, or set BANDWEAVE_SCAN=torch to do without"
        )


def _plan_scan(t: ScanArguments) -> Plan:
    (batch, T, E), (K, _, N) = t.u.shape, t.A.shape
    return plan(batch, K, T, E, N, t.A2 is not None, _count_multiprocessors(t.u.device))


@cache
def _count_multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _make_float(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def _make_sequence_room(u: Tensor, K: int, form: Plan) -> Tensor:
    """Room for what the K sequences add up to for every token: (B, 1 or K, T, E)."""
    batch, T, E = u.shape
    if K == 1:
        return u.new_empty(batch, 1, T, E)
    return _make_float(u, batch, 1 if form.inside else K, T, E)


def _add_parts(parts: Tensor, like: Tensor, *axes: int) -> Tensor:
    """Parts added along their axes, of the type of what they are a gradient of."""
    alone = all(parts.shape[axis] == 1 for axis in axes)
    return (parts.squeeze(axes) if alone else parts.sum(axes)).to(like.dtype)


def _first_steps(t: ScanArguments) -> Steps:
    return t.delta, t.delta_weight, t.delta_bias, t.A


def _second_steps(t: ScanArguments) -> Steps:
    return t.delta2, t.delta2_weight, t.delta2_bias, t.A2


def _make_room(steps: Steps, form: Plan) -> Steps:
    """Room for the gradients of step sizes, their weight, their bias and their rates, in parts."""
    delta, weight, bias, rates = steps
    if delta is None or rates is None:
        return None, None, None, None
    (batch, K), (_, E, N) = delta.shape[:2], rates.shape
    parts = (batch, form.chunks, K)
    ddelta, dweight = torch.empty_like(delta), None
    if weight is not None:
        ddelta = _make_float(delta, form.blocks, *delta.shape)
        dweight = _make_float(delta, *parts, *weight.shape[1:]).zero_()
    dbias = None if bias is None else _make_float(delta, *parts, E)
    return ddelta, dweight, dbias, _make_float(delta, *parts, E, N)


def _add_room(parts: Steps, steps: Steps) -> list[Any]:
    """The gradients, summed over their parts."""
    added: list[Any] = [
        None if part is None or like is None else _add_parts(part, like, 0, 1)
        for part, like in zip(parts[1:], steps[1:], strict=True)
    ]
    if parts[0] is None or steps[0] is None or parts[1] is None:
        return [parts[0], *added]
    return [_add_parts(parts[0], steps[0], 0), *added]


def _sizes(t: ScanArguments) -> tuple[int, ...]:
    ranks = (0 if w is None else w.shape[1] for w in (t.delta_weight, t.delta2_weight))
    return (t.u.shape[1], t.u.shape[2], t.A.shape[2], t.A.shape[0], *ranks)


def _list_pieces(form: Plan) -> tuple[int, ...]:
    return form.chunk, form.chunks, form.blocks


def _make_launcher(kernel: Any, t: ScanArguments, form: Plan, **options: bool) -> Any:
    """A kernel with its grid and its constants."""
    NA, EA, NB, EB, tile, warps = form.block
    options |= {"SOFTPLUS": t.softplus}
    run = kernel[(form.programs(t.u.shape[0], t.A.shape[0]),)]
    return partial(run, NA=NA, EA=EA, NB=NB, EB=EB, TILE=tile, num_warps=warps, **options)


def _carry(local: Tensor, product: Tensor, boundary: Tensor | None, reverse: bool) -> None:
    batch, K, chunks, E, N = local.shape
    blocks = -(-E * N // CARRIED)
    grid = (batch * K * blocks,)
    sizes = {"REVERSE": reverse, "GROUP": 8, "SIZE": CARRIED, "num_warps": CARRIED // LANES}
    forward_kernels.carry[grid](local, product, boundary, E, N, chunks, blocks, **sizes)


def _use_device(u: Tensor) -> Any:
    """Triton launches on the current device."""
    return torch.cuda.device(u.device) if u.device.type == "cuda" else nullcontext()
