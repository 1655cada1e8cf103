"""What a network learns against another one that tells its images from real ones.

Source: CALC (Lu et al. 2023), as released.

    image   (B, S, p, p)   of one source, real or made
    score   (B, K)         in 0 … 1, high for what is taken for real
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bandweave.nn.coupled import make_block

SLOPE = 0.2  # of the leaky ReLU


class SpatialAttention(nn.Module):
    """Weights (B, 1, p, p) of the pixels, of their mean and largest band: a 7 × 7 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        planes = torch.cat([image.mean(1, True), image.amax(1, True)], dim=1)
        return self.conv(planes).sigmoid()


class Discriminator(nn.Module):
    """Scores of images: attention over pixels, six convolutions, a mean over pixels.

    bands  S
    width  of the first two convolutions; of each two more it is twice that
    scores K
    """

    def __init__(self, bands: int, width: int, scores: int) -> None:
        super().__init__()
        self.attention = SpatialAttention()
        first = nn.Sequential(nn.Conv2d(bands, width, 3, padding=1), nn.LeakyReLU(SLOPE))
        sizes = [(1, 1, 2), (1, 2, 1), (2, 2, 2), (2, 4, 1), (4, 4, 2)]  # in, out, stride
        self.blocks = nn.Sequential(
            first,
            *(make_block(width * c, width * d, 3, stride, SLOPE) for c, d, stride in sizes),
        )
        self.score = nn.Linear(4 * width, scores)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.blocks(image * self.attention(image))
        return self.score(seen.mean((2, 3))).sigmoid()


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """The same numbers, whose gradient is `scale` times what comes back.

    With a negative scale, what is before learns to raise what all behind learn to lower.

    >>> x = torch.ones(2, requires_grad=True)
    >>> scale_gradient(x, -0.5).sum().backward()
    >>> x.grad.tolist()
    [-0.5, -0.5]
    """
    return _ScaleGradient.apply(x, scale)
