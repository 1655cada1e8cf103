"""MMMamba: pan-sharpening by in-context fusion of MS and PAN in one interleaved selective scan.

Source: Wang et al. 2025, "MMMamba: A Versatile Cross-Modal In Context Fusion Framework for
Pan-Sharpening and Zero-Shot Image Enhancement". Equations are that paper's.

    ms     (B, C, h, w)     multispectral image, values in [0, 1]
    pan    (B, 1, H, W)     panchromatic image, H = r·h and W = r·w, values in [0, 1]
    U(ms)  (B, C, H, W)     ms interpolated at PAN's pixels
    x_s    (B, H, W, D)     features of stream s: MS, PAN
    x_s = encoder_s(U(ms) or pan);  N blocks on (x_ms, x_pan);  image = tail(x_ms, x_pan) + U(ms)
    C bands, D width, N depth, r ratio

The loss is the mean absolute error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import ZeroShot
from bandweave.models.detail_model import DetailModel
from bandweave.nn.fusion import CrossAttention, FusionBlock
from bandweave.nn.scans.interleaved import InterleavedScan, Interleaving, Walk
from bandweave.nn.sharpening import Encoder, Tail
from bandweave.nn.upsampling import Kernel
from bandweave.schema import check_choices, check_ranges


@dataclass
class MMMambaConfig:
    """The paper's model, with the release's sizes; each ablation of its table is a value here."""

    width: int = 32  # D
    depth: int = 5  # blocks
    residuals: int = 3  # residual units of an encoder (release)
    state: int = 8  # N of the scan (release)
    expand: float = 2.66  # scan channels per width: 85 (release)
    mlp_ratio: float = 4.0  # channels before the gate of a block's network, per width (release)
    window: int = 4  # pixels of a window's side, in which the streams are interleaved
    fusion: Literal["in-context", "attention", "concatenation"] = "in-context"  # 'attention':
    # cross-attention of the streams over the whole image, in place of the scan; 'concatenation':
    # the encoders' channels are merged into one stream, which is scanned
    order: Interleaving = "interleaved"  # 'sequential': all of MS, then all of PAN; 'global': no
    # windows, MS and PAN alternate pixel by pixel
    directions: Literal[1, 4] = 4
    decode: Literal["both", "ms"] = "both"  # streams that the tail takes; 'ms': as in eq. 30
    upsampling: Kernel = "bicubic"  # U; the release: nearest
    instance_norm: bool = True  # in the encoders, on half of the channels (release)
    channel_attention: bool = True  # in the tail (release); False: its convolutions alone
    attention_width: int = 0  # channels between, in it; 0: a quarter of the width (release)

    former: ClassVar[dict[str, Any]] = {"attention_width": 8}  # of runs from before the option

    def __post_init__(self) -> None:
        check_choices(self)
        least = dict.fromkeys(("width", "depth", "state", "window"), 1)
        check_ranges(self, {**least, "residuals": 0, "attention_width": 0})
        channels = self.expand * self.width
        self._require("expand", 1 <= channels < math.inf, f"finite and 1/{self.width} or more")
        hidden = self.mlp_ratio * self.width
        self._require("mlp_ratio", 2 <= hidden < math.inf, f"finite and 2/{self.width} or more")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {what}")


class MMMamba(DetailModel):
    """MMMamba for MS images of any number of bands, and any whole ratio.

    bands  of the MS image
    ratio  how many times finer than MS PAN is, along each side

    What a pixel becomes depends on the window around it in three ways. Convolutions and
    interpolation look `local_reach` pixels far. Instance norm and channel attention use means over
    the window; see `nn/window_statistics.py` for how to keep those of a scene. The scan (or the
    attention) carries what it saw through all of the window, ever fainter, and its own windows
    start at the image's corner: tiles with margins agree where their corners are multiples of
    `tile_step`, and up to what the scan remembers of more than the margin.
    """

    def __init__(self, bands: int, config: MMMambaConfig, ratio: int) -> None:
        super().__init__(bands, ratio, config.upsampling)
        self.config = config
        width, concatenated = config.width, config.fusion == "concatenation"
        decoded = 2 if config.decode == "both" else 1
        self.encoders = nn.ModuleDict(
            {  # the streams, in order
                stream: Encoder(count, width, config.residuals, config.instance_norm)
                for stream, count in (("ms", bands), ("pan", 1))
            }
        )
        streams = 1 if concatenated else 2
        if concatenated:
            self.entry_merge = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(
            _block(config, streams, min(streams, decoded) if i == config.depth - 1 else streams)
            for i in range(config.depth)
        )
        self.merge = nn.Linear(min(streams, decoded) * width, width)
        self.tail = Tail(bands, width, config.attention_width, config.channel_attention)

    def upgrade(
        self, tensors: Mapping[str, Tensor], origin: object = "the weights"
    ) -> dict[str, Tensor]:
        """Of versions whose blocks had one norm for both streams: the norm of each is that one."""
        known = dict(tensors)
        for name in self.state_dict():
            shared = re.sub(r"_norms\.\d+\.", "_norm.", name)
            if name not in tensors and shared in tensors:
                known[name] = tensors[shared]
                known.pop(shared, None)
        return known

    @property
    def local_reach(self) -> int:
        """PAN pixels that convolutions and interpolation look to each side."""
        config = self.config
        attention = 2  # its two convolutions stay without it
        convolutions = 1 + 2 * config.residuals + 2 * config.depth + 2 + attention
        return convolutions + self.interpolation_reach

    @property
    def tile_step(self) -> int:
        """PAN pixels: corners of tiles at multiples of it see the same windows and MS pixels."""
        windows = self.config.window if self.config.order != "global" else 1
        return math.lcm(windows, self.ratio)

    def add_detail(self, coarse: Tensor, pan: Tensor | None, zero_shot: ZeroShot) -> Tensor:
        """U(ms) and PAN to the sharp image; without PAN as `zero_shot` says."""
        streams = [self.encoders["ms"](coarse)]
        if pan is not None:
            streams.append(self.encoders["pan"](pan))
        elif zero_shot == "ms as pan":
            streams.append(self.encoders["pan"](coarse.mean(1, keepdim=True)))
        twice = pan is None and zero_shot == "ms twice"

        def merge_streams(merge: nn.Linear, streams: list[Tensor]) -> Tensor:
            absent = merge.in_features // self.config.width - len(streams)
            fill = streams[0] if twice else torch.zeros_like(streams[0])
            return merge(torch.cat([*streams, *[fill] * absent], dim=-1))

        if self.config.fusion == "concatenation":
            streams = [merge_streams(self.entry_merge, streams)]
        for block in self.blocks:
            streams = block(streams)
        return self.tail(merge_streams(self.merge, streams)) + coarse


def _block(config: MMMambaConfig, streams: int, outputs: int) -> FusionBlock:
    fuse: nn.Module
    if config.fusion == "attention":
        fuse = CrossAttention(config.width, streams, outputs)
    else:
        fuse = InterleavedScan(
            config.width, streams, outputs, state=config.state, expand=config.expand,
            walk=Walk(config.window, config.order, config.directions),
        )  # fmt: skip
    return FusionBlock(config.width, fuse, config.mlp_ratio, streams, outputs)
