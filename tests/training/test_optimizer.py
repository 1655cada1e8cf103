"""The schedule's values, who decays, and what an average is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from toy import toy

from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import WeightAverage, learning_rate, make_optimizer


def test_schedule_values():
    config = TrainConfig(steps=100, lr=2.0, warmup=0.1)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(10, config) == pytest.approx(2.0)
    assert learning_rate(55, config) == pytest.approx(1.0)
    assert 0 < learning_rate(99, config) < 0.001
    config = TrainConfig(steps=100, lr=2.0, warmup=0.0, schedule="poly")
    assert learning_rate(0, config) == pytest.approx(2.0)
    assert learning_rate(50, config) == pytest.approx(2 * 0.5**0.9)
    assert learning_rate(99, config) == pytest.approx(2 * 0.01**0.9)
    config = TrainConfig(steps=100, lr=2.0, warmup=0.1, schedule="constant")
    assert learning_rate(4, config) == pytest.approx(1.0)
    assert [learning_rate(step, config) for step in (9, 50, 99)] == [2.0, 2.0, 2.0]


@given(
    st.integers(1, 300),
    st.floats(0, 1),
    st.floats(1e-8, 10, allow_nan=False, allow_infinity=False),
    st.sampled_from(["cosine", "poly", "constant"]),
)
def test_schedule_rises_then_falls_within_its_bounds(steps, warmup, lr, schedule):
    config = TrainConfig(steps=steps, lr=lr, warmup=warmup, schedule=schedule)
    rates = [learning_rate(step, config) for step in range(steps)]
    peak = max(0, round(warmup * steps) - 1)
    assert all(0 < rate <= lr * (1 + 1e-9) for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_vectors_and_marked_parameters_do_not_decay():
    module = toy()
    module.stem.weight.requires_grad_(False)
    optimizer = make_optimizer(module, TrainConfig(weight_decay=0.5))
    decayed, kept = optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(module.head.weight)]
    expected = (
        module.scale,
        module.stem.bias,
        module.norm.weight,
        module.norm.bias,
        module.head.bias,
    )
    assert {id(p) for p in kept["params"]} == {id(p) for p in expected}


def test_average_follows_its_formula():
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, 0.5)
    expected = module.weight.item()
    for step in range(12):
        with torch.no_grad():
            module.weight.fill_(float(step))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.values["weight"]) == pytest.approx(expected, rel=1e-6)
    with average.swapped_in():
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == 11
    average.keep()
    assert module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_no_average_changes_nothing():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    average = WeightAverage(module, 0.0)
    average.update(0)
    average.keep()
    assert average.values == {}
    assert torch.equal(module.weight, before)
