"""The corrected t-test and Holm's adjustment, against numbers worked out by hand."""

import math

import pytest
from scipy.stats import ttest_1samp

from bandweave.comparison.significance import corrected_p, holm


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
