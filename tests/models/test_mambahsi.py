"""MambaHSI: its size, what its branches see, and the release's sizes of coarse maps."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.mambahsi import Block, MambaHSI, MambaHSIConfig, SpatialBranch, SpectralBranch


@pytest.mark.parametrize(
    ("bands", "classes", "expected"), [(144, 15, 418_261), (145, 15, 418_389), (103, 9, 412_239)]
)
def test_it_has_the_releases_parameters(bands, classes, expected):
    names = [str(k) for k in range(classes)]
    with torch.device("meta"):
        net = MambaHSI({"hsi": bands}, names, MambaHSIConfig())
    assert sum(p.numel() for p in net.parameters()) == expected


def reached(branch, x, pixel):
    """Pixels (row, column) whose channels move those of a pixel, before any norm."""
    branch.norm = torch.nn.Identity()
    x.requires_grad_()
    row, column = pixel
    grads = torch.autograd.grad(branch(x)[0, :, row, column].sum(), x)[0]
    return [tuple(place) for place in grads[0].abs().sum(0).nonzero().tolist()]


def test_the_spatial_branch_sees_the_pixels_that_come_before_row_by_row():
    branch = SpatialBranch(MambaHSIConfig(width=8)).double()
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64)
    before = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    assert reached(branch, x, (1, 1)) == before


def test_the_spectral_branch_sees_the_pixel_and_its_channels_before():
    branch = SpectralBranch(MambaHSIConfig(width=8)).double()
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64)
    assert reached(branch, x, (1, 1)) == [(1, 1)]
    grads = torch.autograd.grad(branch(x)[0, 2:4, 1, 1].sum(), x)[0]  # the second group of four
    assert grads[0, :, 1, 1].ne(0).tolist() == [True] * 4 + [False] * 4


def test_a_block_of_branches_that_add_nothing_doubles_its_input():
    block = Block(MambaHSIConfig(width=8))
    for branch in (block.spatial, block.spectral):
        torch.nn.init.zeros_(branch.norm.weight)
    x = torch.randn(1, 8, 3, 4)
    torch.testing.assert_close(block(x), 2 * x)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 14)])
def test_the_release_leaves_out_odd_edges(size):
    torch.manual_seed(0)
    height, width = size
    config = MambaHSIConfig(width=8, head_width=8, as_published=True)
    net = MambaHSI({"hsi": 3}, ["a", "b"], config).eval()
    x = torch.randn(1, 3, height, width)
    coarse = []
    net.head.register_forward_hook(lambda _module, _given, out: coarse.append(out))
    assert net({"hsi": x}).logits.shape == (1, 2, height, width)
    expected = tuple(max(side // 4, 1) for side in size)
    assert coarse[0].shape[-2:] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 4}, "width is 4"),
        ({"width": 10}, "width is 10"),
        ({"head_width": 6}, "head_width is 6"),
        ({"groups": 3}, "groups is 3"),
        ({"groups": 0}, "groups is 0"),
        ({"state": 0}, "state is 0"),
        ({"expand": 0.0}, "expand is 0"),
        ({"class_balance": 2.0}, "class_balance is 2"),
        ({"detail": 0}, "detail is 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MambaHSIConfig(**options)
