"""What CALC and UACL have in common: an encoder that couples two sources level by level, and heads.

Source: Lu et al., "Coupled adversarial learning for fusion classification of hyperspectral and
LiDAR data", Information Fusion 93, 2023; Ding et al., "Uncertainty-aware contrastive learning for
semi-supervised classification of multimodal remote sensing images", TGRS 62, 2024; as released.

    first, second  (B, S, p, p)            the two sources
    level i        (B, w·2^i, q, q)        i = 0, 1, 2; q = ⌊p / 2^(i+1)⌋: both sources, weighted
    α, β                                   weights of the sources, the same at all levels

A convolution before a batch norm has no bias, which the norm would cancel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError

LEVELS = 3  # each half as fine as the one before
LEAST_PATCH = 2**LEVELS  # px: the deepest level is a pixel then


def check_sizes(patch: int, width: int) -> None:
    """Raise ConfigError for a patch or a width that three levels cannot be made of."""
    if patch < LEAST_PATCH:
        raise ConfigError(
            f"patch is {patch}; it must be {LEAST_PATCH} or more, since it is halved {LEVELS} times"
        )
    if width < 2 or width % 2:
        raise ConfigError(f"width is {width}; it must be an even number, 2 or more")


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of (B, C, h, w) that takes its running statistics where a channel has one value.

    A batch of one value has no variance.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(input, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def make_block(
    bands: int, width: int, kernel: int = 3, stride: int = 1, slope: float = 0.0
) -> nn.Sequential:
    """Convolution, batch norm and ReLU, leaky with a slope: (B, C, h, w) to (B, D, h, w)."""
    return nn.Sequential(
        nn.Conv2d(bands, width, kernel, stride, kernel // 2, bias=False),
        BatchNorm(width),
        nn.LeakyReLU(slope) if slope else nn.ReLU(),
    )


class CoupledEncoder(nn.Module):
    """Three levels of two sources: each has its own first block, and both share the next two.

    bands  S of each source
    width  w

    A source goes on to the next level as it is, not weighted with the other. Where a block is
    shared, each source has the statistics of its own batch, the first before the second.
    """

    def __init__(self, bands: list[int], width: int) -> None:
        super().__init__()
        self.own = nn.ModuleList(
            nn.Sequential(*make_block(count, width), nn.MaxPool2d(2)) for count in bands
        )
        self.shared = nn.ModuleList(
            nn.Sequential(*make_block(width * 2**i, width * 2 ** (i + 1)), nn.MaxPool2d(2))
            for i in range(LEVELS - 1)
        )
        self.shares = nn.Parameter(torch.full((2,), 0.5))  # α, β: free, their sum is not 1

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """The three levels of sources (B, S, p, p), the finest first."""
        pair = [own(x) for own, x in zip(self.own, (first, second), strict=True)]
        levels = [self._weigh(pair)]
        for shared in self.shared:
            pair = [shared(x) for x in pair]
            levels.append(self._weigh(pair))
        return levels

    def _weigh(self, pair: list[Tensor]) -> Tensor:
        return self.shares[0] * pair[0] + self.shares[1] * pair[1]


class Squeeze(nn.Sequential):
    """Features (B, F) of a level (B, C, q, q): two 1 × 1 blocks, then the mean over the pixels."""

    def __init__(self, bands: int, between: int, features: int) -> None:
        super().__init__(make_block(bands, between, 1), make_block(between, features, 1))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).mean((2, 3))


class LevelHead(nn.Module):
    """Logits (B, K) of a level (B, C, q, q)."""

    def __init__(self, bands: int, between: int, features: int, classes: int) -> None:
        super().__init__()
        self.squeeze = Squeeze(bands, between, features)
        self.classify = nn.Linear(features, classes)

    def forward(self, level: Tensor) -> Tensor:
        return self.classify(self.squeeze(level))


def make_heads(width: int, classes: int) -> nn.ModuleList:
    """A head for each level of an encoder of that width, the finest level's first."""
    w, half = width, width // 2
    sizes = (w, half, half), (2 * w, w, half), (4 * w, 2 * w, w)  # bands, between, features
    return nn.ModuleList(LevelHead(*each, classes) for each in sizes)
