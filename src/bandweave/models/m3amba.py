"""M³amba: land cover from co-registered modalities, steered by CLIP, with selective scans.

Source: Cao et al., "M³amba: CLIP-driven Mamba Model for Multi-modal Remote Sensing
Classification". Sections and equations below are that paper's.

    x_m    (B, H, W, D)   tokens of modality m
    z      (B, H, W, D)   guidance: CLIP's maps, or the raw bands (scheme A of Table I)
    f      (B, H, W, D)   fusion
    per iteration i (eq. 7-9):  x_m ← X_mi(x_m, z);  z ← F_i(Σ x_m);  f is the last z
    K classes, D width, N iterations

Prediction is the fusion head's. The loss is λ₁·L_sup + λ₂·L_unsup (eq. 14-16).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.blocks import CrossBlock, Stem, VSSBlock
from bandweave.nn.clip.guidance import ClipConfig, ClipGuidance
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import accuracy, cross_entropy
from bandweave.nn.output import HIDDEN, Output
from bandweave.nn.scans.ss2d import Average
from bandweave.schema import check_choices, check_ranges


@dataclass
class M3ambaConfig:
    """The paper's model; each ablation of Tables I and VII is a value here."""

    width: int = 384  # D
    depth: int = 9  # iterations
    state: int = 16  # N of the scan
    expand: float = 2.0  # scan channels per width
    mlp_ratio: float = 4.0
    drop_path: float = 0.1  # of the last iteration, rising linearly from 0
    average: Average = "transition"  # eq. 10-13; 'rate' is Algorithm 1 and the release
    cross: bool = True  # False: plain SS2D, concatenated into the fusion (scheme B)
    guidance_at: Literal["first", "every"] = "first"  # 'first': z is overwritten by the fusion;
    # 'every': the guidance is added to it again in each later iteration
    supervised: float = 1.0  # λ₁
    consistency: float = 0.1  # λ₂; 0 is scheme C
    label_smoothing: float = 0.0  # of the supervised loss; the paper uses none
    dropout: float = 0.0  # of tokens' features before the heads; the paper uses none
    detail: int = 1  # tokens per pixel of the grid, along each side
    upsample: Literal["bilinear", "shuffle"] = "bilinear"  # of logits to finer labels; 'shuffle':
    # each token's head gives the logits of all the finer pixels it covers
    clip: ClipConfig = field(default_factory=ClipConfig)  # mode none is scheme A

    def __post_init__(self) -> None:
        check_choices(self)
        least = dict.fromkeys(("width", "depth", "state", "detail"), 1)
        check_ranges(self, least, shares=["drop_path", "dropout", "label_smoothing"])
        for name in ("expand", "mlp_ratio"):
            channels = getattr(self, name) * self.width
            self._require(
                name, 1 <= channels < math.inf, f"finite and 1/width = 1/{self.width} or more"
            )
        self._require("supervised", 0 < self.supervised < math.inf, "above 0, and finite")
        self._require("consistency", 0 <= self.consistency < math.inf, "0 or more, and finite")
        if self.guidance_at == "every" and self.depth == 1:
            raise ConfigError(
                "guidance_at is 'every', but depth is 1: there is no later iteration to guide; "
                "use more iterations or guidance_at: first"
            )

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {what}")


class M3amba(LandCoverModel):
    """M³amba for one to four modalities with any bands.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels and logits are

    Raises ConfigError for layers or ratios that the config's `detail` does not fit.
    """

    fed = "crops"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: M3ambaConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.bands, self.output_ratio = config, dict(bands), output_ratio
        width, detail = config.width, config.detail
        self.grid = LayerGrid(bands, classes, ratios, output_ratio, detail)
        self.ratios = self.grid.ratios
        self.stems = nn.ModuleDict(
            {name: Stem({name: c}, width, self.ratios, detail) for name, c in bands.items()}
        )
        self.iterations = nn.ModuleList(
            Iteration(list(bands), config, _drop_path(config, i)) for i in range(config.depth)
        )
        self.heads = nn.ModuleDict({name: self._head(len(classes)) for name in bands})
        self.fusion_head = self._head(len(classes))
        self.iterations.apply(_initialise)  # stems and heads start as convolutions do
        self.guidance = (
            Stem(bands, width, self.ratios, detail)
            if config.clip.mode == "none"
            else ClipGuidance(bands, width, config.clip)
        )

    def prepare(
        self, first_layers: Callable[[], Mapping[str, Tensor]], reduced: Container[str]
    ) -> None:
        """Fit CLIP's fixed projection, where the guidance has one."""
        if isinstance(self.guidance, ClipGuidance) and self.guidance.config.input == "pca":
            self.guidance.fit_projection(first_layers(), reduced)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED (unlabelled), or HIDDEN (no data, padding, or not to
        be learnt from in any loss).
        """
        x, z = self.fuse(layers, self.grid.tokens(layers, labels))
        if labels is None:
            return Output(self.head_logits(self.fusion_head, z))
        return self._loss(x, z, labels)

    def fuse(
        self, layers: Mapping[str, Tensor], size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Layers to the last tokens of each modality and of the fusion, (B, H, W, D).

        size  H, W of the tokens
        """
        x = {name: stem(layers) for name, stem in self.stems.items()}
        if isinstance(self.guidance, ClipGuidance):
            first = self.guidance(layers, size)  # (B, H, W, D)
        else:
            first = self.guidance(layers)
        z = first
        for i, iteration in enumerate(self.iterations):
            again = self.config.guidance_at == "every" and i > 0
            x, z = iteration(x, z + first if again else z)
        return x, z

    def _loss(self, x: dict[str, Tensor], fused: Tensor, labels: Tensor) -> Output:
        logits = self.head_logits(self.fusion_head, fused)
        branches = {name: self.head_logits(head, x[name]) for name, head in self.heads.items()}
        supervised = torch.stack(
            [
                cross_entropy(each, labels, self.config.label_smoothing)
                for each in (logits, *branches.values())
            ]
        ).sum()
        parts = {"supervised": supervised.detach()}
        loss = self.config.supervised * supervised
        if self.config.consistency:
            seen = labels != HIDDEN
            agreement = torch.stack([cosine(b.float(), logits.float()) for b in branches.values()])
            consistency = ((1 - agreement) * seen).sum() / seen.sum().clamp(min=1)
            parts["consistency"] = consistency.detach()
            loss = loss + self.config.consistency * consistency
        parts["accuracy"] = accuracy(logits, labels)
        return Output(logits, loss, parts)

    def head_logits(self, head: nn.Module, tokens: Tensor) -> Tensor:
        """A head's logits (B, K, H·R, W·R) of tokens (B, H, W, D)."""
        logits = head(tokens).permute(0, 3, 1, 2)  # (B, K, H, W)
        finer = self.output_ratio // self.config.detail
        if finer == 0:  # finer tokens than labels: the mean of those that one label covers
            return F.avg_pool2d(logits, self.config.detail // self.output_ratio)
        if finer == 1:
            return logits
        if self.config.upsample == "shuffle":
            return F.pixel_shuffle(logits, finer)
        return F.interpolate(logits, scale_factor=finer, mode="bilinear")

    def _head(self, classes: int) -> nn.Sequential:
        width, finer = self.config.width, self.output_ratio // self.config.detail
        if self.config.upsample == "shuffle" and finer > 1:
            classes *= finer**2
        return nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(self.config.dropout), nn.Linear(width, classes)
        )


class Iteration(nn.Module):
    """One update of all branches: x_m ← X_m(x_m, z), z ← F(Σ x_m)."""

    def __init__(self, names: list[str], config: M3ambaConfig, drop_path: float) -> None:
        super().__init__()
        self.cross = config.cross
        sizes: dict[str, Any] = {
            "state": config.state,
            "expand": config.expand,
            "mlp_ratio": config.mlp_ratio,
            "drop_path": drop_path,
        }
        if config.cross:
            self.branches = nn.ModuleDict(
                {n: CrossBlock(config.width, **sizes, average=config.average) for n in names}
            )
        else:
            self.branches = nn.ModuleDict({n: VSSBlock(config.width, **sizes) for n in names})
            self.merge = nn.Linear((len(names) + 1) * config.width, config.width)
        self.fusion = VSSBlock(config.width, **sizes)

    def forward(self, x: dict[str, Tensor], z: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        if self.cross:
            x = {name: block(x[name], z) for name, block in self.branches.items()}
            return x, self.fusion(torch.stack(list(x.values())).sum(0))
        x = {name: block(x[name]) for name, block in self.branches.items()}
        return x, self.fusion(self.merge(torch.cat([*x.values(), z], dim=-1)))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine (B, H, W) between vectors of (B, K, H, W), without scaled copies of them."""
    lengths = a.square().sum(1) * b.square().sum(1)
    return (a * b).sum(1) * lengths.clamp(min=1e-16).rsqrt()


def _drop_path(config: M3ambaConfig, i: int) -> float:
    """Linear from 0 in the first iteration to the config's in the last."""
    return config.drop_path * (1 - (config.depth - 1 - i) / max(1, config.depth - 1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
