"""DualMamba: its size, its taps, where the spectral scan enters, and a sample alone."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER
from bandweave.models.dualmamba import Convolutions, DualMamba, DualMambaConfig
from bandweave.scan import bidirectional_order

CANCELLED = 64 + 64 + 1  # biases that the norms behind them cancel


def make_small(bands=6, **options):
    torch.manual_seed(0)
    config = DualMambaConfig(patch=5, width=8, state=2, **options)
    return DualMamba({"hsi": bands}, ["a", "b"], config).double().eval()


@pytest.mark.parametrize(
    ("bands", "classes", "groups", "options", "expected"),
    [
        (144, 15, 4, {}, 64_815),
        (145, 15, 4, {}, 65_391),
        (200, 16, 4, {}, 72_944),
        (48, 20, 2, {"patch": 15}, 58_228),
        (103, 9, 4, {}, 58_665),
    ],
)
def test_it_has_the_releases_parameters(bands, classes, groups, options, expected):
    config = DualMambaConfig(groups=groups, **options)
    with torch.device("meta"):
        net = DualMamba({"hsi": bands}, [str(k) for k in range(classes)], config)
    assert sum(p.numel() for p in net.parameters()) == expected - CANCELLED


@pytest.mark.parametrize("taps", ["channels", "columns"])
def test_three_taps_lie_along_channels_or_along_columns(taps):
    convolutions = Convolutions(4, taps).eval()
    x = torch.zeros(1, 1, 4, 5, 5)
    x[0, 0, 1, 2, 3] = 1
    torch.nn.init.ones_(convolutions.taps[0].weight)
    reached = convolutions.taps(x)[0, 0].nonzero().tolist()
    if taps == "channels":
        assert reached == [[0, 2, 3], [1, 2, 3], [2, 2, 3]]
    else:
        assert reached == [[1, 2, 2], [1, 2, 3], [1, 2, 4]]


def test_the_spectral_scan_enters_in_the_middle_pixel_and_weighs_every_other():
    block = make_small().block
    x = torch.randn(1, 5, 5, 8, dtype=torch.float64)
    given = {}
    hook = block.spatial.register_forward_hook(lambda _m, _x, y: given.update(spatial=y))
    with torch.no_grad():
        found = block.scan_both(x)
        channels = block.spectral_norm(x[:, 2, 2])[..., None]
        spectral = block.spectral(channels, bidirectional_order(8))[..., 0]
        expected = x + given["spatial"].view(x.shape) * spectral.softmax(-1)
        expected[:, 2, 2] += spectral * given["spatial"].mean(1).softmax(-1)
    hook.remove()
    torch.testing.assert_close(found, expected)


def test_the_last_band_is_repeated_until_groups_are_full():
    net = make_small(bands=6)
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    full = torch.cat([x, x[:, -1:], x[:, -1:]], dim=1)
    assert net.stem[0].in_channels == 8
    torch.testing.assert_close(net.classify_patch(x), net.head(
        net.norm(net.block(net.stem(full))).mean((1, 2))
    ))  # fmt: skip


def test_a_sample_alone_is_learnt_from():
    net = make_small().train()
    net.classify_patch(torch.randn(1, 6, 5, 5, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_gate_and_an_mlp_are_options():
    plain = sum(p.numel() for p in make_small().parameters())
    net = make_small(gate=True, mlp_ratio=4.0)
    assert sum(p.numel() for p in net.parameters()) == (
        plain + 8 * 16 + 2 + 2 * 8 + 8 * 32 + 32 + 32 * 8 + 8
    )
    assert net.classify_patch(torch.randn(2, 6, 5, 5, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("patch", 0),
        ("width", 0),
        ("groups", 3),
        ("state", 0),
        ("expand", 0.0),
        ("taps", "rows"),
        ("mlp_ratio", -1.0),
    ],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        DualMambaConfig(**{option: value})


def test_the_preset_draws_patches_of_the_models_side():
    preset = LAND_COVER["dualmamba"]
    assert preset.samples["crop"] == preset.config.patch
