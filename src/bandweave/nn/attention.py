"""Attention over few tokens, and tokens made of a map: parts of the compared transformers.

Sources: blocks as in ViT (Dosovitskiy et al. 2021), normalised before each branch; tokens of a map
by a softmax over its positions from MFT (Roy et al. 2023).

    x        (B, T, D)    tokens
    q, k, v  (B, h, T, d) of h heads; d channels each
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """All tokens ask all tokens. Takes and returns (B, T, D).

    head_width  d; D / h where it is not given
    bias        of the queries, keys and values
    scale       what products of queries and keys are multiplied by; d^-½ where it is not given
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        inner = heads * (head_width or width // heads)
        self.heads, self.scale = heads, scale
        self.in_proj = nn.Linear(width, 3 * inner, bias=bias)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.in_proj(x).chunk(3, dim=-1))
        return self.out_proj(attend(q, k, v, scale=self.scale))


class TransformerBlock(nn.Module):
    """x ← x + attention(LN x); x ← x + MLP(LN x). Takes and returns (B, T, D)."""

    def __init__(self, attention: nn.Module, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(nn.LayerNorm(width), *dense_layers(width, hidden, dropout))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm(x)))
        return x + self.mlp(x)


class MapTokens(nn.Module):
    """n tokens of a map (B, P, D) of P positions: A·(x·W_b), A = softmax over positions of x·W_aᵀ.

    Returns (B, n, W), of channels D and width W.
    """

    def __init__(self, channels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.ask = nn.Parameter(torch.empty(1, tokens, channels))  # W_a
        self.values = nn.Parameter(torch.empty(1, channels, width))  # W_b
        for weight in (self.ask, self.values):  # with the leading 1, whose fans are the releases'
            nn.init.xavier_normal_(weight)

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.ask @ x.transpose(1, 2)).softmax(-1)  # (B, n, P)
        return weights @ (x @ self.values)


def dense_layers(width: int, hidden: int, dropout: float) -> list[nn.Module]:
    """Linear, GELU, dropout, linear, dropout."""
    return [
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    ]


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """Heads' answers side by side, (B, T, h·d). The scale is d^-½ where it is not given."""
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    return mixed.transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, h·d) to (B, h, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def flatten_map(x: Tensor) -> Tensor:
    """A map (B, D, H, W) as tokens (B, H·W, D), row by row."""
    return x.flatten(2).transpose(1, 2)
