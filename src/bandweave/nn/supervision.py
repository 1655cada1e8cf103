"""What labels make of logits: cross-entropy over labelled pixels, and the share that is right.

logits  (B, K, H, W)   on the labels' grid
labels  (B, H, W)      class indices, IGNORED or HIDDEN
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bandweave.nn.output import IGNORED


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the labelled pixels, in float32; 0 where there is none."""
    labelled = labels >= 0
    total = F.cross_entropy(
        logits.float(), labels.where(labelled, IGNORED), ignore_index=IGNORED, reduction="sum",
        label_smoothing=label_smoothing,
    )  # fmt: skip
    return total / labelled.sum().clamp(min=1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the labelled pixels whose largest logit is their class's; 0 where there is none."""
    labelled = labels >= 0
    found = logits.detach().movedim(1, -1)[labelled].argmax(-1)
    return (found == labels[labelled]).sum() / labelled.sum().clamp(min=1)
