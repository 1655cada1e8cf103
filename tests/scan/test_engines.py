"""Every engine against the definition in float64, and what a user can do wrong."""

import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bandweave.errors import ScanError
from bandweave.scan import ScanOrder, cross_order, engine_name, selective_scan
from bandweave.scan import engine as engine_module

FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def scans(draw):
    """Sizes and any order; a pair has states for which the kernel is compiled anyway."""
    pair = draw(st.booleans())
    tokens, sequences = draw(st.integers(1, 150)), draw(st.integers(1, 4))
    sizes = {
        "batch": draw(st.integers(1, 3)),
        "tokens": tokens,
        "channels": draw(st.sampled_from([1, 2, 4, 8, 15, 16, 17, 33, 85])),
        "states": draw(st.sampled_from([1, 4, 8] if pair else [1, 2, 3, 4, 8])),
        "sequences": sequences,
        "pair": pair,
        "softplus": draw(st.booleans()),
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    table = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(sequences)])
    return sizes, ScanOrder(table)


@FEW
@given(scans())
def test_numba_is_the_definition(make_inputs, run_scan, agree, scan):
    sizes, order = scan
    inputs = make_inputs(**sizes)
    truth = run_scan("reference", inputs, order, dtype=torch.float64)
    agree(run_scan("numba", inputs, order), truth, gradient=2e-5)  # some sums nearly cancel


@FEW
@given(scans())
def test_torch_is_the_definition(make_inputs, run_scan, agree, scan):
    sizes, order = scan
    inputs = make_inputs(**sizes)
    truth = run_scan("reference", inputs, order, dtype=torch.float64)
    answers = run_scan("torch", inputs, order, dtype=torch.float64)
    agree(answers, truth, output=1e-12, gradient=1e-12)


@pytest.mark.parametrize("states", [1, 8])
@pytest.mark.parametrize("pair", [False, True])
def test_numba_is_accurate(make_inputs, run_scan, agree, states, pair):
    inputs = make_inputs(1, 1024, 17, states, pair=pair, softplus=True)
    order = cross_order(32, 32)
    truth = run_scan("torch", inputs, order, dtype=torch.float64)
    agree(run_scan("numba", inputs, order), truth, output=1e-6, gradient=2e-6)


@pytest.mark.parametrize("states", [1, 16])
@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_long_sequences_and_large_decays(make_inputs, run_scan, agree, engine, states):
    inputs = make_inputs(1, 1500, 3, states, 1)
    inputs["delta"] *= torch.tensor([0.01, 1.0, 300.0])
    truth = run_scan("reference", inputs, dtype=torch.float64)
    agree(run_scan(engine, inputs), truth)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_a_float32_state(make_inputs, run_scan, engine, dtype):
    inputs = {k: v.to(dtype).float() for k, v in make_inputs(tokens=200, softplus=True).items()}
    order = cross_order(20, 10)
    exact = run_scan(engine, inputs, order)
    answers = run_scan(engine, inputs, order, dtype=dtype)
    assert {value.dtype for value in answers.values()} == {dtype}
    assert torch.equal(answers["y"], exact["y"].to(dtype))


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
def test_strided_views_are_read_right(make_inputs, run_scan, engine):
    inputs = make_inputs(tokens=12, channels=20, pair=True)
    views = {}
    for name, value in inputs.items():
        spread = torch.full((*value.shape[:-1], 2 * value.shape[-1]), torch.nan)
        spread[..., ::2] = value
        views[name] = spread[..., ::2].transpose(0, 1).contiguous().transpose(0, 1)
    order = cross_order(3, 4)
    straight, strided = run_scan(engine, inputs, order), run_scan(engine, views, order)
    for name, value in straight.items():
        assert torch.equal(strided[name], value), name


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_an_expanded_gradient_is_read_right(make_inputs, monkeypatch, engine):
    monkeypatch.setenv("BANDWEAVE_SCAN", engine)
    inputs = make_inputs(sequences=1)
    u = inputs.pop("u").requires_grad_()
    (summed,) = torch.autograd.grad(selective_scan(u, **inputs).sum(), u)
    y = selective_scan(u, **inputs)
    (given_ones,) = torch.autograd.grad(y, u, torch.ones_like(y))
    assert torch.equal(summed, given_ones)


def test_autocast_does_not_reach_the_state(make_inputs, run_scan):
    inputs = make_inputs(softplus=True)
    for engine in ("torch", "numba"):
        outside = run_scan(engine, inputs)["y"]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(run_scan(engine, inputs)["y"], outside)


def wrong(name, change):
    def apply(inputs):
        return {**inputs, name: change(inputs[name])}

    return apply


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wrong("delta", lambda v: v[:, :1]), r"delta is \(2, 1, 12, 5\), expected \(2, 4, 12, 5\)"),
        (wrong("A", lambda v: v[0]), r"A \(5, 4\)"),
        (wrong("A", lambda v: v[:, :3]), r"A is \(4, 3, 4\), expected \(4, 5, 4\)"),
        (wrong("B", lambda v: v[..., :3]), r"B is \(2, 4, 12, 3\)"),
        (wrong("C", lambda v: v.transpose(2, 3)), r"C is \(2, 4, 4, 12\)"),
        (wrong("D", lambda v: v[0]), r"D is \(5,\), expected \(4, 5\)"),
        (wrong("u", lambda v: v.long()), "u is of torch.int64"),
        (wrong("u", lambda v: v.numpy()), "u is a ndarray"),
        (wrong("u", lambda v: v[0]), r"u \(12, 5\)"),
        (wrong("D", lambda v: v.to("meta")), "different devices.*D on meta"),
        (lambda inputs: {**inputs, "delta2": inputs["delta"]}, "delta2 and A2 go together"),
        (lambda inputs: {**inputs, "delta2_bias": inputs["D"]}, "without delta2"),
        (lambda inputs: {**inputs, "order": cross_order(2, 5)}, "4 sequences over 10 tokens"),
        (lambda inputs: {**inputs, "order": torch.zeros(4, 12, dtype=int)}, "not a permutation"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_shapes(make_inputs, spoil, said):
    with pytest.raises(ScanError, match=said):
        selective_scan(**spoil(make_inputs()))


def test_the_engine_follows_device_and_type(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    monkeypatch.setattr(engine_module, "missing", lambda name: "")
    assert engine_name() == "numba"
    assert engine_name(dtype=torch.bfloat16) == "numba"
    assert engine_name(dtype=torch.float64) == "torch"
    assert engine_name("cuda", torch.bfloat16) == "triton"
    assert engine_name("cuda", torch.float64) == "torch"
    assert engine_name("mps") == "torch"
    monkeypatch.setattr(engine_module, "missing", lambda name: f"No module named '{name}'")
    assert engine_name() == "torch"
    assert engine_name("cuda") == "torch"


def test_the_engine_can_be_forced(monkeypatch):
    monkeypatch.setattr(engine_module, "missing", lambda name: "")
    monkeypatch.setenv("BANDWEAVE_SCAN", "reference")
    assert engine_name("cuda") == "reference"
    monkeypatch.setenv("BANDWEAVE_SCAN", "numba")
    with pytest.raises(ScanError, match="runs on the CPU alone, the tensors are on cuda"):
        engine_name("cuda")
    with pytest.raises(ScanError, match="in float32, the tensors are of float64"):
        engine_name(dtype=torch.float64)
    monkeypatch.setenv("BANDWEAVE_SCAN", "fast")
    with pytest.raises(ScanError, match="reference, torch, numba, triton"):
        engine_name()


def test_triton_on_the_cpu_needs_its_interpreter(monkeypatch):
    monkeypatch.setattr(engine_module, "missing", lambda name: "")
    monkeypatch.setenv("BANDWEAVE_SCAN", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert engine_name("cuda") == "triton"
    with pytest.raises(ScanError, match=r"CUDA \(with TRITON_INTERPRET=1, .*tensors are on cpu"):
        engine_name("cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert engine_name("cpu") == "triton"
    with pytest.raises(ScanError, match="tensors are on mps"):
        engine_name("mps")


def test_a_missing_engine_is_said_once(monkeypatch, make_inputs):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    monkeypatch.setattr(engine_module, "missing", lambda name: f"No module named '{name}'")
    engine_module._warn_slow.cache_clear()
    inputs = make_inputs()
    with pytest.warns(UserWarning, match="numba cannot be imported: No module named 'numba'"):
        selective_scan(**inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(**inputs)
    for name in ("numba", "triton"):
        monkeypatch.setenv("BANDWEAVE_SCAN", name)
        with pytest.raises(ScanError, match=f"{name} cannot be imported"):
            selective_scan(**inputs)
    engine_module._warn_slow.cache_clear()
