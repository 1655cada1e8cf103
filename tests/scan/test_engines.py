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
        "rank": draw(st.sampled_from([None, 1, 3])),
        "initial": draw(st.booleans()),
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
    assert answers.pop("last").dtype == torch.float32
    assert {value.dtype for value in answers.values()} == {dtype}
    assert torch.equal(answers["y"], exact["y"].to(dtype))


@settings(FEW, max_examples=15)
@given(st.data())
def test_a_scan_goes_on_from_its_last_state(make_inputs, monkeypatch, data):
    monkeypatch.setenv("BANDWEAVE_SCAN", data.draw(st.sampled_from(["torch", "numba"])))
    tokens, states = data.draw(st.integers(2, 150)), data.draw(st.sampled_from([1, 4]))
    inputs = make_inputs(2, tokens, 17, states, 2, pair=data.draw(st.booleans()), initial=True)
    cut = data.draw(st.integers(1, tokens - 1))
    whole, last = selective_scan(**inputs, return_last_state=True)
    state, parts = inputs.pop("initial_state"), []
    along = {
        name: inputs.pop(name) for name in ("u", "delta", "B", "C", "delta2") if name in inputs
    }
    for piece in (slice(None, cut), slice(cut, None)):
        some = {name: value[..., piece, :] for name, value in along.items()}
        part, state = selective_scan(**some, **inputs, initial_state=state, return_last_state=True)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
@pytest.mark.parametrize("which", ["y", "last"])
def test_each_output_alone_has_gradients(make_inputs, monkeypatch, engine, which):
    monkeypatch.setenv("BANDWEAVE_SCAN", engine)
    inputs = make_inputs(initial=True, states=1, tokens=6)
    inputs["initial_state"].requires_grad_()

    def chosen():
        y, last = selective_scan(**inputs, return_last_state=True)
        return {"y": y, "last": last}[which].sum()

    (found,) = torch.autograd.grad(chosen(), inputs["initial_state"])
    monkeypatch.setenv("BANDWEAVE_SCAN", "reference")
    (true,) = torch.autograd.grad(chosen(), inputs["initial_state"])
    torch.testing.assert_close(found, true)


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
def test_negative_steps_grow_as_the_definition_says(make_inputs, run_scan, agree, engine):
    inputs = make_inputs(tokens=20)
    inputs["delta"] *= -0.05
    truth = run_scan("reference", inputs, dtype=torch.float64)
    agree(run_scan(engine, inputs), truth, gradient=1e-5)


@pytest.mark.parametrize("name", ["delta", "delta_weight", "initial_state"])
def test_what_is_not_a_number_spreads(make_inputs, run_scan, name):
    inputs = make_inputs(1, 40, 20, 4, 2, rank=2, initial=True)
    inputs[name][0, 0, 0] = torch.nan
    found, true = run_scan("numba", inputs), run_scan("reference", inputs)
    for part in ("y", "last"):
        assert true[part].isnan().any()
        assert torch.equal(found[part].isnan(), true[part].isnan())


@pytest.mark.parametrize("engine", ["reference", "torch", "numba"])
def test_strided_views_are_read_right(make_inputs, run_scan, engine):
    inputs = make_inputs(tokens=12, channels=20, pair=True, rank=2, initial=True)
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
    inputs = make_inputs(softplus=True, rank=3, initial=True)
    for engine in ("torch", "numba"):
        outside = run_scan(engine, inputs)
        with torch.autocast("cpu", torch.bfloat16):
            y, last = selective_scan(**inputs, softplus=True, return_last_state=True)
        assert torch.equal(y, outside["y"])
        assert torch.equal(last, outside["last"])


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
        (wrong("A", lambda v: v[:0]), "at least one sequence"),
        (lambda inputs: {**inputs, "delta2": inputs["delta"]}, "delta2 and A2 go together"),
        (lambda inputs: {**inputs, "delta2_weight": inputs["A"]}, "delta2_weight is given without"),
        (
            lambda inputs: {**inputs, "delta_weight": torch.ones(4, 3, 5)},
            r"delta_weight is \(4, 3, 5\), expected \(4, 5, 5\), .* and delta \(B, K, T, R\) is",
        ),
        (
            lambda inputs: {**inputs, "delta": torch.ones(2, 4, 9, 3), "delta_weight": inputs["A"]},
            r"delta is \(2, 4, 9, 3\), expected \(2, 4, 12, 3\)",
        ),
        (
            lambda inputs: {**inputs, "delta": torch.ones(3), "delta_weight": inputs["A"]},
            r"delta is \(3,\), expected \(2, 4, 12, 5\)",
        ),
        (
            lambda inputs: {**inputs, "initial_state": inputs["A"]},
            r"initial_state is \(4, 5, 4\), expected \(2, 4, 5, 4\)",
        ),
        (lambda inputs: {**inputs, "initial_state": torch.ones(2).int()}, "of torch.int32"),
        (lambda inputs: {**inputs, "delta2_bias": inputs["D"]}, "without delta2"),
        (lambda inputs: {**inputs, "order": cross_order(2, 5)}, "4 sequences over 10 tokens"),
        (lambda inputs: {**inputs, "order": torch.zeros(4, 12, dtype=int)}, "not a permutation"),
        (lambda inputs: {**inputs, "order": torch.full((4, 12), 12)}, "not a permutation"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_shapes(make_inputs, spoil, said):
    with pytest.raises(ScanError, match=said):
        selective_scan(**spoil(make_inputs()))


def test_the_engine_follows_device_and_type(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    monkeypatch.setattr(engine_module, "find_import_error", lambda name: "")
    assert engine_name() == "numba"
    assert engine_name(dtype=torch.bfloat16) == "numba"
    assert engine_name(dtype=torch.float64) == "torch"
    assert engine_name("cuda", torch.bfloat16) == "triton"
    assert engine_name("cuda", torch.float64) == "torch"
    assert engine_name("mps") == "torch"
    monkeypatch.setattr(
        engine_module, "find_import_error", lambda name: f"No module named '{name}'"
    )
    assert engine_name() == "torch"
    assert engine_name("cuda") == "torch"


def test_the_engine_can_be_forced(monkeypatch):
    monkeypatch.setattr(engine_module, "find_import_error", lambda name: "")
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
    monkeypatch.setattr(engine_module, "find_import_error", lambda name: "")
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
    monkeypatch.setattr(
        engine_module, "find_import_error", lambda name: f"No module named '{name}'"
    )
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
