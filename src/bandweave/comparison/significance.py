"""Whether a difference between two methods holds, over runs that share the same seeds.

Sources: Nadeau and Bengio 2003, "Inference for the generalization error", section 3.1 (corrected
resampled t-test); Holm 1979, "A simple sequentially rejective multiple test procedure".

    d    (k,) differences of a score, of one seed each: both methods had the same split
    ρ    n_test / n_train, pixels: how much of what a run learns the next one learns again
    t    mean(d) / √((1/k + ρ) · var(d)), var with k − 1; two-sided, k − 1 degrees of freedom

Without ρ the k runs would be taken for independent, which splits of one scene are not; with it a
difference must be larger to hold. Holm: of m comparisons the i-th smallest p (from 0) is multiplied
by m − i, and no adjusted p is smaller than one before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST_SEEDS = 5  # with fewer nothing is claimed
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


def holm(p: Sequence[float]) -> list[float]:
    """Each p adjusted for how many there are.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [math.nan] * len(p)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted
