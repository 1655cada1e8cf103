"""A selective scan along values, each lifted with its neighbours to a few features.

    s       (P, L)         values; P sequences of L steps
    u       (P, L, F)      SiLU(a convolution of s over three steps)
    B, C    (P, K, L, N)   projections of u; K = 2 orders, forward and backward
    delta   (P, K, L, F)   softplus(step · w + b), step a projection of u to one number
    y       (P, L)         Σ over F of lower · (both scans of u)

So a step needs 2·F + K·(F + 2·N + 1) numbers of which none is asked for: where many short sequences
are scanned, making and moving them takes longer than the scan. Where the Numba engine is chosen,
one kernel does all of it; elsewhere it is done one after the other around `selective_scan`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.engine import choose_engine
from bandweave.scan.order import bidirectional_order
from bandweave.scan.selective import selective_scan

ORDERS = 2


class LiftedScan(NamedTuple):
    """The parameters of a scan of lifted values, F features and N states.

    lift, lift_bias         (F, 3), (F,)
    project                 (2, 1 + 2·N, F), to step, B and C
    step_weight, step_bias  (2, F)
    A                       (2, F, N), negative
    D                       (2, F)
    lower                   (F,)
    """

    lift: Tensor
    lift_bias: Tensor
    project: Tensor
    step_weight: Tensor
    step_bias: Tensor
    A: Tensor
    D: Tensor
    lower: Tensor


def fits_kernel(s: Tensor) -> bool:
    """Whether values like these go through the kernel of the CPU."""
    return s.device.type == "cpu" and choose_engine(s.device, s.dtype) == "numba"


def scan_lifted(s: Tensor, scan: LiftedScan) -> Tensor:
    """Scan values (P, L) to (P, L): of float64 where they are, else of float32.

    Raises ScanError where the parameters do not belong together.

    >>> one = torch.ones
    >>> scan = LiftedScan(one(1, 3), one(1), one(2, 3, 1), one(2, 1), one(2, 1), -one(2, 1, 1),
    ...     one(2, 1), one(1))
    >>> scan_lifted(torch.zeros(4, 5), scan).shape
    torch.Size([4, 5])
    """
    _check(s, scan)
    wide = torch.promote_types(s.dtype, torch.float32)
    with torch.autocast(s.device.type, enabled=False):
        s, scan = s.to(wide), LiftedScan(*(each.to(wide) for each in scan))
        if not s.numel() or not fits_kernel(s):
            return scan_lifted_by_parts(s, scan)
        return torch.ops.bandweave.scan_lifted(s, *scan)


def scan_lifted_by_parts(s: Tensor, scan: LiftedScan) -> Tensor:
    """The same around `selective_scan`, on any device."""
    states = scan.A.shape[2]
    u = F.silu(F.linear(F.pad(s, (1, 1)).unfold(1, 3, 1), scan.lift, scan.lift_bias))  # (P, L, F)
    projected = F.linear(u, scan.project.flatten(0, 1))
    projected = projected.unflatten(-1, (ORDERS, -1)).transpose(1, 2)  # (P, K, L, 1 + 2·N)
    delta, B, C = projected.split([1, states, states], dim=-1)
    y = selective_scan(
        u, delta, scan.A, B, C, scan.D, bidirectional_order(s.shape[1]),
        delta_weight=scan.step_weight[:, None], delta_bias=scan.step_bias, softplus=True,
    )  # fmt: skip
    return F.linear(y, scan.lower[None]).squeeze(-1)


def _check(s: Tensor, scan: LiftedScan) -> None:
    features, states = scan.lower.shape[0], scan.A.shape[-1]
    expected = {
        "lift": (features, 3),
        "lift_bias": (features,),
        "project": (ORDERS, 1 + 2 * states, features),
        "step_weight": (ORDERS, features),
        "step_bias": (ORDERS, features),
        "A": (ORDERS, features, states),
        "D": (ORDERS, features),
        "lower": (features,),
    }
    if s.ndim != 2:
        raise ScanError(f"values are (P, L), here {tuple(s.shape)}")
    for name, shape in expected.items():
        if tuple(getattr(scan, name).shape) != shape:
            raise ScanError(
                f"{name} is {tuple(getattr(scan, name).shape)}, expected {shape}, because lower "
                f"has {features} features and A has {states} states"
            )


@torch.library.custom_op("bandweave::scan_lifted", mutates_args=())
def _scan(
    s: Tensor,
    lift: Tensor,
    lift_bias: Tensor,
    project: Tensor,
    step_weight: Tensor,
    step_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lower: Tensor,
) -> Tensor:
    from bandweave.scan.cpu.lifted_engine import forward

    return forward(s, LiftedScan(lift, lift_bias, project, step_weight, step_bias, A, D, lower))


@torch.library.custom_op("bandweave::scan_lifted_backward", mutates_args=())
def _scan_backward(
    s: Tensor,
    lift: Tensor,
    lift_bias: Tensor,
    project: Tensor,
    step_weight: Tensor,
    step_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lower: Tensor,
    dy: Tensor,
) -> list[Tensor]:
    from bandweave.scan.cpu.lifted_engine import backward

    scan = LiftedScan(lift, lift_bias, project, step_weight, step_bias, A, D, lower)
    return backward(s, scan, dy)


@_scan.register_fake
def _(s, *parameters):
    return s.new_empty(s.shape)


@_scan_backward.register_fake
def _(s, *parameters):
    return [each.new_empty(each.shape) for each in (s, *parameters[:-1])]


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _return(ctx, dy):
    return tuple(torch.ops.bandweave.scan_lifted_backward(*ctx.saved_tensors, dy))


_scan.register_autograd(_return, setup_context=_keep)
