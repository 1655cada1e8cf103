"""CALC: two sources are coupled at three levels, and what they share must be enough to redraw both.

Source: Lu, Ding, Fu, Li, Guo, "Coupled adversarial learning for fusion classification of
hyperspectral and LiDAR data", Information Fusion 93, 118-131, 2023. The paper's full text was not
at hand: what is here is its abstract's and its release's.

    sources  (B, S, p, p)      each band from 0 to 1
    levels   (B, w·2^i, …)     three of both sources together      encoder (nn/coupled.py)
    p_k      (B, K, R, R)      classes by each level               heads
    fakes    (B, S, p, p)      both sources, made of the deepest   decoder
    score                      real or made, one for each source   nn/losses/adversary.py
    logits   (B, K, R, R)      log Σ_k w_k[c]·p_k[c]

w_k[c] is head k's share of what all heads get right of class c, on training pixels. The loss is
CE(p_3) + MSE(p_3, p_2) + MSE(p_3, p_1), the adversarial loss of the decoder, and the losses of the
discriminators, all in one step: the gradient of a score of a made image is turned round on its way
to the decoder, so that one backward pass serves both sides.

What the release does and this does only `as_published`: the cross-entropy takes probabilities for
logits (a second softmax); a discriminator's gradient of made images is short of what the decoder's
is (by λ/2 of them); a class that no head gets right on training pixels is never predicted, where
it has equal weights here. Three scalars of the release have no influence and are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.patch_model import PatchModel
from bandweave.nn.coupled import LEVELS, CoupledEncoder, check_sizes, make_block, make_heads
from bandweave.nn.losses.adversary import Discriminator, scale_gradient
from bandweave.nn.losses.supervision import accuracy, as_exact, cross_entropy
from bandweave.nn.output import HIDDEN, Output


@dataclass
class CALCConfig:
    """The release's model."""

    patch: int = 16  # px
    width: int = 32  # channels of the first level; of each further one twice that
    adversarial: float = 0.01  # λ of the adversarial loss; 0: neither decoder nor discriminators
    as_published: bool = False  # the release's quirks, as above

    def __post_init__(self) -> None:
        check_sizes(self.patch, self.width)
        if not 0 <= self.adversarial < 1:
            raise ConfigError(f"adversarial is {self.adversarial}; it must be from 0 to below 1")


class CALC(PatchModel):
    """CALC for one to four layers with any bands; one layer is both sources.

    bands         bands of each layer; the first is one source, the others together are the other
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels are

    Raises ConfigError for layers or ratios that it cannot take.
    """

    training_only = ("decoder", "discriminators")

    head_weights: Tensor

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: CALCConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 2, ratios, output_ratio)
        self.config, width = config, config.width
        self.scaling = BandRanges(self.source_bands)
        self.encoder = CoupledEncoder(self.source_bands, width)
        self.heads = make_heads(width, self.outputs)
        self.register_buffer("head_weights", torch.full((LEVELS, self.classes), 1 / LEVELS))
        self.decoder: Decoder | None = None
        self.discriminators: nn.ModuleList | None = None
        if config.adversarial:
            self.decoder = Decoder(self.source_bands, width)
            self.discriminators = nn.ModuleList(
                Discriminator(count, width, self.classes) for count in self.source_bands
            )

    def prepare(
        self, first_layers: Callable[[], Mapping[str, Tensor]], reduced: Container[str]
    ) -> None:
        """Fit the range of each band to the first training samples."""
        self.scaling.fit(self.enter(first_layers()))

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of sources (B, S, p, p)."""
        scores = self._judge(self.encoder(*self.scaling(sources)))
        return self._combine([as_exact(each).softmax(1) for each in scores]).flatten(1)

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Patches (B, C, h·r, w·r) of each layer to logits (B, K, R, R) of the pixel in the middle.

        Labels (B, R, R) are class indices, or IGNORED, or HIDDEN. Patches whose labels are all
        HIDDEN teach nothing; of those without a label the heads' agreement and the images do.
        """
        sources = self.scaling(self.enter(layers))
        levels = self.encoder(*sources)
        scores = self._judge(levels)
        each = [as_exact(score).softmax(1) for score in scores]
        logits = self._combine(each)
        if labels is None:
            return Output(logits)
        self.grid.check_middle(labels)
        deepest = each[-1] if self.config.as_published else scores[-1]
        supervised = cross_entropy(deepest, labels)
        seen = (labels != HIDDEN).flatten(1).any(1)
        agreement = torch.stack(
            [_mean_of(seen, (each[-1] - other).square()) for other in each[:-1]]
        ).sum()
        loss = supervised + agreement
        parts = {"supervised": supervised.detach(), "agreement": agreement.detach()}
        if self.decoder is not None:
            contest, told = self._contest(sources, self.decoder(levels[-1], self.patch), seen)
            loss, parts = loss + contest, parts | told
        return Output(logits, loss, {**parts, "accuracy": accuracy(logits, labels)})

    def _judge(self, levels: list[Tensor]) -> list[Tensor]:
        """Logits (B, K, R, R) of each level, the deepest last."""
        return [self.answer(head(level)) for head, level in zip(self.heads, levels, strict=True)]

    def _combine(self, probabilities: list[Tensor]) -> Tensor:
        """Logits (B, K, R, R) whose softmax is the heads' weighted sum."""
        total = weigh_votes(self.head_weights, probabilities)
        return total.clamp(min=torch.finfo(total.dtype).tiny).log()

    def _contest(
        self, sources: Sequence[Tensor], fakes: Sequence[Tensor], seen: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is added to the loss, and its parts: the discriminators', and the decoder's.

        Σ 1 - D(real) + D(fake) of both discriminators; their gradient in what made the fakes is
        -λ/2 of that of D(fake).
        """
        half = self.config.adversarial / 2
        kept = 1 - half if self.config.as_published else 1.0
        contest, fooled = [], []
        assert self.discriminators is not None
        for judge, real, fake in zip(self.discriminators, sources, fakes, strict=True):
            made = _mean_of(seen, as_exact(judge(scale_gradient(fake, -half / kept))))
            true = _mean_of(seen, as_exact(judge(real.detach())))
            least = seen.any().to(made.dtype)  # 1
            contest.append(least - true + made + (kept - 1) * (made - made.detach()))
            fooled.append((least - made.detach()) / 2)
        total = torch.stack(contest).sum()
        told = {"discriminators": total.detach(), "adversarial": torch.stack(fooled).sum()}
        return total, told

    @torch.no_grad()
    def conclude(self, samples: Iterable[tuple[Mapping[str, Tensor], Tensor]]) -> None:
        """Weigh the heads by what each gets right of each class's training pixels."""
        training, device = self.training, self.head_weights.device
        right = torch.zeros(LEVELS, self.classes, dtype=torch.long, device=device)
        self.eval()
        for layers, labels in samples:
            layers, labels = {n: x.to(device) for n, x in layers.items()}, labels.to(device)
            levels = self.encoder(*self.scaling(self.enter(layers)))
            for number, scores in enumerate(self._judge(levels)):
                found = scores.argmax(1)
                right[number] += found[found == labels].bincount(minlength=self.classes)
        self.head_weights.copy_(weigh_heads(right, self.config.as_published))
        self.train(training)


class Decoder(nn.Module):
    """Both sources redrawn from the deepest level (B, 4w, q, q), in 0 … 1.

    bands  S of each source
    width  w
    """

    def __init__(self, bands: list[int], width: int) -> None:
        super().__init__()
        self.shared = nn.ModuleList(make_block(width * 2**i, width * 2 ** (i - 1)) for i in (2, 1))
        self.own = nn.ModuleList(nn.Conv2d(width, count, 3, padding=1) for count in bands)

    def forward(self, deepest: Tensor, patch: int) -> list[Tensor]:
        """The sources, (B, S, p, p) each."""
        x = deepest
        for shared, side in zip(self.shared, (patch // 4, patch // 2), strict=True):
            x = shared(F.interpolate(x, size=(side, side)))  # nearest
        x = F.interpolate(x, size=(patch, patch))
        return [own(x).sigmoid() for own in self.own]


class BandRanges(nn.Module):
    """Brings each band of each source from its range to 0 … 1. Before `fit` it changes nothing."""

    def __init__(self, bands: list[int]) -> None:
        super().__init__()
        for number, count in enumerate(bands):
            self.register_buffer(f"lowest{number}", torch.zeros(count, 1, 1))
            self.register_buffer(f"range{number}", torch.ones(count, 1, 1))

    def forward(self, sources: Sequence[Tensor]) -> list[Tensor]:
        """Sources (B, S, p, p), scaled."""
        return [
            (x - self.get_buffer(f"lowest{i}")) / self.get_buffer(f"range{i}")
            for i, x in enumerate(sources)
        ]

    def fit(self, sources: Sequence[Tensor]) -> None:
        """Take the ranges of the bands of sources (B, S, p, p); a constant band's is 1."""
        for i, x in enumerate(sources):
            lowest, highest = x.amin((0, 2, 3)), x.amax((0, 2, 3))
            width = torch.where(highest > lowest, highest - lowest, 1)
            self.get_buffer(f"lowest{i}").copy_(lowest[:, None, None])
            self.get_buffer(f"range{i}").copy_(width[:, None, None])


def weigh_heads(right: Tensor, as_published: bool = False) -> Tensor:
    """Weights (L, K) of heads for each class, of how many pixels of it each gets right.

    as_published  a class that no head gets right has weight 0 in all, not equal weights

    >>> weigh_heads(torch.tensor([[3, 0], [1, 0]])).tolist()
    [[0.75, 0.5], [0.25, 0.5]]
    """
    total = right.sum(0)
    if as_published:
        return right / (total + 1e-5)
    return torch.where(total > 0, right / total.clamp(min=1), 1 / len(right))


def weigh_votes(weights: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
    """Weighted sum (B, K, …) of the heads' probabilities (B, K, …), by weights (L, K)."""
    votes = torch.stack(list(probabilities))
    return (weights.view(len(votes), 1, -1, *[1] * (votes.ndim - 3)) * votes).sum(0)


def _mean_of(rows: Tensor, values: Tensor) -> Tensor:
    """Mean of values (B, …) over the rows (B,) that are named; 0 where none is."""
    return (values.flatten(1).mean(1) * rows).sum() / rows.sum().clamp(min=1)
