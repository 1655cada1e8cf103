"""MiM: its size, its paths, scans that end at the middle, and weights along a path."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.mim import (
    Block,
    MiM,
    MiMConfig,
    PathScan,
    boustrophedon_order,
    weigh_distances,
)
from bandweave.scan import selective_scan


def test_it_has_the_releases_parameters_but_for_those_without_influence():
    config = MiMConfig(scan="full", as_published=True)
    with torch.device("meta"):
        net = MiM({"hsi": 60}, [str(k) for k in range(16)], config)
    assert sum(p.numel() for p in net.parameters()) == 84_808 - 8_256


def test_the_paths_are_those_of_the_paper():
    assert boustrophedon_order(3, 3).table.tolist() == [
        [0, 1, 2, 5, 4, 3, 6, 7, 8],
        [0, 3, 6, 7, 4, 1, 2, 5, 8],
        [2, 1, 0, 3, 4, 5, 8, 7, 6],
        [6, 3, 0, 1, 4, 7, 8, 5, 2],
    ]


@pytest.mark.parametrize("side", [1, 3, 5, 9])
def test_the_middle_pixel_is_in_the_middle_of_every_path(side):
    table = boustrophedon_order(side, side).table
    assert (table[:, side**2 // 2] == side**2 // 2).all()


@pytest.mark.parametrize("size", [(3, 5), (4, 3), (1, 7), (2, 2)])
def test_every_path_moves_by_one_pixel_at_a_time(size):
    table = boustrophedon_order(*size).table
    rows, columns = table // size[1], table % size[1]
    steps = rows.diff(dim=1).abs() + columns.diff(dim=1).abs()
    assert (steps == 1).all()


@pytest.mark.parametrize("backward", [False, True])
def test_half_a_scan_is_the_whole_one_without_outputs_behind_the_middle(backward):
    torch.manual_seed(0)
    scan = PathScan(4, 3, backward).double()
    u = torch.randn(2, 9, 4, dtype=torch.float64)
    half = slice(4, None) if backward else slice(0, 5)
    found = scan(u[:, half])
    entered = torch.nn.functional.softplus(scan.before(u))
    delta, B, C = scan.stream(entered)
    C = torch.zeros_like(C).index_copy_(2, torch.arange(9)[half], C[:, :, half])
    whole = selective_scan(
        entered, delta, scan.stream.A, B, C, torch.zeros_like(scan.stream.D),
        torch.arange(9).flip(0)[None] if backward else None,
        delta_weight=scan.stream.step_weight, delta_bias=scan.stream.step_bias, softplus=True,
    )  # fmt: skip
    torch.testing.assert_close(found, (whole + scan.stream.D * entered)[:, half])


def test_the_middle_alone_sees_both_ends_of_a_path():
    torch.manual_seed(0)
    block = Block(MiMConfig(patch=3, width=4, state=2)).double()
    x = torch.randn(1, 9, 4, dtype=torch.float64, requires_grad=True)

    def reached(token):
        grads = torch.autograd.grad(block(x)[0, token].sum(), x)[0]
        return grads[0].ne(0).any(1).nonzero().flatten().tolist()

    assert reached(2) == [0, 1, 2]
    assert reached(4) == list(range(9))
    assert reached(6) == [6, 7, 8]


def test_weights_fall_with_the_distance_and_sum_to_one():
    weights = weigh_distances(5, 2, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(weights, weights.flip(0))
    assert weights.argmax() == 2
    assert weights.sum() == pytest.approx(1)
    ratio = torch.exp(torch.tensor(-0.5 * (2 / 1.2) ** 2, dtype=torch.float64))  # σ = 6 / 5
    torch.testing.assert_close(weights[0] / weights[2], ratio)
    assert weigh_distances(1, 0, torch.zeros(1)).tolist() == [1]


def test_the_releases_norm_needs_several_bands_and_an_embedding_as_wide():
    with pytest.raises(ConfigError, match="2 bands enter"):
        MiM({"rgb": 2}, ["a", "b"], MiMConfig(embedding=3, as_published=True))
    with pytest.raises(ConfigError, match="embedding: 7"):
        MiM({"rgb": 7}, ["a", "b"], MiMConfig(as_published=True))


@pytest.mark.parametrize(
    ("option", "value"),
    [("patch", 8), ("patch", 0), ("embedding", 2), ("width", 2), ("state", 0), ("passes", 0),
     ("scan", "whole")],
)  # fmt: skip
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        MiMConfig(**{option: value})
