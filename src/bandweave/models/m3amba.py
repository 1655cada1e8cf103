"""M³amba: land cover from co-registered modalities, steered by CLIP, with selective scans.

Source: Cao et al., "M³amba: CLIP-driven Mamba Model for Multi-modal Remote Sensing
Classification". Sections and equations below are that paper's.

    x_m    (B, H, W, D)   tokens of modality m
    z      (B, H, W, D)   guidance: CLIP's maps, or the raw bands (scheme A of Table I)
    f      (B, H, W, D)   fusion
    per iteration i (eq. 7-9):  x_m ← X_mi(x_m, z);  z ← F_i(Σ x_m)
    K classes, D width, N iterations

Prediction is the fusion head's. The loss is λ₁·L_sup + λ₂·L_unsup (eq. 14-16).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.nn.blocks import CrossBlock, Stem, VSSBlock
from bandweave.nn.clip import ClipConfig, ClipGuidance
from bandweave.nn.output import HIDDEN, IGNORED, Output
from bandweave.nn.ss2d import Average


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
    guidance_at: Literal["first", "every"] = "first"  # 'first': z is overwritten by the fusion
    supervised: float = 1.0  # λ₁
    consistency: float = 0.1  # λ₂; 0 is scheme C
    label_smoothing: float = 0.0  # of the supervised loss; the paper uses none
    dropout: float = 0.0  # of tokens' features before the heads; the paper uses none
    detail: int = 1  # tokens per pixel of the grid, along each side
    upsample: Literal["bilinear", "shuffle"] = "bilinear"  # of logits to finer labels; 'shuffle':
    # each token's head gives the logits of all the finer pixels it covers
    clip: ClipConfig = field(default_factory=lambda: ClipConfig(mode="none"))  # none is scheme A


class M3amba(nn.Module):
    """M³amba for one to four modalities with any bands.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels and logits are
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
        self.ratios = {name: (ratios or {}).get(name, 1) for name in bands}
        width = config.width
        self.stems = nn.ModuleDict({name: self._stem(name) for name in bands})
        if config.clip.mode == "none":
            self.guidance: nn.Module = RawGuidance({name: self._stem(name) for name in bands})
        else:
            self.guidance = ClipGuidance(self.bands, width, config.clip)
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.iterations = nn.ModuleList(
            Iteration(list(bands), config, drop_path=rate) for rate in rates
        )
        self.heads = nn.ModuleDict({name: self._head(len(classes)) for name in bands})
        self.fusion_head = self._head(len(classes))
        for module in self.modules():
            if isinstance(module, nn.Linear) and not _pretrained(module, self):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED (unlabelled), or HIDDEN (no data, padding, or not to
        be learnt from in any loss).
        """
        x = {name: stem(layers[name]) for name, stem in self.stems.items()}  # each (B, H, W, D)
        z = first = self.guidance_map(layers, x)
        for iteration in self.iterations:
            x, z = iteration(x, z if self.config.guidance_at == "first" else z + first)
        if labels is None:
            return Output(self._classify(self.fusion_head, z))
        return self._loss(x, z, labels)

    def guidance_map(self, layers: dict[str, Tensor], x: dict[str, Tensor]) -> Tensor:
        """The guidance Z at the size of the tokens (B, H, W, D)."""
        size = next(iter(x.values())).shape[1:3]
        return self.guidance(layers, tuple(size))

    def _loss(self, x: dict[str, Tensor], fused: Tensor, labels: Tensor) -> Output:
        logits = self._classify(self.fusion_head, fused)
        branches = {name: self._classify(head, x[name]) for name, head in self.heads.items()}
        supervised = sum(self._cross_entropy(each, labels) for each in [logits, *branches.values()])
        parts = {"supervised": supervised.detach()}
        loss = self.config.supervised * supervised
        if self.config.consistency:
            seen = labels != HIDDEN
            apart = sum(
                (1 - F.cosine_similarity(each.float(), logits.float(), dim=1)) * seen
                for each in branches.values()
            )
            consistency = apart.sum() / seen.sum().clamp(min=1)
            parts["consistency"] = consistency.detach()
            loss = loss + self.config.consistency * consistency
        parts["accuracy"] = _accuracy(logits, labels)
        return Output(logits, loss, parts)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        labelled = labels >= 0
        target = labels.where(labelled, IGNORED)
        total = F.cross_entropy(
            logits.float(), target, ignore_index=IGNORED, reduction="sum",
            label_smoothing=self.config.label_smoothing,
        )  # fmt: skip
        return total / labelled.sum().clamp(min=1)

    def _classify(self, head: nn.Module, tokens: Tensor) -> Tensor:
        logits = head(tokens).permute(0, 3, 1, 2)  # (B, K, H, W)
        scale = self.output_ratio / self.config.detail
        if scale == 1:
            return logits
        if self.config.upsample == "shuffle" and scale > 1:
            return F.pixel_shuffle(logits, int(scale))
        return F.interpolate(logits, scale_factor=scale, mode="bilinear")

    def _stem(self, name: str) -> Stem:
        ratio, detail = self.ratios[name], self.config.detail
        if ratio >= detail:
            return Stem(self.bands[name], self.config.width, stride=ratio // detail)
        return Stem(self.bands[name], self.config.width, upsample=detail // ratio)

    def _head(self, classes: int) -> nn.Sequential:
        width, scale = self.config.width, self.output_ratio // self.config.detail
        if self.config.upsample == "shuffle" and scale > 1:
            classes *= scale**2
        return nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(self.config.dropout), nn.Linear(width, classes)
        )


class RawGuidance(nn.Module):
    """Guidance from the raw bands: one convolution over all layers, concatenated (scheme A)."""

    def __init__(self, stems: dict[str, Stem]) -> None:
        super().__init__()
        self.stems = nn.ModuleDict(stems)

    def forward(self, layers: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """A convolution over concatenated bands is the sum of one over each layer's."""
        return torch.stack([stem(layers[name]) for name, stem in self.stems.items()]).sum(0)


class Iteration(nn.Module):
    """One update of all branches: x_m ← X_m(x_m, z), z ← F(Σ x_m)."""

    def __init__(self, names: list[str], config: M3ambaConfig, drop_path: float) -> None:
        super().__init__()
        self.cross = config.cross
        sizes = {
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


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    labelled = labels >= 0
    right = (logits.argmax(1) == labels) & labelled
    return right.sum() / labelled.sum().clamp(min=1)


def _pretrained(module: nn.Module, model: nn.Module) -> bool:
    guidance = getattr(model, "guidance", None)
    return isinstance(guidance, ClipGuidance) and any(module is m for m in guidance.modules())
