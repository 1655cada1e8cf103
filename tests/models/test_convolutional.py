"""What the convolutional networks have of their own: their sizes, their options, their edges."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.cnn2d import CNN2D, CNN2DConfig
from bandweave.models.cnn3d import CNN3D, BandConv, CNN3DConfig
from bandweave.models.hybridsn import HybridSN, HybridSNConfig
from bandweave.models.unet import UNet, UNetConfig

CLASSES = [f"class {k}" for k in range(16)]


def test_hybridsn_has_the_papers_parameters():
    """Table II of the paper: 5,122,176 for 25 px, 30 components and 16 classes."""
    with torch.device("meta"):
        model = HybridSN({"hsi": 30}, CLASSES, HybridSNConfig())
    assert sum(p.numel() for p in model.parameters()) == 5_122_176


@pytest.mark.parametrize("bands", [1, 12, 13, 14])
def test_hybridsn_takes_few_bands(bands):
    model = HybridSN({"hsi": bands}, CLASSES, HybridSNConfig(patch=9)).eval()
    x = torch.randn(2, bands, 9, 9, requires_grad=True)
    model({"hsi": x}).logits.sum().backward()
    assert x.grad.flatten(2).any(2).all()


@pytest.mark.parametrize("side", [1, 2, 9])
def test_a_cnn_of_any_depth_fits_any_patch(side):
    model = CNN2D({"a": 3}, CLASSES, CNN2DConfig(patch=side, width=4, depth=5)).eval()
    assert model({"a": torch.randn(2, 3, side, side)}).logits.shape == (2, 16, 1, 1)


def test_a_3d_cnn_takes_any_number_of_bands_and_tells_them_apart():
    torch.manual_seed(0)
    for bands, left in {1: 1, 8: 1, 9: 2, 400: 50}.items():
        model = CNN3D({"a": bands}, CLASSES, CNN3DConfig(width=2)).eval()
        assert model.head.in_features == 8 * left
        x = torch.randn(1, bands, 7, 7)
        logits = model({"a": x}).logits
        assert logits.isfinite().all()
        assert bands == 1 or not torch.allclose(model({"a": x.flip(1)}).logits, logits)


def test_a_unet_reaches_no_further_than_it_says():
    """Found in a wide image by the gradients of pixels at every phase of the halving."""
    torch.manual_seed(0)
    model = UNet({"a": 1}, CLASSES, UNetConfig(width=4, depth=2)).double().eval()
    reach = model.reach(1000)
    x = torch.randn(1, 1, 4, 120, dtype=torch.float64, requires_grad=True)
    logits = model({"a": x}).logits
    farthest = 0
    for column in range(56, 60):
        gradient = torch.autograd.grad(logits[0, :, 0, column].sum(), x, retain_graph=True)[0]
        seen = gradient[0, 0].any(0).nonzero()
        farthest = max(farthest, int((seen - column).abs().max()))
    assert farthest == reach


def test_a_unet_on_odd_sizes_answers_for_every_pixel():
    model = UNet({"a": 2}, CLASSES, UNetConfig(width=4, depth=3)).eval()
    assert model({"a": torch.randn(1, 2, 7, 9)}).logits.shape == (1, 16, 7, 9)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (HybridSNConfig, {"patch": 7}, "patch is 7; it must be 9 or more"),
        (CNN2DConfig, {"depth": 0}, "depth is 0; it must be 1 or more"),
        (CNN3DConfig, {"width": -1}, "width is -1"),
        (UNetConfig, {"dropout": 1.0}, "dropout is 1.0; it must be from 0 to below 1"),
        (UNetConfig, {"label_smoothing": float("nan")}, "label_smoothing is nan"),
    ],
)
def test_options_out_of_range_are_refused(config, options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("channels", "width", "bands", "side"), [(1, 8, 51, 7), (3, 2, 7, 3), (2, 4, 1, 5)]
)
def test_bands_are_convolved_as_by_a_3d_convolution(channels, width, bands, side):
    conv = BandConv(channels, width).double()
    x = torch.randn(3, channels, bands, side, side, dtype=torch.float64)
    with torch.backends.mkldnn.flags(enabled=False):
        expected = torch.nn.functional.conv3d(x, conv.weight, stride=(2, 1, 1), padding=(3, 1, 1))
    torch.testing.assert_close(conv(x), expected)
