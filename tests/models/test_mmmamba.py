"""MMMamba's own: its size, its ablations, sharpening without PAN, and what a window changes."""

import math
import re

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models import SHARPENERS
from bandweave.models.mmmamba import MMMamba, MMMambaConfig
from bandweave.nn.upsampling import upsample
from bandweave.nn.window_statistics import collect_statistics, freeze_statistics
from bandweave.schema import from_dict, to_dict

SMALL = {"attention_width": 8, "width": 8, "depth": 2, "residuals": 1, "state": 2, "mlp_ratio": 2.0}
ABLATIONS = [
    {"fusion": "attention"},
    {"fusion": "concatenation"},
    {"order": "sequential"},
    {"order": "global"},
    {"directions": 1},
    {"decode": "ms"},
    {"decode": "ms", "fusion": "attention"},
    {"decode": "ms", "fusion": "concatenation"},
    {"upsampling": "nearest"},
    {"instance_norm": False},
    {"channel_attention": False},
    {"attention_width": 2},
    {"residuals": 0},
]


def build(bands=3, ratio=2, seed=0, **options):
    torch.manual_seed(seed)
    return MMMamba(bands, MMMambaConfig(**SMALL | options), ratio).double()


def pair(bands=3, ratio=2, size=(5, 7), batch=2):
    generator = torch.Generator().manual_seed(0)
    fine = ratio * size[0], ratio * size[1]
    shapes = {"ms": (bands, *size), "pan": (1, *fine), "target": (bands, *fine)}
    return {
        name: torch.rand(batch, *s, generator=generator, dtype=torch.float64)
        for name, s in shapes.items()
    }


def named(options):
    return "-".join(str(value) for value in options.values())


# Size


def test_the_papers_size():
    model = MMMamba(4, MMMambaConfig(), 4)
    parts = {n: sum(p.numel() for p in part.parameters()) for n, part in model.named_children()}
    assert parts == {"encoders": 112_672, "blocks": 152_720, "merge": 2_080, "tail": 29_452}
    assert sum(parts.values()) == pytest.approx(0.30e6, rel=0.02)


def test_the_presets_get_smaller():
    sizes = [
        sum(p.numel() for p in preset.model(6, preset.config, 2).parameters())
        for preset in SHARPENERS.values()
        if preset.model is MMMamba
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0] / 5


# Ablations


@pytest.mark.parametrize("options", ABLATIONS, ids=named)
def test_every_ablation_learns_with_all_it_has(options):
    model = build(**options)
    assert from_dict(MMMambaConfig, to_dict(model.config)) == model.config
    out = model(**pair())
    out.loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    plain = build()(**pair())
    assert not torch.equal(plain.image, out.image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fusion": "sum"}, "fusion is 'sum'; it is one of in-context, attention, concatenation"),
        ({"order": "spiral"}, "order is 'spiral'"),
        ({"directions": 2}, "directions is 2; it is one of 1, 4"),
        ({"window": 0}, "window is 0; it must be 1 or more"),
        ({"expand": 0.1}, "expand is 0.1"),
        ({"mlp_ratio": math.inf}, "mlp_ratio is inf"),
        ({"residuals": -1}, "residuals is -1"),
        ({"attention_width": -1}, "attention_width is -1; it must be 0 or more"),
    ],
)
def test_impossible_configs_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        MMMambaConfig(**SMALL | options)


def test_the_answer_is_detail_on_top_of_the_interpolated_image():
    model, given = build(), pair()
    for parameter in model.tail.out_proj.parameters():
        parameter.data.zero_()
    coarse = upsample(given["ms"], 2, (10, 14))
    assert torch.equal(model(**given).image, coarse)
    mse = (coarse - given["target"]).square().mean()
    assert float(model(**given).parts["psnr"]) == pytest.approx(-10 * math.log10(mse), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"decode": "ms"}, {"fusion": "concatenation"}], ids=named)
def test_weights_of_blocks_with_one_norm_for_both_streams_give_the_same_answer(options):
    model, given = build(**options), pair()
    former = {}
    for name, tensor in model.state_dict().items():
        shared = re.sub(r"_norms\.\d\.", "_norm.", name)
        if shared not in former:
            former[shared] = tensor + torch.rand_like(tensor) if shared != name else tensor
        tensor.copy_(former[shared])
    assert len(former) < len(model.state_dict()) or options
    again = build(seed=1, **options)
    again.load_state_dict(again.upgrade(former))
    assert torch.equal(again(**given).image, model(**given).image)
    assert again.upgrade(model.state_dict()).keys() == model.state_dict().keys()


# Without PAN


@pytest.mark.parametrize("options", [{}, *ABLATIONS], ids=named)
def test_the_three_ways_without_pan(options):
    model, given = build(**options).eval(), pair(size=(5, 6))
    ways = ["ms stream", "ms twice", "ms as pan"]
    with torch.no_grad():
        stream, twice, as_pan = (model.super_resolve(given["ms"], way).image for way in ways)
        assert torch.equal(model(given["ms"]).image, stream)
        faked = upsample(given["ms"], 2, (10, 12), kernel=model.config.upsampling).mean(1)
        torch.testing.assert_close(model(given["ms"], faked[:, None]).image, as_pan)
    assert stream.shape == twice.shape == (2, 3, 10, 12)
    assert not torch.allclose(stream, as_pan)
    only_ms = model.config.decode == "ms" and model.config.fusion != "concatenation"
    assert torch.equal(stream, twice) == only_ms  # where the tail takes MS alone, they are one


def test_a_loss_without_pan():
    given = pair()
    out = build().super_resolve(given["ms"], "ms twice", given["target"])
    error = (out.image - given["target"]).abs().mean()
    assert out.loss.item() == pytest.approx(error.item())


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="zero_shot is 'pan'; it is one of ms stream, ms twice"):
        build().super_resolve(pair()["ms"], "pan")


# Windows


def forgetful(model):
    """The scan remembers nothing from one token to the next, so that all else can be seen."""
    for block in model.blocks:
        block.fuse.shared.A_log.data.fill_(50.0)
    return model


@pytest.mark.parametrize(
    "options",
    [{}, {"residuals": 2, "depth": 3}, {"upsampling": "nearest"}],
    ids=named,
)
@pytest.mark.parametrize("ratio", [2, 3])
def test_local_reach(ratio, options):
    options = {"instance_norm": False, "channel_attention": False, **options}
    model = forgetful(build(1, ratio, **options))
    size = 2 * (model.local_reach + 4) // ratio + 2
    given = {n: x.requires_grad_() for n, x in pair(1, ratio, (size, size), 1).items()}
    at = ratio * size // 2
    pixel = model(given["ms"], given["pan"]).image[0, 0, at, at]
    ms, pan = torch.autograd.grad(pixel, [given["ms"], given["pan"]])
    seen = pan[0, 0].nonzero()
    ms_pixels = ms[0, 0].nonzero()
    far = max(at - ratio * int(ms_pixels.min()), ratio * (int(ms_pixels.max()) + 1) - 1 - at)
    assert int((seen - at).abs().max()) <= model.local_reach
    assert model.local_reach - 2 * ratio <= far - ratio + 1 <= model.local_reach


def tiles(model, given, corners, margin, size):
    """Sharpened tile by tile, each with a margin as far as the image goes."""
    ratio = model.ratio
    height, width = given["pan"].shape[2:]
    image = torch.full_like(given["target"], float("nan"))
    for i, j in ((i, j) for i in corners for j in corners):
        top, left = max(0, i - margin), max(0, j - margin)
        bottom, right = min(height, i + size + margin), min(width, j + size + margin)
        i0, j0, i1, j1 = max(0, i), max(0, j), min(height, i + size), min(width, j + size)
        if i0 >= i1 or j0 >= j1:
            continue
        ms = given["ms"][:, :, top // ratio : bottom // ratio, left // ratio : right // ratio]
        tile = model(ms, given["pan"][:, :, top:bottom, left:right]).image
        image[:, :, i0:i1, j0:j1] = tile[:, :, i0 - top : i1 - top, j0 - left : j1 - left]
    assert image.isfinite().all()
    return image


def scene_and_statistics(model, size):
    """A scene of size × size PAN pixels whose windows differ, and statistics of a tiling of it."""
    dtype = next(model.parameters()).dtype
    given = {n: x.to(dtype) for n, x in pair(size=(size // 2, size // 2), batch=1).items()}
    given["pan"] *= torch.linspace(0.2, 1, size, dtype=dtype)
    with collect_statistics(model) as statistics, torch.no_grad():
        for j in range(0, size, 32):
            model(given["ms"][..., j // 2 : j // 2 + 16], given["pan"][..., j : j + 32])
    return given, statistics


def up_to(multiple, number):
    return multiple * math.ceil(number / multiple)


@pytest.mark.parametrize("options", [{}, {"order": "sequential"}, {"order": "global"}], ids=named)
def test_shifted_tilings_agree_with_frozen_statistics(options):
    model = forgetful(build(depth=1, **options))
    given, statistics = scene_and_statistics(model, 64)
    margin = up_to(model.tile_step, model.local_reach)
    with torch.no_grad(), freeze_statistics(model, statistics):
        whole = model(given["ms"], given["pan"]).image
        first = tiles(model, given, range(0, 64, 32), margin, 32)
        second = tiles(model, given, range(-12, 64, 32), margin, 32)
    torch.testing.assert_close(first, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(second, whole, rtol=0, atol=1e-12)
    with torch.no_grad():
        thawed = tiles(model, given, range(0, 64, 32), margin, 32)
    assert (thawed - whole).abs().max() > 1e-4  # it is the statistics that made them agree


def test_a_scan_that_remembers_agrees_the_better_the_wider_the_margin():
    model = build().float()
    given, statistics = scene_and_statistics(model, 96)
    with torch.no_grad(), freeze_statistics(model, statistics):
        whole = model(given["ms"], given["pan"]).image
        error = [
            float((tiles(model, given, range(0, 96, 32), margin, 32) - whole).abs().max())
            for margin in (0, 16, 32)
        ]
    detail = whole - upsample(given["ms"], 2, (96, 96))
    assert error[0] > error[1] > error[2] > 0
    assert error[2] < 0.05 * float(detail.abs().max())


def test_all_of_a_window_is_within_reach():
    model = build()
    given = {n: x.requires_grad_() for n, x in pair(size=(16, 16), batch=1).items()}
    pixel = model(given["ms"], given["pan"]).image[0, 0, 31, 31]
    (pan,) = torch.autograd.grad(pixel, given["pan"])
    assert model.reach(32) == 31
    assert (pan[0, 0] != 0).all()


@pytest.mark.parametrize(
    ("order", "ratio", "step"),
    [("interleaved", 2, 4), ("interleaved", 3, 12), ("global", 3, 3), ("sequential", 5, 20)],
)
def test_corners_of_tiles(order, ratio, step):
    assert build(ratio=ratio, order=order).tile_step == step


def test_the_tails_attention_is_a_quarter_as_wide():
    assert build(width=20, attention_width=0).tail.attention.excite[0].weight.shape == (5, 20, 1, 1)
    assert build(width=20).tail.attention.excite[0].out_channels == 8
