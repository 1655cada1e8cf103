"""A projection of bands to a few channels that is fitted once and never trains."""

from __future__ import annotations

from collections.abc import Container, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError


class FixedProjection(nn.Module):
    """The first principal components of the bands, each of unit variance; repeated where fewer.

    bands, channels  how many go in and come out
    """

    weight: Tensor
    bias: Tensor
    fitted: Tensor

    def __init__(self, bands: int, channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, bands))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("fitted", torch.tensor(False))
        self._ready = False  # spares a look at the device in every forward

    @torch.no_grad()
    def fit(self, pixels: Tensor) -> None:
        """Fit to pixels (P, C); those that are zero in all bands (holes) are left out."""
        pixels = pixels[pixels.ne(0).any(1)].cpu().double()
        if len(pixels) < 2:
            raise ConfigError(
                f"principal components were asked of {len(pixels)} valid pixels; 2 are needed"
            )
        mean = pixels.mean(0)
        variances, vectors = torch.linalg.eigh(torch.cov(pixels.T).reshape(len(mean), -1))
        order = variances.argsort(descending=True)[torch.arange(len(self.bias)) % len(mean)]
        axes = vectors.T[order]  # (channels, C)
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        scale = variances[order].clamp(min=variances.max().clamp(min=1e-12) * 1e-6).sqrt()
        weight = axes * largest.sign() / scale[:, None]
        self.weight.copy_(weight)
        self.bias.copy_(-weight @ mean)
        self.fitted.fill_(True)

    @torch.no_grad()
    def take_first(self) -> None:
        """Bands that are components already, all of one variance, have no others: the first."""
        bands = self.weight.shape[1]
        self.weight.copy_(torch.eye(bands)[torch.arange(len(self.bias)) % bands])
        self.bias.zero_()
        self.fitted.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        self._ready = self._ready or bool(self.fitted)
        if not self._ready:
            raise ConfigError(
                "the input's principal components were not fitted: call `prepare` with training "
                "crops first, or use the input `learned`"
            )
        return F.conv2d(x, self.weight[:, :, None, None].to(x.dtype), self.bias.to(x.dtype))


def fit_projections(
    inputs: nn.ModuleDict, layers: Mapping[str, Tensor], reduced: Container[str]
) -> None:
    """Fit those of the inputs, by layer, that are fixed projections, to layers (B, C, h, w).

    reduced  layers that are principal components already, of which the first are taken
    """
    for name, projection in inputs.items():
        if not isinstance(projection, FixedProjection):
            continue
        if name in reduced:
            projection.take_first()
        else:
            projection.fit(layers[name].movedim(1, -1).flatten(0, -2))
