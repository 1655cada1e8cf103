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
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError, GridMismatch
from bandweave.models.contract import Corner, SharpeningModel, ZeroShot
from bandweave.nn.fusion import CrossAttention, FusionBlock
from bandweave.nn.interleaved import InterleavedScan, Interleaving, Walk
from bandweave.nn.output import Sharpened
from bandweave.nn.upsampling import SUPPORT, Kernel, upsample
from bandweave.nn.window_statistics import ChannelAttention, HalfInstanceNorm
from bandweave.schema import check_choices


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
    attention_width: int = 8  # channels between, in it; the release: a quarter of the width

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("width", "depth", "state", "window", "attention_width"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("residuals", self.residuals >= 0, "0 or more")
        channels = self.expand * self.width
        self._require("expand", 1 <= channels < math.inf, f"finite and 1/{self.width} or more")
        hidden = self.mlp_ratio * self.width
        self._require("mlp_ratio", 2 <= hidden < math.inf, f"finite and 2/{self.width} or more")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {what}")


class MMMamba(SharpeningModel):
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
        super().__init__()
        if bands < 1 or ratio < 1:
            raise ConfigError(
                f"a sharpening model needs bands and a ratio of 1 or more; it was given "
                f"{bands} bands and ratio {ratio}"
            )
        self.bands, self.config, self.ratio = bands, config, ratio
        width, concatenated = config.width, config.fusion == "concatenation"
        decoded = 2 if config.decode == "both" else 1
        self.encoders = nn.ModuleDict(
            {"ms": Encoder(bands, config), "pan": Encoder(1, config)}  # the streams, in order
        )
        streams = 1 if concatenated else 2
        if concatenated:
            self.entry_merge = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(
            _block(config, streams, min(streams, decoded) if i == config.depth - 1 else streams)
            for i in range(config.depth)
        )
        self.merge = nn.Linear(min(streams, decoded) * width, width)
        self.tail = Tail(bands, config)

    def upgrade(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        return convolutions + math.ceil(SUPPORT[config.upsampling] * self.ratio + self.ratio / 2)

    @property
    def tile_step(self) -> int:
        """PAN pixels: corners of tiles at multiples of it see the same windows and MS pixels."""
        windows = self.config.window if self.config.order != "global" else 1
        return math.lcm(windows, self.ratio)

    def reach(self, window: int) -> int:
        """PAN pixels by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(
        self,
        ms: Tensor,
        pan: Tensor | None = None,
        target: Tensor | None = None,
        corner: Corner | None = None,
    ) -> Sharpened:
        """Sharpen ms (B, C, h, w) with pan (B, 1, H, W); without pan as `super_resolve` does.

        target  (B, C, H, W): the image to learn; what is not finite in it teaches nothing
        corner  where the upper left corner of ms lies, in PAN pixels (row, column); ms must then
                cover PAN to less than one MS pixel at each side. None: at PAN's, and H = r·h

        Returns the image (B, C, H, W) and, with a target, the loss and {"psnr"}: in dB, peak 1.
        Raises GridMismatch for sizes that do not belong together.
        """
        if pan is None:
            return self.super_resolve(ms, target=target)
        self._check(ms, pan, corner)
        size = pan.shape[2], pan.shape[3]
        coarse = upsample(ms, self.ratio, size, corner or (0.0, 0.0), self.config.upsampling)
        streams = [self.encoders["ms"](coarse), self.encoders["pan"](pan)]
        return self._sharpen(coarse, streams, target)

    def super_resolve(
        self, ms: Tensor, zero_shot: ZeroShot = "ms stream", target: Tensor | None = None
    ) -> Sharpened:
        """Zero-shot super-resolution: ms (B, C, h, w) alone to (B, C, r·h, r·w).

        zero_shot  'ms stream': PAN's stream is left out, and zero where the tail takes both;
                   'ms twice': left out, and the tail takes the MS stream in both places;
                   'ms as pan': the mean of U(ms) over the bands is taken for PAN
        """
        if zero_shot not in get_args(ZeroShot):
            raise ConfigError(
                f"zero_shot is {zero_shot!r}; it is one of {', '.join(get_args(ZeroShot))}"
            )
        self._check(ms, None, None)
        size = self.ratio * ms.shape[2], self.ratio * ms.shape[3]
        coarse = upsample(ms, self.ratio, size, kernel=self.config.upsampling)
        streams = [self.encoders["ms"](coarse)]
        if zero_shot == "ms as pan":
            streams.append(self.encoders["pan"](coarse.mean(1, keepdim=True)))
        return self._sharpen(coarse, streams, target, twice=zero_shot == "ms twice")

    def _sharpen(
        self, coarse: Tensor, streams: list[Tensor], target: Tensor | None, twice: bool = False
    ) -> Sharpened:
        def merge_streams(merge: nn.Linear, streams: list[Tensor]) -> Tensor:
            absent = merge.in_features // self.config.width - len(streams)
            fill = streams[0] if twice else torch.zeros_like(streams[0])
            return merge(torch.cat([*streams, *[fill] * absent], dim=-1))

        if self.config.fusion == "concatenation":
            streams = [merge_streams(self.entry_merge, streams)]
        for block in self.blocks:
            streams = block(streams)
        image = self.tail(merge_streams(self.merge, streams)) + coarse
        if target is None:
            return Sharpened(image)
        return self._loss(image, target)

    def _loss(self, image: Tensor, target: Tensor) -> Sharpened:
        if target.shape != image.shape:
            raise GridMismatch(
                f"the target is {_size(target)}, the sharpened image {_size(image)}; they must "
                f"be of one size"
            )
        known = target.isfinite()
        error = (image.float() - target.float()).where(known, 0.0)
        count = known.sum().clamp(min=1)
        loss, square = error.abs().sum() / count, error.detach().square().sum() / count
        return Sharpened(image, loss, {"psnr": -10 * square.clamp(min=1e-12).log10()})

    def _check(self, ms: Tensor, pan: Tensor | None, corner: Corner | None) -> None:
        if ms.ndim != 4 or ms.shape[1] != self.bands:
            raise GridMismatch(
                f"the model sharpens MS images (B, C, h, w) of {self.bands} bands; it was given "
                f"{tuple(ms.shape)}"
            )
        if pan is None:
            return
        if pan.ndim != 4 or pan.shape[:2] != (ms.shape[0], 1):
            raise GridMismatch(
                f"PAN is (B, 1, H, W) with as many images as MS, here {ms.shape[0]}; it was given "
                f"{tuple(pan.shape)}"
            )
        for axis in (0, 1):
            covered, fine = self.ratio * ms.shape[2 + axis], pan.shape[2 + axis]
            if corner is None:
                fits = covered == fine
            else:
                first = corner[axis]
                fits = first < self.ratio and first + covered > fine - self.ratio
            if not fits:
                at = "" if corner is None else f" and its corner at {corner} px of PAN"
                raise GridMismatch(
                    f"PAN is {_size(pan)}, MS {_size(ms)}{at}; with ratio {self.ratio} MS covers "
                    f"{self.ratio * ms.shape[2]}×{self.ratio * ms.shape[3]} px of PAN"
                )


class Encoder(nn.Module):
    """An image (B, C, H, W) to features (B, H, W, D)."""

    def __init__(self, bands: int, config: MMMambaConfig) -> None:
        super().__init__()
        self.in_proj = nn.Conv2d(bands, config.width, 3, padding=1)
        self.units = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(config.width, config.width, 3, padding=1),
                nn.LeakyReLU(0.2),
                HalfInstanceNorm(config.width) if config.instance_norm else nn.Identity(),
                nn.Conv2d(config.width, config.width, 3, padding=1),
                nn.LeakyReLU(0.2),
            )
            for _ in range(config.residuals)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x.contiguous(memory_format=torch.channels_last))
        for unit in self.units:
            x = x + unit(x)
        return x.permute(0, 2, 3, 1)


class Tail(nn.Module):
    """Features (B, H, W, D) to the detail that U(ms) lacks, (B, C, H, W)."""

    def __init__(self, bands: int, config: MMMambaConfig) -> None:
        super().__init__()
        self.refine = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.attention = ChannelAttention(
            config.width, config.attention_width, means=config.channel_attention
        )
        self.out_proj = nn.Conv2d(config.width, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.attention(self.refine(x.permute(0, 3, 1, 2))))


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


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}×{image.shape[3]} px"
