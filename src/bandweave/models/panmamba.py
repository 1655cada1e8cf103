"""Pan-Mamba: pan-sharpening by Mamba layers over rows of pixels, whose streams swap and meet.

Source: He et al. 2025, "Pan-Mamba: Effective pan-sharpening with State Space Model", Information
Fusion 115, 102779.

    U(ms)  (B, C, H, W)   ms interpolated at PAN's pixels
    x_s    (B, T, D)      tokens of stream s (MS, PAN), row by row: T = H·W
    r_s    (B, T, D)      residual of the stream: what its layers were given, summed
    x_s = token_s(encoder_s(U(ms) or pan))
    N₁ single layers      r_s ← r_s + x_s;  x_s ← Mamba_s(LN r_s)
    N₂ swaps              the same, but the first half of the channels of LN r is the other stream's
    shallow fusion        ms ← ms + conv[ms, pan];  pan ← pan + conv[pan, ms];  x_s = token_s(…)
    N₃ cross layers       r ← r + x_ms;  y = W (scan of LN r + scan of LN x_pan);  x_ms ← y + conv y
    image = tail(x_ms) + U(ms)
    C bands, D width

The loss is the mean absolute error. The release drops r where a chain of layers ends, so that all
goes through the last layer alone; normalises twice, with the same weights, in a cross layer; and
interpolates by the nearest pixel. Here r is added to x, as in Mamba's own network, a norm is one,
and U is bicubic: `residual`, `cross_norms` and `upsampling` have the release's ways. Its cross
layers are for one size of image, and its layers hold parameters without influence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import ZeroShot
from bandweave.models.detail_model import DetailModel
from bandweave.nn.scans.mamba import MambaBranch, MambaLayer
from bandweave.nn.sharpening import Encoder, Tail
from bandweave.nn.upsampling import Kernel
from bandweave.schema import check_choices, check_ranges

STREAMS = "ms", "pan"


@dataclass
class PanMambaConfig:
    """The release's model. Sizes are those of its network file."""

    width: int = 32  # D
    residuals: int = 3  # residual units of an encoder
    single_layers: int = 8  # Mamba layers of each stream by itself
    swaps: int = 2  # pairs of layers that exchange half of their channels
    cross_layers: int = 5  # layers in which MS meets PAN
    state: int = 16  # N of a scan
    expand: float = 2.0  # scan channels per width
    kernel: int = 4  # tokens of a layer's convolution
    residual: Literal["added", "dropped"] = "added"  # to what a chain of layers ends with; the
    # release: dropped
    cross_norms: Literal[1, 2] = 1  # how often a cross layer applies its norms; the release: 2
    upsampling: Kernel = "bicubic"  # U; the release: nearest
    attention_width: int = 0  # channels between, in the tail's attention; 0: a quarter of the width

    def __post_init__(self) -> None:
        check_choices(self)
        least = dict.fromkeys(("width", "state", "kernel", "cross_layers"), 1)
        zero = ("residuals", "single_layers", "swaps", "attention_width")
        check_ranges(self, {**least, **dict.fromkeys(zero, 0)})
        if not 1 <= self.expand * self.width < math.inf:
            raise ConfigError(
                f"expand is {self.expand}; it must be finite and 1/{self.width} or more"
            )


class PanMamba(DetailModel):
    """Pan-Mamba for MS images of any number of bands, and any whole ratio.

    bands  of the MS image
    ratio  how many times finer than MS PAN is, along each side

    What a pixel becomes depends on the window around it in three ways. Convolutions and
    interpolation look `local_reach` pixels far. Instance norm and channel attention use means over
    the window; see `nn/window_statistics.py` for how to keep those of a scene. The scans go on from
    the end of a row to the beginning of the next, so that a row remembers the whole window above
    it, ever fainter.
    """

    zero_shots = ("ms as pan",)

    def __init__(self, bands: int, config: PanMambaConfig, ratio: int) -> None:
        super().__init__(bands, ratio, config.upsampling)
        self.config, width = config, config.width
        sizes = width, config.state, config.expand, config.kernel
        layer = partial(MambaLayer, *sizes)
        images = {"ms": bands, "pan": 1}
        self.encoders = nn.ModuleDict(
            {stream: Encoder(images[stream], width, config.residuals) for stream in STREAMS}
        )
        self.to_tokens = nn.ModuleDict({stream: nn.Linear(width, width) for stream in STREAMS})
        self.single = nn.ModuleDict(
            {
                stream: _Chain(_Single(width, layer()) for _ in range(config.single_layers))
                for stream in STREAMS
            }
        )
        self.swaps = nn.ModuleList(_Swap(width, layer) for _ in range(config.swaps))
        self.fuse = nn.ModuleDict(
            {stream: nn.Conv2d(2 * width, width, 3, padding=1) for stream in STREAMS}
        )
        self.cross = nn.ModuleList(
            _Cross(width, _Meet(width, partial(MambaBranch, *sizes)), config.cross_norms)
            for _ in range(config.cross_layers)
        )
        self.tail = Tail(bands, width, config.attention_width)

    @property
    def local_reach(self) -> int:
        """PAN pixels that convolutions and interpolation look to each side."""
        config = self.config
        images = 1 + 2 * config.residuals + 2 + config.cross_layers + 4  # … and of the tail
        layers = config.single_layers + config.swaps + config.cross_layers
        return images + layers * (config.kernel - 1) + self.interpolation_reach

    @property
    def tile_step(self) -> int:
        """PAN pixels: corners of tiles at multiples of it see the same MS pixels."""
        return self.ratio

    def add_detail(self, coarse: Tensor, pan: Tensor | None, zero_shot: ZeroShot) -> Tensor:
        """U(ms) and PAN to the sharp image; without PAN its place is taken by the mean of U(ms)."""
        images = [coarse, coarse.mean(1, keepdim=True) if pan is None else pan]
        height, breadth = coarse.shape[2:]
        xs, residuals = [], []
        for stream, image in zip(STREAMS, images, strict=True):
            x = self.to_tokens[stream](self.encoders[stream](image)).flatten(1, 2)  # (B, T, D)
            x, r = self.single[stream](x)
            xs.append(x)
            residuals.append(r)
        for swap in self.swaps:
            xs, residuals = swap(xs, residuals)
        ms, pan_features = (
            self._end(x, r).unflatten(1, (height, breadth)).permute(0, 3, 1, 2)  # (B, D, H, W)
            for x, r in zip(xs, residuals, strict=True)
        )
        ms = ms + self.fuse["ms"](torch.cat([ms, pan_features], 1))
        pan_features = pan_features + self.fuse["pan"](torch.cat([pan_features, ms], 1))
        x, q = (
            self.to_tokens[stream](features.permute(0, 2, 3, 1)).flatten(1, 2)
            for stream, features in zip(STREAMS, (ms, pan_features), strict=True)
        )
        r = torch.zeros_like(x)
        for cross in self.cross:
            x, r = cross(x, r, q, (height, breadth))
        return self.tail(self._end(x, r).unflatten(1, (height, breadth))) + coarse

    def _end(self, x: Tensor, r: Tensor) -> Tensor:
        """What leaves a chain of layers."""
        return x if self.config.residual == "dropped" else x + r


class _Chain(nn.Module):
    """Layers one after the other: x (B, T, D) to what the last one gives, and to the residual."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r = torch.zeros_like(x)
        for layer in self.layers:
            x, r = layer(x, r)
        return x, r


class _Single(nn.Module):
    """r ← r + x; x ← Mamba(LN r)."""

    def __init__(self, width: int, mamba: nn.Module) -> None:
        super().__init__()
        self.norm, self.mamba = nn.LayerNorm(width), mamba

    def forward(self, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        r = r + x
        return self.mamba(self.norm(r)), r


class _Swap(nn.Module):
    """As `_Single`, of two streams, whose first halves of channels change places between."""

    def __init__(self, width: int, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.exchanged = width // 2
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in STREAMS)
        self.mambas = nn.ModuleList(layer() for _ in STREAMS)

    def forward(
        self, xs: Sequence[Tensor], residuals: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        residuals = [r + x for x, r in zip(xs, residuals, strict=True)]
        normed = [norm(r) for norm, r in zip(self.norms, residuals, strict=True)]
        swapped = [
            torch.cat([other[..., : self.exchanged], own[..., self.exchanged :]], dim=-1)
            for own, other in zip(normed, reversed(normed), strict=True)
        ]
        return [mamba(x) for mamba, x in zip(self.mambas, swapped, strict=True)], residuals


class _Cross(nn.Module):
    """r ← r + x; y = W (scan of LN r + scan of LN q); x ← y + depthwise 3×3 of y. q is PAN's."""

    def __init__(self, width: int, meet: nn.Module, times: int) -> None:
        super().__init__()
        self.times = times
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in STREAMS)
        self.meet = meet
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(
        self, x: Tensor, r: Tensor, q: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        r = r + x
        m = r
        for _ in range(self.times):
            m, q = self.norms[0](m), self.norms[1](q)
        y = self.meet(m, q)
        image = y.transpose(1, 2).unflatten(2, size)  # (B, D, H, W)
        return y + self.conv(image).flatten(2).transpose(1, 2), r


class _Meet(nn.Module):
    """Two Mamba layers, each of a stream with its own gate, with one projection out of both."""

    def __init__(self, width: int, branch: Callable[[], MambaBranch]) -> None:
        super().__init__()
        branches = [branch() for _ in STREAMS]
        self.branches = nn.ModuleList(branches)
        self.out_proj = nn.Linear(branches[0].channels, width, bias=False)

    def forward(self, m: Tensor, q: Tensor) -> Tensor:
        ms, pan = self.branches
        return self.out_proj(ms(m) + pan(q))
