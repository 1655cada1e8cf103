"""SS2D and Cross-SS2D against a slow form in float64: images flipped and transposed, one loop."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import pad, silu, softplus

from bandweave.nn.scans.ss2d import SS2D, CrossSS2D

WIDTH, STATE, BATCH, HEIGHT, BREADTH = 6, 4, 2, 3, 5
RANK, CHANNELS = math.ceil(WIDTH / 16), 2 * WIDTH

# The slow form: no order tables, nothing shared with the package


def turned(image, k):
    """Tokens of an image (B, H, W, C) in the k-th of the four orders: (B, T, C)."""
    tokens = (image.transpose(1, 2) if k % 2 else image).flatten(1, 2)
    return tokens.flip(1) if k >= 2 else tokens


def turned_back(tokens, k, height, breadth):
    tokens = tokens.flip(1) if k >= 2 else tokens
    if k % 2:
        return tokens.unflatten(1, (breadth, height)).transpose(1, 2)
    return tokens.unflatten(1, (height, breadth))


def enter(block, x):
    """u and the gate, both (B, H, W, E); the depthwise convolution as nine shifts."""
    u, gate = (x @ block.in_proj.project.weight.T).chunk(2, dim=-1)
    around, kernel = pad(u, (0, 0, 1, 1, 1, 1)), block.in_proj.conv.weight[:, 0]
    height, breadth = x.shape[1:3]
    u = block.in_proj.conv.bias + sum(
        kernel[:, i, j] * around[:, i : i + height, j : j + breadth]
        for i in range(3)
        for j in range(3)
    )
    return silu(u), silu(gate)


def leave(block, y, gate):
    mean, variance = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, correction=0)
    y = (y - mean) / (
        variance + 1e-5
    ).sqrt() * block.out_proj.norm.weight + block.out_proj.norm.bias
    return (y * gate) @ block.out_proj.project.weight.T


def projected(u, p, k):
    """Δ (B, T, E), B and C (B, T, N) of tokens in the k-th order, of a stream's parameters."""
    rank, state = p["step_weight"].shape[1], p["A_log"].shape[2]
    steps, B, C = (u @ p["project"][k].T).split([rank, state, state], dim=-1)
    return softplus(steps @ p["step_weight"][k] + p["step_bias"][k]), B, C


def loop(transition, driven, C, D, u):
    """h ← a·h + b, y = C·h + D·u over (B, T, E, N), token by token."""
    h, outputs = torch.zeros_like(driven[:, 0]), []
    for t in range(u.shape[1]):
        h = transition[:, t] * h + driven[:, t]
        outputs.append((h * C[:, t, None]).sum(-1) + D * u[:, t])
    return torch.stack(outputs, 1)


def slow_ss2d(block, x):
    p = parameters_of(block.stream)
    u, gate = enter(block, x)
    total = 0
    for k in range(4):
        s = turned(u, k)
        delta, B, C = projected(s, p, k)
        transition = torch.exp(delta[..., None] * -p["A_log"][k].exp())
        driven = (delta * s)[..., None] * B[:, :, None]
        total = total + turned_back(loop(transition, driven, C, p["D"][k], s), k, *x.shape[1:3])
    return leave(block, total, gate)


def slow_cross(block, x, z, streams):
    """The scan of x steered by z, and the mirrored scan of z that the paper discards."""
    (u, gate), (v, z_gate) = enter(block, x), enter(block, z)
    first, second = streams
    kept = _steered(block.average, u, v, first, second)
    discarded = _steered(block.average, v, u, second, first)
    return leave(block, kept, gate), leave(block, discarded, z_gate)


def _steered(average, u, v, own, other):
    total = 0
    for k in range(4):
        s = turned(u, k)
        delta, _, C = projected(s, own, k)
        guide_delta, B, _ = projected(turned(v, k), other, k)
        A, guide_A = -own["A_log"][k].exp(), -other["A_log"][k].exp()
        if average == "transition":
            transition = (
                torch.exp(delta[..., None] * A) + torch.exp(guide_delta[..., None] * guide_A)
            ) / 2
            driven = (guide_delta * s)[..., None] * B[:, :, None]
        else:
            transition = torch.exp(delta[..., None] * ((A + guide_A) / 2))
            driven = (delta * s)[..., None] * B[:, :, None]
        y = loop(transition, driven, C, own["D"][k], s)
        total = total + turned_back(y, k, *u.shape[1:3])
    return total


def parameters_of(stream):
    return dict(stream.named_parameters())


def whole_streams(block):
    """Both streams with every parameter, as the paper has them: ours where the block owns one,
    any number where it does not. The rows of `project` are Δ, B and C."""
    generator = torch.Generator().manual_seed(5)

    def other(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3

    def whole(stream):
        own = {name: p.detach() for name, p in stream.named_parameters()}
        sizes = zip(stream.sizes, (RANK, STATE, STATE), strict=True)
        rows = own["project"].split(stream.sizes, dim=1)
        project = [
            part if size else other(4, full, CHANNELS)
            for part, (size, full) in zip(rows, sizes, strict=True)
        ]
        missing = {
            "step_weight": other(4, RANK, CHANNELS),
            "step_bias": other(4, CHANNELS),
            "D": other(4, CHANNELS),
        }
        return missing | own | {"project": torch.cat(project, 1)}

    return tuple(
        {name: value.clone().requires_grad_() for name, value in whole(stream).items()}
        for stream in (block.modality, block.guide)
    )


# What is compared


def shaken(block):
    """In float64, with no parameter at a special value."""
    generator = torch.Generator().manual_seed(1)
    for parameter in block.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.3 * noise
    return block.double()


def images(count=1, height=HEIGHT, breadth=BREADTH, width=WIDTH):
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(BATCH, height, breadth, width, generator=generator, dtype=torch.float64)
        for _ in range(count)
    ]


def gradients(output, leaves):
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).sum(), leaves)


@pytest.mark.parametrize("size", [(3, 5), (4, 2), (1, 4), (1, 1)])
def test_ss2d_is_the_slow_form(size):
    block = shaken(SS2D(WIDTH, STATE))
    (x,) = images(1, *size)
    leaves = [x.requires_grad_(), *block.parameters()]
    fast, slow = block(x), slow_ss2d(block, x)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    for found, true in zip(gradients(fast, leaves), gradients(slow, leaves), strict=True):
        torch.testing.assert_close(found, true, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("average", ["transition", "rate"])
@pytest.mark.parametrize("size", [(3, 5), (4, 2), (1, 1)])
def test_cross_ss2d_is_the_slow_form(average, size):
    block = shaken(CrossSS2D(WIDTH, STATE, average=average))
    x, z = (image.requires_grad_() for image in images(2, *size))
    streams = whole_streams(block)
    fast, slow = block(x, z), slow_cross(block, x, z, streams)[0]
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    shared = [x, z, *block.in_proj.parameters(), *block.out_proj.parameters()]
    found, true = gradients(fast, shared), gradients(slow, shared)
    for one, other in zip(found, true, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for name, p, q in owned(block, streams):
        (ours,), (theirs,) = (
            gradients(block(x, z), [p]),
            gradients(slow_cross(block, x, z, streams)[0], [q]),
        )
        if name == "project":
            theirs = rows_owned(theirs, p, block)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def owned(block, streams):
    """Each parameter of the streams beside the same one of the slow form."""
    for stream, full in zip((block.modality, block.guide), streams, strict=True):
        for name, parameter in stream.named_parameters():
            yield name, parameter, full[name]


def rows_owned(full, parameter, block):
    stream = block.modality if parameter is block.modality.project else block.guide
    parts = full.split((RANK, STATE, STATE), dim=1)
    return torch.cat([p for p, size in zip(parts, stream.sizes, strict=True) if size], 1)


@pytest.mark.parametrize("average", ["transition", "rate"])
def test_compiled_scan_in_float32_is_close(average):
    block = CrossSS2D(16, 4, average=average)
    x, z = (image.float() for image in images(2, 6, 5, 16))
    single = block(x, z)
    double = block.double()(x.double(), z.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


# The discarded scan


def dead(streams, output):
    """How many numbers of the whole streams cannot move the output."""
    leaves = [value for stream in streams for value in stream.values()]
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    found = torch.autograd.grad((output * weights).sum(), leaves, allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return sum(leaf.numel() if g is None else int((g == 0).sum()) for g, leaf in pairs)


def left_out(width, state, average):
    """Numbers a block of that size does without: B of the modality, C and D of the guide; where
    the rates are averaged, also all that makes the guide's Δ."""
    channels, rank = 2 * width, math.ceil(width / 16)
    projections, skip = 2 * 4 * state * channels, 4 * channels
    steps = 2 * 4 * rank * channels + 4 * channels  # rows of W, W_dt, bias
    return projections + skip + (steps if average == "rate" else 0)


@pytest.mark.parametrize("average", ["transition", "rate"])
def test_leaving_out_the_mirrored_scan_changes_nothing(average):
    block = shaken(CrossSS2D(WIDTH, STATE, average=average))
    x, z = images(2)
    streams = whole_streams(block)
    kept, discarded = slow_cross(block, x, z, streams)
    torch.testing.assert_close(block(x, z), kept, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(kept, discarded)

    without_influence = dead(streams, kept)
    assert without_influence == left_out(WIDTH, STATE, average)
    everything = sum(value.numel() for stream in streams for value in stream.values())
    ours = sum(p.numel() for s in (block.modality, block.guide) for p in s.parameters())
    assert ours + without_influence == everything


def test_what_the_released_blocks_carry_without_influence():
    # 384 channels, 16 states, rank 24; nine iterations of two branches
    assert left_out(384, 16, "rate") == 251_904
    assert 18 * left_out(384, 16, "rate") == 4_534_272
    # without the modality's B, which the discarded scan alone reads, it is the 3.65 M often quoted
    assert 18 * (left_out(384, 16, "rate") - 4 * 16 * 768) == 3_649_536
    assert 18 * left_out(384, 16, "transition") == 1_824_768


def test_averaged_rates_learn_the_same():
    torch.manual_seed(0)
    block = CrossSS2D(WIDTH, STATE, average="rate")
    before = block.modality.A_log.detach().clone()
    optimizer = torch.optim.AdamW(block.parameters(), lr=1e-2)
    x, z = (image.float() for image in images(2))
    for _ in range(3):
        optimizer.zero_grad()
        block(x, z).square().sum().backward()
        assert block.modality.A_log.grad.abs().sum() > 0
        assert torch.equal(block.modality.A_log.grad, block.guide.A_log.grad)
        optimizer.step()
    assert torch.equal(block.modality.A_log, block.guide.A_log)
    assert not torch.equal(block.modality.A_log, before)


def test_averaged_transitions_do_not():
    torch.manual_seed(0)
    block = CrossSS2D(WIDTH, STATE, average="transition")
    x, z = (image.float() for image in images(2))
    block(x, z).square().sum().backward()
    assert not torch.allclose(block.modality.A_log.grad, block.guide.A_log.grad)


# How it starts


@pytest.mark.parametrize("stream", ["stream", "modality", "guide"])
def test_inits(stream):
    torch.manual_seed(0)
    block = SS2D(48, 5) if stream == "stream" else CrossSS2D(48, 5, average="transition")
    part = getattr(block, stream)
    rank, channels = 3, 96
    expected = torch.arange(1.0, 6.0).log().expand(4, channels, 5)
    torch.testing.assert_close(part.A_log.detach(), expected)
    torch.testing.assert_close(part.A.detach(), -torch.arange(1.0, 6.0).expand(4, channels, 5))
    assert part.step_weight.shape == (4, rank, channels)
    assert 0.95 * rank**-0.5 < part.step_weight.abs().max() <= rank**-0.5
    steps = softplus(part.step_bias.detach())
    assert 1e-3 * 0.999 <= steps.min() < 2e-3  # log-uniform: both ends are reached
    assert 0.05 < steps.max() <= 0.1 * 1.001
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.3)
    assert part.project.abs().max() <= channels**-0.5
    if stream != "guide":
        assert torch.equal(part.D, torch.ones(4, channels))


def test_rates_skips_and_step_biases_do_not_decay():
    marked = {
        name
        for name, parameter in CrossSS2D(8, 2).named_parameters()
        if getattr(parameter, "no_weight_decay", False)
    }
    both = {
        f"{stream}.{name}" for stream in ("modality", "guide") for name in ("A_log", "step_bias")
    }
    assert marked == both | {"modality.D"}


def test_projections_have_no_bias_and_the_rank_can_be_chosen():
    block = SS2D(40, 2, expand=1.5, rank=7)
    assert block.in_proj.project.bias is None
    assert block.out_proj.project.bias is None
    assert block.in_proj.conv.weight.shape == (60, 1, 3, 3)
    assert isinstance(block.in_proj.conv.bias, nn.Parameter)
    assert block.stream.step_weight.shape == (4, 7, 60)
    assert SS2D(40, 2).stream.step_weight.shape == (4, 3, 80)  # ⌈40/16⌉
