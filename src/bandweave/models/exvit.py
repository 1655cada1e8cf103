"""ExViT: a transformer over the pixels of each source, then one over those of both.

Source: Yao et al., "Extended Vision Transformer (ExViT) for Land Use and Land Cover Classification:
A Multimodal Deep Learning Framework", IEEE TGRS 2023; only its abstract was read, the rest is the
release's.

    x_s      (B, 64, p, p)    of source s: 3 × {depthwise 3×3, 1×1, batch norm, GELU}, 16, 32, 64
    t_s      (B, p², D)       a token a pixel: linear, plus positions that both sources share
             blocks of each source, then of all tokens of both, side by side
    pooled   (B, D)           Σ w_t · t, w = softmax over tokens of a linear layer of LN t
    logits   W LN(pooled)

The first source is the first layer, the second the others side by side. The abstract speaks of an
attention between the sources, which the release does not have: its last blocks attend to all
tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bandweave.models.patch_model import PatchModel
from bandweave.nn.attention import SelfAttention, TransformerBlock, flatten_map
from bandweave.schema import check_ranges

STEM = (16, 32, 64)  # channels of its steps
HEAD = 16  # channels of a head


@dataclass
class ExViTConfig:
    """The release's model."""

    patch: int = 13  # px, p
    width: int = 64  # D
    heads: int = 4
    depth: int = 4  # blocks of each source
    joint_depth: int = 2  # blocks of both together
    hidden: int = 32  # channels within an MLP
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = ("patch", "width", "heads", "depth", "joint_depth", "hidden")
        check_ranges(self, dict.fromkeys(sizes, 1), shares=["dropout"])


class ExViT(PatchModel):
    """ExViT on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: ExViTConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config, width = config, config.width
        self.stems = nn.ModuleList(_stem(count) for count in self.source_bands)
        self.to_tokens = nn.ModuleList(nn.Linear(STEM[-1], width) for _ in self.source_bands)
        self.places = nn.Parameter(torch.randn(1, config.patch**2, width))
        self.dropout = nn.Dropout(config.dropout)
        self.encoders = nn.ModuleList(_encoder(config, config.depth) for _ in self.source_bands)
        self.joint = _encoder(config, config.joint_depth)
        # No bias: the softmax over tokens would cancel it.
        self.weigh = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1, bias=False))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.outputs))

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of the first source and the second, (B, C, p, p) and (B, C₂, p, p)."""
        encoded = []
        for source, stem, linear, encoder in zip(
            sources, self.stems, self.to_tokens, self.encoders, strict=True
        ):
            encoded.append(encoder(self.dropout(linear(flatten_map(stem(source))) + self.places)))
        x = self.joint(torch.cat(encoded, dim=1))  # (B, 2·p², D)
        pooled = (self.weigh(x).softmax(1) * x).sum(1)
        return self.head(pooled)


def _stem(bands: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = bands
    for after in STEM:
        layers += [
            nn.Conv2d(before, before, 3, padding=1, groups=before),
            nn.Conv2d(before, after, 1),
            nn.BatchNorm2d(after),
            nn.GELU(),
        ]
        before = after
    return nn.Sequential(*layers)


def _encoder(config: ExViTConfig, depth: int) -> nn.Sequential:
    blocks = []
    for _ in range(depth):
        attention = SelfAttention(config.width, config.heads, head_width=HEAD, bias=False)
        blocks.append(TransformerBlock(attention, config.width, config.hidden, config.dropout))
    return nn.Sequential(*blocks)
