"""Uncertainty-guided corrective learning: labels where a prediction is unsure teach it more often.

Source: Xu et al., "MambaMoE", its UGCL. Each labelled pixel is kept with the probability û, the
uncertainty of the present prediction scaled to 0 … 1 over the image.

    logits  (B, K, H, W)
    u       (B, H, W)     uncertainty
    labels  (B, H, W)     class indices, IGNORED or HIDDEN

The release takes u = -m·ln(m + 1e-6) of the largest probability m, largest at m = 1/e: where there
are many classes, m = 0.1 passes for surer than m = 0.4. Ours is the entropy.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from bandweave.nn.output import HIDDEN, IGNORED

Uncertainty = Literal["entropy", "as_published"]


def uncertainty(logits: Tensor, formula: Uncertainty = "entropy") -> Tensor:
    """Uncertainty of predictions (B, H, W): entropy over its largest, ln K; or the release's.

    >>> uncertainty(torch.zeros(1, 4, 1, 1)).item()
    1.0
    """
    log = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    if formula == "as_published":
        surest = log.max(1).values.exp()
        return -surest * (surest + 1e-6).log()
    classes = logits.shape[1]
    entropy = -(log * log.exp()).sum(1)
    return entropy / math.log(classes) if classes > 1 else entropy


def unsure_labels(u: Tensor, labels: Tensor) -> Tensor:
    """Labels, each kept with the probability û, else IGNORED; all of an image that would keep none.

    u is scaled from its least to its largest over the pixels of an image that are not HIDDEN.
    Draws from torch's generator.
    """
    seen = labels != HIDDEN
    low = u.where(seen, math.inf).amin((1, 2), keepdim=True)
    high = u.where(seen, -math.inf).amax((1, 2), keepdim=True)
    scaled = (u - low) / (high - low).clamp(min=torch.finfo(u.dtype).tiny)
    kept = (torch.rand(u.shape, device=u.device) < scaled) & (labels >= 0)
    kept |= ~kept.any(2, keepdim=True).any(1, keepdim=True)
    return labels.where(kept | (labels == HIDDEN), IGNORED)
