"""The definition against the formulas of the papers, written out with NumPy, and gradcheck."""

import math

import numpy as np
import pytest
import torch

from bandweave.scan import cross_order, forward_order, selective_scan


def written_out(order, u, delta, A, B, C, D, delta2=None, A2=None, initial_state=None, **rest):
    """y and the last states, one number at a time."""
    if "delta_weight" in rest:
        delta = np.einsum("bktr,kre->bkte", delta, rest["delta_weight"])
    if "delta2_weight" in rest:
        delta2 = np.einsum("bktr,kre->bkte", delta2, rest["delta2_weight"])
    biases = [rest.get("delta_bias"), rest.get("delta2_bias")]
    if biases[0] is not None:
        delta = np.log1p(np.exp(delta + biases[0][:, None]))
        if delta2 is not None:
            delta2 = np.log1p(np.exp(delta2 + biases[1][:, None]))
    y = np.zeros_like(u)
    K, E, N = A.shape
    last = np.zeros((len(u), K, E, N))
    for item in range(len(u)):
        for k in range(K):
            for e in range(E):
                h = [0.0] * N if initial_state is None else list(initial_state[item, k, e])
                for s in order[k]:
                    d = d2 = delta[item, k, s, e]
                    if delta2 is not None:
                        d2 = delta2[item, k, s, e]
                    for n in range(N):
                        a = math.exp(d * A[k, e, n])
                        if A2 is not None:
                            a = (a + math.exp(d2 * A2[k, e, n])) / 2
                        h[n] = a * h[n] + d2 * B[item, k, s, n] * u[item, s, e]
                        y[item, s, e] += C[item, k, s, n] * h[n]
                    y[item, s, e] += D[k, e] * u[item, s, e]
                last[item, k, e] = h
    return y, last


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("more", [{}, {"rank": 2, "initial": True}])
def test_the_definition_is_the_formula(make_inputs, run_scan, pair, softplus, more):
    inputs = make_inputs(tokens=6, channels=2, states=3, pair=pair, softplus=softplus, **more)
    order = cross_order(2, 3)
    answers = run_scan("reference", inputs, order, dtype=torch.float64)
    arrays = {name: value.double().numpy() for name, value in inputs.items()}
    y, last = written_out(order.table.tolist(), **arrays)
    np.testing.assert_allclose(answers["y"], y, rtol=1e-9)
    np.testing.assert_allclose(answers["last"], last, rtol=1e-9)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.parametrize("more", [{}, {"rank": 2, "initial": True}])
def test_gradcheck(make_inputs, monkeypatch, pair, engine, more):
    monkeypatch.setenv("BANDWEAVE_SCAN", engine)
    inputs = make_inputs(1, 4, 2, 2, pair=pair, softplus=True, **more)
    leaves = [value.double().requires_grad_() for value in inputs.values()]

    def scan(*values):
        named = dict(zip(inputs, values, strict=True))
        return selective_scan(
            **named, order=cross_order(2, 2), softplus=True, return_last_state=True
        )

    assert torch.autograd.gradcheck(scan, leaves)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
def test_without_an_order_every_sequence_runs_forward(make_inputs, run_scan, engine):
    inputs = make_inputs(tokens=5, sequences=2)
    by_default = run_scan(engine, inputs)
    explicit = run_scan(engine, inputs, forward_order(5, 2).table)  # a raw table
    for name, value in explicit.items():
        assert torch.equal(by_default[name], value)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
@pytest.mark.parametrize("empty", ["batch", "tokens", "channels", "states"])
@pytest.mark.parametrize("more", [{}, {"rank": 2, "initial": True}])
def test_nothing_to_scan(make_inputs, run_scan, engine, empty, more):
    inputs = make_inputs(**{empty: 0}, sequences=2, **more)
    answers = run_scan(engine, inputs)
    skip = inputs["u"] * inputs["D"].sum(0)
    assert torch.equal(answers["y"], skip)
    assert torch.equal(answers["A"], torch.zeros_like(inputs["A"]))
    before = inputs.get("initial_state", torch.zeros_like(answers["last"]))
    assert torch.equal(answers["last"], before)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
def test_a_factor_without_rank_gives_steps_of_zero(make_inputs, run_scan, engine):
    inputs = make_inputs(rank=0, initial=True)
    answers = run_scan(engine, inputs)
    torch.testing.assert_close(answers["last"], inputs["initial_state"])
