"""SS-Mamba: the class of a pixel from spatial and spectral tokens of the patch around it.

Source: Huang, Chen and He, "Spectral-Spatial Mamba for Hyperspectral Image Classification", Remote
Sensing 16(13), 2024, and its release.

    X         (B, S, p, p)   all bands of a patch, side by side
    spatial   (B, n, D)      n = (p/3)² tokens: 1×1 convolutions of the bands, then 3×3, stride 3;
                             and the code of each one's column and row
    spectral  (B, m + 1, D)  m = ⌈S/2⌉ tokens of two bands of the middle 3×3 pixels, and a learnt
                             class token behind them; and the code of each one's place
    block     x ← x + ½·(f(LN x) + f(LN x, backwards)) of each sequence, f a scan with the same
              weights both ways; the class token stays the last
              s = sigmoid(W·½·(spatial token in the middle + mean of the spectral tokens)) (B, D)
              both sequences × s
    out       LN of the mean of both sequences' means without the class token, linear to the classes

The release has a class token behind the spatial sequence too: it comes last both ways and is in no
mean, so nothing depends on it, and it is left out, as are a linear layer and a norm that no block
calls. It loses an odd last band in the spectral tokens (`odd_band: dropped`); here that band is
there twice. It repeats the image's edge where patches here hold zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.scans.mamba import NormedScan
from bandweave.scan import ScanOrder, forward_order
from bandweave.scan.order import keep_by_size
from bandweave.schema import check_choices, check_ranges

CELL = 3  # px: side of a spatial token, and of what the spectral tokens are made of


@dataclass
class SSMambaConfig:
    """The release's model."""

    patch: int = 27  # p, px
    width: int = 64  # D
    hidden: int = 64  # channels that the bands become before the spatial tokens
    depth: int = 4  # blocks
    state: int = 16  # N of the scans
    expand: float = 2.0  # channels of a scan per D
    odd_band: Literal["repeated", "dropped"] = "repeated"  # the last of an odd number of bands, in
    # the spectral tokens; the release drops it

    def __post_init__(self) -> None:
        check_choices(self)
        check_ranges(self, {"patch": CELL, "width": 4, "hidden": 1, "depth": 1, "state": 1})
        for name, step in {"patch": CELL, "width": 4}.items():
            if getattr(self, name) % step:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be a multiple of {step}"
                )
        check_ranges(self, {"expand": 1 / self.width})


class SSMamba(PatchModel):
    """SS-Mamba for layers with any bands, which enter side by side.

    Arguments, ratios and errors are those of a PatchModel.
    """

    spatial_code: Tensor
    spectral_code: Tensor

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: SSMambaConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        (count,), width, hidden = self.source_bands, config.width, config.hidden
        if count == 1 and config.odd_band == "dropped":
            raise ConfigError(
                "odd_band is 'dropped', so that one band alone has no spectral token; set it to "
                "'repeated'"
            )
        self.reduce = nn.Sequential(  # biases: the norms have them
            nn.Conv2d(count, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
        )
        self.spatial = nn.Conv2d(hidden, width, CELL, stride=CELL)
        self.spectral = nn.Conv1d(CELL**2, width, 2, stride=2)
        self.class_token = nn.Parameter(torch.zeros(width))
        pairs = count // 2 if config.odd_band == "dropped" else (count + 1) // 2
        self.register_buffer("spatial_code", code_cells(config.patch // CELL, width))
        self.register_buffer("spectral_code", code_places(pairs + 1, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.outputs)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of a source (B, S, p, p)."""
        spatial = self.make_spatial_tokens(sources[0]) + self.spatial_code
        spectral = self.make_spectral_tokens(sources[0])
        last = self.class_token.expand(len(spectral), 1, -1)
        spectral = torch.cat([spectral, last], dim=1) + self.spectral_code
        for block in self.blocks:
            spatial, spectral = block(spatial, spectral)
        pooled = (spatial.mean(1) + spectral[:, :-1].mean(1)) / 2
        return self.head(self.norm(pooled))

    def make_spatial_tokens(self, x: Tensor) -> Tensor:
        """Tokens (B, n, D) of the cells of a patch (B, S, p, p), row by row."""
        return self.spatial(self.reduce(x)).flatten(2).transpose(1, 2)

    def make_spectral_tokens(self, x: Tensor) -> Tensor:
        """Tokens (B, m, D) of pairs of bands of the middle pixels of a patch (B, S, p, p)."""
        top = self.patch // 2 - CELL // 2
        middle = x[:, :, top : top + CELL, top : top + CELL].flatten(2).transpose(1, 2)  # (B, 9, S)
        if middle.shape[-1] % 2 and self.config.odd_band == "repeated":
            middle = F.pad(middle, (0, 1), mode="replicate")
        return self.spectral(middle).transpose(1, 2)


class Block(nn.Module):
    """A scan of each sequence both ways, then both weighed by what they hold together."""

    def __init__(self, config: SSMambaConfig) -> None:
        super().__init__()
        self.spatial = Branch(config)
        self.spectral = Branch(config)
        self.enhance = nn.Sequential(
            nn.Linear(config.width, config.width, bias=False), nn.Sigmoid()
        )

    def forward(self, spatial: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor]:
        """Spatial (B, n, D) and spectral tokens (B, m + 1, D), a class token last, to the same."""
        cells = spatial.shape[1]
        spatial = self.spatial(spatial, forward_order(cells), backward_order(cells))
        tokens = spectral.shape[1] - 1
        spectral = self.spectral(spectral, forward_order(tokens + 1), backward_order(tokens, 1))
        side = math.isqrt(cells)
        middle = spatial[:, side // 2 * (side + 1)]
        share = self.enhance((middle + spectral.mean(1)) / 2)[:, None]  # (B, 1, D)
        return spatial * share, spectral * share


class Branch(nn.Module):
    """x + the mean of scans of LN x (B, T, D) in several orders by the same weights."""

    def __init__(self, config: SSMambaConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.scan = NormedScan(
            width,
            int(config.expand * width),
            config.state,
            math.ceil(width / 16),
            before=nn.Identity(),
        )

    def forward(self, x: Tensor, *orders: ScanOrder) -> Tensor:
        return x + self.scan(self.norm(x), *orders)


@keep_by_size
def backward_order(tokens: int, last: int = 0) -> ScanOrder:
    """One sequence: tokens from the last to the first, then `last` more as they lie.

    >>> backward_order(3, 1).table.tolist()
    [[2, 1, 0, 3]]
    """
    places = torch.arange(tokens + last, device="cpu")
    return ScanOrder.of_permutations([torch.cat([places[:tokens].flip(0), places[tokens:]])])


def code_places(tokens: int, width: int) -> Tensor:
    """Codes (T, D) of places in a sequence: sines in even channels, cosines in odd ones.

    >>> code_places(2, 2)
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    angles = _angles(tokens, width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def code_cells(side: int, width: int) -> Tensor:
    """Codes (side², D) of the cells of a square, row by row: D/2 of the column, D/2 of the row.

    Each half has sines, then cosines.
    """
    angles = _angles(side, width // 2)
    code = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (side, D/2)
    columns, rows = code.repeat(side, 1), code.repeat_interleave(side, 0)
    return torch.cat([columns, rows], dim=-1).float()


def _angles(places: int, width: int) -> Tensor:
    """Angles (T, width/2) of places in frequencies that fall from 1 to about 1/10000."""
    frequencies = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(places, dtype=torch.float64)[:, None] * frequencies
