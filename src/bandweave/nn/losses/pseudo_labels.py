"""Losses of pixels without a label, on what heads think of them.

Source: Ding et al., "Uncertainty-aware contrastive learning for semi-supervised classification of
multimodal remote sensing images", TGRS 62, 2024; as released, where not said otherwise.

    probabilities  (B, K)   of three heads, the deepest last; its most likely class is the pixel's
                            pseudo-label
    features       (B, F)   of the pixels; d_ij is the distance of two of them
    m_ij                    how much of j's pseudo-label is in i's ranking of the classes, -1 to 1

No loss here has a gradient in the probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bandweave.nn.losses.supervision import as_exact

LEAST = 1e-12  # of a squared distance, whose root has a gradient then
DEVIATIONS = 3.0  # of the published rule


def find_reliable(
    probabilities: Sequence[Tensor], sure: float, as_published: bool = False
) -> Tensor:
    """Which pixels' pseudo-labels are believed, (B,) bool: all heads agree, or the deepest is sure.

    sure          least probability of a pseudo-label that needs no agreement
    as_published  the two other heads have to agree, whatever the deepest says; and it is sure where
                  its largest probability lies 3 standard deviations above their mean, which of 10
                  classes or fewer none can
    """
    first, second, deepest = (p.detach() for p in probabilities)
    agree = first.argmax(1) == second.argmax(1)
    top = deepest.amax(1)
    if as_published:
        spread = deepest.std(1) if deepest.shape[1] > 1 else torch.zeros_like(top)
        return agree | (top - deepest.mean(1) > DEVIATIONS * spread)
    return agree & (second.argmax(1) == deepest.argmax(1)) | (top >= sure)


def weigh_ranks(probabilities: Tensor) -> Tensor:
    """Weights (B, K) of the classes by their rank among a pixel's probabilities.

    Of the c classes at or above 1 / K they fall from 1 by 1 / c, of the others from -1 / (K - c) to
    -1.

    >>> weigh_ranks(torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.0, 0.1]])).tolist()
    [[-1.0, 1.0, 0.5], [1.0, -1.0, -0.5]]
    """
    probabilities = probabilities.detach()
    classes = probabilities.shape[1]
    ranks = probabilities.sort(dim=1, descending=True, stable=True).indices.argsort(1)
    above = (probabilities >= 1 / classes).sum(1, keepdim=True).clamp(min=1)  # all equal: rounding
    falling = 1 - ranks / above
    negative = -(ranks - above + 1) / (classes - above).clamp(min=1)
    return torch.where(ranks < above, falling, negative).to(probabilities.dtype)


def contrast_reliable(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over all pairs of d² where pseudo-labels (B,) agree, else of max(0, margin - d)².

    0 without a pixel.
    """
    if not len(features):
        return features.sum()
    near, far = _pull_and_push(features, margin)
    return torch.where(labels[:, None] == labels, near, far).mean()


def contrast_unreliable(
    features: Tensor, probabilities: Tensor, margin: float, as_published: bool = False
) -> Tensor:
    """Mean over all pairs of m·d² where m is above 0, else of |m|·max(0, margin - d)².

    as_published  (m·d)², which pulls what is unlikely together too

    0 without a pixel.
    """
    if not len(features):
        return features.sum()
    near, far = _pull_and_push(features, margin)
    m = weigh_ranks(probabilities)[:, probabilities.argmax(1)]  # (B, B)
    if as_published:
        return (m.square() * near).mean()
    return (m.clamp(min=0) * near - m.clamp(max=0) * far).mean()


def _pull_and_push(features: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """d² and max(0, margin - d)² of all pairs, (B, B) each."""
    features = as_exact(features)
    squares = (features[:, None] - features).square().sum(-1).clamp(min=LEAST)
    return squares, (margin - squares.sqrt()).clamp(min=0).square()
