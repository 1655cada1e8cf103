"""Scans of lifted values: the kernel against the parts, in float64, and against a loop."""

import pytest
import torch
from torch.nn.functional import silu, softplus

from bandweave.errors import ScanError
from bandweave.scan.engine import find_import_error
from bandweave.scan.lifted import LiftedScan, fits_kernel, scan_lifted, scan_lifted_by_parts

needs_kernel = pytest.mark.skipif(bool(find_import_error("numba")), reason="there is no Numba")


def make(features, states, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return LiftedScan(
        draw(features, 3) / 2, draw(features) / 3, draw(2, 1 + 2 * states, features) / 2,
        draw(2, features), draw(2, features) - 2,
        -4 * torch.rand(2, features, states, generator=generator) - 0.1,
        draw(2, features), draw(features),
    )  # fmt: skip


def values(sequences, length):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sequences, length, generator=generator)


def gradients(function, s, scan, dtype):
    given = [each.to(dtype).requires_grad_() for each in (s, *scan)]
    y = function(given[0], LiftedScan(*given[1:]))
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), given)]


def test_against_a_loop():
    scan, s = LiftedScan(*(each.double() for each in make(3, 2))), values(2, 5).double()
    around = torch.nn.functional.pad(s, (1, 1))
    y = torch.zeros_like(s)
    for p in range(2):
        u = [silu(scan.lift @ around[p, c : c + 3] + scan.lift_bias) for c in range(5)]
        for k, order in enumerate((range(5), reversed(range(5)))):
            h = torch.zeros(3, 2, dtype=torch.float64)
            for c in order:
                step, B, C = (scan.project[k] @ u[c]).split([1, 2, 2])
                delta = softplus(step * scan.step_weight[k] + scan.step_bias[k])
                h = torch.exp(delta[:, None] * scan.A[k]) * h + (delta * u[c])[:, None] * B
                y[p, c] += scan.lower @ (h @ C + scan.D[k] * u[c])
    torch.testing.assert_close(scan_lifted(s, scan), y)


@needs_kernel
@pytest.mark.parametrize(
    ("features", "states", "sequences", "length"),
    [(8, 4, 70, 33), (3, 2, 16, 16), (1, 1, 1, 1), (5, 6, 2, 20)],  # blocks and chunks, cut
)
def test_the_kernel_and_its_gradients(features, states, sequences, length):
    scan, s = make(features, states), values(sequences, length)
    assert fits_kernel(s)
    exact = gradients(scan_lifted_by_parts, s, scan, torch.float64)
    found = gradients(scan_lifted, s, scan, torch.float32)
    for one, other in zip(found, exact, strict=True):
        scale = other.abs().max().clamp(min=1e-12)
        assert (one.double() - other).abs().max() < 3e-6 * scale


@needs_kernel
def test_a_result_does_not_depend_on_the_number_of_threads():
    scan, s = make(8, 4), values(400, 64)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(gradients(scan_lifted, s, scan, torch.float32))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_kernel
def test_what_is_not_a_number_stays_in_its_sequence():
    scan, s = make(3, 2), values(20, 9)
    clean = scan_lifted(s, scan)
    s[4, 3] = float("nan")
    found = scan_lifted(s, scan)
    assert found[4].isnan().all()
    others = [p for p in range(20) if p != 4]
    assert torch.equal(found[others], clean[others])


@needs_kernel
def test_it_is_an_operator_of_torch():
    tensors = [each.requires_grad_() for each in (values(3, 4), *make(2, 2))]
    torch.library.opcheck(torch.ops.bandweave.scan_lifted, tensors)


def test_types_and_no_values():
    scan, s = make(3, 2), values(4, 6)
    assert scan_lifted(s.bfloat16(), scan).dtype == torch.float32
    assert scan_lifted(s.double(), scan).dtype == torch.float64
    assert scan_lifted(s[:0], scan).shape == (0, 6)


def test_parameters_that_do_not_fit_are_refused():
    scan = make(3, 2)
    with pytest.raises(ScanError, match=r"project is \(2, 4, 3\), expected \(2, 5, 3\)"):
        scan_lifted(values(4, 6), scan._replace(project=scan.project[:, :4]))
    with pytest.raises(ScanError, match="values are"):
        scan_lifted(values(4, 6)[0], scan)
