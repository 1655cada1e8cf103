"""Smoothing of class probabilities of a map: what neighbours say counts, but not across edges.

Sources: He, Sun and Tang 2013, "Guided image filtering"; Kang, Li and Benediktsson 2014, "Spectral-
spatial hyperspectral image classification with edge-preserving filtering"; Potts's model with mean
fields, as in Krähenbühl and Koltun 2011, without their colours.

    p     probabilities of a class
    I     the guide: the first principal component of the training pixels, of variance 1
    E[·]  mean over the known pixels of a square of 2·r + 1 px
    guided   E[a]·I + E[b], with a = (E[I·p] − E[I]·E[p]) / (E[I²] − E[I]² + ε), b = E[p] − a·E[I]
    markov   q ← p·exp(β·E[q]), divided by its sum over classes, ROUNDS times from q = p
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from bandweave.landcover.baselines.options import Smoothing

EDGE = 0.1  # ε: a change of the guide that is no edge, squared
STRENGTH = 2.0  # β
ROUNDS = 5
FLOOR = 1e-4  # probability of a class without a vote, which neighbours may still give it


def reach_of(kind: Smoothing, radius: int) -> int:
    """Pixels by which another can lie away and change a pixel's probabilities."""
    return {"none": 0, "guided": 2, "markov": ROUNDS}[kind] * radius


def smooth(
    kind: Smoothing, logits: np.ndarray, guide: np.ndarray, known: np.ndarray, radius: int
) -> np.ndarray:
    """Log-probabilities (K, H, W) float32 of smoothed probabilities; 0 where not known.

    logits  (K, H, W), of the known pixels (H, W)
    guide   (H, W)
    """
    shares = softmax(np.where(known, logits, 0), axis=0)
    shares = np.maximum(shares, FLOOR)
    around = _Around(known, radius)
    if kind == "guided":
        mean, square = around.mean(guide), around.mean(guide**2)
        given = np.stack([_guide(around, each, guide, mean, square) for each in shares])
        return np.where(known, np.log(np.maximum(given, FLOOR)), 0).astype(np.float32)
    own = np.log(shares)
    found = shares / shares.sum(axis=0)
    for _ in range(ROUNDS):
        logits = own + STRENGTH * np.stack([around.mean(each) for each in found])
        found = softmax(logits, axis=0)
    return np.where(known, np.log(np.maximum(found, 1e-30)), 0).astype(np.float32)


class _Around:
    """Means over the known pixels of a square around each."""

    def __init__(self, known: np.ndarray, radius: int) -> None:
        self.known, self.side = known, 2 * radius + 1
        self.share = np.maximum(self._box(known.astype(np.float32)), 0.5 / self.side**2)

    def mean(self, image: np.ndarray) -> np.ndarray:
        """Of an image (H, W)."""
        return self._box(np.where(self.known, image, 0).astype(np.float32)) / self.share

    def _box(self, image: np.ndarray) -> np.ndarray:
        from scipy.ndimage import uniform_filter

        return uniform_filter(image, self.side, mode="constant")


def _guide(
    around: _Around, share: np.ndarray, guide: np.ndarray, mean: np.ndarray, square: np.ndarray
) -> np.ndarray:
    level = around.mean(share)
    slope = (around.mean(guide * share) - mean * level) / (square - mean**2 + EDGE)
    return around.mean(slope) * guide + around.mean(level - slope * mean)
