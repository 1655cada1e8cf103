"""The Triton kernels compiled for GPUs, without one; what the engine plans and refuses.

Run in a process of its own by test_triton.py, or by hand, without TRITON_INTERPRET:

    pytest tests/scan/triton_compiled.py
"""

import re
import subprocess
from pathlib import Path

import pytest
import torch
import triton
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bandweave.errors import ScanError
from bandweave.scan.arguments import ScanArguments
from bandweave.scan.gpu import backward as backward_kernels
from bandweave.scan.gpu import engine as gpu
from bandweave.scan.gpu import forward as forward_kernels

SCAN, CARRY = forward_kernels.scan, forward_kernels.carry
CHUNK_STATES = forward_kernels.chunk_states
BACKWARD, ADJOINTS = backward_kernels.scan_backward, backward_kernels.chunk_adjoints
KERNELS = [SCAN, CHUNK_STATES, CARRY, BACKWARD, ADJOINTS]
H200 = 132  # multiprocessors

# Arguments that a variant does without.
WEIGHTS = {"weight", "dweight", "weight2", "dweight2"}
SECOND = {"delta2", "bias2", "A2", "ddelta2", "dbias2", "dA2"}
CHUNKS = {"starts", "incoming"}
STATES = {"initial", "dlast", "dinitial"}
BIASES = {"bias", "dbias", "bias2", "dbias2"}
PLAIN = WEIGHTS | SECOND | CHUNKS | STATES | BIASES


def compiled(kernel, capability, absent=frozenset(), N=1, half=False, **constants):
    """A kernel as it is launched for this many states: its machine code and everything before."""
    block = gpu.plan_block(96, N, "A2" not in absent)
    constants = {"SOFTPLUS": False, "INSIDE": False, "REVERSE": False} | constants
    constants |= {"GROUP": 8, "SIZE": 64, "TILE": block.tile, **block._asdict()}
    inputs = {"u", "delta", "delta2", "B", "C", "dy", "ddelta", "ddelta2"} if half else set()
    signature, constexprs, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        if parameter.is_constexpr or name in absent:
            signature[name] = "constexpr"
            constexprs[name] = None if name in absent else constants[name]
        elif name in forward_kernels.SIZES:
            signature[name] = "i32"
        else:
            kind = "*i64" if name == "table" else "*bf16" if name in inputs else "*fp32"
            signature[name] = kind
            attributes[place,] = [["tt.divisibility", 16]]  # as torch allocates
    source = ASTSource(kernel, signature, constexprs, attributes)
    options = {"num_warps": 2 if kernel is CARRY else block.warps}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def stack_bytes(machine_code: bytes, folder: Path) -> int:
    """Bytes of local memory per lane: spilled registers. Read by the tool that Triton brings."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.is_file():
        pytest.skip("this Triton brings no cuobjdump, which lists the registers")
    path = folder / "kernel.cubin"
    path.write_bytes(machine_code)
    command = [tool, "--dump-resource-usage", path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", said))


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_every_kernel_compiles_without_a_gpu(kernel, capability, tmp_path):
    result = compiled(kernel, capability, PLAIN)
    assert len(result.asm["cubin"]) > 1000
    assert stack_bytes(result.asm["cubin"], tmp_path) == 0
    assert ("ex2.approx" in result.asm["ptx"]) == (kernel is not CARRY)
    assert "atom." not in result.asm["ptx"]
    assert "red.global" not in result.asm["ptx"]


@pytest.mark.parametrize(
    ("absent", "options"),
    [
        (WEIGHTS | SECOND, {"N": 16, "half": True, "SOFTPLUS": True}),
        (WEIGHTS, {"N": 8, "SOFTPLUS": True, "INSIDE": True}),
        (SECOND | {"weight2", "dweight2"}, {"N": 1, "SOFTPLUS": True, "half": True}),
    ],
    ids=["states", "pair", "factors"],
)
@pytest.mark.parametrize("kernel", [SCAN, BACKWARD], ids=lambda kernel: kernel.__name__)
def test_every_variant_compiles_without_spills(kernel, absent, options, tmp_path):
    result = compiled(kernel, 90, absent, **options)
    assert stack_bytes(result.asm["cubin"], tmp_path) == 0
    block = gpu.plan_block(96, options["N"], "A2" not in absent)
    lanes = re.findall(r"threadsPerWarp = (\[\d+, \d+, \d+, \d+\])", result.asm["ttgir"])
    assert set(lanes) == {f"[1, 1, {block.NB}, {block.EB}]"}


@pytest.mark.parametrize("kernel", [CHUNK_STATES, ADJOINTS], ids=lambda kernel: kernel.__name__)
def test_chunks_of_a_pair_compile_without_spills(kernel, tmp_path):
    result = compiled(kernel, 90, WEIGHTS, N=16, SOFTPLUS=True)
    assert stack_bytes(result.asm["cubin"], tmp_path) == 0


def test_the_carry_runs_backwards(tmp_path):
    forwards = compiled(CARRY, 90, {"boundary"}).asm["ptx"]
    assert compiled(CARRY, 90, {"boundary"}, REVERSE=True).asm["ptx"] != forwards


# The plan ----------------------------------------------------------------------------------------


def test_few_programs_cut_the_sequences():
    plan = gpu.plan(8, 4, 4096, 192, 1, False, H200)
    assert plan.chunks > 1
    assert not plan.inside
    assert plan.chunk % plan.block.tile == 0
    assert plan.chunk * (plan.chunks - 1) < 4096 <= plan.chunk * plan.chunks
    assert plan.programs(8, 4) >= H200 * gpu.RESIDENT / 2


def test_many_programs_walk_whole_sequences():
    plan = gpu.plan(64, 4, 1024, 192, 1, False, H200)
    assert (plan.chunks, plan.inside) == (1, False)


def test_very_many_programs_walk_all_sequences():
    plan = gpu.plan(512, 4, 121, 192, 1, False, H200)
    assert (plan.chunks, plan.inside) == (1, True)


def test_short_sequences_are_not_cut():
    assert gpu.plan(1, 1, 31, 8, 1, False, H200).chunks == 1


@pytest.mark.parametrize("N", [1, 2, 3, 4, 8, 16, 17, 64, 256])
@pytest.mark.parametrize("E", [1, 8, 85, 192])
def test_a_block_holds_all_states_and_its_lanes(E, N):
    block = gpu.plan_block(E, N, pair=False)
    assert block.NA * block.NB >= N > block.NA * block.NB // 2
    assert block.NB * block.EB == gpu.LANES
    plan = gpu.plan(1, 1, 64, E, N, False, 1)
    assert (plan.blocks - 1) * block.channels < E <= plan.blocks * block.channels


def test_the_shape_of_the_saved_states_for_a_symbolic_length():
    sizes = [DimDynamic.STATIC, DimDynamic.DYNAMIC, DimDynamic.STATIC]
    mode = FakeTensorMode(shape_env=ShapeEnv())
    real = torch.ones(1, 40, 8)
    u = mode.from_tensor(real, symbolic_context=StatelessSymbolicContext(sizes))
    with mode:
        shape = gpu.compute_saved_shape(arguments_like(u))
    assert isinstance(shape[2], torch.SymInt)
    assert shape == (1, 2, 5, 8, 3)


def arguments_like(u: torch.Tensor) -> ScanArguments:
    (batch, T, E), K, N = u.shape, 2, 3
    projections = u.new_zeros(batch, K, T, N)
    return ScanArguments(
        u=u,
        delta=u.new_ones(batch, K, T, E),
        A=u.new_zeros(K, E, N),
        B=projections,
        C=projections,
        D=u.new_zeros(K, E),
        table=u.new_zeros(K, T, dtype=torch.int64),
        softplus=False,
    )


# What it refuses ---------------------------------------------------------------------------------


def test_tensors_on_the_cpu():
    with pytest.raises(ScanError, match=r"GPU.*cpu"):
        gpu.forward(arguments_like(torch.ones(1, 4, 2)), keep=False)


def test_no_compiler(monkeypatch):
    gpu._check_compiler.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ScanError, match=r"C compiler.*install"):
        gpu._check_compiler()
    monkeypatch.setenv("CC", "my-compiler")
    gpu._check_compiler()
    gpu._check_compiler.cache_clear()
