"""Inputs of a scan, and a way to run an engine on them."""

import pytest
import torch
from torch import Tensor

from bandweave.scan import selective_scan


def scan_inputs(
    batch=2, tokens=12, channels=5, states=4, sequences=4, pair=False, softplus=False, rank=None,
    initial=False, seed=0,
) -> dict[str, Tensor]:  # fmt: skip
    """Every tensor of a scan, as the keywords of `selective_scan`; decays from slow to strong."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def steps() -> Tensor:
        raw = normal(batch, sequences, tokens, channels) - 1
        return raw if softplus else torch.nn.functional.softplus(raw)

    def rates() -> Tensor:
        return -normal(sequences, channels, states).mul(1.5).exp()

    inputs = {
        "u": normal(batch, tokens, channels),
        "delta": steps(),
        "A": rates(),
        "B": normal(batch, sequences, tokens, states),
        "C": normal(batch, sequences, tokens, states),
        "D": normal(sequences, channels),
    }
    if softplus:
        inputs["delta_bias"] = normal(sequences, channels)
    if pair:
        inputs |= {"delta2": steps(), "A2": rates()}
    if pair and softplus:
        inputs["delta2_bias"] = normal(sequences, channels)
    if rank is not None:
        for steps in ("delta", "delta2") if pair else ("delta",):
            factor, weight = (
                normal(batch, sequences, tokens, rank),
                normal(sequences, rank, channels),
            )
            if not softplus:
                factor, weight = factor.abs(), weight.abs()
            inputs |= {steps: factor / max(rank, 1), f"{steps}_weight": weight}
    if initial:
        inputs["initial_state"] = normal(batch, sequences, channels, states)
    return inputs


def scan_with_gradients(inputs, order=None, dtype=torch.float32, softplus=None, seed=1):
    """y and the last states, and the gradient of every input for random gradients of both."""
    leaves = {k: v.detach().to(dtype).requires_grad_() for k, v in inputs.items()}
    through = "delta_bias" in inputs if softplus is None else softplus
    answers = selective_scan(**leaves, order=order, softplus=through, return_last_state=True)
    generator = torch.Generator().manual_seed(seed)
    upstream = [torch.randn(v.shape, generator=generator).to(v) for v in answers]
    gradients = torch.autograd.grad(
        answers, list(leaves.values()), upstream, materialize_grads=True
    )
    y, last = (value.detach() for value in answers)
    return {"y": y, "last": last, **dict(zip(leaves, gradients, strict=True))}


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: torch's threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_inputs():
    return scan_inputs


@pytest.fixture
def run_scan(monkeypatch):
    """run_scan(engine, inputs, order, …): the answers of one engine."""

    def run(engine, inputs, order=None, **options):
        monkeypatch.setenv("BANDWEAVE_SCAN", engine)
        return scan_with_gradients(inputs, order, **options)

    return run


@pytest.fixture
def agree():
    """agree(answers, truth, …): every error is small against the largest true value."""

    def check(answers, truth, output=1e-6, gradient=2e-6):
        for name, true in truth.items():
            bound = output if name == "y" else gradient  # a last state may be a sum that cancels
            scale = true.abs().max().clamp_min(1e-30)
            error = float((answers[name].double() - true).abs().max() / scale)
            assert error <= bound, f"{name}: relative error {error:.1e} > {bound:.0e}"

    return check
