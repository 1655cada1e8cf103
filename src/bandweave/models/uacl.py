"""UACL: what two sources share is gated by the spectrum, and learnt from unlabelled pixels too.

Source: Ding, Lu, Li, "Uncertainty-aware contrastive learning for semi-supervised classification of
multimodal remote sensing images", TGRS 62, 1-13, 2024. The paper's full text was not at hand: what
is here is its abstract's and its release's.

    sources   (B, S, p, p)
    levels    (B, w·2^i, …)    three of both sources together     encoder (nn/coupled.py)
    gates     (B, w·2^i)       of the spectrum in the middle of the first source; times the levels
    logits    (B, K, R, R)     of a head a level; the deepest's is the answer
    features  (B, w)           of the deepest level, for the contrastive losses

At first the loss is the heads' cross-entropies. In the later part of training unlabelled pixels
join with a batch of their own: the pixels whose pseudo-labels are believed are drawn together or
apart by those, the others by how likely each finds the other's (nn/losses/pseudo_labels.py).
Unlabelled pixels are those that have no label in the scene; the option `unlabelled` of samples
draws them.

What the release does and this does only `as_published`: the cross-entropies take probabilities for
logits (a second softmax); two of three heads decide what is believed, or a rule that no 10 classes
can fulfil; classes that are unlikely draw together as those that are likely do. What it does and
this does not: its unlabelled pixels are those of the test, as many of each predicted class.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.coupled import CoupledEncoder, Squeeze, check_sizes, make_block, make_heads
from bandweave.nn.losses.pseudo_labels import contrast_reliable, contrast_unreliable, find_reliable
from bandweave.nn.losses.supervision import accuracy, as_exact, cross_entropy
from bandweave.nn.output import HIDDEN, Output


@dataclass
class UACLConfig:
    """The release's model."""

    patch: int = 16  # px
    width: int = 32  # channels of the first level; of each further one twice that
    pretraining: float = 0.2  # share of the steps that learn from labelled pixels alone
    contrast: float = 0.1  # λ of both contrastive losses
    margin: float = 2.0  # distance from which on features are far enough apart
    sure: float = (
        0.95  # least probability of a pseudo-label that is believed without agreement; ours
    )
    as_published: bool = False  # the release's quirks, as above

    def __post_init__(self) -> None:
        check_sizes(self.patch, self.width)
        for name in ("contrast", "margin"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be 0 or more, and finite"
                )
        for name in ("pretraining", "sure"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")


class Judged(NamedTuple):
    """Logits (B, K, R, R) of the three heads, the deepest last, and features (B, w)."""

    scores: list[Tensor]
    features: Tensor

    @property
    def probabilities(self) -> list[Tensor]:
        """Those of the classes (B, K) by each head, means over the labels of a pixel."""
        return [as_exact(each).softmax(1).mean((2, 3)) for each in self.scores]


class UACL(PatchModel):
    """UACL for one to four layers with any bands; one layer is both sources.

    bands         bands of each layer; the first is one source and gives the spectrum, the others
                  together are the other source
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels are

    Raises ConfigError for layers or ratios that it cannot take.
    """

    unused_parameters = True  # the mapper, until unlabelled pixels join
    training_only = ("mapper",)

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: UACLConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config, width = config, config.width
        self.encoder = CoupledEncoder(self.source_bands, width)
        sizes = self.source_bands[0], width, 2 * width, 4 * width
        self.gates = nn.ModuleList(make_block(*each, kernel=1) for each in pairwise(sizes))
        self.heads = make_heads(width, self.outputs)
        self.mapper = Squeeze(4 * width, 2 * width, width)
        self.joined = False

    def begin_step(self, done: float) -> None:
        """Let unlabelled pixels join once that share of the steps is done."""
        self.joined = done >= self.config.pretraining

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of sources (B, S, p, p)."""
        return self.heads[-1](self.fuse(*sources)[-1])

    def fuse(self, first: Tensor, second: Tensor, spectrum: Tensor | None = None) -> list[Tensor]:
        """The gated levels of sources (B, S, p, p); the spectrum (B, S) is the middle's."""
        if spectrum is None:
            spectrum = first[:, :, self.patch // 2, self.patch // 2]
        gate, levels = spectrum[:, :, None, None], []
        for level, block in zip(self.encoder(first, second), self.gates, strict=True):
            gate = block(gate)
            levels.append(gate * level)
        return levels

    def judge(self, first: Tensor, second: Tensor, spectrum: Tensor | None = None) -> Judged:
        """What heads and mapper make of sources (B, S, p, p)."""
        levels = self.fuse(first, second, spectrum)
        scores = [self.answer(head(level)) for head, level in zip(self.heads, levels, strict=True)]
        return Judged(scores, self.mapper(levels[-1]))

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Patches (B, C, h·r, w·r) of each layer to logits (B, K, R, R) of the pixel in the middle.

        Labels (B, R, R) are class indices, or IGNORED, or HIDDEN. While the model trains, labelled
        patches go through as one batch. Those without a label go through as another one once they
        have joined; before that, and where they are HIDDEN, their logits are 0.
        """
        sources = self.enter(layers)
        if labels is None:
            return Output(self.answer(self.classify_patch(*sources)))
        self.grid.check_middle(labels)
        rows = (labels >= 0).flatten(1).any(1)
        if not self.training or not rows.any():
            rows = torch.ones_like(rows)
        judged = self.judge(*(x[rows] for x in sources))
        logits = judged.scores[-1].new_zeros(len(labels), self.classes, *labels.shape[1:])
        logits[rows] = judged.scores[-1]
        learnt = judged.scores
        if self.config.as_published:
            learnt = [as_exact(each).softmax(1) for each in learnt]
        loss = supervised = add_cross_entropies(learnt, labels[rows])
        reliable = unreliable = believed = torch.zeros_like(loss)
        pool = ~rows & (labels != HIDDEN).flatten(1).any(1)
        if self.joined and self.config.contrast and pool.any():
            others = self.judge(*(x[pool] for x in sources))
            logits[pool] = others.scores[-1]
            found = self.contrast(others.probabilities, others.features)
            reliable, unreliable, believed = found
            loss = loss + self.config.contrast * (reliable + unreliable)
        parts = {
            "supervised": supervised,
            "reliable": reliable,
            "unreliable": unreliable,
            "believed": believed,
            "accuracy": accuracy(logits, labels),
        }
        return Output(logits, loss, {name: each.detach() for name, each in parts.items()})

    def contrast(
        self, probabilities: list[Tensor], features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The losses of unlabelled pixels, believed ones and others, and the share of the first."""
        config, deepest = self.config, probabilities[-1].detach()
        believed = find_reliable(probabilities, config.sure, config.as_published)
        reliable = contrast_reliable(features[believed], deepest[believed].argmax(1), config.margin)
        unreliable = contrast_unreliable(
            features[~believed], deepest[~believed], config.margin, config.as_published
        )
        return reliable, unreliable, believed.float().mean()


def add_cross_entropies(scores: list[Tensor], labels: Tensor) -> Tensor:
    """The sum of the heads' cross-entropies, of logits (B, K, R, R) and labels (B, R, R)."""
    return torch.stack([cross_entropy(each, labels) for each in scores]).sum()
