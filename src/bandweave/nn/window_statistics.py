"""Layers that look at the whole window: their statistics, and how to keep those of a scene.

Instance norm, group norm, channel attention and a router of experts use means over the window that
they are given, so the same pixel comes out differently in another window. For a map without seams,
pass over the scene twice:

    with collect_statistics(model) as statistics:   # a tiling of the scene, without margins
        for window in windows:
            model(**window)
    with freeze_statistics(model, statistics):         # any other tiling: one answer per pixel
        for window in windows_with_margins:
            model(**window)

What is kept are the mean and the variance of each channel over all pixels that passed. Behind the
first such layer they are of features that each window's own statistics made.

Collect over windows of the size that the model was trained on, as larger ones have other
statistics, their padded edges being a smaller part. (One Landsat-7 pair after a minute's training
on 64×64 PAN pixels: 33.2 dB window by window and frozen so, 32.6 dB for all 398×398 at once.)

Sources: group norm, Wu & He 2018; half instance norm, Chen et al. 2021 (HINet); channel attention,
Zhang et al. 2018 (RCAN).

    x  (B, C, H, W)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import RunError

Statistics = dict[str, Tensor]  # layer -> (2, C) float64: mean and variance of its channels


class WindowMoments(nn.Module):
    """Mean and variance (B, C, 1, 1) of each channel over the window, or the frozen ones."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: Tensor | None = None  # (3, C) while collecting: pixels, x, x²
        self.frozen: Tensor | None = None  # (2, C)
        self.missing: str | None = None  # this layer's name, where all are frozen but this

    @property
    def watched(self) -> bool:
        """True while moments are collected, are frozen, or should be."""
        return self.sums is not None or self.frozen is not None or self.missing is not None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of (B, C, H, W), in float32 or better."""
        if self.missing is not None:
            raise RunError(
                f"no statistics were collected for layer {self.missing}; collect them with the "
                f"same inputs as will be given later (of a sharpener PAN and MS, or MS alone)"
            )
        wide = torch.promote_types(x.dtype, torch.float32)
        if self.frozen is not None:
            mean, variance = self.frozen.to(x.device, wide)[:, None, :, None, None].unbind()
            return mean, variance  # (1, C, 1, 1)
        variance, mean = torch.var_mean(x.to(wide), dim=(2, 3), correction=0, keepdim=True)
        if self.sums is not None:
            m, v = mean.detach().double().cpu().flatten(1), variance.detach().double().cpu()
            pixels = x.shape[2] * x.shape[3]
            moments = torch.stack([torch.ones_like(m), m, v.flatten(1) + m**2])
            self.sums = self.sums + pixels * moments.sum(1)
        return mean, variance


@contextmanager
def collect_statistics(model: nn.Module) -> Iterator[Statistics]:
    """Collect over all windows that pass through the model in the block; filled when it ends."""
    statistics: Statistics = {}
    layers = _layers(model)
    for layer in layers.values():
        layer.sums = torch.zeros(3, 1, dtype=torch.float64)
    try:
        yield statistics
        for name, layer in layers.items():
            if layer.sums is not None and layer.sums[0].all():
                pixels, first, second = layer.sums
                mean = first / pixels
                statistics[name] = torch.stack([mean, (second / pixels - mean**2).clamp(min=0)])
    finally:
        for layer in layers.values():
            layer.sums = None


@contextmanager
def freeze_statistics(model: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Use these statistics instead of each window's own, for as long as the block lasts.

    A layer that runs in the block and has none raises RunError.
    """
    layers = _layers(model)
    for name, layer in layers.items():
        layer.frozen = statistics.get(name)
        layer.missing = None if name in statistics else name
    try:
        yield
    finally:
        for layer in layers.values():
            layer.frozen = layer.missing = None


def _layers(model: nn.Module) -> dict[str, WindowMoments]:
    return {name: m for name, m in model.named_modules() if isinstance(m, WindowMoments)}


class WindowGroupNorm(nn.Module):
    """Group norm over the window, or with the frozen moments of a scene's channels."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.moments = WindowMoments()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.moments.watched:
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        mean, variance = (each.unflatten(1, (self.groups, -1)) for each in self.moments(x))
        group_mean = mean.mean(2, keepdim=True)  # (B, G, 1, 1, 1)
        group_variance = (variance + (mean - group_mean) ** 2).mean(2, keepdim=True)
        scale = torch.rsqrt(group_variance + self.eps).expand_as(mean).flatten(1, 2)
        scale = self.weight[:, None, None] * scale  # (B, C, 1, 1)
        shift = self.bias[:, None, None] - group_mean.expand_as(mean).flatten(1, 2) * scale
        return x * scale.to(x.dtype) + shift.to(x.dtype)


class HalfInstanceNorm(nn.Module):
    """Instance norm with weight and bias on the first half of the channels; the rest passes."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.normalised, self.eps = channels // 2, eps
        self.moments = WindowMoments()
        self.weight = nn.Parameter(torch.ones(self.normalised))
        self.bias = nn.Parameter(torch.zeros(self.normalised))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.moments(x[:, : self.normalised])
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)  # (B, C/2, 1, 1)
        shift = self.bias[:, None, None] - mean * scale
        rest = scale.new_ones(scale.shape[0], x.shape[1] - self.normalised, 1, 1)
        scale, shift = torch.cat([scale, rest], 1), torch.cat([shift, 0 * rest], 1)
        return x * scale.to(x.dtype) + shift.to(x.dtype)


class ChannelAttention(nn.Module):
    """x + r·σ(MLP(mean of r)), where r = conv-ReLU-conv of x; without `means` x + r.

    hidden  channels between the MLP's two layers
    """

    def __init__(self, channels: int, hidden: int, means: bool = True) -> None:
        super().__init__()
        self.means = means
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        if not means:
            return
        self.moments = WindowMoments()
        self.excite = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        r = self.branch(x)
        if not self.means:
            return x + r
        mean, _ = self.moments(r)
        return x + r * self.excite(mean.to(r.dtype))
