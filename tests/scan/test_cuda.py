"""The Triton engine on a GPU, where there is one, against the definition in float64 on the CPU."""

import pytest
import torch

from bandweave.scan import ScanOrder, engine_name

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")

# Few channels and a long sequence are cut into chunks, many rows of channels are not.
CASES = {
    "chunks": {"batch": 1, "tokens": 4096, "channels": 32, "states": 16},
    "whole": {"batch": 48, "tokens": 33, "channels": 192, "states": 4},
    "one state": {"batch": 2, "tokens": 1000, "channels": 85, "states": 1},
    "pair": {"batch": 2, "tokens": 300, "channels": 40, "states": 8, "pair": True},
    "rank": {"batch": 2, "tokens": 300, "channels": 40, "states": 8, "rank": 3},
    "pieces": {"batch": 2, "tokens": 70, "channels": 17, "states": 5, "initial": True},
}


@pytest.fixture
def on_both(make_inputs, run_scan):
    """on_both(case, dtype): the answers of the kernels, and the truth."""

    def run(case, dtype):
        inputs = make_inputs(sequences=4, softplus=True, **case)
        rows = [torch.randperm(case["tokens"]) for _ in range(4)]
        order = ScanOrder(torch.stack(rows))
        rounded = {name: value.to(dtype) for name, value in inputs.items()}
        truth = run_scan("reference", rounded, order, dtype=torch.float64)
        there = {name: value.to("cuda") for name, value in rounded.items()}
        answers = run_scan("triton", there, order, dtype=dtype)
        return {name: value.cpu() for name, value in answers.items()}, truth

    return run


def test_it_is_the_engine_there(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    assert engine_name("cuda") == "triton"


@pytest.mark.parametrize("case", CASES)
def test_float32_is_the_definition(on_both, agree, case):
    answers, truth = on_both(CASES[case], torch.float32)
    agree(answers, truth, output=2e-6, gradient=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_keeps_a_float32_state(on_both, agree, case):
    answers, truth = on_both(CASES[case], torch.bfloat16)
    assert answers["last"].dtype == torch.float32
    agree(answers, truth, output=1e-2, gradient=2e-2)


def test_two_runs_agree_to_the_bit(on_both):
    torch.manual_seed(0)
    first, _ = on_both(CASES["chunks"], torch.float32)
    torch.manual_seed(0)
    second, _ = on_both(CASES["chunks"], torch.float32)
    assert all(torch.equal(first[name], second[name]) for name in first)
