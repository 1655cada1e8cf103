"""Logits against labels: cross-entropy over labelled pixels, and the share that is right.

logits  (B, K, H, W)   on the labels' grid
labels  (B, H, W)      class indices, IGNORED or HIDDEN
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bandweave.nn.output import IGNORED, Output


def as_exact(x: Tensor) -> Tensor:
    """The numbers in float32, or in float64 where they are."""
    return x if x.dtype == torch.float64 else x.float()


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean over the labelled pixels, in float32 at least; 0 where there is none.

    class_weights  (K,) of each class's pixels, in the sum and in what it is divided by
    """
    logits, labelled = as_exact(logits), labels >= 0
    if class_weights is not None:
        class_weights = class_weights.to(logits)
    total = F.cross_entropy(
        logits, labels.where(labelled, IGNORED), ignore_index=IGNORED, reduction="sum",
        label_smoothing=label_smoothing, weight=class_weights,
    )  # fmt: skip
    if class_weights is None:
        return total / labelled.sum().clamp(min=1)
    weight = (class_weights[labels.clamp(min=0)] * labelled).sum()
    return total / torch.where(weight > 0, weight, 1)


def supervise(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Output:
    """Logits with their cross-entropy as the only loss, and the parts that training shows."""
    loss = cross_entropy(logits, labels, label_smoothing, class_weights)
    parts = {"supervised": loss.detach(), "accuracy": accuracy(logits, labels)}
    return Output(logits, loss, parts)


def balancing_weights(labels: Tensor, classes: int, balance: float) -> Tensor:
    """Weights (K,) of classes by their number of labels: n^-balance; 0 where there is none.

    balance  0: every pixel counts as much; 1: every class does

    >>> balancing_weights(torch.tensor([[[0, 0, 0, 0, 1, -1]]]), 3, 0.5).tolist()
    [0.5, 1.0, 0.0]
    """
    counts = labels[labels >= 0].bincount(minlength=classes).float()
    return torch.where(counts > 0, counts.clamp(min=1) ** -balance, 0)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the labelled pixels whose largest logit is their class's; 0 where there is none."""
    labelled = labels >= 0
    found = logits.detach().movedim(1, -1)[labelled].argmax(-1)
    return (found == labels[labelled]).sum() / labelled.sum().clamp(min=1)
