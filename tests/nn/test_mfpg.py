"""IS2PG against its sums by hand, the sizes of all, and the ways to CLIP's image."""

import math

import pytest
import torch

from bandweave.nn.mfpg import (
    AMFF,
    QUERY,
    BilinearUpsampling,
    CrossAttention,
    LearnedUpsampling,
    resize_spatial,
    strides,
)

C, D, SIDE = 5, 2, 3


def sources(batch=2, pixels=SIDE**2):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(batch, pixels, C, generator=generator, dtype=torch.float64)
    return h, torch.randn(batch, pixels, D, generator=generator, dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_the_matrices_and_the_fusion_by_hand():
    torch.manual_seed(0)
    attention = CrossAttention(C, D).double()
    h, x = sources()
    attention.requires_grad_(False)
    fused, matrices = attention(attention.pixels(h, x))
    P = SIDE**2
    assert matrices.spectral.shape == (2, C, C)
    assert matrices.spatial.shape == (2, P, P)
    for b in range(2):
        query = [attention.spectral_query(x[b, p]) for p in range(P)]
        key = [attention.spectral_key(h[b, p]) for p in range(P)]
        asked = [attention.spatial_query(h[b, p]) for p in range(P)]
        given = [attention.spatial_key(x[b, p]) for p in range(P)]
        values = [attention.values(torch.cat([h[b, p], x[b, p]])) for p in range(P)]
        for i in range(C):
            for j in range(C):
                total = sum(float(query[p][i] * key[p][j]) for p in range(P))
                expected = sigmoid(total / math.sqrt(P))
                assert matrices.spectral[b, i, j].item() == pytest.approx(expected)
        for p in range(P):
            for q in range(P):
                expected = sigmoid(float(asked[p] @ given[q]) / math.sqrt(QUERY))
                assert matrices.spatial[b, p, q].item() == pytest.approx(expected)
        for p in range(P):
            for j in range(C):
                added = sum(float(values[p][i] * matrices.spectral[b, i, j]) for i in range(C))
                assert fused[b, p, j].item() == pytest.approx(float(h[b, p, j]) + added)
            for j in range(D):
                added = sum(float(matrices.spatial[b, p, q] * values[q][C + j]) for q in range(P))
                assert fused[b, p, C + j].item() == pytest.approx(float(x[b, p, j]) + added)


def test_without_fusion_or_comparison_there_are_no_weights_for_them():
    h, x = sources()
    beside = CrossAttention(C, D, fuse=False).double()
    fused, matrices = beside(beside.pixels(h, x))
    assert torch.equal(fused, torch.cat([h, x], dim=-1))
    assert matrices is not None
    assert not any("values" in name for name, _ in beside.named_parameters())
    bare = CrossAttention(C, D, fuse=False, compare=False)
    assert not list(bare.parameters())
    fused, matrices = bare(bare.pixels(h, x))
    assert torch.equal(fused, torch.cat([h, x], dim=-1))
    assert matrices is None


def test_amff_by_its_formula():
    torch.manual_seed(0)
    amff = AMFF(9)
    x = torch.randn(2, 9, 4, 5)
    average = x.flatten(2).mean(2)
    largest = x.flatten(2).max(2).values
    weight = torch.sigmoid(amff.attention(average) + amff.attention(largest))
    scaled = x * weight.reshape(2, 9, 1, 1)
    expected = x + sum(conv(scaled) for conv in amff.convs)
    torch.testing.assert_close(amff(x), expected)
    assert [conv.kernel_size[0] for conv in amff.convs] == [1, 3, 5]
    assert amff.attention[0].out_features == 1  # a bottleneck of 9 / 8 channels


@pytest.mark.parametrize(
    ("side", "patch", "expected"),
    [
        (224, 7, [4, 2, 2, 2]),
        (64, 7, [2, 2, 2, 2]),
        (64, 8, [2, 2, 2, 1]),
        (16, 9, [2, 1, 1, 1]),
        (8, 9, [1, 1, 1, 1]),
    ],
)
def test_strides_reach_the_image(side, patch, expected):
    assert strides(side, patch) == expected
    upsampling = LearnedUpsampling(3, side, patch)
    grown = upsampling.layers(torch.zeros(2, 3, patch, patch))
    assert grown.shape[-1] == patch * math.prod(expected)
    assert upsampling(torch.zeros(2, 3, patch, patch)).shape == (2, 3, side, side)
    assert upsampling(torch.zeros(2, 3, 2, 5)).shape == (2, 3, side, side)


def test_exact_strides_leave_no_bilinear_step():
    upsampling = LearnedUpsampling(3, 28, 7)
    x = torch.randn(2, 3, 7, 7)
    assert torch.equal(upsampling(x), upsampling.layers(x))


def test_without_learning_it_is_a_mixture_and_bilinear():
    upsampling = BilinearUpsampling(4, 12)
    x = torch.randn(1, 4, 3, 3)
    image = upsampling(x)
    assert image.shape == (1, 3, 12, 12)
    corner = torch.nn.functional.conv2d(x, upsampling.mix.weight, upsampling.mix.bias)[0, :, 0, 0]
    torch.testing.assert_close(image[0, :, 0, 0], corner)


def test_spatial_matrices_of_other_patches_are_brought_to_one_size():
    torch.manual_seed(0)
    given = torch.rand(2, 9, 9)
    assert resize_spatial(given, (3, 3), 3) is given
    flat = torch.full((1, 6, 6), 0.25)
    torch.testing.assert_close(resize_spatial(flat, (2, 3), 4), torch.full((1, 16, 16), 0.25))
    by_row = torch.arange(4.0)[None, :, None].expand(1, 4, 4)  # one value for each first pixel
    resized = resize_spatial(by_row, (2, 2), 3)
    assert resized.shape == (1, 9, 9)
    torch.testing.assert_close(resized, resized[:, :, :1].expand(1, 9, 9))
    torch.testing.assert_close(resized[0, :, 0], torch.tensor([0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3]))
    torch.testing.assert_close(
        resize_spatial(by_row.transpose(1, 2), (2, 2), 3), resized.transpose(1, 2)
    )
