"""Maps halved and made finer: pixels stay where they lie, in any window that begins in step."""

import pytest
import torch

from bandweave.nn.halving import bring_to_labels, halve, make_finer


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 13)])
@pytest.mark.parametrize("corners", [False, True])
def test_a_constant_stays_and_the_size_comes_back(size, corners):
    x = torch.full((1, 2, *size), 3.0)
    coarse = halve(halve(x, corners), corners)
    torch.testing.assert_close(make_finer(coarse, size, corners), x)


def test_an_odd_edge_is_kept_or_left_out():
    x = torch.arange(15.0).view(1, 1, 3, 5)
    assert halve(x).shape[-2:] == (2, 3)
    assert halve(x)[0, 0, -1, -1] == 14
    assert halve(x, corners=True).flatten().tolist() == [3, 5]


def test_a_window_in_step_has_the_scenes_own_pixels():
    x = torch.randn(1, 1, 24, 24)
    finer = make_finer(halve(halve(x)), (24, 24))
    window = x[..., 8:, 4:]
    own = make_finer(halve(halve(window)), (16, 20))
    torch.testing.assert_close(own[..., 2:, 2:], finer[..., 10:, 6:])  # the edge is a window's own


def test_labels_may_be_finer_or_coarser_than_the_map():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert bring_to_labels(x, 2, 1).flatten().tolist() == [1.5]
    assert bring_to_labels(x, 1, 2).shape[-2:] == (4, 4)
    assert bring_to_labels(x, 2, 2) is x
