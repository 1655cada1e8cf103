"""MiM (Mamba-in-Mamba): the class of a pixel by scans that end at it, along four paths.

Source: Zhou et al., "Mamba-in-Mamba: Centralized Mamba-Cross-Scan in Tokenized Mamba Model for
Hyperspectral Image Classification", Neurocomputing 613 (2025) 128751 (arXiv 2405.12003). The
release holds four models, none of which is the paper's. This is its third, the only one that is
whole, with the paper's scan, which ends at the middle of the patch.

    X       (B, S, p, p)   all bands of a patch, side by side; T = p² pixels
    e       (B, T, C)      LN of a linear layer
    x_k     (B, T, D)      e along path k = 1 … 4, through LN, linear, LN; + a position embedding,
                           the same for all paths; then `passes` times through a block, LN, tanh
    block   x + (SiLU(m · y_F) + SiLU(m · y_B)) · SiLU(z), z and u linear in LN x
    y_F     scan of softplus(linear of u) from the path's first pixel to the middle one
    y_B     the same, of its own weights, from the last pixel back to the middle one
    m       weights that fall with the distance to the middle along the path, of sum 1
    logits  of tanh(linear of the mean over pixels of Σ_k w_k · x_k), w a learnt softmax

Ours and the release's third model:

    scan          the release's goes along the whole path, and back (`scan: full`)
    as_published  the weights m peak one pixel behind the middle; and there is an LN of the bands
                  before the first linear layer, which leaves nothing of a single band
    classes       the release learns one more, which no label has
    components    the release takes 60 whitened principal components of the whole scene

The four paths are added pixel by pixel along themselves, and then averaged over, so that nothing
depends on how they are brought back to the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.scans.ss2d import StreamParameters, scan_tokens
from bandweave.scan import ScanOrder, bidirectional_order, forward_order
from bandweave.scan.order import keep_by_size
from bandweave.schema import check_choices, check_ranges

PATHS = 4


@dataclass
class MiMConfig:
    """The release's third model, with the paper's scan."""

    patch: int = 9  # p, px; odd, so that every path has the middle pixel in its middle
    embedding: int = 60  # C; as published there are as many as bands
    width: int = 64  # D; also the rank of the step sizes
    state: int = 64  # N; the release's is D
    passes: int = 2  # through the block
    scan: Literal["halves", "full"] = "halves"  # each way to the middle, or over the whole path
    as_published: bool = False  # the release's weights along a path, and its LN of the bands

    def __post_init__(self) -> None:
        check_choices(self)
        least = {"patch": 1, "embedding": 3, "width": 3, "state": 1, "passes": 1}  # 3: of an LN
        check_ranges(self, least)
        if self.patch % 2 == 0:
            raise ConfigError(f"patch is {self.patch}; it must be odd, to have a middle pixel")


class MiM(PatchModel):
    """MiM for layers with any bands, which enter side by side.

    Arguments, ratios and errors are those of a PatchModel; ConfigError, too, where the release's LN
    would leave nothing of the bands.
    """

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: MiMConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        entering = self.source_bands[0]
        if config.as_published and (entering < 3 or config.embedding != entering):
            raise ConfigError(
                f"as_published: {entering} bands enter, and the embedding is {config.embedding}; "
                f"it must be as many as the bands, 3 or more (embedding: {max(entering, 3)})"
            )
        self.embed = nn.Sequential(
            nn.LayerNorm(entering) if config.as_published else nn.Identity(),
            nn.Linear(entering, config.embedding),
            nn.LayerNorm(config.embedding),
        )
        self.encoder = Encoder(config)
        self.shares = nn.Parameter(torch.full((PATHS,), 1 / PATHS))  # before their softmax
        self.head = nn.Sequential(
            nn.Linear(config.width, config.width),
            nn.Tanh(),
            nn.Linear(config.width, self.outputs),
        )

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of a source (B, S, p, p)."""
        return self.head(self.describe(sources[0]))

    def describe(self, x: Tensor) -> Tensor:
        """Features (B, D) of a source (B, S, p, p): the mean over pixels of all paths."""
        e = self.embed(x.flatten(2).transpose(1, 2))  # (B, T, C)
        paths, _ = boustrophedon_order(*x.shape[-2:]).on(x.device)
        along = e[:, paths].flatten(0, 1)  # (B·4, T, C)
        along = self.encoder(along).unflatten(0, (-1, PATHS))  # (B, 4, T, D)
        return (along.mean(2) * self.shares.softmax(0)[:, None]).sum(1)


class Encoder(nn.Module):
    """Sequences (B, T, C) to (B, T, D), each along its path."""

    def __init__(self, config: MiMConfig) -> None:
        super().__init__()
        self.passes = config.passes
        self.embed = nn.Sequential(
            nn.LayerNorm(config.embedding),
            nn.Linear(config.embedding, config.width),
            nn.LayerNorm(config.width),
        )
        self.positions = nn.Parameter(torch.randn(config.patch**2, config.width))
        self.block = Block(config)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions
        for _ in range(self.passes):
            x = self.block(x)
        return torch.tanh(self.norm(x))


class Block(nn.Module):
    """Scans from both ends of a path, weighted by the distance to its middle; (B, T, D)."""

    def __init__(self, config: MiMConfig) -> None:
        super().__init__()
        self.halves, self.published = config.scan == "halves", config.as_published
        self.norm = nn.LayerNorm(config.width)
        self.gate = nn.Linear(config.width, config.width)
        self.tokens = nn.Linear(config.width, config.width)
        self.forward_scan = PathScan(config.width, config.state, backward=False)
        self.backward_scan = PathScan(config.width, config.state, backward=True)

    def forward(self, x: Tensor) -> Tensor:
        given = self.norm(x)
        u, T = self.tokens(given), x.shape[1]
        middle = T // 2  # of an odd number
        centre = (T + 1) // 2 if self.published else middle
        if self.halves:
            first, second = slice(0, middle + 1), slice(middle, T)
        else:
            first = second = slice(0, T)
        total = torch.zeros_like(u)
        for scan, seen in ((self.forward_scan, first), (self.backward_scan, second)):
            y = scan(u[:, seen])
            weights = weigh_distances(y.shape[1], centre - seen.start, y)
            y = F.silu(weights[:, None] * y)
            total = total + F.pad(y, (0, 0, seen.start, T - seen.stop))
        return x + total * F.silu(self.gate(given))


class PathScan(nn.Module):
    """A selective scan along a path, one way. Takes and returns (B, T, D), in the path's order."""

    def __init__(self, width: int, state: int, backward: bool) -> None:
        super().__init__()
        self.backward = backward
        self.before = nn.Linear(width, width)  # a convolution over one token
        self.stream = StreamParameters(width, state, rank=width, orders=1)

    def forward(self, u: Tensor) -> Tensor:
        u = F.softplus(self.before(u))
        order = backward_order if self.backward else forward_order
        return scan_tokens(u, self.stream, order(u.shape[1]))


def weigh_distances(tokens: int, centre: int, like: Tensor) -> Tensor:
    """Weights (T,) ∝ exp(-½(d/σ)²), d the distance to the centre and σ its mean; they sum to 1."""
    distance = (torch.arange(tokens, device=like.device, dtype=like.dtype) - centre).abs()
    spread = distance.mean().clamp(min=1e-6)  # 0 for one token
    weights = torch.exp(-0.5 * (distance / spread) ** 2)
    return weights / weights.sum()


@keep_by_size
def backward_order(length: int) -> ScanOrder:
    """One sequence, from the last token to the first.

    >>> backward_order(3).table.tolist()
    [[2, 1, 0]]
    """
    return ScanOrder.of_permutations([bidirectional_order(length).table[1]])


@keep_by_size
def boustrophedon_order(height: int, width: int) -> ScanOrder:
    """Four paths that turn round at every edge, over an image laid out row by row.

    By rows from the upper left, by columns from there, by rows from the upper right, by columns
    from the lower left.

    >>> boustrophedon_order(2, 3).table.tolist()
    [[0, 1, 2, 5, 4, 3], [0, 3, 4, 1, 2, 5], [2, 1, 0, 3, 4, 5], [3, 0, 1, 4, 5, 2]]
    """
    image = torch.arange(height * width, device="cpu").view(height, width)
    paths = []
    for turned in (0, 1):  # the first line, or the second
        for lines in (image, image.T):
            lines = lines.clone()
            lines[1 - turned :: 2] = lines[1 - turned :: 2].flip(1)
            paths.append(lines.reshape(-1))
    return ScanOrder.of_permutations(paths)
