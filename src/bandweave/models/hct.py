"""HCT: few tokens of each source, and class tokens that ask the other source's.

Source: Zhao et al., "Joint Classification of Hyperspectral and LiDAR Data Using a Hierarchical CNN
and Transformer", IEEE TGRS 2023; only its abstract was read, the rest is the release's.

    hsi      (B, C, p, p)          first layer, principal components
    second   (B, C₂, p, p)         the other layers side by side
    x        (B, D, p-4, p-4)      hsi: 3-D convolution 3×3×3 to 8 maps a band, 3×3 convolution
    y        (B, D, p-2, p-2)      second: 3×3 convolution; none is padded; batch norm, ReLU
    tokens   (B, 1 + n, D) each    a class token, and n by a softmax over the positions; the class
                                   token, positions and the softmax's weights serve both sources
             a block of each source
             class token + attention of it to itself and the other source's tokens
    logits   the sum of W LN(class token), W the same for both

Attention among a source's tokens is scaled by D^-½, as released; the customary one is by a head's
width. Fewer than 3 bands get zeros around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel, pad_bands
from bandweave.nn.attention import (
    MapTokens,
    SelfAttention,
    TransformerBlock,
    attend,
    flatten_map,
    split_heads,
)
from bandweave.schema import check_ranges

MAPS = 8  # of the 3-D convolution
COVERED = 3  # bands that it covers


@dataclass
class HCTConfig:
    """The release's model."""

    patch: int = 11  # px, p
    width: int = 64  # D
    tokens: int = 4  # n, of each source
    heads: int = 8  # of the attention among a source's tokens
    hidden: int = 8  # channels within the MLP of the first source
    hidden_second: int = 8  # … of the second
    cross_heads: int = 8  # of the attention to the other source's tokens
    cross_width: int = 64  # channels of such a head
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = (
            "width",
            "tokens",
            "heads",
            "hidden",
            "hidden_second",
            "cross_heads",
            "cross_width",
        )
        check_ranges(self, {"patch": 5, **dict.fromkeys(sizes, 1)}, shares=["dropout"])
        if self.width % self.heads:
            raise ConfigError(f"width is {self.width}; it must be a multiple of heads={self.heads}")


class HCT(PatchModel):
    """HCT on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: HCTConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config = config
        first, second = self.source_bands
        width = config.width
        count = max(first, COVERED)
        self.over_bands = nn.Sequential(
            nn.Conv3d(1, MAPS, COVERED, padding=0), nn.BatchNorm3d(MAPS), nn.ReLU()
        )
        self.over_pixels = _convolve(MAPS * (count - COVERED + 1), width)
        self.of_second = _convolve(second, width)
        self.to_tokens = MapTokens(width, config.tokens, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 1 + config.tokens, width) * 0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.encoders = nn.ModuleList(
            TransformerBlock(
                SelfAttention(width, config.heads, scale=width**-0.5),
                width,
                hidden,
                config.dropout,
            )
            for hidden in (config.hidden, config.hidden_second)
        )
        self.crosses = nn.ModuleList(CrossTokenAttention(config) for _ in self.source_bands)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.outputs))

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of the first source and the second, (B, C, p, p) and (B, C₂, p, p)."""
        x = pad_bands(sources[0], COVERED)
        x = self.over_pixels(self.over_bands(x[:, None]).flatten(1, 2))
        first, second = (
            encoder(self._make_sequence(each))
            for encoder, each in zip(self.encoders, (x, self.of_second(sources[1])), strict=True)
        )
        asked = zip(self.crosses, (first, second), (second, first), strict=True)
        answers = [own[:, :1] + cross(own[:, :1], other[:, 1:]) for cross, own, other in asked]
        return torch.stack([self.head(answer[:, 0]) for answer in answers]).sum(0)

    def _make_sequence(self, x: Tensor) -> Tensor:
        """A map (B, D, h, w) to its class token and tokens, (B, 1 + n, D)."""
        tokens = self.to_tokens(flatten_map(x))
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.dropout(tokens + self.places)


class CrossTokenAttention(nn.Module):
    """What a class token (B, 1, D) takes from itself, normalised, and other tokens (B, n, D)."""

    def __init__(self, config: HCTConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.cross_heads
        inner = config.cross_heads * config.cross_width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.keys_values = nn.Linear(width, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, token: Tensor, others: Tensor) -> Tensor:
        token = self.norm(token)
        q = split_heads(self.query(token), self.heads)
        seen = self.keys_values(torch.cat([token, others], dim=1)).chunk(2, dim=-1)
        k, v = (split_heads(part, self.heads) for part in seen)
        mixed = attend(q, k, v, dropout=self.dropout.p if self.training else 0.0)
        return self.dropout(self.out_proj(mixed))


def _convolve(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())
