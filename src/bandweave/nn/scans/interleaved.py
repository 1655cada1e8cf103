"""One selective scan over several co-registered streams, interleaved window by window.

Source: MMMamba (Wang et al. 2025), the multimodal interleaved scan (MI-SSM).

    streams (B, H, W, D)   S of them, of one size, channels last: MS, then PAN
    tokens  (B, S·H·W, E)  those of all streams in natural layout: stream 0 row by row, stream 1, …
    K orders, E = expand·D channels, N states

The order alone interleaves: no token is moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ScanError
from bandweave.nn.scans.ss2d import OutputProjection, StreamParameters
from bandweave.scan import ScanOrder, selective_scan
from bandweave.scan.order import keep_by_size

Interleaving = Literal["interleaved", "sequential", "global"]


@dataclass(frozen=True)
class Walk:
    """The order of a scan over the tokens of images; see `interleaved_order`."""

    window: int = 4
    mode: Interleaving = "interleaved"
    directions: int = 4


@keep_by_size
def interleaved_order(
    height: int,
    width: int,
    window: int = 4,
    streams: int = 2,
    mode: Interleaving = "interleaved",
    directions: int = 4,
) -> ScanOrder:
    """Orders over the tokens of `streams` images, each H×W, one after the other.

    Sequence 0 walks windows row by row, and pixels row by row in each; sequence 1 the same
    backwards; sequence 2 column by column, sequence 3 that backwards; the first `directions` of
    these are made. The streams never swap: in every sequence stream 0 comes first. Windows that
    the image's edge cuts are smaller.

    mode  'interleaved': per window, its tokens of stream 0, then those of stream 1, …;
          'global': no windows: per pixel, its token of stream 0, then that of stream 1, …;
          'sequential': all windows of stream 0, then all of stream 1, …

    >>> interleaved_order(1, 3, window=2, directions=2).table.tolist()
    [[0, 1, 3, 4, 2, 5], [2, 5, 1, 0, 4, 3]]
    """
    for name, size in {"height": height, "width": width}.items():
        if size < 0:
            raise ScanError(f"{name} = {size}: a scan order needs a size that is not negative")
    if window < 1 or streams < 1 or directions not in (1, 2, 3, 4):
        raise ScanError(
            f"window = {window}, streams = {streams}, directions = {directions}: an interleaved "
            f"order needs 1 or more, 1 or more, and 1 to 4"
        )
    if mode == "global":
        window = 1
    stream = torch.arange(streams, device="cpu")[:, None, None]
    i = torch.arange(height, device="cpu")[:, None]
    j = torch.arange(width, device="cpu")
    down, across = -(-height // window), -(-width // window)  # windows
    walks = [  # number of the window, and of the pixel in it, (H, W)
        (i // window * across + j // window, i % window * window + j % window),
        (j // window * down + i // window, j % window * window + i % window),
    ]
    windows, pixels = down * across, window**2
    rows = []
    for k in range(directions):
        at, within = walks[k // 2]
        if k % 2:
            at, within = windows - 1 - at, pixels - 1 - within
        if mode == "sequential":
            place = (stream * windows + at) * pixels + within
        else:
            place = (at * streams + stream) * pixels + within
        rows.append(place.flatten().argsort())  # (S, H, W) -> (T,)
    return ScanOrder.of_permutations(rows)


class InterleavedScan(nn.Module):
    """MI-SSM: in-context fusion of streams by one selective scan over all their tokens.

    The projections into the scan and its own parameters serve all streams; the depthwise
    convolution and the projection out of it are each stream's own. Called with fewer streams than
    it was made for, it scans those alone.

    streams  the most streams that come in
    outputs  the number of streams that come out, the first ones; None: all
    rank     rank of the step sizes; None: ⌈D/16⌉
    """

    def __init__(
        self,
        width: int,
        streams: int = 2,
        outputs: int | None = None,
        *,
        state: int = 8,
        expand: float = 2.66,
        rank: int | None = None,
        walk: Walk = Walk(),
    ) -> None:
        super().__init__()
        channels = int(expand * width)
        self.walk = walk
        self.project = nn.Linear(width, 2 * channels, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(streams)
        )
        self.shared = StreamParameters(
            channels, state, rank or math.ceil(width / 16), orders=walk.directions
        )
        self.out_projs = nn.ModuleList(
            OutputProjection(channels, width)
            for _ in range(streams if outputs is None else outputs)
        )

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Streams (B, H, W, D) to those that come out, (B, H, W, D)."""
        height, breadth = streams[0].shape[1:3]
        inwards, gating = self.project.weight.chunk(2)
        u = torch.cat(
            [
                _convolve_tokens(conv, F.linear(x, inwards))
                for conv, x in zip(self.convs, streams, strict=False)
            ],
            dim=1,
        )  # (B, S·H·W, E)
        walk = self.walk
        order = interleaved_order(
            height, breadth, walk.window, len(streams), walk.mode, walk.directions
        )
        delta, B, C = self.shared(u)
        y = selective_scan(
            u, delta, self.shared.A, B, C, self.shared.D, order,
            delta_weight=self.shared.step_weight, delta_bias=self.shared.step_bias, softplus=True,
        )  # fmt: skip
        parts = y.chunk(len(streams), dim=1)  # (B, H·W, E) each
        return [
            out_proj(part, F.silu(F.linear(x, gating)).flatten(1, 2)).unflatten(
                1, (height, breadth)
            )
            for out_proj, part, x in zip(self.out_projs, parts, streams, strict=False)
        ]


def _convolve_tokens(conv: nn.Module, u: Tensor) -> Tensor:
    u = conv(u.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return F.silu(u).flatten(1, 2)  # (B, H·W, E)
