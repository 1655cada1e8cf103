"""MFT: a transformer whose class token is made of the second source.

Source: Roy et al., "Multimodal Fusion Transformer for Remote Sensing Image Classification", IEEE
TGRS 2023 (arXiv 2203.16952).

    hsi      (B, C, p, p)      first layer
    second   (B, C₂, p, p)     the other layers side by side
    x        (B, D, p, p)      hsi: 3-D convolution over 9 bands to 8 maps a band, then the sum of a
                               grouped 3×3 and a full 1×1 convolution (HetConv), batch norm, ReLU
    y        (B, D, p, p)      second: convolution 3×3, batch norm, GELU
    tokens   (B, 1 + n, D)     one of y, n of x, by a softmax over the positions; plus positions
    block    a = attention of the first token alone; every token + a; + MLP
    logits   W LN(first token)

What `tokenizer` 'pixel' has instead: y is one channel, so its token is one number times a vector.

`as_published` is the released code: its pixel variant gives no positions to the encoder, which the
paper does. In both, all heads share one projection of their own eighth of the features, and the
grouped convolution has 16 groups (D / 4), or as many of them as divide the maps; the paper has full
projections, and 4 groups. Fewer than 9 bands get zeros around them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel, pad_bands
from bandweave.nn.attention import MapTokens, attend, dense_layers, flatten_map, split_heads
from bandweave.schema import check_choices, check_ranges

MAPS = 8  # of the 3-D convolution
COVERED = 9  # bands that it covers
HEADS = 8
EPS = 1e-6  # of every LayerNorm


@dataclass
class MFTConfig:
    """The paper's model for Houston; its main tables have the better tokenizer of each scene."""

    patch: int = 11  # px, p
    tokenizer: Literal["channel", "pixel"] = "channel"  # of the second source
    width: int = 64  # D
    tokens: int = 4  # n, of the first source
    depth: int = 2  # blocks
    mlp_ratio: float = 8.0
    dropout: float = 0.1
    as_published: bool = False  # the release's pixel variant: positions do not reach the encoder

    def __post_init__(self) -> None:
        check_choices(self)
        least = {"patch": 1, "width": HEADS, "tokens": 1, "depth": 1, "mlp_ratio": 1 / self.width}
        check_ranges(self, least, shares=["dropout"])
        if self.width % HEADS:
            raise ConfigError(f"width is {self.width}; it must be a multiple of {HEADS}")
        if self.as_published and self.tokenizer == "channel":
            raise ConfigError(
                "as_published differs for `tokenizer: pixel` alone; leave it out for 'channel'"
            )


class MFT(PatchModel):
    """MFT on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: MFTConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config = config
        first, second = self.source_bands
        width, pixel = config.width, config.tokenizer == "pixel"
        count = max(first, COVERED)
        self.over_bands = nn.Sequential(
            nn.Conv3d(1, MAPS, (COVERED, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(MAPS), nn.ReLU()
        )
        self.over_pixels = nn.Sequential(
            HetConv(MAPS * (count - COVERED + 1), width), nn.BatchNorm2d(width), nn.ReLU()
        )
        channels = 1 if pixel else width
        self.of_second = nn.Sequential(
            nn.Conv2d(second, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.GELU()
        )
        self.first_tokens = MapTokens(width, config.tokens, width)
        self.second_token = MapTokens(channels, 1, width)
        self.placed = not config.as_published
        if self.placed:
            self.places = nn.Parameter(torch.randn(1, 1 + config.tokens, width))
        self.dropout = nn.Dropout(config.dropout if self.placed else 0.0)
        hidden = int(config.mlp_ratio * width)
        self.blocks = nn.ModuleList(
            ClassTokenBlock(width, hidden, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width, self.outputs)
        _initialise(self.head)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of the first source and the second, (B, C, p, p) and (B, C₂, p, p)."""
        x = pad_bands(sources[0], COVERED)
        x = self.over_pixels(self.over_bands(x[:, None]).flatten(1, 2))
        tokens = [
            self.second_token(flatten_map(self.of_second(sources[1]))),
            self.first_tokens(flatten_map(x)),
        ]
        x = torch.cat(tokens, dim=1)
        x = self.dropout(x + self.places if self.placed else x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class HetConv(nn.Module):
    """The sum of a grouped convolution of 3×3 pixels and a full one of single pixels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        groups = math.gcd(before, after // 4)
        self.grouped = nn.Conv2d(before, after, 3, padding=1, groups=groups)
        self.full = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.grouped(x) + self.full(x)


class ClassTokenBlock(nn.Module):
    """The first token asks all tokens; its answer is added to every token, then an MLP's.

    A head takes its own share of the features, through projections that all heads share. Takes and
    returns (B, T, D).
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, EPS)
        self.query, self.key, self.value = (
            nn.Linear(width // HEADS, width, bias=False) for _ in range(3)
        )
        self.out_proj = nn.Linear(HEADS * width, width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(nn.LayerNorm(width, EPS), *dense_layers(width, hidden, dropout))
        self.mlp.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        shares = split_heads(self.norm(x), HEADS)  # (B, h, T, D / h)
        q, k, v = self.query(shares[:, :, :1]), self.key(shares), self.value(shares)
        update = self.out_proj(attend(q, k, v, scale=shares.shape[-1] ** -0.5))  # (B, 1, D)
        x = x + self.dropout(update)
        return x + self.mlp(x)


def _initialise(module: nn.Module) -> None:
    """The release's start of an MLP and of the head: Xavier uniform, and biases of about 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.normal_(module.bias, std=1e-6)
