"""SS-Mamba: its size, its codes, the order of a class token, and what an odd band becomes."""

import math

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER
from bandweave.models.ssmamba import Branch, SSMamba, SSMambaConfig, backward_order, code_cells
from bandweave.scan import forward_order


def make_small(bands=5, **options):
    torch.manual_seed(0)
    config = SSMambaConfig(patch=9, width=8, hidden=4, depth=2, state=2, **options)
    return SSMamba({"hsi": bands}, ["a", "b"], config).double().eval()


@pytest.mark.parametrize(
    ("bands", "classes", "live"),
    [(144, 15, 328_527), (145, 15, 328_591), (103, 9, 325_513), (200, 16, 332_176)],
)
def test_it_has_the_releases_parameters_that_do_something(bands, classes, live):
    idle = 64 + 2 * 64  # a class token in no mean; biases that the norms behind them cancel
    with torch.device("meta"):
        net = SSMamba({"hsi": bands}, [str(k) for k in range(classes)], SSMambaConfig())
    assert sum(p.numel() for p in net.parameters()) == live - idle


def test_codes_are_of_the_column_then_of_the_row():
    code = code_cells(3, 8)
    assert code.shape == (9, 8)
    at = lambda place: [math.sin(place), math.sin(place / 100), math.cos(place)]  # noqa: E731
    torch.testing.assert_close(code[5, :3], torch.tensor(at(2)))  # row 1, column 2
    torch.testing.assert_close(code[5, 4:7], torch.tensor(at(1)))


def test_both_ways_share_weights_and_each_is_normalised():
    branch = Branch(SSMambaConfig(width=8, state=2)).double()
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    turned = x[:, [2, 1, 0, 3]]  # a class token stays the last
    forward = branch(x, forward_order(4)) - x
    back = (branch(turned, forward_order(4)) - turned)[:, [2, 1, 0, 3]]
    both = branch(x, forward_order(4), backward_order(3, 1)) - x
    torch.testing.assert_close(both, (forward + back) / 2)


def test_a_last_odd_band_is_there_twice_or_lost():
    net = make_small()
    x = torch.randn(1, 5, 9, 9, dtype=torch.float64, requires_grad=True)
    tokens = net.make_spectral_tokens(x)
    assert tokens.shape == (1, 3, 8)
    even = torch.cat([x, x[:, -1:]], dim=1)
    assert torch.equal(tokens, net.make_spectral_tokens(even))
    reached = torch.autograd.grad(tokens.sum(), x)[0][0].ne(0)
    assert reached[:, 3:6, 3:6].all()  # the middle
    assert reached.sum() == 5 * 9
    dropped = make_small(odd_band="dropped").make_spectral_tokens(x)
    assert dropped.shape == (1, 2, 8)
    assert not torch.autograd.grad(dropped.sum(), x)[0][0, 4].any()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("patch", 10),
        ("patch", 0),
        ("width", 6),
        ("hidden", 0),
        ("depth", 0),
        ("state", 0),
        ("expand", 0.0),
        ("odd_band", "kept"),
    ],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        SSMambaConfig(**{option: value})


def test_one_band_needs_to_be_repeated():
    with pytest.raises(ConfigError, match="odd_band"):
        make_small(bands=1, odd_band="dropped")


def test_the_preset_draws_patches_of_the_models_side():
    preset = LAND_COVER["ssmamba"]
    assert preset.samples["crop"] == preset.config.patch
