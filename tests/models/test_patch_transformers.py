"""What MFT, ExViT and HCT have of their own: the counts of their releases, and their options."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.exvit import ExViT, ExViTConfig
from bandweave.models.hct import HCT, HCTConfig
from bandweave.models.mft import MFT, MFTConfig

CLASSES = [f"class {k}" for k in range(15)]
HOUSTON = {"hsi": 144, "lidar": 1}


def count(model, config, bands=HOUSTON, classes=15):
    with torch.device("meta"):
        net = model(bands, CLASSES[:classes], config)
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("bands", "classes", "expected"),
    [
        (HOUSTON, 15, 321_903),
        ({"hsi": 64, "lidar": 2}, 11, 258_219),  # MUUFL
        ({"hsi": 180, "sar": 4}, 7, 351_911),  # Augsburg
        ({"hsi": 63, "lidar": 1}, 6, 272_358),  # Trento
    ],
)
def test_parameters_of_mft(bands, classes, expected):
    assert count(MFT, MFTConfig(), bands, classes) == expected


def test_parameters_of_mft_with_pixel_tokens():
    assert count(MFT, MFTConfig(tokenizer="pixel")) == 317_052
    unplaced = MFTConfig(tokenizer="pixel", as_published=True)
    assert count(MFT, unplaced) == 317_052 - 5 * 64


def test_parameters_of_exvit():
    """One fewer than the release's: a bias that its softmax cancels."""
    assert count(ExViT, ExViTConfig()) == 239_914 - 1
    assert count(ExViT, ExViTConfig(), {"hsi": 64, "lidar": 2}, 11) == 237_600 - 1


def test_parameters_of_hct():
    """Those of the release that are used."""
    assert count(HCT, HCTConfig(), {"hsi": 30, "lidar": 1}) == 434_575


def test_mft_adds_what_the_first_token_found_to_every_token():
    torch.manual_seed(0)
    block = MFT(HOUSTON, CLASSES, MFTConfig()).blocks[0].eval()
    torch.nn.init.zeros_(block.mlp[4].weight)
    torch.nn.init.zeros_(block.mlp[4].bias)
    x = torch.randn(2, 5, 64)
    update = block(x) - x
    torch.testing.assert_close(update, update[:, :1].expand_as(update))


@pytest.mark.parametrize("bands", [1, 2, 8, 9])
@pytest.mark.parametrize(("model", "config"), [(MFT, MFTConfig()), (HCT, HCTConfig())])
def test_few_bands_are_seen_among_zeros(model, config, bands):
    net = model({"hsi": bands, "lidar": 1}, CLASSES, config).eval()
    x = torch.randn(2, bands, config.patch, config.patch, requires_grad=True)
    net.classify_patch(x, torch.randn(2, 1, config.patch, config.patch)).sum().backward()
    assert x.grad.flatten(2).any(2).all()


@pytest.mark.parametrize(
    ("bands", "width", "groups"), [(12, 64, 16), (13, 64, 8), (9, 24, 2), (10, 8, 2)]
)
def test_groups_of_mft_divide_its_maps(bands, width, groups):
    net = MFT({"hsi": bands, "lidar": 1}, CLASSES, MFTConfig(width=width))
    assert net.over_pixels[0].grouped.groups == groups


def test_mft_starts_as_the_release_does():
    """Tokens by the fans of tensors with a leading 1; Xavier in the MLPs, and there alone."""
    torch.manual_seed(0)
    net = MFT(HOUSTON, CLASSES, MFTConfig())
    first, second, block = net.first_tokens, net.second_token, net.blocks[0]
    expected = {
        first.ask: 0.079,
        first.values: 0.022,
        second.ask: 0.125,
        block.mlp[1].weight: (2 / (64 + 512)) ** 0.5,
        block.out_proj.weight: (3 * 512) ** -0.5,  # PyTorch's default
    }
    for weight, deviation in expected.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.3)


def test_exvit_takes_a_batch_of_one():
    net = ExViT({"a": 2, "b": 1}, CLASSES, ExViTConfig(patch=3)).train()
    logits = net({"a": torch.randn(1, 2, 3, 3), "b": torch.randn(1, 1, 3, 3)}).logits
    assert logits.shape == (1, 15, 1, 1)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (MFTConfig, {"width": 12}, "width is 12; it must be a multiple of 8"),
        (MFTConfig, {"tokenizer": "word"}, "tokenizer is 'word'; it is one of channel, pixel"),
        (MFTConfig, {"as_published": True}, "leave it out for 'channel'"),
        (ExViTConfig, {"heads": 0}, "heads is 0; it must be 1 or more"),
        (HCTConfig, {"patch": 4}, "patch is 4; it must be 5 or more"),
        (HCTConfig, {"heads": 7}, "width is 64; it must be a multiple of heads=7"),
        (HCTConfig, {"hidden_second": 0}, "hidden_second is 0; it must be 1 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(config, options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)
