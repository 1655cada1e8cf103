"""The Triton kernels on the CPU, by Triton's interpreter, against a loop in float64.

Run in a process of its own by test_triton.py, or by hand: the interpreter has to be chosen before
Triton is imported. It takes about 2 ms per program and step, so everything here is tiny.

    TRITON_INTERPRET=1 pytest tests/scan/triton_interpreted.py
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus
from triton.runtime import interpreter

from bandweave.scan.arguments import ScanArguments
from bandweave.scan.gpu import engine as triton_engine

WHOLE, CHUNKED, INSIDE = "whole", "chunked", "inside"


@pytest.fixture(scope="module", autouse=True)
def _replace_the_language_once():
    """Let a launch replace Triton's functions once in each module, not at every call in a kernel.

    The interpreter would find all replaced, and take half the time of the tests here for that.
    """
    launch, done = interpreter.GridExecutor.__call__, set()

    def launch_afresh(executor, *arguments, **options):
        done.clear()
        return launch(executor, *arguments, **options)

    def call(function, *arguments, **options):
        if function.fn.__module__ not in done:
            done.add(function.fn.__module__)
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(interpreter.GridExecutor, "__call__", launch_afresh)
        patched.setattr(interpreter.InterpretedFunction, "__call__", call)
        yield


def make(
    batch=1, K=1, T=5, E=3, N=1, rank=0, pair=False, through=False, initial=False, seed=0
) -> ScanArguments:
    """Random float32 arguments; `through`: with biases and softplus."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def steps() -> tuple[Tensor, Tensor | None, Tensor | None]:
        bias = normal(K, E) if through else None
        if rank:
            return normal(batch, K, T, rank).abs() / 2, normal(K, rank, E).abs() / 2, bias
        raw = normal(batch, K, T, E)
        return raw if through else softplus(raw - 1), None, bias

    (delta, weight, bias), (delta2, weight2, bias2) = steps(), steps()
    A, A2 = (-(normal(K, E, N) * 1.5).exp() for _ in range(2))
    return ScanArguments(
        u=normal(batch, T, E),
        delta=delta,
        A=A,
        B=normal(batch, K, T, N),
        C=normal(batch, K, T, N),
        D=normal(K, E),
        table=torch.stack([torch.randperm(T, generator=generator) for _ in range(K)]),
        softplus=through,
        delta_bias=bias,
        delta2=delta2 if pair else None,
        A2=A2 if pair else None,
        delta2_bias=bias2 if pair else None,
        delta_weight=weight,
        delta2_weight=weight2 if pair else None,
        initial=normal(batch, K, E, N) if initial else None,
    )


def truth(t: ScanArguments) -> tuple[Tensor, Tensor]:
    """y and the last states by the definition; differentiable, in the type of the arguments."""

    def steps(delta, weight, bias, k):
        raw = delta[:, k] if weight is None else delta[:, k] @ weight[k]
        raw = raw if bias is None else raw + bias[k]
        return softplus(raw) if t.softplus else raw

    y, last = torch.zeros_like(t.u), []
    for k in range(t.A.shape[0]):
        delta = drive = steps(t.delta, t.delta_weight, t.delta_bias, k)
        if t.delta2 is not None:
            drive = steps(t.delta2, t.delta2_weight, t.delta2_bias, k)
        h = t.u.new_zeros(t.u.shape[0], *t.A.shape[1:]) if t.initial is None else t.initial[:, k]
        outputs = [None] * t.u.shape[1]
        for s in t.table[k].tolist():
            a = torch.exp(delta[:, s, :, None] * t.A[k])
            if t.A2 is not None:
                a = (a + torch.exp(drive[:, s, :, None] * t.A2[k])) / 2
            h = a * h + (drive[:, s] * t.u[:, s])[..., None] * t.B[:, k, s, None]
            outputs[s] = (h * t.C[:, k, s, None]).sum(-1) + t.D[k] * t.u[:, s]
        y = y + torch.stack(outputs, 1)
        last.append(h)
    return y, torch.stack(last, 1)


def form_of(t: ScanArguments, form: str, tile: int = 2, chunk: int = 4) -> triton_engine.Plan:
    """A plan of this form, with tiles as short as the sequences here."""
    (batch, T, E), (K, _, N) = t.u.shape, t.A.shape
    plan = triton_engine.plan(batch, K, T, E, N, t.A2 is not None, 1, tile)
    if form == CHUNKED:
        return plan._replace(inside=False, chunk=chunk, chunks=-(-T // chunk))
    return plan._replace(inside=form == INSIDE, chunk=-(-T // tile) * tile, chunks=1)


def float_fields(t: ScanArguments) -> list[str]:
    values = t._asdict().items()
    return [name for name, x in values if isinstance(x, Tensor) and x.is_floating_point()]


def check(t: ScanArguments, plan: triton_engine.Plan | None, with_last=True) -> None:
    """Outputs and every gradient against the truth: relative to the largest true value."""
    exact = {name: getattr(t, name).double().requires_grad_() for name in float_fields(t)}
    true_y, true_last = truth(t._replace(**exact))
    generator = torch.Generator().manual_seed(1)
    dy = torch.randn(true_y.shape, generator=generator).to(t.u.dtype)
    dlast = torch.randn(true_last.shape, generator=generator) if with_last else None
    loss = (true_y * dy).sum() + (0 if dlast is None else (true_last * dlast).sum())
    true = dict(zip(exact, torch.autograd.grad(loss, list(exact.values())), strict=True))

    y, last, saved = triton_engine.forward(t, True, plan)
    if plan is None:
        assert tuple(saved.shape) == triton_engine.compute_saved_shape(t)
    gradients = triton_engine.backward(t, saved, dy, dlast, plan)._asdict()
    assert y.dtype == t.u.dtype
    assert last.dtype == saved.dtype == torch.float32
    pairs = {"y": (y, true_y), "last": (last, true_last)}
    pairs |= {f"d{name}": (gradients[name], true[name]) for name in true}
    for name, (value, expected) in pairs.items():
        assert value.shape == expected.shape, name
        expected = expected.detach()
        scale = expected.abs().max().clamp_min(1e-30)
        error = float((value.double() - expected).abs().max() / scale)
        bound = 2e-6
        if name != "last":
            kind = t.u.dtype if name == "y" else getattr(t, name[1:]).dtype
            assert value.dtype == kind, name
            bound = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[kind]
        assert error <= bound, f"{name}: relative error {error:.1e} > {bound:.0e}"
    for name, value in gradients.items():
        if name not in true and name not in ("table", "softplus"):
            assert value is None, name


@pytest.mark.parametrize(
    ("form", "options"),
    [
        (WHOLE, {"batch": 2}),
        (WHOLE, {"K": 4, "N": 3, "through": True}),
        (WHOLE, {"N": 16, "E": 9, "T": 4, "through": True, "initial": True}),
        (WHOLE, {"N": 20, "E": 2, "T": 3}),
        (WHOLE, {"N": 2, "T": 1, "E": 17}),
        (INSIDE, {"K": 3, "N": 2}),
        (INSIDE, {"K": 2, "N": 4, "E": 17, "pair": True, "T": 3}),
        (CHUNKED, {"K": 2, "through": True, "initial": True, "T": 7}),
        (CHUNKED, {"K": 2, "N": 3, "pair": True, "through": True, "initial": True, "T": 6}),
        (CHUNKED, {"N": 16, "T": 5, "batch": 2}),
        (WHOLE, {"rank": 3, "through": True, "E": 33}),
        (CHUNKED, {"rank": 2, "pair": True, "N": 3, "K": 2, "T": 6, "E": 17}),
        (INSIDE, {"rank": 1, "K": 2, "E": 2, "through": True}),
    ],
)
def test_outputs_and_gradients(form, options):
    t = make(**options)
    check(t, form_of(t, form))


def test_more_chunks_than_are_carried_at_once():
    t = make(T=19, E=1, initial=True)
    check(t, form_of(t, CHUNKED, tile=1, chunk=2))


def test_without_a_gradient_of_the_last_states():
    t = make(T=5, E=2)
    check(t, form_of(t, CHUNKED), with_last=False)
    check(t, form_of(t, WHOLE), with_last=False)


def test_a_plan_made_from_the_shapes():
    check(make(T=9, E=2, K=2), None)


def test_a_pair_of_which_one_is_factored():
    t = make(T=4, E=2, N=2, pair=True, rank=2)
    t = t._replace(delta2=softplus(torch.randn(1, 1, 4, 2)), delta2_weight=None)
    check(t, form_of(t, WHOLE))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", [WHOLE, CHUNKED])
def test_half_precision_inputs_keep_a_float32_state(dtype, form):
    t = make(K=2, N=3, T=6, E=3, through=True)
    t = t._replace(**{name: getattr(t, name).to(dtype) for name in ("u", "delta", "B", "C")})
    check(t, form_of(t, form))


def test_every_input_may_have_its_own_type():
    t = make(N=2, T=4, through=True, rank=2, initial=True)
    kinds = [torch.float32, torch.bfloat16, torch.float16]
    changed = {name: getattr(t, name).to(kinds[i % 3]) for i, name in enumerate(float_fields(t))}
    t = t._replace(**changed)
    check(t, form_of(t, CHUNKED, chunk=2))


def test_strided_inputs():
    t = make(N=3, T=5, K=2)
    strided = {
        name: getattr(t, name).transpose(-1, -2).contiguous().transpose(-1, -2)
        for name in ("u", "delta", "A", "B", "C", "D")
    }
    check(t._replace(**strided), form_of(t, WHOLE))


def test_strong_decay_forgets_and_stays_finite():
    t = make(T=6, N=3)
    t = t._replace(delta=t.delta * 1000)
    for form in (WHOLE, CHUNKED):
        check(t, form_of(t, form))


@pytest.mark.parametrize("form", [WHOLE, CHUNKED])
def test_nan_spreads_to_the_steps_after_it(form):
    t = make(T=7, E=2, N=2, through=True)
    token = int(t.table[0, 3])
    t.delta[0, 0, token, 1] = float("nan")
    y, last, _ = triton_engine.forward(t, False, form_of(t, form))
    after = torch.zeros(7, dtype=torch.bool)
    after[t.table[0, 3:]] = True
    assert torch.equal(y[0, :, 1].isnan(), after)
    assert last[0, 0, 1].isnan().all()
    assert not y[0, :, 0].isnan().any()


def test_softplus_is_exact_for_every_size():
    x = torch.tensor([-80.0, -20.0, -7.0, -1.0, 0.0, 1.0, 19.0, 30.0, 90.0])
    t = make(T=1, E=9, through=True)
    ones = torch.ones(1, 1, 1, 1)
    t = t._replace(u=torch.ones(1, 1, 9), delta=x.reshape(1, 1, 1, 9), B=ones, C=ones)
    t = t._replace(D=torch.zeros(1, 9), delta_bias=torch.zeros(1, 9))
    y, _, saved = triton_engine.forward(t, False, form_of(t, WHOLE, tile=1))
    torch.testing.assert_close(
        y.flatten().double(), torch.log1p(x.double().exp()), rtol=1e-6, atol=0
    )
    assert saved.shape == (0,)


def test_results_are_the_same_to_the_bit():
    t = make(K=2, T=4, E=9, N=3)
    plan = form_of(t, CHUNKED, chunk=2)
    runs = []
    for _ in range(2):
        y, last, saved = triton_engine.forward(t, True, plan)
        gradients = triton_engine.backward(t, saved, torch.ones_like(y), last, plan)
        runs.append([y, last, *(getattr(gradients, name) for name in float_fields(t))])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
