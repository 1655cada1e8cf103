"""MambaMoE: land cover of a whole scene, by experts that each scan it in one direction.

Source: Xu et al., "MambaMoE: Mixture-of-Spectral-Spatial-Experts State Space Model for
Hyperspectral Image Classification" (arXiv 2504.20509).

    X          (B, D, H, W)      all bands on one grid, by a 1×1 convolution
    f_1 … f_3  (B, D, H/2^s, …)  encoder: 1×1 convolution, group norm, ReLU, mean of 2×2 pixels;
                                 then a mixture of experts
    mixture    x + W [spectral; spatial], on halves of a 1×1 convolution of LN x; then + MLP(LN x)
    d_3 … d_1  (B, D, …)         decoder, twice as fine as f: up(unit(d_{s+1} + unit(f_s)))
    heads      one on each d; the finest is the prediction
    K classes, D width

The loss is cross-entropy of the prediction, and of every head on the labels that uncertainty keeps
(nn/corrective.py). Sizes need not be even: the last mean of an odd row or column is of what there
is, and what doubling adds to it is cut off again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.blocks import DropPath, Stem, mlp
from bandweave.nn.corrective import uncertainty, unsure_labels
from bandweave.nn.experts import DIRECTIONS, RoutedExperts, Routing
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.output import Output
from bandweave.nn.spectral import SpectralExpert
from bandweave.nn.supervision import accuracy, balancing_weights, cross_entropy
from bandweave.nn.window_statistics import WindowGroupNorm
from bandweave.schema import check_choices

SCALES = 3
GROUPS = 4  # of every group norm


@dataclass
class MambaMoEConfig:
    """The paper's model; its ablations are values here."""

    width: int = 64  # D
    experts: Literal["both", "spatial", "spectral"] = "both"
    ranks: tuple[int, ...] = (2, 4, 8, 16)  # scan channels by rows, columns, and back by each
    active: int = 2  # spatial experts that run; 4: all of them, always
    state: int = 16  # N of the spatial experts' scan
    features: int = 8  # of each channel in the spectral expert's scan
    spectral_state: int = 4  # N of that
    mlp_ratio: float = 4.0
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
        hidden = self.mlp_ratio * self.width
        self._require("mlp_ratio", 1 <= hidden < math.inf, f"finite and 1/{self.width} or more")
        for name in ("drop_path", "dropout", "label_smoothing"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        self._require("class_balance", 0 <= self.class_balance <= 1, "from 0 to 1")
        self._require("load_balance", 0 <= self.load_balance < math.inf, "0 or more, and finite")
        if self.load_balance and (self.experts == "spectral" or self.active == len(DIRECTIONS)):
            raise ConfigError(
                f"load_balance is {self.load_balance}, but with experts: {self.experts} and "
                f"active: {self.active} no expert is chosen; set it to 0"
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
        self.scales = nn.ModuleList(Scale(config, first=s == 0) for s in range(SCALES))
        self.decoder = nn.ModuleList(Fusion(config.width, s == SCALES - 1) for s in range(SCALES))
        heads = SCALES if config.heads == "all" else 1
        self.heads = nn.ModuleList(_head(config, len(classes)) for _ in range(heads))

    @property
    def window_step(self) -> int:
        """Pixels of the grid at whose multiples a window must begin, to be cut as the scene is."""
        return 2**SCALES // math.gcd(2**SCALES, self.config.detail)

    @property
    def bytes_per_pixel(self) -> int:
        """About what a pixel of the grid takes in memory while a scene is mapped at once."""
        detail, classes = self.config.detail**2, self.classes
        numbers = sum(count * self.ratios[name] ** 2 for name, count in self.bands.items())
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
        sizes, features, routings = [size], [], []
        for scale in self.scales:
            x, routing = scale(x)
            features.append(x)
            sizes.append((x.shape[-2], x.shape[-1]))
            routings += [] if routing is None else [routing]
        decoded: list[Tensor] = []  # from the coarsest to the finest
        for s in reversed(range(SCALES)):
            below = decoded[-1] if decoded else None
            decoded.append(self.decoder[s](features[s], below, sizes[s]))
        if labels is None:
            return Output(self._to_labels(self.heads[-1](decoded[-1]), size))
        answers = [head(d) for head, d in zip(self.heads, decoded[-len(self.heads) :], strict=True)]
        return self._loss(answers, size, routings, labels)

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

        supervised = loss_on(logits, labels)
        corrective = torch.zeros_like(supervised)
        for answer in answers:
            finer = logits if answer is answers[-1] else self._to_labels(answer, size)
            own = labels
            if self.training and config.corrective != "none":
                with torch.no_grad():
                    u = uncertainty(answer, config.corrective)[:, None]
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
        factor = 1
        while x.shape[-2] * factor < size[0] or x.shape[-1] * factor < size[1]:
            factor *= 2
        x = _interpolate_finer(x, factor, size)
        if self.output_ratio >= self.config.detail:
            return _interpolate_finer(x, self.output_ratio // self.config.detail)
        return F.avg_pool2d(x, self.config.detail // self.output_ratio)


class Scale(nn.Module):
    """A scale of the encoder: 1×1 convolution, group norm, ReLU, mean of 2×2 pixels, mixture.

    first  its convolution is the stem, which all layers enter by
    """

    def __init__(self, config: MambaMoEConfig, first: bool) -> None:
        super().__init__()
        self.conv = nn.Identity() if first else nn.Conv2d(config.width, config.width, 1)
        self.norm = WindowGroupNorm(GROUPS, config.width)
        self.mixture = Mixture(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        x = F.relu(self.norm(self.conv(x)))
        x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        x, routing = self.mixture(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2), routing


class Mixture(nn.Module):
    """Mixture of Mamba experts: x += DSSEM(LN x); x += MLP(LN x); tokens (B, H, W, D)."""

    def __init__(self, config: MambaMoEConfig) -> None:
        super().__init__()
        width = config.width
        self.spectral = self.spatial = None
        if config.experts != "spatial":
            self.spectral = SpectralExpert(width, config.features, config.spectral_state)
        if config.experts != "spectral":
            self.spatial = RoutedExperts(width, config.ranks, config.active, config.state)
        self.kinds = 2 if config.experts == "both" else 1
        self.norm = nn.LayerNorm(width)
        self.in_proj = nn.Linear(width, self.kinds * width)
        self.out_proj = nn.Linear(self.kinds * width, width)
        self.mlp = mlp(width, config.mlp_ratio)
        self.drop_path = DropPath(config.drop_path)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        parts = list(self.in_proj(self.norm(x)).chunk(self.kinds, dim=-1))
        routing = None
        if self.spectral is not None:
            parts[0] = self.spectral(parts[0])
        if self.spatial is not None:
            parts[-1], routing = self.spatial(parts[-1])
        x = x + self.drop_path(self.out_proj(torch.cat(parts, dim=-1)))
        return x + self.drop_path(self.mlp(x)), routing


class Fusion(nn.Module):
    """A step of the decoder: what comes from below and the encoder's features, made finer.

    coarsest  nothing comes from below
    """

    def __init__(self, width: int, coarsest: bool) -> None:
        super().__init__()
        self.skip = None if coarsest else ResidualUnit(width)
        self.unit = ResidualUnit(width)

    def forward(self, features: Tensor, below: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Twice as fine as the features, cut to `size`."""
        if self.skip is not None and below is not None:
            features = below + self.skip(features)
        return _interpolate_finer(self.unit(features), 2, size)


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU x))), of 3×3 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


def _head(config: MambaMoEConfig, classes: int) -> nn.Sequential:
    hidden = 2 * config.width
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Conv2d(config.width, hidden, 1),
        WindowGroupNorm(GROUPS, hidden),
        nn.SiLU(),
        nn.Conv2d(hidden, classes, 1),
    )


def _interpolate_finer(x: Tensor, factor: int, size: tuple[int, int] | None = None) -> Tensor:
    """Interpolated, each pixel over factor×factor of the new ones, and cut to `size`."""
    if factor > 1:
        x = F.interpolate(x, scale_factor=factor, mode="bilinear")
    return x if size is None else x[..., : size[0], : size[1]]
