"""Probabilities from decisions between pairs of classes."""

import numpy as np
import pytest
from sklearn.svm import SVC

from bandweave.landcover.baselines.pairwise import count_votes, couple, decide_pairs, fit_slope


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_votes_give_the_classes_of_the_machine(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 200)
    values = rng.normal(size=(200, 3)) + labels[:, None] * [1.0, -0.5, 0]
    machine = SVC(decision_function_shape="ovo").fit(values, labels)
    decisions = decide_pairs(machine, values)
    votes = count_votes(decisions, classes)
    np.testing.assert_array_equal(votes.argmax(axis=1), machine.predict(values))
    assert (votes.sum(axis=1) == classes * (classes - 1) // 2).all()
    np.testing.assert_allclose(np.exp(couple(decisions, classes, 2.0)).sum(axis=1), 1)


def test_probabilities_that_agree_with_each_other_are_found_again():
    """Pairs that are made of probabilities, p_k / (p_k + p_j), give these back at a slope of 1."""
    p = np.array([[0.5, 0.3, 0.15, 0.05]])
    pairs = [(k, j) for k in range(4) for j in range(k + 1, 4)]
    decisions = np.stack([np.log(p[:, k] / p[:, j]) for k, j in pairs], axis=1)
    np.testing.assert_allclose(np.exp(couple(decisions, 4, 1.0)), p)


def test_the_slope_is_that_of_the_draw():
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(20_000, 1))
    labels = (rng.random(20_000) > 1 / (1 + np.exp(-3 * decisions[:, 0]))).astype(int)
    halves = [(decisions[at], labels[at], 2) for at in (slice(0, 9000), slice(9000, None))]
    assert fit_slope(halves) == pytest.approx(3, rel=0.05)
