"""Calibration by hand-made confidences, in pieces, and through JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.errors import LabelError, RunError
from bandweave.landcover.calibration import BINS, Calibration, fit_temperature


def by_hand(confidence, right):
    """Expected calibration error, straight from its definition."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    total = 0.0
    for b in range(BINS):
        inside = place == b
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300))
def test_the_error_is_its_definition_whatever_the_pieces(seed, pixels):
    rng = np.random.default_rng(seed)
    confidence, right = rng.uniform(0, 1, pixels), rng.random(pixels) < 0.6
    whole = Calibration.count(confidence, right)
    assert whole.expected_error == pytest.approx(by_hand(confidence, right), abs=1e-9)
    cut = int(rng.integers(0, pixels + 1))
    pieces = Calibration.count(confidence[:cut], right[:cut]) + Calibration.count(
        confidence[cut:], right[cut:]
    )
    assert pieces.expected_error == pytest.approx(whole.expected_error)
    stored = Calibration.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert stored.expected_error == pytest.approx(whole.expected_error)
    assert stored.accuracy_at(1.0) == pytest.approx(right.mean())


def test_what_is_as_sure_as_it_is_right_has_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 200_000)
    right = rng.random(200_000) < confidence
    found = Calibration.count(confidence, right)
    assert found.expected_error < 0.006
    mean, accuracy, pixels = found.reliability()
    assert np.isnan(accuracy[0])
    assert accuracy[-1] == pytest.approx(mean[-1], abs=0.01)
    assert pixels.sum() == 200_000
    kept, kept_accuracy = found.coverage()
    assert (np.diff(kept) > 0).all()
    assert kept_accuracy[0] > 0.99 > kept_accuracy[-1]
    assert found.accuracy_at(0.5) == pytest.approx(right[confidence > 0.65].mean(), abs=0.005)


def test_certainty_and_zero_have_a_bin():
    found = Calibration.count(np.array([0.0, 1.0, 1.0 + 1e-7]), np.array([False, True, True]))
    assert found.expected_error == pytest.approx(0, abs=1e-6)


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="no probabilities"):
        Calibration.count(np.array([1.2]), np.array([True]))
    with pytest.raises(ValueError, match="no probabilities"):
        Calibration.count(np.array([np.nan]), np.array([True]))
    with pytest.raises(RunError, match="score the run again"):
        Calibration.from_dict({"bins": 7, "counts": []})


@pytest.mark.parametrize("true", [0.3, 1.0, 5.0])
def test_the_temperature_undoes_another(true):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 4))
    odds = np.exp(logits)
    odds /= odds.sum(1, keepdims=True)
    labels = (odds.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert fit_temperature(logits * true, labels) == pytest.approx(true, rel=0.05)


def test_a_temperature_needs_pixels():
    with pytest.raises(LabelError, match="draw a validation part"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize(
    "row",
    [
        [0, float("inf"), 1, 0.1],
        [0, 1, float("nan"), 0.1],
        [0, 1, 1, float("inf")],
        [0, 1, 1, float("nan")],
        [float("inf"), 1, 1, 0.5],
        [-1, 1, 1, 0.5],
        [1500, 1, 1, 0.5],
        [0, 1, 2, 0.5],
        [0, 10**30, 1, 0.5],
        [0, 1, 1, "x" * 10_000],
        [0, 1],
        None,
    ],
)
def test_stored_counts_that_are_none_are_refused(row):
    stored = Calibration.count(np.array([0.5]), np.array([True])).to_dict()
    assert Calibration.from_dict(stored).to_dict() == stored
    with pytest.raises(RunError, match="the stored calibration cannot be read") as caught:
        Calibration.from_dict(stored | {"counts": [row]})
    assert len(str(caught.value)) < 400
