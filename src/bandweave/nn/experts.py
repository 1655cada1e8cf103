"""Spatial experts: one selective scan for each direction; a router chooses a few for each image.

Source: Xu et al., "MambaMoE", its sparse routed experts; the release is departed from where said.

    x   (B, H, W, D)   tokens, channels last
    p   (B, E)         probabilities of E experts, from the mean of all tokens
    k                  experts that run, those of the largest p; their p are weights as they are

    out = x + Σ p_i · expert_i(x) over the k chosen ones

An expert owns its direction, and its answer is in the image's order before it is summed. Experts
that no image of a batch chose are not run.

As published, the tokens are put in the order of the scan before all else, this order is taken for
an image of H×W by the convolution, and the answer is added as it lies; in training an expert owns
its direction, and in evaluation the expert of the k-th largest p has the k-th one. The router has
no bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.nn.scans.ss2d import InputProjection, OutputProjection, StreamParameters
from bandweave.nn.window_statistics import WindowMoments
from bandweave.scan import ScanOrder, cross_order, selective_scan
from bandweave.scan.order import keep_by_size

Direction = Literal["rows", "columns", "rows_back", "columns_back"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)  # as cross_order has them


@keep_by_size
def direction_order(height: int, width: int, direction: Direction) -> ScanOrder:
    """One sequence over an image laid out row by row.

    >>> direction_order(2, 3, "columns").table.tolist()
    [[0, 3, 1, 4, 2, 5]]
    """
    return ScanOrder.of_permutations(
        [cross_order(height, width).table[DIRECTIONS.index(direction)]]
    )


class DirectionExpert(nn.Module):
    """A selective scan in one direction over few channels. Takes and returns (B, H, W, D).

    rank  channels of the scan
    """

    def __init__(self, width: int, rank: int, direction: Direction, state: int = 16) -> None:
        super().__init__()
        self.direction = direction
        self.in_proj = InputProjection(width, rank)
        self.stream = StreamParameters(rank, state, math.ceil(width / 16), orders=1)
        self.out_proj = OutputProjection(rank, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.scan(x, self.direction)

    def scan_published(self, x: Tensor, direction: Direction) -> Tensor:
        """The release's answer, in the order of the scan."""
        height, breadth = x.shape[1:3]
        order, _ = direction_order(height, breadth, direction).on(x.device)
        path = x.flatten(1, 2)[:, order[0]].unflatten(1, (height, breadth))
        return self.scan(path, "rows")

    def scan(self, x: Tensor, direction: Direction) -> Tensor:
        """Scan in a direction that need not be the expert's own."""
        height, breadth = x.shape[1:3]
        u, gate = self.in_proj(x)
        delta, B, C = self.stream(u)
        y = selective_scan(
            u, delta, self.stream.A, B, C, self.stream.D,
            direction_order(height, breadth, direction),
            delta_weight=self.stream.step_weight, delta_bias=self.stream.step_bias, softplus=True,
        )  # fmt: skip
        return self.out_proj(y, gate).unflatten(1, (height, breadth))


class Routing(NamedTuple):
    """Probabilities (B, E) of the experts, and those that ran (B, k)."""

    probabilities: Tensor
    chosen: Tensor

    @property
    def shares(self) -> Tensor:
        """Share of the choices that fell on each expert, (E,); they sum to 1."""
        experts = self.probabilities.shape[1]
        return self.chosen.flatten().bincount(minlength=experts) / self.chosen.numel()

    @property
    def imbalance(self) -> Tensor:
        """E · Σ share · mean probability (Switch Transformer, eq. 4): 1 if all are used alike."""
        return self.probabilities.shape[1] * (self.shares * self.probabilities.mean(0)).sum()


class RoutedExperts(nn.Module):
    """Experts of growing rank, one a direction; the `active` best ones by the router run.

    The decision follows from the mean of all tokens of an image, or of a scene's where statistics
    are frozen (nn/window_statistics.py), and does not depend on the other images of the batch.
    """

    def __init__(
        self,
        width: int,
        ranks: tuple[int, ...] = (2, 4, 8, 16),
        active: int = 2,
        state: int = 16,
        as_published: bool = False,
    ) -> None:
        super().__init__()
        if len(ranks) != len(DIRECTIONS) or not 1 <= active <= len(ranks):
            raise ConfigError(
                f"there are {len(DIRECTIONS)} directions, so as many ranks, and from 1 to "
                f"{len(DIRECTIONS)} experts that run; not ranks {ranks} and {active} of them"
            )
        self.active, self.as_published = active, as_published
        self.experts = nn.ModuleList(
            DirectionExpert(width, rank, direction, state)
            for rank, direction in zip(ranks, DIRECTIONS, strict=True)
        )
        self.moments = WindowMoments()
        self.router = nn.Linear(width, len(ranks), bias=not as_published)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Tokens (B, H, W, D) to the same, and what the router decided."""
        if self.moments.watched:
            mean = self.moments(x.permute(0, 3, 1, 2))[0].flatten(1)  # (B, D)
        else:
            mean = x.mean((1, 2), dtype=torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(x.device.type, enabled=False):  # so that rounding decides nothing
            weight = self.router.weight
            scores = self.router(mean.to(weight.dtype))  # (B, E); (1, E) when frozen
        wide = torch.promote_types(scores.dtype, torch.float32)
        probabilities = scores.softmax(-1, dtype=wide).expand(x.shape[0], -1)
        weights, chosen = probabilities.topk(self.active)  # (B, k)
        out = x
        for number, expert in enumerate(self.experts):
            assert isinstance(expert, DirectionExpert)
            for images, places, answer in self._runs(number, expert, chosen):
                all_images = len(images) == len(x)
                weight = weights[images, places, None, None, None].to(x.dtype)
                found = weight * answer(x if all_images else x[images])
                if all_images:  # in their order, as `nonzero` finds them
                    out = out + found
                else:
                    out = out.index_add(0, images, found.to(out.dtype))
        return out, Routing(probabilities, chosen)

    def _runs(
        self, number: int, expert: DirectionExpert, chosen: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]:
        """Images that an expert answers together, its places in their choices, and what does it."""
        images, places = (chosen == number).nonzero(as_tuple=True)
        if not self.as_published:
            if len(images):
                yield images, places, expert
            return
        turns = [DIRECTIONS.index(expert.direction)] if self.training else places.unique().tolist()
        for turn in turns:
            those = slice(None) if self.training else places == turn
            if len(images[those]):
                scan = partial(expert.scan_published, direction=DIRECTIONS[turn])
                yield images[those], places[those], scan
