"""S2GPT Mamba: its formula, what guides it, and that samples do not mix."""

import pytest
import torch
from torch.nn import functional as F

from bandweave.nn.mfpg import Matrices
from bandweave.nn.prompts import ChannelScan, MatrixGuide, PromptTransfer

BANDS, PIXELS, LAYERS, COUNT = 3, 4, 2, 2


def matrices(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Matrices(
        torch.rand(batch, BANDS, BANDS, generator=generator),
        torch.rand(batch, PIXELS, PIXELS, generator=generator),
    )


def transfer(**options):
    torch.manual_seed(0)
    sizes = {"prompts": COUNT, "bands": BANDS, "pixels": PIXELS, "width": 8, "state": 4}
    return PromptTransfer(6, 10, **sizes | options)


def prompts():
    return torch.randn(LAYERS, COUNT, 6, generator=torch.Generator().manual_seed(1))


def test_the_guide_by_its_products():
    torch.manual_seed(0)
    guide = MatrixGuide(8, BANDS, PIXELS)
    x, given = torch.randn(LAYERS, COUNT, 8), matrices()
    found = guide(x, given)
    for b in range(2):
        for layer in range(LAYERS):
            for n in range(COUNT):
                first, second = x[layer, n, :4], x[layer, n, 4:]
                spatial = guide.to_pixels(first) @ given.spatial[b] / PIXELS**0.5
                spectral = guide.to_bands(second) @ given.spectral[b] / BANDS**0.5
                expected = torch.cat(
                    [first + guide.from_pixels(spatial), second + guide.from_bands(spectral)]
                )
                torch.testing.assert_close(found[b, layer, n], expected)


def test_the_scan_runs_along_the_channels_both_ways():
    torch.manual_seed(0)
    scan = ChannelScan(COUNT, 3).double()
    x = torch.randn(2, COUNT, 7, dtype=torch.float64)
    u = x.transpose(1, 2)
    delta, B, C = scan.stream(u)
    steps = F.softplus(delta @ scan.stream.step_weight + scan.stream.step_bias[None, :, None])
    expected = torch.zeros_like(u)
    for k, turn in enumerate((lambda t: t, lambda t: t.flip(1))):
        one = [turn(v[:, k])[:, None] for v in (steps, B, C)]
        parts = scan.stream.A[k : k + 1], scan.stream.D[k : k + 1]
        y = selective_scan_by_hand(turn(u), one[0], parts[0], one[1], one[2], parts[1])
        expected = expected + turn(y)
    torch.testing.assert_close(scan(x), expected.transpose(1, 2))


def selective_scan_by_hand(u, delta, A, B, C, D):
    y = []
    state = torch.zeros(u.shape[0], u.shape[2], A.shape[2], dtype=u.dtype)
    for t in range(u.shape[1]):
        step = delta[:, 0, t, :, None]
        state = torch.exp(step * A[0]) * state + step * B[:, 0, t, None] * u[:, t, :, None]
        y.append((state * C[:, 0, t, None]).sum(-1) + D[0] * u[:, t])
    return torch.stack(y, dim=1)


def test_the_whole_by_its_formula():
    model = transfer()
    given, guide = prompts(), matrices()
    entered = torch.nn.functional.silu(model.conv(model.in_proj(given)))
    p2 = model.guide(entered, guide)
    mixed = torch.stack([model.mix(p2[b]) for b in range(2)])
    gate = torch.nn.functional.silu(model.gate(given))
    expected = model.out_proj(gate[None] * model.norm(mixed))
    torch.testing.assert_close(model(given, guide), expected)
    assert expected.shape == (2, LAYERS, COUNT, 10)


@pytest.mark.parametrize("mixing", ["mamba", "transformer"])
def test_samples_and_layers_do_not_mix(mixing):
    model = transfer(mixing=mixing)
    given, guide = prompts(), matrices()
    both = model(given, guide)
    for b in range(2):
        one = Matrices(guide.spectral[b : b + 1], guide.spatial[b : b + 1])
        torch.testing.assert_close(model(given, one)[0], both[b])
        torch.testing.assert_close(model(given[:1], one)[0], both[b, :1])
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("mixing", ["mamba", "transformer"])
def test_both_matrices_and_every_weight_matter(mixing):
    model = transfer(mixing=mixing)
    guide = Matrices(*(each.requires_grad_() for each in matrices()))
    model(prompts(), guide).square().sum().backward()
    assert guide.spectral.grad.ne(0).all()
    assert guide.spatial.grad.ne(0).all()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
