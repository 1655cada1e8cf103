"""MSFMamba: its size, its orders, its layouts, and how few bands it takes."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER
from bandweave.models.msfmamba import (
    GuidedScan,
    Misread,
    MSFMamba,
    MSFMambaConfig,
    TwoScales,
    backward_rows_and_columns,
    forward_rows_and_columns,
    lay_channels_last,
)


def make_small(spectral=12, spatial=2, **options):
    torch.manual_seed(0)
    config = MSFMambaConfig(**{"patch": 7, "width": 8, "state": 2, **options})
    return MSFMamba({"hsi": spectral, "x": spatial}, ["a", "b", "c"], config).double().eval()


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("spatial", "classes", "options", "expected"),
    [
        (1, 15, {}, 1_077_873),
        (4, 7, {"state": 8}, 886_633),
        (4, 8, {"depth": 2}, 2_744_992),
    ],
    ids=["Houston 2013", "Augsburg", "Berlin"],
)
def test_it_has_the_releases_parameters(spatial, classes, options, expected):
    cancelled = sum((8 + 64) * 2**level for level in range(options.get("depth", 1)))  # by norms
    with torch.device("meta"):
        config = MSFMambaConfig(**options)
        net = MSFMamba({"hsi": 30, "x": spatial}, [str(k) for k in range(classes)], config)
    assert count(net) == expected - cancelled


def test_rows_and_columns_run_forward_at_full_size_and_back_at_half():
    assert forward_rows_and_columns(2, 3).table.tolist() == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]]
    assert backward_rows_and_columns(2, 3).table.tolist() == [
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


def test_a_map_keeps_its_pixels_and_the_release_reads_others():
    x = torch.arange(8.0).view(1, 2, 2, 2)
    assert lay_channels_last(x, False)[0, 0, 1].tolist() == [1, 5]  # both channels of a pixel
    assert lay_channels_last(x, True)[0, 0, 1].tolist() == [2, 3]  # two pixels of a channel
    tokens = torch.arange(6.0).view(1, 3, 2)
    assert Misread()(tokens)[0].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("as_published", [False, True])
def test_only_in_the_release_does_a_pixel_that_is_kept_move(as_published):
    """Without its operator, a residual block gives what it was given."""
    block = TwoScales(4, MSFMambaConfig(as_published=as_published))
    torch.nn.init.zeros_(block.scan.out_proj.project.weight)
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(block(x), x) is not as_published


@pytest.mark.parametrize("side", [3, 4])
def test_two_scales_fit_odd_and_even_sides(side):
    block = TwoScales(4, MSFMambaConfig())
    assert block(torch.randn(1, 4, side, side)).shape == (1, 4, side, side)


def test_a_scan_is_driven_by_its_guide():
    """Where the guide holds nothing, B is zero and the tokens only pass by."""
    scan = GuidedScan(8, 16, MSFMambaConfig(state=2))
    tokens, guide = torch.randn(1, 9, 6), torch.randn(1, 9, 12)
    gate = torch.ones(1, 9, 6)
    x = torch.zeros(1, 8, 3, 3)
    still = scan(x, tokens, torch.zeros_like(guide), gate)
    passed = scan.out_proj(tokens * scan.stream.D.sum(0), gate).transpose(1, 2).view(x.shape)
    torch.testing.assert_close(still, passed)
    assert not torch.allclose(scan(x, tokens, guide, gate), still)


@pytest.mark.parametrize("bands", [1, 4, 16])
def test_kernels_are_no_deeper_than_the_bands(bands):
    net = make_small(bands, depth=2)
    depths = [level.spectral_conv[0].kernel_size[0] for level in net.levels]
    left = bands - min(9, bands) + 1
    assert depths == [min(9, bands), min(7, left)]
    x = torch.randn(2, bands, 7, 7, dtype=torch.float64)
    assert net.classify_patch(x, x[:, :1].expand(-1, 2, -1, -1)).shape == (2, 3)


@pytest.mark.parametrize(
    ("option", "value"),
    [("patch", 3), ("depth", 5), ("width", 0), ("state", 0), ("expand", 0.1), ("depth", 0)],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        MSFMambaConfig(**{option: value})


def test_the_preset_draws_patches_of_the_models_side_and_reduces_the_spectrum():
    preset = LAND_COVER["msfmamba"]
    assert preset.samples["crop"] == preset.config.patch
    assert preset.components == 30
