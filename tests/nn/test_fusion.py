"""The parts of a fusion block."""

import pytest
import torch
from torch import nn

from bandweave.nn.fusion import BiasFreeNorm, CrossAttention, FusionBlock, GatedNetwork


def test_the_norm_divides_and_takes_no_mean_away():
    x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    norm = BiasFreeNorm(2)
    norm.weight.data = torch.tensor([1.0, 2.0])
    expected = torch.tensor([[1.0, 6.0], [5.0 / 1e-5**0.5, 10.0 / 1e-5**0.5]])
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-4)


def test_the_gated_network_by_hand():
    torch.manual_seed(0)
    net = GatedNetwork(3, 4.0).double()
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    wide = nn.functional.conv2d(
        torch.einsum("bhwd,ed->behw", x, net.widen.weight), net.conv.weight, padding=1, groups=12
    )
    gated = nn.functional.gelu(wide[:, :6]) * wide[:, 6:]
    torch.testing.assert_close(net(x), torch.einsum("behw,de->bhwd", gated, net.narrow.weight))


@pytest.mark.parametrize(("streams", "leaving"), [(2, 2), (2, 1), (1, 1)])
def test_attention_asks_the_other_stream(streams, leaving):
    torch.manual_seed(0)
    attention = CrossAttention(4, 2, leaving).double()
    for conv in attention.convs:  # pixel by pixel, so that the projections are seen
        conv.weight.data.zero_()
        conv.weight.data[:, 0, 1, 1] = 1.0
        conv.bias.data.zero_()
    x = [torch.randn(2, 3, 2, 4, dtype=torch.float64) for _ in range(streams)]
    found = attention(x)
    assert len(found) == min(streams, leaving)
    flat = [(each.flatten(1, 2) @ attention.project.weight.T).split(4, -1) for each in x]
    for s, answer in enumerate(found):
        query, (_, key, value) = flat[s][0], flat[len(x) - 1 - s]
        weights = (query @ key.transpose(1, 2) / 2).softmax(-1)
        expected = weights @ value @ attention.out_projs[s].weight.T
        torch.testing.assert_close(answer.flatten(1, 2), expected)


class Swap(nn.Module):
    def forward(self, streams):
        return list(reversed(streams))


def test_a_block_adds_what_was_fused_and_then_its_network():
    torch.manual_seed(0)
    block = FusionBlock(4, Swap(), 2.0)
    for norm in (*block.fuse_norms, *block.network_norms):
        norm.weight.data.uniform_(0.5, 1.5)
    (before_a, before_b), (after_a, after_b) = block.fuse_norms, block.network_norms
    a, b = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    first, second = block([a, b])
    fused = a + before_b(b)
    torch.testing.assert_close(first, fused + block.network(after_a(fused)))
    fused = b + before_a(a)
    torch.testing.assert_close(second, fused + block.network(after_b(fused)))


def test_only_streams_that_leave_have_a_norm_before_the_network():
    block = FusionBlock(4, CrossAttention(4, 2, 1), 2.0, 2, 1)
    assert (len(block.fuse_norms), len(block.network_norms)) == (2, 1)
    assert len(block([torch.randn(1, 2, 3, 4)] * 2)) == 1
