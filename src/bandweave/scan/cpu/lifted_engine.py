"""The Numba engine of scans of lifted values: arranges arrays, runs the kernels, adds the parts.

How many parts there are follows from the number of sequences alone, not from that of threads; they
are added in double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bandweave.scan.cpu import lifted as kernels
from bandweave.scan.cpu.backward import LOG2E
from bandweave.scan.cpu.lanes import WIDTH
from bandweave.scan.cpu.threads import run_tasks
from bandweave.scan.cpu.workspace import empty

if TYPE_CHECKING:
    from bandweave.scan.lifted import LiftedScan


def forward(s: Tensor, scan: LiftedScan) -> Tensor:
    """Results (P, L) of values (P, L), all of float32."""
    s, y = s.contiguous(), empty(*s.shape)
    states = _choose_group(scan)
    run_tasks(
        kernels.lifted_forward_tasks, _count_tasks(s), _count_work(s, scan),
        states, s.numpy(), *_list_arrays(scan), y.numpy(),
    )  # fmt: skip
    return y


def backward(s: Tensor, scan: LiftedScan, dy: Tensor) -> list[Tensor]:
    """Gradients of the values and of each parameter, in their order."""
    s, dy, ds = s.contiguous(), dy.contiguous(), empty(*s.shape)
    (K, F, N), tasks = scan.A.shape, _count_tasks(s)
    sizes = [4 * F, K * F * (2 * N + 1), 2 * K * F, K * F * N, F, F]
    parts = s.new_empty(tasks, sum(sizes))
    run_tasks(
        kernels.lifted_backward_tasks, tasks, 3 * _count_work(s, scan),
        _choose_group(scan), s.numpy(), *_list_arrays(scan), dy.numpy(), ds.numpy(), parts.numpy(),
    )  # fmt: skip
    total = parts.double().sum(0).to(s.dtype)
    lift, project, steps, rates, skip, lower = total.split(sizes)
    lift, project, steps = lift.view(F, 4), project.view(K, F, -1), steps.view(K, F, 2)
    project = torch.cat([project[..., 2 * N :], project[..., : 2 * N]], dim=-1).mT
    given = (
        lift[:, :3], lift[:, 3], project, steps[..., 0], steps[..., 1], rates.view(K, F, N),
        skip.expand(K, F), lower,
    )  # fmt: skip
    return [ds, *(each.clone(memory_format=torch.contiguous_format) for each in given)]


def _count_tasks(s: Tensor) -> int:
    return -(-s.shape[0] // (kernels.BLOCKS * WIDTH))


def _count_work(s: Tensor, scan: LiftedScan) -> int:
    return s.numel() * scan.A.numel()


def _choose_group(scan: LiftedScan) -> tuple[int, ...]:
    """A group of states that divides them all; what counts is its length."""
    return next((0,) * size for size in (4, 1) if scan.A.shape[2] % size == 0)


def _list_arrays(scan: LiftedScan) -> tuple:
    """The parameters as the kernels take them."""
    one = scan.lift.new_ones(1, 4)  # a row of 1 after the last
    lift = torch.cat([torch.cat([scan.lift, scan.lift_bias[:, None]], dim=1), one])
    project = torch.cat([scan.project[:, 1:], scan.project[:, :1]], dim=1).mT
    steps = torch.stack([scan.step_weight, scan.step_bias], dim=-1)
    given = (lift, project, steps, scan.A * LOG2E, scan.D.sum(0), scan.lower)
    return tuple(each.detach().contiguous().numpy() for each in given)
