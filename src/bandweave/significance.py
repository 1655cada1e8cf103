"""Tests of a difference between two methods: over seeds, and over images.

Sources: Nadeau and Bengio 2003, "Inference for the generalization error", section 3.1 (corrected
resampled t-test); Holm 1979, "A simple sequentially rejective multiple test procedure"; Clark 1973,
"The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12, and
Satterthwaite 1946, "An approximate distribution of estimates of variance components" (min F′).

Seeds that each draw a split of one scene, by the corrected resampled t-test:

    d    (k,) differences of a score, of one seed each: both methods had the same split
    ρ    n_test / n_train, pixels: how much of what a run learns the next one learns again
    t    mean(d) / √((1/k + ρ) · var(d)), var with k − 1; two-sided, k − 1 degrees of freedom
    95 % interval of the mean: the differences that this test does not reject at 0.05

Without ρ the k runs would be taken for independent, which splits of one scene are not; with it a
difference must be larger to hold. Holm: of m comparisons the i-th smallest p (from 0) is multiplied
by m − i, and no adjusted p is smaller than one before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

LEAST_SEEDS = 5  # with fewer nothing is claimed, and no interval is given
LEAST_IMAGES = 5
LEVEL = 0.05


def corrected_p(differences: Sequence[float] | np.ndarray, test_to_train: float) -> float:
    """Two-sided p of the corrected resampled t-test.

    differences    one a seed
    test_to_train  ρ; 0 for runs that are independent of each other

    Differences that are all 0 give 1, and all the same other number 0.

    >>> round(corrected_p([1.0, 2.0, 3.0, 2.0, 2.0], 1.0), 4)
    0.0612
    """
    values = np.asarray(differences, np.float64)
    if values.size < 2:
        return math.nan
    mean, variance = values.mean(), values.var(ddof=1)
    scatter = math.sqrt((1 / values.size + test_to_train) * variance)
    if scatter <= 1e-12 * abs(mean):  # rounding must not make a variance of equal differences
        return 1.0 if mean == 0 else 0.0
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / scatter, values.size - 1))


def corrected_interval(
    differences: Sequence[float] | np.ndarray, test_to_train: float
) -> tuple[float, float, float]:
    """Mean of differences, and the ends of its 95 % interval by the corrected resampled t-test.

    Arguments are those of `corrected_p`. The ends are NaN for fewer than LEAST_SEEDS differences.

    >>> [round(x, 2) for x in corrected_interval([1.0, 2.0, 3.0, 2.0, 2.0], 1.0)]
    [2.0, -0.15, 4.15]
    """
    values = np.asarray(differences, np.float64)
    mean = float(values.mean()) if values.size else math.nan
    if values.size < LEAST_SEEDS:
        return mean, math.nan, math.nan
    from scipy.stats import t

    scatter = math.sqrt((1 / values.size + test_to_train) * values.var(ddof=1))
    half = float(t.ppf(1 - LEVEL / 2, values.size - 1)) * scatter
    return mean, mean - half, mean + half


def crossed_p(differences: np.ndarray) -> float:
    """Two-sided p of min F′ over seeds and images.

    differences   (k, n); where k is 1, over images alone

    Differences that are all 0 give 1, and all the same other number 0; NaN for fewer than two
    images.

    >>> round(crossed_p(np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 3.0]])), 4)
    0.0286
    """
    mean, square, freedom = _measure_scatter(differences)
    if math.isnan(square):
        return math.nan
    if math.sqrt(square) <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 0.0
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / math.sqrt(square), freedom))


def crossed_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of differences, and the ends of its 95 % interval: those that `crossed_p` has at 0.05.

    differences   (k, n), as `crossed_p` takes them

    The ends are NaN for fewer than LEAST_IMAGES images, and for 2 to LEAST_SEEDS - 1 seeds.

    >>> [round(x, 2) for x in crossed_interval(np.array([[1.0, 2.0, 4.0, 3.0, 2.0]]))]
    [2.4, 0.98, 3.82]
    """
    mean, square, freedom = _measure_scatter(differences)
    seeds, images = np.shape(differences)
    if images < LEAST_IMAGES or 1 < seeds < LEAST_SEEDS or math.isnan(square):
        return mean, math.nan, math.nan
    if square == 0:
        return mean, mean, mean
    from scipy.stats import t

    half = float(t.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(square)
    return mean, mean - half, mean + half


def _measure_scatter(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean, its variance over seeds and images, degrees of freedom; NaN where there is none."""
    values = np.asarray(differences, np.float64)
    seeds, images = values.shape
    mean = float(values.mean()) if values.size else math.nan
    if images < 2 or not np.isfinite(values).all():
        return mean, math.nan, math.nan
    of_images = values.mean(axis=0).var(ddof=1) / images
    of_seeds = values.mean(axis=1).var(ddof=1) / seeds if seeds > 1 else 0.0
    square = of_images + of_seeds
    inner = of_images**2 / (images - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    return mean, float(square), square**2 / inner if inner else math.inf


def find_bests(
    means: Sequence[Mapping[str, float]],
    p: Callable[[int, str, str], float],
    higher: bool = True,
) -> tuple[set[tuple[int, str]], int]:
    """(table, method) where a method is better than each other by a difference that holds.

    means    of each table, by method: of those that may be claimed to be the best
    p        of the difference of two methods in a table; NaN where nothing can be claimed
    higher   a greater value is a better one

    The best is chosen by the data, so every pair of every table counts as a comparison; their
    number is returned too.
    """
    found = {
        (i, frozenset((one, other))): p(i, one, other)
        for i, table in enumerate(means)
        for one, other in combinations(table, 2)
    }
    tested = {pair: value for pair, value in found.items() if not math.isnan(value)}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    best = set()
    for i, table in enumerate(means):
        if len(table) < 2:
            continue
        first = (max if higher else min)(table, key=lambda method: table[method])
        others = [method for method in table if method != first]
        if max(adjusted.get((i, frozenset((first, m))), 1.0) for m in others) < LEVEL:
            best.add((i, first))
    return best, len(tested)


def holm(p: Sequence[float]) -> list[float]:
    """Each p, adjusted by Holm for how many there are.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [math.nan] * len(p)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted
