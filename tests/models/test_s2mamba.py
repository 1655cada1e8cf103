"""S²Mamba: its size, the order of its channels, and the shares of its branches."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER
from bandweave.models.s2mamba import GatedMixture, S2Mamba, S2MambaConfig


def make_small(**options):
    torch.manual_seed(0)
    config = S2MambaConfig(patch=3, width=4, state=2, dropout=0.0, drop_path=0.0, **options)
    return S2Mamba({"hsi": 5}, ["a", "b"], config).double()


@pytest.mark.parametrize(
    ("bands", "patch", "classes", "expected"),
    [(144, 9, 15, 118_759), (145, 9, 15, 118_823), (103, 11, 9, 120_465), (200, 7, 16, 118_632)],
)
def test_it_has_the_releases_parameters(bands, patch, classes, expected):
    config = S2MambaConfig(patch=patch)
    names = [str(k) for k in range(classes)]
    with torch.device("meta"):
        net = S2Mamba({"hsi": bands}, names, config)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_each_channel_gets_what_lies_before_it_and_what_lies_behind():
    """The channel's own scan alone meets its neighbours on both sides; the release's mirror too."""
    net = make_small()
    scan = net.block.spectral
    u = torch.randn(1, scan.channels, 9, dtype=torch.float64, requires_grad=True)

    def reached(order, channel):
        scan.spectral = order
        y = scan.scan_channels(u)[0, channel].sum()
        return torch.autograd.grad(y, u)[0][0].ne(0).any(1).nonzero().flatten().tolist()

    last = scan.channels - 1
    assert reached("bidirectional", 2) == list(range(last + 1))
    assert reached("bidirectional", 0) == list(range(last + 1))  # by the scan back
    assert reached("as_published", 0) == list(range(last + 1))  # by the last channel's, reversed
    assert reached("as_published", 5) == [0, 1, 2, 3, 4, 5]  # nothing behind the middle


def test_both_orders_agree_where_they_do_the_same():
    """The backward scan is the forward one of reversed channels, with what it gives reversed."""
    net = make_small()
    scan = net.block.spectral
    u = torch.randn(2, scan.channels, 9, dtype=torch.float64)
    with torch.no_grad():
        for parameter in scan.stream.parameters():
            parameter[0] = 0  # the second sequence alone
        right = scan.scan_channels(u.flip(1))
        scan.spectral = "as_published"
        torch.testing.assert_close(right, scan.scan_channels(u))


def test_a_branch_below_the_threshold_has_no_share_and_the_other_keeps_its_own():
    mixture = GatedMixture(2, 0.1)
    last = mixture.shares[3]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.95, 0.05]).log()
    first, second = torch.full((1, 1, 1, 2), 2.0), torch.full((1, 1, 1, 2), 100.0)
    torch.testing.assert_close(mixture(first, second), 0.95 * first)
    last.bias.data = torch.tensor([0.85, 0.15]).log()
    torch.testing.assert_close(mixture(first, second), 0.85 * first + 0.15 * second)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("patch", 0),
        ("width", 0),
        ("expand", 0.0),
        ("threshold", 0.6),
        ("dropout", 1.0),
        ("drop_path", -0.1),
        ("spectral", "backwards"),
    ],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        S2MambaConfig(**{option: value})


def test_the_preset_draws_patches_of_the_models_side():
    preset = LAND_COVER["s2mamba"]
    assert preset.samples["crop"] == preset.config.patch
