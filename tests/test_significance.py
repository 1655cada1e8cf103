"""The corrected t-test and Holm's adjustment, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import f, ttest_1samp

from bandweave.significance import corrected_p, crossed_p, find_bests, holm


def two_sided_of_four_degrees(t: float) -> float:
    """Student's distribution with 4 degrees of freedom has a closed form."""
    x = t / math.sqrt(1 + t * t / 4)
    return 2 * (0.5 - 3 / 8 * x * (1 - x * x / 12))


def test_the_corrected_test_by_hand():
    """Differences 1, 2, 3, 2, 2: mean 2, variance 1/2; test as large as training: √(6/5 · 1/2)."""
    t = 2 / math.sqrt((1 / 5 + 1) * 0.5)
    assert t == pytest.approx(2.581989)
    assert corrected_p([1, 2, 3, 2, 2], 1.0) == pytest.approx(two_sided_of_four_degrees(t))
    assert corrected_p([-1, -2, -3, -2, -2], 1.0) == pytest.approx(two_sided_of_four_degrees(t))


def test_without_the_correction_it_is_the_paired_test_and_with_it_more_careful():
    values = [0.4, 1.1, -0.3, 0.9, 1.6, 0.2]
    assert corrected_p(values, 0) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert corrected_p(values, 0) < corrected_p(values, 0.5) < corrected_p(values, 4)


def test_differences_without_scatter():
    assert corrected_p([0.0] * 5, 1) == 1
    assert corrected_p([0.1] * 5, 1) == 0, "0.1 has a variance by rounding alone"
    assert math.isnan(corrected_p([1.0], 1))


def test_holm_by_hand():
    """4 · 0.005, 3 · 0.01, 2 · 0.03, then no smaller than before."""
    assert holm([0.03, 0.005, 0.04, 0.01]) == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_min_f_as_clark_writes_it():
    """F₁ F₂ / (F₁ + F₂) with (F₁ + F₂)² / (F₁² / n₂ + F₂² / n₁) degrees of freedom."""
    values = 0.8 + np.random.default_rng(0).standard_normal((6, 9))
    over_seeds = ttest_1samp(values.mean(axis=1), 0).statistic ** 2
    over_images = ttest_1samp(values.mean(axis=0), 0).statistic ** 2
    least = over_seeds * over_images / (over_seeds + over_images)
    freedom = (over_seeds + over_images) ** 2 / (over_seeds**2 / 8 + over_images**2 / 5)
    assert crossed_p(values) == pytest.approx(f.sf(least, 1, freedom))
    assert crossed_p(-values) == crossed_p(values)


def test_without_seeds_it_is_the_paired_test_over_images():
    values = np.array([[0.4, 1.1, -0.3, 0.9, 1.6, 0.2]])
    assert crossed_p(values) == pytest.approx(ttest_1samp(values[0], 0).pvalue)
    assert math.isnan(crossed_p(values[:, :1])), "one image has no scatter"
    assert math.isnan(crossed_p(np.array([[math.inf, 1, 2]])))
    assert crossed_p(np.zeros((5, 6))) == 1
    assert crossed_p(np.full((5, 6), 0.1)) == 0


def test_it_errs_on_fewer_than_five_of_a_hundred():
    """Two methods that are alike: differences of seeds, of images, and of both."""
    draw = np.random.default_rng(1).standard_normal
    found = [crossed_p(draw((5, 1)) + 2 * draw((1, 6)) + draw((5, 6))) < 0.05 for _ in range(2000)]
    assert np.mean(found) < 0.05


def test_the_best_must_be_better_than_each_other():
    p = {frozenset("ab"): 0.001, frozenset("ac"): 0.02, frozenset("bc"): 0.9}
    means = [{"a": 3.0, "b": 2.0, "c": 1.0}]
    found = find_bests(means, lambda _, one, other: p[frozenset((one, other))])
    assert found == ({(0, "a")}, 3)
    p[frozenset("ac")] = 0.03  # twice that is too much
    assert find_bests(means, lambda _, *two: p[frozenset(two)])[0] == set()
    assert find_bests(means, lambda _, *two: math.nan) == (set(), 0)
    lower = find_bests([{"a": 1.0, "b": 2.0}], lambda *_: 0.001, higher=False)
    assert lower == ({(0, "a")}, 1)
