"""Statistics of windows: by hand, collected over many, frozen."""

import pytest
import torch
from torch import nn

from bandweave.errors import RunError
from bandweave.nn.window_statistics import (
    ChannelAttention,
    HalfInstanceNorm,
    WindowGroupNorm,
    collect_statistics,
    freeze_statistics,
)


def test_half_of_the_channels_are_normalised():
    torch.manual_seed(0)
    norm = HalfInstanceNorm(5)
    norm.weight.data, norm.bias.data = torch.rand(2), torch.rand(2)
    x = 3 + 2 * torch.randn(3, 5, 4, 6)
    found = norm(x)
    expected = nn.functional.instance_norm(x[:, :2], weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(found[:, :2], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[:, 2:], x[:, 2:])


def test_one_pixel_is_no_error():
    norm = HalfInstanceNorm(4)
    norm.bias.data.fill_(0.5)
    assert torch.equal(norm(torch.ones(2, 4, 1, 1))[:, :2], torch.full((2, 2, 1, 1), 0.5))


def test_channel_attention_by_hand():
    torch.manual_seed(0)
    attention = ChannelAttention(8, 8)
    x = torch.randn(2, 8, 4, 5)
    r = attention.branch(x)
    scale = attention.excite(r.mean((2, 3), keepdim=True))
    torch.testing.assert_close(attention(x), x + r * scale)
    plain = ChannelAttention(8, 8, means=False)
    torch.testing.assert_close(plain(x), x + plain.branch(x))


def test_group_norm_with_a_scenes_moments():
    torch.manual_seed(0)
    norm = WindowGroupNorm(2, 6).double()
    norm.weight.data, norm.bias.data = torch.rand(2, 6, dtype=torch.float64)
    scene = 3 + 2 * torch.randn(1, 6, 8, 10, dtype=torch.float64)
    scene[:, 1] += 5
    whole = norm(scene)
    expected = nn.functional.group_norm(scene, 2, norm.weight, norm.bias)
    torch.testing.assert_close(whole, expected)
    halves = scene[..., :4], scene[..., 4:]
    with collect_statistics(norm) as statistics:
        for half in halves:
            own = nn.functional.group_norm(half, 2, norm.weight, norm.bias)
            torch.testing.assert_close(norm(half), own)  # of the window while it collects
    with freeze_statistics(norm, statistics):
        joined = torch.cat([norm(half) for half in halves], dim=-1)
    torch.testing.assert_close(joined, whole)


def model():
    torch.manual_seed(0)
    return nn.Sequential(HalfInstanceNorm(6), nn.Conv2d(6, 6, 1), ChannelAttention(6, 8)).double()


def windows(count=5):
    torch.manual_seed(1)
    return [
        i + (i + 1) * torch.randn(1 + i % 2, 6, 3 + i, 4, dtype=torch.float64) for i in range(count)
    ]


def test_what_is_collected_are_moments_over_all_pixels():
    net = model()
    with collect_statistics(net) as statistics:
        for window in windows():
            net(window)
    pixels = torch.cat([w.transpose(0, 1).flatten(1) for w in windows()], 1)[:3]  # (3, pixels)
    torch.testing.assert_close(statistics["0.moments"][0], pixels.mean(1))
    torch.testing.assert_close(statistics["0.moments"][1], pixels.var(1, correction=0))
    assert set(statistics) == {"0.moments", "2.moments"}


def test_a_windows_own_statistics_frozen_change_nothing():
    net = model()
    (window,) = windows(1)
    expected = net(window)
    with collect_statistics(net) as statistics:
        torch.testing.assert_close(net(window), expected)
    with freeze_statistics(net, statistics):
        torch.testing.assert_close(net(window), expected)


def test_frozen_pixels_do_not_depend_on_their_window():
    net = nn.Sequential(HalfInstanceNorm(6), nn.Conv2d(6, 6, 1)).double()
    (window,) = windows(1)
    with collect_statistics(net) as statistics:
        net(window)
    with freeze_statistics(net, statistics):
        torch.testing.assert_close(net(window[:, :, :2])[0], net(window)[0, :, :2])
        torch.testing.assert_close(net(window.expand(3, -1, -1, -1))[2], net(window)[0])
    assert not torch.allclose(net(window[:, :, :2])[0], net(window)[0, :, :2])  # thawed


def test_statistics_stay_out_of_the_weights_and_the_gradient():
    net = model()
    names = set(net.state_dict())
    with collect_statistics(net) as statistics:
        net(windows(1)[0])
        assert set(net.state_dict()) == names
    assert not any(value.requires_grad for value in statistics.values())
    with freeze_statistics(net, statistics):
        assert set(net.state_dict()) == names


def test_layers_without_statistics_are_not_guessed():
    net = model()
    with freeze_statistics(net, {}), pytest.raises(RunError, match=r"layer 0.moments"):
        net(windows(1)[0])
    net(windows(1)[0])


def test_an_error_inside_leaves_nothing_behind():
    net = model()
    with pytest.raises(ZeroDivisionError), collect_statistics(net) as statistics:
        raise ZeroDivisionError
    assert statistics == {}
    assert all(m.sums is None for m in net.modules() if hasattr(m, "sums"))
