"""Maps by a model of whole scenes: at once where a part fits, else in windows that hardly show."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import Layer, Part
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.predict.net import Net
from bandweave.landcover.predict.whole_scene import ScenePredictor
from bandweave.landcover.predict.windows import WindowPredictor
from bandweave.models.mambahsi import MambaHSI, MambaHSIConfig
from bandweave.models.mambamoe import MambaMoE, MambaMoEConfig
from bandweave.nn.window_statistics import freeze_statistics
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid

CLASSES = ["a", "b", "c"]
UNSCALED = Scaling({"hsi": LayerScaling(np.zeros(3), np.ones(3))})


class Answer(NamedTuple):
    logits: torch.Tensor


class Watching(torch.nn.Module):
    """Answers with the bands, and keeps the sizes of what it was given."""

    window_step, bytes_per_pixel = 4, 100

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, layers):
        self.sizes.append(tuple(layers["hsi"].shape))
        return Answer(layers["hsi"])


def make_part(height, width, seed=0, smooth=3.0):
    rng = np.random.default_rng(seed)
    bands = np.stack([gaussian_filter(rng.normal(size=(height, width)), smooth) for _ in range(3)])
    bands = (bands / bands.std() + 0.3 * rng.normal(size=bands.shape)).astype(np.float32)
    grid = Grid(height, width, from_origin(0, 0, 1, 1))
    return Part("plot", grid, {"hsi": Layer(ArraySource(bands, grid))})


def together(strips, part, classes=3):
    """All strips in one array, each pixel once."""
    logits = np.full((classes, part.grid.height, part.grid.width), np.nan, np.float32)
    count = np.zeros(logits.shape[1:], int)
    for strip in strips:
        row, col, height, width = strip.window
        logits[:, row : row + height, col : col + width] = strip.logits
        count[row : row + height, col : col + width] += 1
    assert (count == 1).all()
    return logits


def stream(model, part, window=0, **options):
    options = {"reference": "hsi", "classes": 3, "window": window} | options
    own = {name: options.pop(name) for name in ("memory", "whole") if name in options}
    swath = options.pop("swath", None)
    net = Net(model, ["hsi"], UNSCALED, **options)
    return ScenePredictor(net, **own).strips(part, swath=swath)


MODELS = {  # that are fed with scenes
    "mambamoe": (MambaMoE, MambaMoEConfig(width=8, mlp_ratio=2.0, state=4)),
    "mambahsi": (MambaHSI, MambaHSIConfig(width=8, head_width=8, state=4)),
}


def model(name="mambamoe"):
    torch.manual_seed(0)
    make, config = MODELS[name]
    return make({"hsi": 3}, CLASSES, config).eval()


@pytest.mark.parametrize(("window", "size"), [(0, (30, 700)), (24, (9, 24)), (0, (1, 1))])
def test_a_part_that_fits_goes_in_as_it_is(window, size):
    watching, part = Watching(), make_part(*size)
    found = together(stream(watching, part, window, whole=100 * size[0] * size[1]), part)
    assert watching.sizes == [(1, 3, *size)]
    values, _ = part.layers["hsi"].read(part.grid.window)
    np.testing.assert_array_equal(found, values)


def test_a_part_that_does_not_fit_goes_in_windows_that_do():
    watching, part, whole = Watching(), make_part(20, 90), 100 * 16 * 17
    found = together(stream(watching, part, whole=whole), part)
    assert max(b * h * w for b, _, h, w in watching.sizes) * 100 <= whole
    assert {size[2:] for size in watching.sizes} == {(16, 16)}
    values, _ = part.layers["hsi"].read(part.grid.window)
    np.testing.assert_allclose(found, values, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"whole": 100 * 16 * 17}])
def test_any_swath_gives_the_same_map(options):
    part = make_part(300, 90)
    expected = together(stream(Watching(), part, **options), part)
    strips = list(stream(Watching(), part, swath=40, **options))
    assert {strip.window.width for strip in strips} == {40, 10}
    np.testing.assert_allclose(together(strips, part), expected, rtol=1e-6)


def test_windows_are_no_larger_than_the_shorter_side_nor_than_in_training():
    watching = Watching()
    together(stream(watching, part := make_part(14, 60), 40), part)
    assert {size[2:] for size in watching.sizes} == {(12, 12)}
    watching.sizes.clear()
    together(stream(watching, part := make_part(50, 60), 24), part)
    assert {size[2:] for size in watching.sizes} == {(24, 24)}


def test_what_has_no_data_is_not_run_and_not_valid():
    part, watching = make_part(20, 30), Watching()
    values, _ = part.layers["hsi"].read(part.grid.window)
    values[:, 5:, :] = np.nan
    part = Part("plot", part.grid, {"hsi": Layer(ArraySource(values, part.grid))})
    (strip,) = stream(watching, part)
    assert strip.valid[:5].all()
    assert not strip.valid[5:].any()
    assert not strip.logits[:, 5:].any()
    values[:] = np.nan
    empty = Part("plot", part.grid, {"hsi": Layer(ArraySource(values, part.grid))})
    watching.sizes.clear()
    (strip,) = stream(watching, empty)
    assert not strip.valid.any()
    assert watching.sizes == []


def test_answers_that_are_wrong_are_refused():
    part = make_part(8, 8)
    with pytest.raises(RunError, match="shape"):
        next(stream(Watching(), part, classes=5))
    with pytest.raises(ConfigError, match="precision"):
        next(stream(Watching(), part, precision="fp8"))
    with pytest.raises(ConfigError, match="overlap"):
        next(stream(Watching(), make_part(40, 40), 16, overlap=16))


def test_training_mode_is_restored():
    net = model().train()
    together(stream(net, part := make_part(16, 24)), part)
    assert net.training
    together(stream(net, part := make_part(40, 40), 16), part)
    assert net.training
    assert not any(getattr(m, "watched", False) for m in net.modules())


def test_views_of_a_part_that_is_not_square_are_turned_back():
    watching, part = Watching(), make_part(6, 10)
    found = together(stream(watching, part, tta=True), part)
    assert {size[2:] for size in watching.sizes} == {(6, 10), (10, 6)}
    values, _ = part.layers["hsi"].read(part.grid.window)
    np.testing.assert_allclose(found, values, rtol=1e-6)


@pytest.fixture(scope="module", params=MODELS)
def tilings(request):
    """A part at once, and in windows whose tilings are shifted: frozen, and each by itself."""
    net, part, side = model(request.param), make_part(64, 88), 32
    options = {"reference": "hsi", "classes": 3, "window": 0}
    statistics = ScenePredictor(Net(net, ["hsi"], UNSCALED, **options)).statistics(part, side)

    def windows(overlap):
        options = {"reference": "hsi", "classes": 3, "window": side, "overlap": overlap}
        tiled = WindowPredictor(Net(net, ["hsi"], UNSCALED, **options), step=8)
        return together(tiled.strips(part), part)

    with freeze_statistics(net, statistics):
        frozen = {overlap: windows(overlap) for overlap in (16, 8)}
    own = {overlap: windows(overlap) for overlap in (16, 8)}
    return together(stream(net, part), part), frozen, own


def test_shifted_tilings_agree(tilings):
    whole, frozen, own = tilings
    spread = whole.std(axis=(1, 2)).mean()
    assert np.abs(frozen[16] - frozen[8]).mean() < 0.05 * spread
    assert np.abs(frozen[16] - whole).mean() < 0.1 * spread
    assert (frozen[16].argmax(0) == frozen[8].argmax(0)).mean() > 0.97
    assert np.abs(own[16] - own[8]).mean() > 2 * np.abs(frozen[16] - frozen[8]).mean()


def test_no_seam_is_seen(tilings):
    """Neighbours across a window's border differ as neighbours do elsewhere in the whole map."""
    whole, frozen, _ = tilings
    borders = [c for c in range(1, 88) if c % 16 == 0]
    across = np.abs(np.diff(frozen[16], axis=2)).mean((0, 1))[[b - 1 for b in borders]]
    natural = np.abs(np.diff(whole, axis=2)).mean((0, 1))[[b - 1 for b in borders]]
    np.testing.assert_allclose(across, natural, rtol=0.15)


def test_the_answer_is_the_same_twice_and_in_any_batch():
    net, part = model(), make_part(40, 56)
    first = together(stream(net, part, 24), part)
    np.testing.assert_array_equal(first, together(stream(net, part, 24), part))
    other = together(stream(net, part, 24, batch=1), part)
    np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-5)
