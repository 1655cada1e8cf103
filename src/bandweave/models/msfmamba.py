"""MSFMamba: the class of a pixel by scans of two scales, of the spectrum, and across two sources.

Source: Gao et al., "MSFMamba: Multiscale Feature Fusion State Space Model for Multisource Remote
Sensing Image Classification", IEEE TGRS 63, 2025 (arXiv 2408.14255), and its release.

    H, X   (B, S, p, p)   patches of the first layer, and of the others (the first again if alone)
    module l, of side q = p - 2(l + 1):
    h      (B, D₁, q, q)  valid convolution of bands and pixels, BN, ReLU; its maps' bands side by
                          side, D₁ = 8·2^l · n of n bands
    x      (B, D₂, q, q)  valid 3×3 convolution, BN, ReLU; D₂ = 64·2^l
    MSpa   of h and of x: rows and columns at full size, and backwards at half the size
    Spe    of h: its D₁ channels are tokens of q² positions, scanned both ways
    Fus    of both: each is scanned by the step sizes, B and C of the other
    out    all values of h and x, linear to the classes

Each operator is x + op(LN x). A convolution reaches at most as many bands as there are.

The release reads its maps (B, D, q, q) as (B, q, q, D) without moving them, so that a token mixes
channels with pixels, and adds and returns them in ways that do not fit: `as_published`. It mirrors
the image at its edge, where patches here hold zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.scans.mamba import NormedScan
from bandweave.nn.scans.ss2d import InputProjection, OutputProjection, StreamParameters, scan_tokens
from bandweave.scan import ScanOrder, bidirectional_order, cross_order
from bandweave.scan.order import keep_by_size
from bandweave.schema import check_ranges

MAPS = 8  # of the spectral source's first convolution
REACH = 9  # bands of that convolution; each further one has two fewer


@dataclass
class MSFMambaConfig:
    """The release's model for Houston 2013."""

    patch: int = 11  # p, px
    depth: int = 1  # modules; 2 for Berlin and Houston 2018
    width: int = 64  # D₂ of the first module
    state: int = 16  # N of all scans; 8 for Augsburg
    expand: float = 0.75  # channels of a scan per D
    as_published: bool = False  # maps that are read as they do not lie

    def __post_init__(self) -> None:
        check_ranges(self, {"depth": 1, "width": 1, "state": 1})
        least = 2 * self.depth + 2
        if self.patch < least:
            raise ConfigError(
                f"patch is {self.patch}; with `depth: {self.depth}` it must be {least} or more"
            )
        fewest = min(MAPS, self.width, (self.patch - 2 * self.depth) ** 2)
        check_ranges(self, {"expand": 1 / fewest})


class MSFMamba(PatchModel):
    """MSFMamba for one to four layers with any bands; the first is the spectral source.

    Arguments, ratios and errors are those of a PatchModel.
    """

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: MSFMambaConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config = config
        modules: list[Module] = []
        given = (1, self.source_bands[0], self.source_bands[1])
        for level in range(config.depth):
            modules.append(Module(given, level, config))
            given = modules[-1].sizes
        self.levels = nn.ModuleList(modules)
        maps, count, width = given
        values = (maps * count + width) * (config.patch - 2 * config.depth) ** 2
        self.head = nn.Linear(values, self.outputs)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of two sources (B, S, p, p)."""
        return self.head(self.extract(*sources).flatten(1))

    def extract(self, spectral: Tensor, spatial: Tensor) -> Tensor:
        """What the last module gives of two sources: (B, D₁ + D₂, q, q)."""
        h, x = spectral, spatial
        for level in self.levels:
            h, x = level(h, x)
        return torch.cat([h, x], dim=1)


class Module(nn.Module):
    """Convolutions of both sources, then the three operators.

    given   maps and bands of each map of the spectral source, and channels of the other
    level   how many modules there are before it

    Takes and returns the sources (B, D₁, q, q) and (B, D₂, q, q), smaller by a pixel on each side.
    `sizes` are `given` of the next module.
    """

    def __init__(self, given: tuple[int, int, int], level: int, config: MSFMambaConfig) -> None:
        super().__init__()
        self.maps, bands, channels = given
        reach = min(max(REACH - 2 * level, 1), bands)
        maps, left, width = MAPS * 2**level, bands - reach + 1, config.width * 2**level
        self.sizes = maps, left, width
        side = config.patch - 2 * (level + 1)
        self.spectral_conv = nn.Sequential(  # biases: the norms have them
            nn.Conv3d(self.maps, maps, (reach, 3, 3), bias=False), nn.BatchNorm3d(maps), nn.ReLU()
        )
        self.spatial_conv = nn.Sequential(
            nn.Conv2d(channels, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.spectral_scales = TwoScales(maps * left, config)
        self.spatial_scales = TwoScales(width, config)
        self.spectrum = Spectrum(side**2, config)
        self.fusion = Fusion(maps * left, width, config)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.spectral_conv(h.unflatten(1, (self.maps, -1))).flatten(1, 2)
        h, x = self.spectral_scales(h), self.spatial_scales(self.spatial_conv(x))
        return self.fusion(self.spectrum(h), x)


class TwoScales(nn.Module):
    """MSpa: x + TwoScaleScan(LN x), of maps (B, D, q, q)."""

    def __init__(self, width: int, config: MSFMambaConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.scan = TwoScaleScan(width, config.state, config.expand)
        self.as_published = config.as_published

    def forward(self, x: Tensor) -> Tensor:
        x = lay_channels_last(x, self.as_published)
        return (x + self.scan(self.norm(x))).permute(0, 3, 1, 2)  # moved in the release too


class TwoScaleScan(nn.Module):
    """Selective scan of (B, q, q, D) along rows and columns, and back at half the size."""

    def __init__(self, width: int, state: int, expand: float) -> None:
        super().__init__()
        channels, rank = int(expand * width), math.ceil(width / 16)
        self.in_proj = InputProjection(width, channels)
        self.fine = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.coarse = nn.Conv2d(channels, channels, 5, stride=2, padding=2, groups=channels)
        self.fine_stream = StreamParameters(channels, state, rank, orders=2)
        self.coarse_stream = StreamParameters(channels, state, rank, orders=2)
        self.widen = nn.ConvTranspose2d(channels, channels, 5, stride=2, padding=2)
        self.out_proj = OutputProjection(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1:3]
        u, gate = self.in_proj(x)
        u = u.transpose(1, 2).unflatten(2, size)  # (B, E, q, q)
        fine = scan_map(self.fine(u), self.fine_stream, forward_rows_and_columns(*size))
        coarse = self.coarse(u)
        coarse = scan_map(coarse, self.coarse_stream, backward_rows_and_columns(*coarse.shape[2:]))
        y = fine + self.widen(coarse, output_size=size)
        return self.out_proj(y.flatten(2).transpose(1, 2), gate).view(x.shape)


class Spectrum(nn.Module):
    """Spe: x + a scan of LN x whose tokens are channels, both ways, of maps (B, D, q, q)."""

    def __init__(self, positions: int, config: MSFMambaConfig) -> None:
        super().__init__()
        channels = int(config.expand * positions)
        before = [nn.Linear(channels, channels, bias=False), nn.SiLU()]
        self.norm = nn.LayerNorm(positions, eps=1e-6)
        self.scan = NormedScan(
            positions,
            channels,
            config.state,
            math.ceil(positions / 16),
            sequences=2,
            before=nn.Sequential(*before, *[Misread()] * config.as_published),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)  # (B, D, q²)
        y = self.scan(self.norm(tokens), bidirectional_order(tokens.shape[1]))
        return x + y.view(x.shape)


class Fusion(nn.Module):
    """Fus: both sources + scans of each by the other. (B, D₁, q, q), (B, D₂, q, q) to the same."""

    def __init__(self, spectral: int, spatial: int, config: MSFMambaConfig) -> None:
        super().__init__()
        self.spectral = GuidedScan(spectral, spatial, config)
        self.spatial = GuidedScan(spatial, spectral, config)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        (of_h, gate_h), (of_x, gate_x) = self.spectral.enter(h), self.spatial.enter(x)
        return self.spectral(h, of_h, of_x, gate_h), self.spatial(x, of_x, of_h, gate_x)


class GuidedScan(nn.Module):
    """x + a scan of LN x whose step sizes, B and C are a guide's.

    width, guide  channels of the maps (B, D, q, q) that are scanned, and of the guide's
    """

    def __init__(self, width: int, guide: int, config: MSFMambaConfig) -> None:
        super().__init__()
        self.as_published = config.as_published
        channels, source = int(config.expand * width), int(config.expand * guide)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        projection = MisreadProjection if config.as_published else InputProjection
        self.in_proj = projection(width, channels)
        self.stream = StreamParameters(channels, config.state, math.ceil(guide / 16), source=source)
        self.out_proj = OutputProjection(channels, width)

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, E) of maps (B, D, q, q), and their gate."""
        return self.in_proj(self.norm(lay_channels_last(x, self.as_published)))

    def forward(self, x: Tensor, tokens: Tensor, guide: Tensor, gate: Tensor) -> Tensor:
        size = x.shape[2:]
        y = scan_tokens(tokens, self.stream, cross_order(*size), guide)
        y = self.out_proj(y, gate)  # (B, T, D)
        return x + (y.reshape(x.shape) if self.as_published else y.transpose(1, 2).view(x.shape))


class MisreadProjection(InputProjection):
    """The release's, whose convolution reads (B, H, W, E) as (B, E, H, W)."""

    def tokens(self, x: Tensor) -> Tensor:
        u = F.linear(x, self.project.weight[: self.conv.out_channels])
        u = self.conv(u.reshape(u.shape[0], u.shape[3], *u.shape[1:3]))
        return F.silu(u).flatten(2).transpose(1, 2)  # (B, T, E)


class Misread(nn.Module):
    """Tokens (B, T, E) as the release reads them: as if they lay (B, E, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2)


def lay_channels_last(x: Tensor, as_published: bool) -> Tensor:
    """Maps (B, D, H, W) as (B, H, W, D); as the release reads them, without moving a value."""
    batch, width, *size = x.shape
    return x.reshape(batch, *size, width) if as_published else x.permute(0, 2, 3, 1)


def scan_map(x: Tensor, stream: StreamParameters, order: ScanOrder) -> Tensor:
    """Scan a map (B, E, H, W) in an order of its pixels."""
    y = scan_tokens(x.flatten(2).transpose(1, 2), stream, order)
    return y.transpose(1, 2).view(x.shape)


@keep_by_size
def forward_rows_and_columns(height: int, width: int) -> ScanOrder:
    """Two sequences over an image laid out row by row: by rows, by columns.

    >>> forward_rows_and_columns(2, 2).table.tolist()
    [[0, 1, 2, 3], [0, 2, 1, 3]]
    """
    return ScanOrder.of_permutations(list(cross_order(height, width).table[:2]))


@keep_by_size
def backward_rows_and_columns(height: int, width: int) -> ScanOrder:
    """Two sequences over an image laid out row by row: by rows, by columns, from the last pixel.

    >>> backward_rows_and_columns(2, 2).table.tolist()
    [[3, 2, 1, 0], [3, 1, 2, 0]]
    """
    return ScanOrder.of_permutations(list(cross_order(height, width).table[2:]))
