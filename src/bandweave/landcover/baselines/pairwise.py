"""Probabilities of a support vector machine, from its decisions between pairs of classes.

Sources: Platt 1999 for the sigmoid, here without an offset; Price, Knerr, Personnaz and Dreyfus
1995, "Pairwise neural network classifiers with probabilistic outputs".

    d_kj  decision value between the classes k and j, above 0 for k; d_jk = −d_kj
    r_kj  σ(a·d_kj): the probability of k, if it is one of the two; a is the slope
    p_k   ∝ 1 / (Σ_{j≠k} 1 / r_kj − (K − 2)) = 1 / (1 + Σ_{j≠k} exp(−a·d_kj))

Decisions are of shape (P, K·(K − 1) / 2), of the pairs 01, 02, …, 12, … in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

SLOPES = (0.01, 100.0)  # that are tried


def decide_pairs(machine: Any, values: np.ndarray) -> np.ndarray:
    """Decisions of a fitted SVC, or of a pipeline that ends with one, on values (P, C)."""
    decisions = machine.decision_function(values)
    return -decisions[:, None] if decisions.ndim == 1 else decisions


def count_votes(decisions: np.ndarray, classes: int) -> np.ndarray:
    """In how many pairs each class won, (P, classes): an SVC gives the first with most of them."""
    votes = np.zeros((len(decisions), classes), np.int16)
    for (one, other), decision in zip(combinations(range(classes), 2), decisions.T, strict=True):
        votes[:, one] += decision > 0
        votes[:, other] += decision <= 0
    return votes


def couple(decisions: np.ndarray, classes: int, slope: float) -> np.ndarray:
    """Log-probabilities (P, classes) of all classes, of their pairs."""
    odds = np.zeros((len(decisions), classes))
    for (one, other), decision in zip(combinations(range(classes), 2), decisions.T, strict=True):
        odds[:, one] = np.logaddexp(odds[:, one], -slope * decision)
        odds[:, other] = np.logaddexp(odds[:, other], slope * decision)
    return -odds - np.logaddexp.reduce(-odds, axis=1, keepdims=True)


def fit_slope(held: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> float:
    """Find the slope that gives held-out pixels their labels with the highest likelihood.

    held  of each fold: decisions, labels (P,) from 0, and how many classes it tells apart
    """
    from scipy.optimize import minimize_scalar

    def loss(log_slope: float) -> float:
        total = 0.0
        for decisions, labels, classes in held:
            logs = couple(decisions, classes, np.exp(log_slope))
            total -= logs[np.arange(len(labels)), labels].sum()
        return total

    found = minimize_scalar(loss, bounds=np.log(SLOPES), method="bounded")
    return float(np.exp(found.x))
