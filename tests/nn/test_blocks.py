"""Stems, residual blocks and dropped paths."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bandweave.nn.blocks import CrossBlock, DropPath, Stem, VSSBlock

SIZES = {"state": 2, "expand": 2.0, "mlp_ratio": 3.0, "drop_path": 0.0}


def shaken(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module


# Stems


def test_a_stem_of_several_layers_is_one_convolution_over_their_bands():
    torch.manual_seed(0)
    layers = {"hsi": torch.randn(2, 5, 3, 4), "lidar": torch.randn(2, 1, 3, 4)}
    stem = shaken(Stem({"hsi": 5, "lidar": 1}, 7, {"hsi": 1, "lidar": 1}))
    one = nn.Conv2d(6, 7, 1)
    one.weight.data = torch.cat([stem.convs["hsi"].weight, stem.convs["lidar"].weight], 1)
    one.bias.data = stem.bias.data
    expected = stem.norm(one(torch.cat([layers["hsi"], layers["lidar"]], 1)).permute(0, 2, 3, 1))
    torch.testing.assert_close(stem(layers), expected)
    assert stem(layers).shape == (2, 3, 4, 7)


def test_its_weights_start_as_those_of_the_one_convolution():
    torch.manual_seed(0)
    stem = Stem({"hsi": 60, "rgb": 3}, 200, {"hsi": 1, "rgb": 2})
    bound = (60 + 3 * 4) ** -0.5
    for weights in (stem.convs["hsi"].weight, stem.convs["rgb"].weight, stem.bias):
        assert 0.95 * bound < weights.abs().max() <= bound


@pytest.mark.parametrize(("ratio", "detail", "stride"), [(4, 1, 4), (10, 2, 5), (2, 2, 1)])
def test_a_finer_layer_enters_by_the_pixels_of_one_token(ratio, detail, stride):
    stem = Stem({"rgb": 3}, 4, {"rgb": ratio}, detail)
    x = torch.randn(1, 3, 3 * ratio, 2 * ratio, requires_grad=True)
    tokens = stem({"rgb": x})
    assert tokens.shape == (1, 3 * detail, 2 * detail, 4)
    (reached,) = torch.autograd.grad(tokens[0, 1, 1, 0], x)
    touched = reached[0].abs().sum(0).nonzero()
    assert touched.min(0).values.tolist() == [stride, stride]
    assert touched.max(0).values.tolist() == [2 * stride - 1, 2 * stride - 1]


def test_a_coarser_layer_enters_by_interpolation():
    stem = shaken(Stem({"hsi": 5}, 4, {"hsi": 1}, detail=2)).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    finer = F.interpolate(x, scale_factor=2, mode="bilinear")
    expected = F.conv2d(finer, stem.convs["hsi"].weight, stem.bias).permute(0, 2, 3, 1)
    torch.testing.assert_close(stem({"hsi": x}), stem.norm(expected))


# Dropped paths


def test_a_path_is_dropped_for_whole_samples_and_kept_on_average():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.rand(4000, 1, 1).add(1).expand(4000, 2, 3)
    ratio = drop(x) / x
    assert torch.equal(ratio, ratio[:, :1, :1].expand_as(ratio))
    values = ratio[:, 0, 0]
    torch.testing.assert_close(values[values > 0], torch.full_like(values[values > 0], 4 / 3))
    assert (values == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_no_path_is_dropped_outside_training_or_at_rate_zero():
    x = torch.randn(64, 2)
    assert torch.equal(DropPath(0.5).eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)
    assert not torch.equal(DropPath(0.5)(x), x)


# Residual blocks


def mlp(block, x):
    norm, rise, _, fall = block.mlp
    return fall(F.gelu(rise(norm(x))))


def test_a_vss_block_adds_its_scan_and_then_its_mlp():
    block = shaken(VSSBlock(6, **SIZES)).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    a = x + block.scan(block.norm(x))
    torch.testing.assert_close(block(x), a + mlp(block, a))
    assert block.mlp[1].out_features == 18


@pytest.mark.parametrize("average", ["transition", "rate"])
def test_a_cross_block_steers_its_scan_by_the_guide(average):
    block = shaken(CrossBlock(6, average=average, **SIZES)).double()
    x, z = torch.randn(2, 2, 3, 4, 6, dtype=torch.float64)
    a = x + block.scan(block.norm(x), block.norm(z))
    torch.testing.assert_close(block(x, z), a + mlp(block, a))
    assert not torch.allclose(block(x, z), block(x, x))


def test_both_branches_of_a_block_drop_their_paths():
    torch.manual_seed(0)
    block = shaken(VSSBlock(6, **SIZES | {"drop_path": 0.5}))
    x = torch.randn(400, 1, 2, 6)
    scan = block.scan(block.norm(x))
    candidates = {}
    for kept_scan in (0, 1):
        a = x + 2 * kept_scan * scan
        for kept_mlp in (0, 1):
            candidates[kept_scan, kept_mlp] = a + 2 * kept_mlp * mlp(block, a)
    out = block(x)
    fits = {kept: (out - each).flatten(1).abs().amax(1) < 1e-4 for kept, each in candidates.items()}
    assert torch.stack(list(fits.values())).sum(0).eq(1).all()  # each sample is one of the four
    for kept in fits.values():
        assert 0.15 < kept.float().mean() < 0.35
