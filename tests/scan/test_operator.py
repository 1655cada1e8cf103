"""What autograd, torch.compile and torch.export see of the scan."""

import importlib.util
import io
import shutil
import sys

import pytest
import torch

from bandweave.errors import ScanError
from bandweave.nn.scans.ss2d import SS2D, CrossSS2D, StreamParameters
from bandweave.scan import ScanOrder, cross_order, forward_order, selective_scan
from bandweave.scan.arguments import ScanArguments
from bandweave.scan.operator import backward_operator, scan_operator

SIZES = [
    {"states": 4, "channels": 5},
    {"states": 1, "channels": 32},
    {"states": 4, "channels": 16, "pair": True, "softplus": True, "initial": True},
]


@pytest.fixture
def make_arguments(make_inputs, monkeypatch):
    """make_arguments(grad, **sizes): what selective_scan would give the operator."""
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)

    def make(grad=True, **sizes) -> ScanArguments:
        inputs = make_inputs(**{"tokens": 6, "sequences": 2, **sizes})
        t = {name: value.requires_grad_(grad) for name, value in inputs.items()}
        t["initial"] = t.pop("initial_state", None)
        table = ScanOrder([[0, 1, 2, 3, 4, 5], [4, 1, 0, 5, 3, 2]]).table
        return ScanArguments(table=table, softplus="delta_bias" in t, **t)

    return make


@pytest.mark.parametrize("sizes", SIZES)
def test_the_operator_keeps_its_promises(make_arguments, sizes):
    torch.library.opcheck(scan_operator, (*make_arguments(**sizes), "numba", True))
    torch.library.opcheck(scan_operator, (*make_arguments(False, **sizes), "numba", False))
    static = (*make_arguments(**sizes), "numba", True)
    torch.library.opcheck(scan_operator, static, test_utils="test_aot_dispatch_static")


@pytest.mark.parametrize("sizes", SIZES)
def test_the_backward_operator_keeps_its_promises(make_arguments, sizes):
    arguments = make_arguments(False, **sizes)
    y, last, saved = scan_operator(*arguments, "numba", True)
    upstream = torch.randn_like(y), torch.randn_like(last)
    torch.library.opcheck(backward_operator, (*arguments, "numba", saved, *upstream))
    torch.library.opcheck(backward_operator, (*arguments, "numba", saved, upstream[0], None))


def test_the_engine_reads_any_strides(make_arguments):
    """A compiler may have changed them since it traced the call."""
    arguments = make_arguments(False, pair=True, initial=True)
    turned = ScanArguments(
        *(x.mT.contiguous().mT if isinstance(x, torch.Tensor) else x for x in arguments)
    )
    outputs = scan_operator(*arguments, "numba", True)
    for found, true in zip(scan_operator(*turned, "numba", True), outputs, strict=True):
        assert torch.equal(found, true)
        assert found.is_contiguous()
    y, last, saved = outputs
    found, true = (
        backward_operator(*a, "numba", s, y.mT.contiguous().mT, last)
        for a, s in ((arguments, saved), (turned, saved.mT.contiguous().mT))
    )
    for one, other in zip(found, true, strict=True):
        assert torch.equal(one, other)
        assert other.is_contiguous()


def test_second_derivatives_are_refused_not_zero(make_inputs, monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    inputs = make_inputs()
    u = inputs.pop("u").requires_grad_()
    first = torch.autograd.grad(selective_scan(u, **inputs).square().sum(), u, create_graph=True)
    with pytest.raises(ScanError, match="no second derivatives; BANDWEAVE_SCAN=torch"):
        first[0].sum().backward()
    monkeypatch.setenv("BANDWEAVE_SCAN", "torch")
    first = torch.autograd.grad(selective_scan(u, **inputs).square().sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first[0].sum(), u)
    assert second.abs().sum() > 0


def test_states_that_were_not_kept_are_missed(make_arguments):
    y, _, saved = scan_operator(*make_arguments(), "numba", False)
    assert saved.numel() == 0
    with pytest.raises(ScanError, match="keep=False"):
        y.sum().backward()


def test_the_operator_knows_its_engines(make_arguments):
    with pytest.raises(ImportError, match="fast"):
        scan_operator(*make_arguments(False), "fast", False)


def answers(function, module, images):
    """The output for images, and the gradient of every parameter."""
    y = function(*images)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), list(module.parameters()))]


BLOCKS = {
    "ss2d": lambda: (SS2D(8, 4), 1),
    "transition": lambda: (CrossSS2D(8, 4), 2),
    "rate": lambda: (CrossSS2D(8, 4, average="rate"), 2),
}


@pytest.fixture(params=BLOCKS)
def block(request, monkeypatch):
    """A block, and a function that makes images for it."""
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    torch.manual_seed(0)
    torch._dynamo.reset()
    module, count = BLOCKS[request.param]()
    return module, lambda *sizes: [torch.randn(*sizes, 8) for _ in range(count)]


def test_blocks_compile_whole(block):
    module, images = block
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    given = images(2, 3, 5)
    found, true = answers(compiled, module, given), answers(module, module, given)
    for one, other in zip(found, true, strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        assert torch.equal(compiled(*given), true[0])


def test_one_graph_serves_every_size(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    torch._dynamo.reset()
    module = SS2D(8, 4)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    compiled(torch.randn(2, 3, 5, 8))
    for size in ((3, 4, 2), (5, 2, 7)):
        x = [torch.randn(*size, 8)]
        with torch.compiler.set_stance("fail_on_recompile"):
            found = answers(compiled, module, x)
        for one, other in zip(found, answers(module, module, x), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("strict", [False, True])
def test_blocks_are_exported_with_a_free_batch(block, strict):
    module, images = block
    given = tuple(images(2, 3, 5))
    batch = torch.export.Dim("batch", min=2, max=64)
    free = tuple({0: batch} for _ in given)
    program = torch.export.export(module, given, dynamic_shapes=free, strict=strict)
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("bandweave.selective_scan.default") == 1
    for size in (2, 7):
        others = images(size, 3, 5)
        assert torch.equal(program.module()(*others), module(*others))


def test_an_exported_program_is_read_back(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    module, x, file = SS2D(8, 1), torch.randn(2, 3, 4, 8), io.BytesIO()
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (x,)), file)
        file.seek(0)
        assert torch.equal(torch.export.load(file).module()(x), module(x))


def test_orders_that_were_traced_are_not_kept(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)

    class Scan(torch.nn.Module):
        def forward(self, u):
            ones = torch.ones(*u.shape[:1], 1, *u.shape[1:])
            return selective_scan(u, ones, -ones[0, :, 0, :, None], ones, ones, ones[0, :, 0])

    u = torch.randn(2, 37, 1)
    torch.export.export(Scan(), (u,), strict=False)
    assert type(forward_order(37, 1).table) is torch.Tensor
    assert type(forward_order(37, 1).on("cpu")[0]) is torch.Tensor


def test_an_order_made_outside_is_traced_through(make_inputs, monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    inputs, order = make_inputs(tokens=6, rank=2, initial=True), cross_order(2, 3)

    def scan(inputs):
        return selective_scan(**inputs, order=order, softplus=True, return_last_state=True)

    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(inputs), scan(inputs), strict=True):
        assert torch.equal(one, other)


def test_the_choice_of_an_engine_is_made_while_tracing(make_inputs, monkeypatch):
    inputs = make_inputs(states=1)
    for engine in ("torch", "numba"):
        monkeypatch.setenv("BANDWEAVE_SCAN", engine)
        torch._dynamo.reset()
        compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(**inputs), selective_scan(**inputs))


def test_autocast_is_traced_too(make_inputs, monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    inputs = make_inputs(rank=2, softplus=True)
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    expected = selective_scan(**inputs, softplus=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compiled(**inputs, softplus=True), expected)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")) or sys.platform == "win32",
    reason="torch.compile needs a C++ compiler",
)
def test_a_block_compiles_to_machine_code(monkeypatch):
    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    torch._dynamo.reset()
    stream = StreamParameters(32, 4, 1)
    u = torch.randn(2, 30, 32)

    def scan(u):
        delta, B, C = stream(u)
        s = {"delta_weight": stream.step_weight, "delta_bias": stream.step_bias, "softplus": True}
        return selective_scan(u, delta, stream.A, B, C, stream.D, cross_order(6, 5), **s)

    # No vectors: to try which of their instructions compile takes longer than all the rest.
    compiled = torch.compile(scan, fullgraph=True, options={"cpp.vec_isa_ok": False})
    found = answers(compiled, stream, [u])
    for one, other in zip(found, answers(scan, stream, [u]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is not installed")
@pytest.mark.parametrize("rank", [None, 2])
def test_shapes_for_a_gpu_are_known_without_one(make_inputs, monkeypatch, rank):
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.delenv("BANDWEAVE_SCAN", raising=False)
    inputs = make_inputs(rank=rank)
    with FakeTensorMode() as mode:
        t = {name: mode.from_tensor(value).bfloat16() for name, value in inputs.items()}
        table = torch.zeros(4, 12, dtype=torch.int64)
        arguments = ScanArguments(table=table, softplus=False, **t)
        y, last, saved = scan_operator(*arguments, "triton", True)
    assert (y.dtype, last.dtype, saved.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert (y.shape, last.shape) == ((2, 12, 5), (2, 4, 5, 4))
