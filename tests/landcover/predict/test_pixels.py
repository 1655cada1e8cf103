"""A map of pixels, each from its patch, equals the patches one by one, however it is cut."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from rasterio.transform import from_origin
from torch import nn

from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import Layer, Part
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.predict.net import Net
from bandweave.landcover.predict.pixels import PixelPredictor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid

CLASSES = 3
BANDS = {"hsi": 2, "rgb": 1}


class Answer(NamedTuple):
    logits: torch.Tensor


class Patchwise(nn.Module):
    """Looks at every pixel of a patch, each in its own way."""

    def __init__(self, window, ratio=1, output_ratio=1):
        super().__init__()
        torch.manual_seed(0)
        self.enter = nn.Conv2d(BANDS["rgb"], 2, ratio, ratio)
        self.weigh = nn.Linear((2 + BANDS["hsi"]) * window**2, CLASSES)
        self.bytes_per_pixel, self.output_ratio = 4 * 4, output_ratio
        self.patches = []

    def pixels(self, layers):
        both = torch.cat([layers["hsi"], self.enter(layers["rgb"])], dim=1)
        return both.permute(0, 2, 3, 1)

    def classify(self, pixels):
        self.patches.append(len(pixels))
        return self.weigh(torch.tanh(pixels).flatten(1))

    def forward(self, layers):
        logits = self.classify(self.pixels(layers))[..., None, None]
        return Answer(logits.expand(-1, -1, self.output_ratio, self.output_ratio))


def make_part(size=(9, 13), ratio=1):
    rng = np.random.default_rng(0)
    hsi = rng.normal(size=(BANDS["hsi"], *size)).astype(np.float32)
    hsi[:, :3, 2:6] = np.nan
    hsi[:, 5, 4] = np.nan
    fine = size[0] * ratio, size[1] * ratio
    rgb = rng.normal(size=(BANDS["rgb"], *fine)).astype(np.float32)
    layers = {"hsi": Layer(ArraySource(hsi)), "rgb": Layer(ArraySource(rgb), ratio)}
    return Part("plot", Grid(*size, from_origin(0, 0, 1, 1)), layers), hsi, rgb


def scaling():
    return Scaling({n: LayerScaling(np.zeros(c), np.ones(c)) for n, c in BANDS.items()})


def mapped(model, part, window, ratio=1, **options):
    """All strips in one array, each pixel written once."""
    size = part.grid.height * ratio, part.grid.width * ratio
    logits = np.full((CLASSES, *size), np.nan, np.float32)
    valid, count = np.zeros(size, bool), np.zeros(size, int)
    options = {"reference": "hsi", "classes": CLASSES, "output_ratio": ratio} | options
    own = {name: options.pop(name) for name in ("memory",) if name in options}
    only, swath = options.pop("only", None), options.pop("swath", None)
    net = Net(model, list(BANDS), scaling(), window=window, **options)
    for strip in PixelPredictor(net, **own).strips(part, only, swath):
        row, col, h, w = strip.window
        assert swath is None or w <= swath * ratio
        assert strip.logits.shape == (CLASSES, h, w)
        assert strip.logits.dtype == np.float32
        place = slice(row, row + h), slice(col, col + w)
        logits[:, *place], valid[place] = strip.logits, strip.valid
        count[place] += 1
    assert (count == 1).all()
    return logits, valid


def one_by_one(model, hsi, rgb, window, ratio):
    """Logits of every pixel with data, each from a patch cut for it alone."""
    before, after = window // 2, window - 1 - window // 2
    around = [(0, 0), (before, after), (before, after)]
    finer = [(0, 0), (before * ratio, after * ratio), (before * ratio, after * ratio)]
    seen = ~np.isnan(hsi).any(0)
    padded = np.pad(np.nan_to_num(hsi), around), np.pad(rgb, finer)
    logits = np.zeros((CLASSES, *seen.shape), np.float32)
    for row, col in zip(*np.nonzero(seen), strict=True):
        patch = padded[0][:, row : row + window, col : col + window]
        fine = padded[1][:, row * ratio : (row + window) * ratio]
        fine = fine[:, :, col * ratio : (col + window) * ratio]
        layers = {"hsi": torch.tensor(patch[None]), "rgb": torch.tensor(fine[None])}
        with torch.no_grad():
            logits[:, row, col] = model(layers).logits[0, :, 0, 0].numpy()
    return logits, seen


@pytest.mark.parametrize("window", [1, 3, 4])
@pytest.mark.parametrize("ratio", [1, 2])
def test_the_map_equals_patches_one_by_one(window, ratio):
    part, hsi, rgb = make_part(ratio=ratio)
    model = Patchwise(window, ratio)
    expected, seen = one_by_one(model, hsi, rgb, window, ratio)
    logits, valid = mapped(model, part, window)
    assert np.array_equal(valid, seen)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("output_ratio", [1, 3])
@pytest.mark.parametrize("memory", [1, 2_000, 6_000])
def test_however_it_is_cut_the_map_is_the_same(memory, output_ratio):
    part, _, _ = make_part((11, 17), ratio=2)
    model = Patchwise(3, 2, output_ratio)
    expected, seen = mapped(model, part, 3, output_ratio)
    for swath in (None, 2):
        options = {"memory": memory, "batch": 3, "swath": swath}
        logits, valid = mapped(model, part, 3, output_ratio, **options)
        assert np.array_equal(valid, seen)
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_each_pixel_with_data_goes_through_once():
    part, hsi, _ = make_part()
    model = Patchwise(3)
    mapped(model, part, 3, batch=8)
    assert sum(model.patches) == (~np.isnan(hsi).any(0)).sum()
    assert max(model.patches) == 8


@pytest.mark.parametrize(("output_ratio", "memory"), [(1, None), (1, 500), (2, None), (3, 900)])
def test_asked_for_some_pixels_it_answers_for_those_and_runs_few_others(output_ratio, memory):
    part, *_ = make_part()
    model = Patchwise(3, output_ratio=output_ratio)
    options = {} if memory is None else {"memory": memory}
    whole, valid = mapped(model, part, 3, output_ratio, **options)
    only = np.zeros(valid.shape, bool)
    only[2 * output_ratio, 7 * output_ratio : 8 * output_ratio + 1] = True
    only[-1, 0] = only[0, 3] = True
    every = sum(model.patches)
    model.patches.clear()
    some, answered = mapped(model, part, 3, output_ratio, only=only, **options)
    assert (answered == (valid & only)).all()
    np.testing.assert_allclose(some[:, answered], whole[:, answered], atol=1e-6)
    assert sum(model.patches) <= (3 if output_ratio == 1 else every / 3)


def test_finer_labels_are_interpolated_between_pixels_with_data():
    part, hsi, rgb = make_part()
    model = Patchwise(3, output_ratio=2)
    coarse, seen = one_by_one(model, hsi, rgb, 3, 1)
    logits, valid = mapped(model, part, 3, 2, batch=2)  # in strips of a row
    assert np.array_equal(valid, seen.repeat(2, 0).repeat(2, 1))
    for row in range(0, logits.shape[1], 3):
        for col in range(logits.shape[2]):
            y, x = (row + 0.5) / 2 - 0.5, (col + 0.5) / 2 - 0.5
            total, weights = np.zeros(CLASSES), 0.0
            for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                    r = min(max(i, 0), seen.shape[0] - 1)
                    c = min(max(j, 0), seen.shape[1] - 1)
                    weight = (1 - abs(y - i)) * (1 - abs(x - j)) * seen[r, c]
                    total, weights = total + weight * coarse[:, r, c], weights + weight
            expected = total / weights if valid[row, col] else 0
            np.testing.assert_allclose(logits[:, row, col], expected, atol=1e-5)


def test_the_mean_over_flips_and_rotations():
    part, hsi, rgb = make_part((7, 8), ratio=2)
    model = Patchwise(3, 2)
    logits, _ = mapped(model, part, 3, tta=True)
    assert not np.allclose(logits, mapped(model, part, 3)[0])
    total = np.zeros_like(logits)
    for mirror in (1, -1):
        for turns in range(4):
            seen, fine = (np.rot90(a[..., ::mirror], turns, (-2, -1)).copy() for a in (hsi, rgb))
            layers = {"hsi": Layer(ArraySource(seen)), "rgb": Layer(ArraySource(fine), 2)}
            grid = Grid(*seen.shape[1:], from_origin(0, 0, 1, 1))
            found, _ = mapped(model, Part("turned", grid, layers), 3)
            total += np.rot90(found, -turns, (-2, -1))[..., ::mirror]
    np.testing.assert_allclose(logits, total / 8, atol=1e-5)


def test_a_part_without_data_is_not_run():
    part, hsi, rgb = make_part()
    layers = {
        "hsi": Layer(ArraySource(np.full_like(hsi, np.nan))),
        "rgb": Layer(ArraySource(rgb), 1),
    }
    model = Patchwise(3)
    logits, valid = mapped(model, Part("empty", part.grid, layers), 3)
    assert not logits.any()
    assert not valid.any()
    assert not model.patches


def test_the_models_mode_is_restored_and_it_learns_on():
    part, _, _ = make_part()
    model = Patchwise(3).train()
    mapped(model, part, 3)
    assert model.training
    model.classify(torch.ones(1, 3, 3, 4)).sum().backward()


def test_what_it_cannot_do_is_said():
    part, _, _ = make_part()
    model = Patchwise(3)
    with pytest.raises(ConfigError, match="overlap 2 px"):
        mapped(model, part, 3, overlap=2)
    with pytest.raises(ConfigError, match="batch 0"):
        mapped(model, part, 3, batch=0)
    with pytest.raises(ConfigError, match="precision 'fp8'"):
        mapped(model, part, 3, precision="fp8")
    with pytest.raises(RunError, match="classes"):
        mapped(model, part, 3, classes=CLASSES + 1)
    nn.init.constant_(model.weigh.bias, torch.nan)
    with pytest.raises(RunError, match="not finite in part 'plot'"):
        mapped(model, part, 3)
