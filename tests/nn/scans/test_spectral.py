"""The spectral expert: against a loop along the channels; chunks change nothing but the memory."""

import torch
from torch.nn.functional import gelu, pad, silu, softplus

from bandweave.nn.scans.spectral import PublishedSpectralExpert, SpectralExpert


def expert(width=4, steps=2**17, dtype=torch.float64):
    torch.manual_seed(0)
    return SpectralExpert(width, features=3, state=2, steps=steps).to(dtype)


def tokens(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def slow(e, x):
    """One position (D,), step by step along its channels."""
    s, gate = e.in_proj(x).chunk(2)
    around = pad(s, (1, 1))
    u = torch.stack([silu(e.lift(around[c : c + 3])) for c in range(len(s))])  # (L, F)
    total = torch.zeros_like(u)
    for k, order in enumerate((range(len(s)), reversed(range(len(s))))):
        h = torch.zeros(3, 2, dtype=x.dtype)
        for c in order:
            step, B, C = (e.stream.project[k] @ u[c]).split([1, 2, 2])
            delta = softplus(step @ e.stream.step_weight[k] + e.stream.step_bias[k])  # (F,)
            h = torch.exp(delta[:, None] * e.stream.A[k]) * h + (delta * u[c])[:, None] * B
            total[c] = total[c] + h @ C + e.stream.D[k] * u[c]
    return e.out_proj(e.norm(e.lower(total)[:, 0]) * gelu(gate))


def test_against_a_loop_along_the_channels():
    e, x = expert(), tokens(2, 3, 4)
    expected = torch.stack([slow(e, position) for position in x.flatten(0, 1)]).view(x.shape)
    torch.testing.assert_close(e(x), expected)


def test_chunks_change_neither_the_answer_nor_the_gradients():
    x = tokens(1, 5, 5, 4)
    found = []
    for steps in (8 * 7, 2**17):  # 7 positions at a time, and all at once
        e, given = expert(steps=steps), x.clone().requires_grad_()
        out = e(given)
        out.square().sum().backward()
        found.append([out.detach(), given.grad, *(p.grad for p in e.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert all(each.any() for each in found[0])


def kept_bytes(e, x):
    """What a forward pass keeps for the backward pass."""
    kept = []

    def pack(value):
        kept.append(value.numel() * value.element_size())
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        e(x)
    return sum(kept)


def test_memory_in_training_is_that_of_a_few_layers_and_not_the_scans():
    x = tokens(1, 20, 20, 8, dtype=torch.float32)
    assert kept_bytes(expert(width=8, dtype=torch.float32), x) < 20 * x.nbytes


def test_without_a_kernel_it_is_the_tokens_own(monkeypatch):
    monkeypatch.setenv("BANDWEAVE_SCAN", "torch")
    e = expert(width=8, steps=16 * 10, dtype=torch.float32)  # 10 positions at a time
    x = tokens(1, 20, 20, 8, dtype=torch.float32)
    assert kept_bytes(e, x) <= 2 * x.nbytes
    assert kept_bytes(expert(width=8, dtype=torch.float32), x) > 30 * x.nbytes


def test_no_chunk_is_larger_than_asked(monkeypatch):
    e, sizes = expert(width=8, steps=16 * 10, dtype=torch.float32), []
    scanned = e.scan_positions
    monkeypatch.setattr(e, "scan_positions", lambda x: sizes.append(len(x)) or scanned(x))
    with torch.no_grad():
        e(tokens(2, 4, 4, 8, dtype=torch.float32))
    assert sizes == [10, 10, 10, 2]


def test_parameters_do_not_depend_on_the_size_and_two_passes_agree():
    e = expert()
    names = [name for name, _ in e.named_parameters()]
    x = tokens(1, 3, 4, 4)
    assert torch.equal(e(x), e(x))
    assert [name for name, _ in e.named_parameters()] == names
    assert sum(p.numel() for p in e.parameters()) < 300


def test_the_releases_form_against_a_loop_along_the_channels():
    torch.manual_seed(0)
    e, x = PublishedSpectralExpert(4, 6, state=3).double(), tokens(1, 2, 3, 4)
    s, gate = e.in_proj(x[0].flatten(0, 1)).chunk(2, dim=-1)  # (6, 8)
    u = silu(e.conv(s.T))  # (8, 6): channels are tokens, positions their features
    total = torch.zeros_like(u)
    for k in range(2):
        h = torch.zeros(6, 3, dtype=x.dtype)
        for c in range(8):
            step, B, C = (e.stream.project[k] @ u[c]).split([1, 3, 3])
            delta = softplus(step @ e.stream.step_weight[k] + e.stream.step_bias[k])
            h = torch.exp(delta[:, None] * e.stream.A[k]) * h + (delta * u[c])[:, None] * B
            place = c if k == 0 else 7 - c  # the second is turned around after its scan
            total[place] = total[place] + h @ C + e.stream.D[k] * u[c]
    expected = e.out_proj(e.norm(total).T * gelu(gate)).view(x.shape)
    torch.testing.assert_close(e(x), expected)
