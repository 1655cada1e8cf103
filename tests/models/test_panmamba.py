"""Pan-Mamba's own: its size, its layers by hand, its options, and what a window changes."""

import math

import pytest
import torch
from torch import nn

from bandweave.errors import ConfigError
from bandweave.models.panmamba import PanMamba, PanMambaConfig
from bandweave.nn.window_statistics import collect_statistics, freeze_statistics
from bandweave.schema import from_dict, to_dict

SMALL = {
    "attention_width": 8,
    "width": 6,
    "residuals": 1,
    "single_layers": 1,
    "swaps": 1,
    "cross_layers": 2,
    "state": 2,
}
OPTIONS = [
    {"residual": "dropped"},
    {"cross_norms": 2},
    {"upsampling": "nearest"},
    {"attention_width": 2},
    {"residuals": 0, "single_layers": 0, "swaps": 0},
    {"kernel": 1},
]


def build(bands=3, ratio=2, seed=0, **options):
    torch.manual_seed(seed)
    return PanMamba(bands, PanMambaConfig(**SMALL | options), ratio).double()


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


def test_the_releases_size():
    with torch.device("meta"):
        model = PanMamba(4, PanMambaConfig(), 4)
    parts = {n: sum(p.numel() for p in part.parameters()) for n, part in model.named_children()}
    assert parts == {
        "encoders": 119_008 - 6_336, "to_tokens": 2_112, "single": 2 * 79_872, "swaps": 2 * 19_968,
        "fuse": 36_928, "cross": 5 * 18_240, "tail": 29_452,
    }  # fmt: skip
    assert sum(parts.values()) == 478_444 - 6_400


@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_every_option_learns_with_all_it_has(options):
    model = build(**options)
    assert from_dict(PanMambaConfig, to_dict(model.config)) == model.config
    out = model(**pair())
    out.loss.backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not torch.equal(build()(**pair()).image, out.image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"residual": "kept"}, "residual is 'kept'; it is one of added, dropped"),
        ({"cross_norms": 3}, "cross_norms is 3; it is one of 1, 2"),
        ({"cross_layers": 0}, "cross_layers is 0; it must be 1 or more"),
        ({"swaps": -1}, "swaps is -1; it must be 0 or more"),
        ({"expand": math.nan}, "expand is nan"),
    ],
)
def test_impossible_configs_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        PanMambaConfig(**SMALL | options)


def test_streams_exchange_the_first_half_of_their_channels():
    swap = build().swaps[0]
    swap.mambas = nn.ModuleList([nn.Identity(), nn.Identity()])
    for norm in swap.norms:
        norm.weight.data.uniform_(0.5, 1.5)
    ms, pan, r = (torch.randn(1, 4, 6, dtype=torch.float64) for _ in range(3))
    (new_ms, new_pan), residuals = swap([ms, pan], [r, 2 * r])
    torch.testing.assert_close(residuals, [r + ms, 2 * r + pan])
    a, b = swap.norms[0](r + ms), swap.norms[1](2 * r + pan)
    torch.testing.assert_close(new_ms, torch.cat([b[..., :3], a[..., 3:]], -1))
    torch.testing.assert_close(new_pan, torch.cat([a[..., :3], b[..., 3:]], -1))


@pytest.mark.parametrize("times", [1, 2])
def test_a_cross_layer_normalises_once_or_twice(times):
    cross = build(cross_norms=times).cross[0]
    for norm in cross.norms:
        norm.weight.data.uniform_(0.5, 1.5)
    x, r, q = (torch.randn(1, 6, 6, dtype=torch.float64) for _ in range(3))
    found, total = cross(x, r, q, (2, 3))
    torch.testing.assert_close(total, r + x)
    m, n = total, q
    for _ in range(times):
        m, n = cross.norms[0](m), cross.norms[1](n)
    y = cross.meet(m, n)
    around = nn.functional.conv2d(
        y.transpose(1, 2).unflatten(2, (2, 3)), cross.conv.weight, cross.conv.bias, 1, 1, 1, 6
    )
    torch.testing.assert_close(found, y + around.flatten(2).transpose(1, 2))


def forgetful(model):
    """The scans remember nothing from one token to the next, so that all else can be seen."""
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            parameter.data.fill_(50.0)
    return model


def test_local_reach():
    model = forgetful(build(1, 2, cross_layers=1)).eval()
    size = 2 * (model.local_reach + 3)
    given = {n: x.requires_grad_() for n, x in pair(1, 2, (size // 2, size // 2), 1).items()}
    with collect_statistics(model) as statistics:
        model(given["ms"], given["pan"])
    at = size // 2
    with freeze_statistics(model, statistics):
        pixel = model(given["ms"], given["pan"]).image[0, 0, at, at]
    (pan,) = torch.autograd.grad(pixel, given["pan"])
    seen = (pan[0, 0].nonzero() - at).abs().max()
    assert model.local_reach - 4 - model.interpolation_reach <= int(seen) <= model.local_reach


def test_tiles_agree_with_frozen_statistics_the_better_the_wider_the_margin():
    model, size = build(1, cross_layers=1).eval(), 128
    given = pair(1, 2, (4, size // 2), 1)
    ms, pan = given["ms"], given["pan"]
    with torch.no_grad():
        with collect_statistics(model) as statistics:
            model(ms, pan)
        with freeze_statistics(model, statistics):
            whole = model(ms, pan).image
            error = [
                float((part - whole[..., 96:]).abs().max())
                for margin in (0, 48, 96)
                for part in [
                    model(ms[..., 48 - margin // 2 :], pan[..., 96 - margin :]).image[..., margin:]
                ]
            ]
    assert error[0] > 2 * error[1] > 0
    assert error[2] < 1e-12
