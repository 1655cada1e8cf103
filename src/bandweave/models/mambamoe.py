"""MambaMoE: land cover of a whole scene, by experts that each scan it in one direction.

Source: Xu et al., "MambaMoE: Mixture-of-Spectral-Spatial-Experts State Space Model for
Hyperspectral Image Classification" (arXiv 2504.20509).

    X          (B, D, H, W)      all bands on one grid, by a 1×1 convolution
    f_1 … f_3  (B, D, H/2^s, …)  encoder: 1×1 convolution, group norm, ReLU, mean of 2×2 pixels,
                                 each of the one before
    m_s                          mixture of experts of f_s:
                                 x + W [spectral; spatial], on halves of a 1×1 convolution of LN x;
                                 then + MLP(LN x)
    d_3 … d_1  (B, D, H/2^s, …)  decoder: unit(up(d_{s+1}) + unit(m_s)), and d_3 = unit(m_3)
    heads      on d_3, on d_2, and on up(d_1), (B, K, H, W), which is the prediction
    K classes, D width

The loss is cross-entropy of the prediction, and of every head's logits, made finer, on the labels
that uncertainty keeps (nn/losses/corrective.py). Sizes need not be even: the last mean of an odd
row or column is of what there is, and what doubling adds to it is cut off again.

`as_published` has the numbers of the release, with what ours does otherwise:

    block     a = LN x;  x ← s₁·x + a + DSSEM(LN a);  x ← LN x;  x ← s₂·x + MLP(x), s a number for
              each channel; ours is the figure's
    sizes     an odd last row or column is left out, and finer maps have the corners' values in the
              corners
    loss      the cross-entropy over all labels is that of the coarsest head, and the uncertainty
              is -m·ln m of the largest probability m
    experts   the spectral one has parameters for every pixel of the scene (nn/scans/spectral.py),
              so it takes scenes of one size; answers of spatial ones are added in the order of
              their scans (nn/experts.py)
    biases    none in the router and in the spectral expert; eps is 1e-6 in two norms of a block
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError, GridMismatch, RunError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.blocks import DropPath, Stem, mlp
from bandweave.nn.experts import DIRECTIONS, RoutedExperts, Routing
from bandweave.nn.halving import bring_to_labels, halve, make_finer
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.corrective import Uncertainty, uncertainty, unsure_labels
from bandweave.nn.losses.supervision import accuracy, balancing_weights, cross_entropy
from bandweave.nn.output import Output
from bandweave.nn.scans.spectral import PublishedSpectralExpert, SpectralExpert
from bandweave.nn.window_statistics import WindowGroupNorm
from bandweave.schema import check_choices, check_ranges

SCALES = 3
GROUPS = 4  # of every group norm


@dataclass
class MambaMoEConfig:
    """The paper's model; its ablations are values here."""

    width: int = 64  # D
    experts: Literal["both", "spatial", "spectral"] = "both"
    ranks: tuple[int, ...] = (2, 4, 8, 16)  # scan channels by rows, columns, and back by each
    active: int = 2  # spatial experts that run; 4: all of them, always
    state: int = 16  # N of the spatial experts' scan; as published, of the spectral one too
    features: int = 8  # of each channel in the spectral expert's scan
    spectral_state: int = 4  # N of that
    mlp_ratio: float = 4.0
    head_ratio: float = 2.0  # channels of a head per D
    heads: Literal["all", "finest"] = "all"  # that learn; the finest predicts
    corrective: Literal["entropy", "as_published", "none"] = "entropy"  # uncertainty by which
    # labels are kept for each head; 'as_published': the release's formula; 'none': all are kept
    load_balance: float = 0.0  # weight of the loss that evens out the use of experts
    class_balance: float = 0.0  # of the loss; 0: by pixels (the paper's classes have as many each);
    # 1: a class counts as much as any, however few its pixels
    label_smoothing: float = 0.0
    drop_path: float = 0.0  # of each mixture's two branches; the paper uses none
    dropout: float = 0.0  # of features before the heads; the paper uses none
    detail: int = 1  # pixels of X per pixel of the grid, along each side
    as_published: bool = False  # the release's block, sizes, loss and order of scans
    scene_size: tuple[int, ...] = ()  # rows and columns, px of the grid: all scenes are as large;
    # for `as_published` alone, whose spectral expert has parameters for every pixel

    def __post_init__(self) -> None:
        check_choices(self)
        groups = (
            self.width % GROUPS == 0 and self.width > GROUPS
        )  # a pixel's group is not one number
        self._require("width", groups, f"a multiple of {GROUPS}, {2 * GROUPS} or more")
        for name in ("state", "features", "spectral_state", "detail"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        right = len(self.ranks) == len(DIRECTIONS) and min(self.ranks) >= 1
        self._require("ranks", right, f"{len(DIRECTIONS)} numbers, each 1 or more")
        self._require("active", 1 <= self.active <= len(DIRECTIONS), f"1 to {len(DIRECTIONS)}")
        for name in ("mlp_ratio", "head_ratio"):
            least = GROUPS + 1 if name == "head_ratio" else 1
            hidden = getattr(self, name) * self.width
            self._require(
                name, least <= hidden < math.inf, f"finite and {least}/{self.width} or more"
            )
        if self.head_channels % GROUPS:
            raise ConfigError(
                f"head_ratio is {self.head_ratio}, which makes {self.head_channels} channels of "
                f"width {self.width}; it must make a multiple of {GROUPS}"
            )
        check_ranges(self, shares=["drop_path", "dropout", "label_smoothing"])
        self._require("class_balance", 0 <= self.class_balance <= 1, "from 0 to 1")
        self._require("load_balance", 0 <= self.load_balance < math.inf, "0 or more, and finite")
        if self.load_balance and (self.experts == "spectral" or self.active == len(DIRECTIONS)):
            raise ConfigError(
                f"load_balance is {self.load_balance}, but with experts: {self.experts} and "
                f"active: {self.active} no expert is chosen; set it to 0"
            )
        self._check_scene_size()

    @property
    def head_channels(self) -> int:
        """Channels of a head before its classes."""
        return int(self.width * self.head_ratio)

    def _check_scene_size(self) -> None:
        needed = self.as_published and self.experts != "spatial"
        size, least = self.scene_size, 2**SCALES
        if needed and not size:
            raise ConfigError(
                "as_published needs the scene's size, since the release's spectral expert has "
                "parameters for every pixel: add `scene_size: [rows, columns]`, in px of the grid"
            )
        if size and not needed:
            raise ConfigError(
                f"scene_size is {list(size)}, but only with `as_published: true` and a spectral "
                f"expert does the model depend on it; leave it out"
            )
        if size and (len(size) != 2 or min(size) * self.detail < least):
            raise ConfigError(
                f"scene_size is {list(size)}; it must be rows and columns, which give each "
                f"{least} px or more (here times detail {self.detail})"
            )

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {what}")


class MambaMoE(LandCoverModel):
    """MambaMoE for layers with any bands, which enter side by side.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels and logits are

    Raises ConfigError for layers or ratios that the config's `detail` does not fit.
    """

    fed = "scene"
    unused_parameters = True  # of experts that no image of a step chose

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: MambaMoEConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.bands, self.output_ratio = config, dict(bands), output_ratio
        self.grid = LayerGrid(bands, classes, ratios, output_ratio, config.detail)
        self.ratios, self.classes = self.grid.ratios, len(classes)
        self.stem = Stem(bands, config.width, self.ratios, config.detail, norm=False)
        self.encoder = nn.ModuleList(Shrink(config, first=s == 0) for s in range(SCALES))
        self.mixtures = nn.ModuleList(Mixture(config, pixels) for pixels in _pixels(config))
        self.decoder = nn.ModuleList(Fusion(config, s == SCALES - 1) for s in range(SCALES))
        heads = SCALES if config.heads == "all" else 1
        self.heads = nn.ModuleList(_head(config, len(classes)) for _ in range(heads))

    def upgrade(
        self, tensors: Mapping[str, Tensor], origin: object = "the weights"
    ) -> dict[str, Tensor]:
        """The weights as they are; RunError for those of the former structure."""
        if any(name.startswith("scales.") for name in tensors):
            raise RunError(
                f"{origin} was written by bandweave 0.1.0 of commit 81c6a63 or before, whose "
                f"MambaMoE fed each scale with the mixture of the one before; today's takes the "
                f"features before it. Take that version to use it, or train again"
            )
        return super().upgrade(tensors, origin)

    @property
    def window_step(self) -> int:
        """Pixels of the grid at whose multiples a window must begin, to be cut as the scene is."""
        return 2**SCALES // math.gcd(2**SCALES, self.config.detail)

    @property
    def bytes_per_pixel(self) -> int:
        """About what a pixel of the grid takes in memory while a scene is mapped at once."""
        detail, classes = self.config.detail**2, self.classes
        numbers = sum(self.grid.channels.values())
        numbers += detail * 8 * self.config.width + 4 * classes * (detail + self.output_ratio**2)
        return 4 * numbers

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED (unlabelled), or HIDDEN (no data, padding, or not to
        be learnt from in any loss).
        """
        size = self.grid.tokens(layers, labels)
        x = self.stem(layers).permute(0, 3, 1, 2)  # (B, D, H, W) of X
        if self.config.as_published:
            self._check_published(size)
        mixed, routings = [], []
        for shrink, mixture in zip(self.encoder, self.mixtures, strict=True):
            x = shrink(x)
            tokens, routing = mixture(x.permute(0, 2, 3, 1))
            mixed.append(tokens.permute(0, 3, 1, 2))
            routings += [] if routing is None else [routing]
        decoded: list[Tensor] = []  # from the coarsest to the finest
        for s in reversed(range(SCALES)):
            decoded.append(self.decoder[s](mixed[s], decoded[-1] if decoded else None))
        decoded[-1] = self._finer(decoded[-1], size)
        if labels is None:
            return Output(self._to_labels(self.heads[-1](decoded[-1]), size))
        answers = [head(d) for head, d in zip(self.heads, decoded[-len(self.heads) :], strict=True)]
        return self._loss(answers, size, routings, labels)

    def _check_published(self, size: tuple[int, int]) -> None:
        """Raise GridMismatch for tokens of a size that the release's network cannot take."""
        expected = tuple(side * self.config.detail for side in self.config.scene_size)
        if expected and sorted(expected) != sorted(size):  # a scene may be turned
            raise GridMismatch(
                f"as_published: the spectral expert has parameters for the pixels of "
                f"{expected[0]}×{expected[1]} px (scene_size) and was given {size[0]}×{size[1]} "
                f"px; give it whole scenes of that size, or leave out as_published"
            )
        if min(size) < 2**SCALES:
            raise GridMismatch(
                f"as_published: {size[0]}×{size[1]} px leave nothing after {SCALES} means of 2×2 "
                f"px; {2**SCALES} px or more along each side are needed"
            )

    def _loss(
        self,
        answers: list[Tensor],
        size: tuple[int, int],
        routings: list[Routing],
        labels: Tensor,
    ) -> Output:
        config, logits = self.config, self._to_labels(answers[-1], size)
        weights = balancing_weights(labels, self.classes, config.class_balance)

        def loss_on(given: Tensor, target: Tensor) -> Tensor:
            return cross_entropy(given, target, config.label_smoothing, weights)

        formula: Uncertainty = "entropy"
        if config.as_published or config.corrective == "as_published":
            formula = "as_published"
        whole = self._to_labels(answers[0], size) if config.as_published else logits
        supervised = loss_on(whole, labels)
        corrective = torch.zeros_like(supervised)
        for answer in answers:
            finer = logits if answer is answers[-1] else self._to_labels(answer, size)
            own = labels
            if self.training and config.corrective != "none":
                with torch.no_grad():
                    u = uncertainty(answer, formula)[:, None]
                    own = unsure_labels(self._to_labels(u, size)[:, 0], labels)
            corrective = corrective + loss_on(finer, own)
        parts = {"supervised": supervised.detach(), "corrective": corrective.detach()}
        loss = supervised + corrective
        if routings:
            shares = torch.stack([each.shares for each in routings]).mean(0)
            parts |= {f"expert_{name}": shares[i] for i, name in enumerate(DIRECTIONS)}
            if config.load_balance:
                imbalance = torch.stack([each.imbalance for each in routings]).mean()
                parts["imbalance"] = imbalance.detach()
                loss = loss + config.load_balance * imbalance
        parts["accuracy"] = accuracy(logits, labels)
        return Output(logits, loss, parts)

    def _to_labels(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """A map (B, C, …) of any scale, on the labels' grid; `size` is that of X."""
        x = self._finer(x, size)
        return bring_to_labels(x, self.config.detail, self.output_ratio)

    def _finer(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return make_finer(x, size, corners=self.config.as_published)


class Shrink(nn.Module):
    """A scale of the encoder: 1×1 convolution, group norm, ReLU, mean of 2×2 pixels.

    first  its convolution is the stem, which all layers enter by
    """

    def __init__(self, config: MambaMoEConfig, first: bool) -> None:
        super().__init__()
        self.conv = nn.Identity() if first else nn.Conv2d(config.width, config.width, 1)
        self.norm = WindowGroupNorm(GROUPS, config.width)
        self.corners = config.as_published

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return halve(x, self.corners)


class Mixture(nn.Module):
    """Mixture of Mamba experts: x += DSSEM(LN x); x += MLP(LN x); tokens (B, H, W, D).

    pixels  H·W, for the release's spectral expert alone
    """

    def __init__(self, config: MambaMoEConfig, pixels: int) -> None:
        super().__init__()
        width, published = config.width, config.as_published
        self.spectral: nn.Module | None = None
        self.spatial = None
        if config.experts != "spatial":
            self.spectral = (
                PublishedSpectralExpert(width, pixels, config.state)
                if published
                else SpectralExpert(width, config.features, config.spectral_state)
            )
        if config.experts != "spectral":
            self.spatial = RoutedExperts(
                width, config.ranks, config.active, config.state, published
            )
        self.kinds = 2 if config.experts == "both" else 1
        self.norm = nn.LayerNorm(width, eps=1e-6 if published else 1e-5)
        self.in_proj = nn.Linear(width, self.kinds * width)
        self.out_proj = nn.Linear(self.kinds * width, width)
        self.mlp = mlp(width, config.mlp_ratio)
        self.drop_path = DropPath(config.drop_path)
        self.published = published
        if published:
            self.first_norm = nn.LayerNorm(width)
            self.mlp[0] = nn.LayerNorm(width, eps=1e-6)
            self.scale, self.mlp_scale = (nn.Parameter(torch.ones(width)) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        if self.published:
            normed = self.first_norm(x)
            mixed, routing = self.mix(normed)
            x = self.mlp[0](self.scale * x + normed + self.drop_path(mixed))
            return self.mlp_scale * x + self.drop_path(self.mlp[1:](x)), routing
        mixed, routing = self.mix(x)
        x = x + self.drop_path(mixed)
        return x + self.drop_path(self.mlp(x)), routing

    def mix(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        """DSSEM(LN x), and what the router decided."""
        parts = list(self.in_proj(self.norm(x)).chunk(self.kinds, dim=-1))
        routing = None
        if self.spectral is not None:
            parts[0] = self.spectral(parts[0])
        if self.spatial is not None:
            parts[-1], routing = self.spatial(parts[-1])
        return self.out_proj(torch.cat(parts, dim=-1)), routing


class Fusion(nn.Module):
    """A step of the decoder: what comes from below, made as fine as the mixture's, and both fused.

    coarsest  nothing comes from below
    """

    def __init__(self, config: MambaMoEConfig, coarsest: bool) -> None:
        super().__init__()
        self.skip = None if coarsest else ResidualUnit(config.width)
        self.unit = ResidualUnit(config.width)
        self.corners = config.as_published

    def forward(self, mixed: Tensor, below: Tensor | None) -> Tensor:
        if self.skip is not None and below is not None:
            size = mixed.shape[-2], mixed.shape[-1]
            mixed = make_finer(below, size, self.corners) + self.skip(mixed)
        return self.unit(mixed)


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU x))), of 3×3 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


def _head(config: MambaMoEConfig, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Conv2d(config.width, config.head_channels, 1),
        WindowGroupNorm(GROUPS, config.head_channels),
        nn.SiLU(),
        nn.Conv2d(config.head_channels, classes, 1),
    )


def _pixels(config: MambaMoEConfig) -> list[int]:
    """Pixels of each scale where the release's sizes are fixed; 0 where they are not."""
    sides = [side * config.detail for side in config.scene_size]
    return [math.prod(side // 2 ** (s + 1) for side in sides) * bool(sides) for s in range(SCALES)]
