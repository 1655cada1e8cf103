from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import Layer, Part
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.predict.blend import Accumulator, raised_cosine
from bandweave.landcover.predict.net import Net
from bandweave.landcover.predict.windows import WindowPredictor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid, Window


class WatchedSource(ArraySource):
    """Keeps the windows that were read."""

    def __init__(self, array: np.ndarray):
        super().__init__(array.astype(np.float32))
        self.windows: list[Window] = []

    def read_nan(self, window):
        self.windows.append(window)
        return super().read_nan(window)


def unscaled(part):
    """Mean 0 and variance 1, whatever the layers hold."""
    return Scaling(
        {
            name: LayerScaling(np.zeros(layer.source.bands), np.ones(layer.source.bands))
            for name, layer in part.layers.items()
        }
    )


class Answer(NamedTuple):
    logits: torch.Tensor


class PerPixel(torch.nn.Module):
    """A 1×1 convolution of small integers, then a factor that is no binary fraction."""

    def __init__(self, bands=3, classes=4, ratio=1):
        super().__init__()
        self.conv = torch.nn.Conv2d(bands, classes, 1, bias=False)
        self.ratio = ratio
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.copy_(
                torch.randint(-5, 6, self.conv.weight.shape, generator=generator).float()
            )
        self.windows = 0

    def forward(self, layers):
        x = layers["hsi"]
        self.windows += len(x)
        if self.ratio > 1:
            x = x.repeat_interleave(self.ratio, 2).repeat_interleave(self.ratio, 3)
        return Answer(self.conv(x) * 0.1)


class Smooth(torch.nn.Module):
    """Looks at 9×9 px and answers like a trained model: the nearest of smooth prototypes. At the
    border of its window it sees padding, as any convolution does.
    """

    def __init__(self, classes=5):
        super().__init__()
        self.centres = torch.linspace(-1, 1, classes)

    def forward(self, layers):
        x = torch.nn.functional.avg_pool2d(layers["hsi"], 9, 1, 4)
        return Answer(-4 * (x[:, :1] - self.centres[None, :, None, None]) ** 2)


class WholeWindow(torch.nn.Module):
    """Adds to a smooth answer what depends on all of the window, as norms and pooling do."""

    def forward(self, layers):
        x = layers["hsi"]
        mood = torch.sin(1e3 * x.mean((1, 2, 3), keepdim=True))
        return Answer(torch.cat([x[:, :1] + 3 * mood, -x[:, :1]], dim=1))


def make_part(array, **finer):
    layers = {"hsi": Layer(WatchedSource(array))}
    for name, (values, ratio) in finer.items():
        layers[name] = Layer(WatchedSource(values), ratio)
    return Part("plot", Grid(*array.shape[1:], from_origin(0, 0, 1, 1)), layers)


def predictor(model, part, layers=("hsi",), **options):
    """Over windows, at the options of the net and of the predictor."""
    own = {name: options.pop(name) for name in ("step", "memory") if name in options}
    return WindowPredictor(Net(model, layers, unscaled(part), **options), **own)


def assemble(part, model, classes, ratio=1, layers=("hsi",), **options):
    """All strips of a part in one array, each pixel written once."""
    height, width = part.grid.height * ratio, part.grid.width * ratio
    logits = np.full((classes, height, width), np.nan, dtype=np.float32)
    valid = np.zeros((height, width), dtype=bool)
    count = np.zeros((height, width), dtype=int)
    options = {"reference": "hsi", "classes": classes, "output_ratio": ratio} | options
    swath, only = options.pop("swath", None), options.pop("only", None)
    for strip in predictor(model, part, layers, **options).strips(part, only, swath):
        assert swath is None or strip.window.width <= swath * ratio
        row, col, h, w = strip.window
        assert strip.logits.dtype == np.float32
        assert strip.logits.shape == (classes, h, w)
        assert strip.valid.shape == (h, w)
        logits[:, row : row + h, col : col + w] = strip.logits
        valid[row : row + h, col : col + w] = strip.valid
        count[row : row + h, col : col + w] += 1
    assert (count == 1).all()
    return logits, valid


def smooth_field(height, width, scale=12.0, seed=0):
    """Correlated over about `scale` px; most values between -1 and 1."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), scale)
    return (0.6 * (field - field.mean()) / field.std())[None]


@given(st.integers(1, 40))
def test_weights_are_positive_symmetric_and_greatest_in_the_middle(size):
    weights = raised_cosine(size)
    assert (weights > 0).all()
    assert weights == pytest.approx(weights[::-1])
    assert (np.diff(weights[: (size + 1) // 2]) > 0).all()


def test_accumulator_rolls_down():
    accumulator = Accumulator(classes=1, size=4, width=6)
    accumulator.mark(np.ones((4, 6), dtype=bool), 0)
    accumulator.add(np.full((1, 4, 4), 2.0), 0)
    accumulator.add(np.full((1, 4, 4), 2.0), 4)  # half of it lies right of the swath
    logits, valid = accumulator.take(3)
    assert valid.all()
    assert (logits == 2).all()
    accumulator.add(np.full((1, 4, 4), 7.0), -1)  # its first column lies left of the swath
    logits, valid = accumulator.take(4)
    assert valid[0].all()
    assert not valid[1:].any()
    assert 2 < logits[0, 0, 0] < 7
    assert logits[0, 0, 5] == 2
    assert (logits[:, 1:] == 0).all()


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    window=st.integers(1, 12),
    data=st.data(),
    ratio=st.integers(1, 3),
    batch=st.integers(1, 5),
    memory=st.sampled_from([1, 4000, 10**6]),
    tta=st.booleans(),
)
def test_model_that_looks_at_one_pixel_is_mapped_exactly(
    height, width, window, data, ratio, batch, memory, tta
):
    overlap = data.draw(st.integers(0, window - 1))
    rng = np.random.default_rng(height * 31 + width)
    array = rng.integers(-9, 10, (3, height, width)).astype(np.float32)
    array[:, rng.random((height, width)) < 0.3] = np.nan
    model = PerPixel(ratio=ratio)
    logits, valid = assemble(
        make_part(array),
        model,
        4,
        ratio,
        window=window,
        overlap=overlap,
        batch=batch,
        memory=memory,
        tta=tta,
    )
    has_data = np.isfinite(array[0]).repeat(ratio, 0).repeat(ratio, 1)
    np.testing.assert_array_equal(valid, has_data)
    with torch.inference_mode():
        whole = model({"hsi": torch.from_numpy(np.nan_to_num(array))[None]}).logits[0].numpy()
    np.testing.assert_array_equal(logits, np.where(has_data, whole, 0))


def crop_interior(part, model, top, left, size, **options):
    logits, _ = assemble(part, model, **options)
    return logits[:, top : top + size, left : left + size]


@pytest.mark.parametrize(("down", "right"), [(0, 7), (5, 0), (3, 11), (8, 8)])
def test_shifted_tilings_agree(down, right):
    field = smooth_field(150, 150)
    field = field + 0.1 * np.random.default_rng(1).normal(size=field.shape)
    options = {"classes": 5, "window": 32}
    here = crop_interior(make_part(field), Smooth(), 20, 20, 110, **options)
    there = crop_interior(
        make_part(field[:, down:, right:]), Smooth(), 20 - down, 20 - right, 110, **options
    )
    assert len(np.unique(here.argmax(0))) >= 4
    assert (here.argmax(0) == there.argmax(0)).mean() >= 0.99


def test_real_convolutions_agree_between_shifted_tilings():
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.GELU(),
        torch.nn.Conv2d(8, 8, 3, padding=1),
        torch.nn.GELU(),
        torch.nn.Conv2d(8, 4, 1),
    )

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, layers):
            return Answer(self.body(layers["hsi"]))

    field = 2 * smooth_field(120, 120, seed=3)
    options = {"classes": 4, "window": 24}
    here = crop_interior(make_part(field), Net(), 16, 16, 88, **options)
    there = crop_interior(make_part(field[:, 5:, 3:]), Net(), 11, 13, 88, **options)
    difference = np.abs(here - there)
    assert difference.mean() < 0.02 * here.std(axis=(1, 2)).mean()
    assert (here.argmax(0) == there.argmax(0)).mean() >= 0.99
    # without an overlap the borders of the windows show
    hard = crop_interior(make_part(field), Net(), 16, 16, 88, **options, overlap=0)
    moved = crop_interior(make_part(field[:, 5:, 3:]), Net(), 11, 13, 88, **options, overlap=0)
    assert np.abs(hard - moved).mean() > 10 * difference.mean()


def seam_contrast(logits, step):
    """Mean change from pixel to pixel across the windows' borders, over that elsewhere."""
    contrasts = []
    for axis in (1, 2):
        change = np.abs(np.diff(logits, axis=axis)).mean(axis=(0, 3 - axis))
        border = (np.arange(len(change)) + 1) % step == 0
        contrasts.append(change[border].mean() / change[~border].mean())
    return max(contrasts)


def test_no_seam_where_windows_meet():
    part = make_part(smooth_field(128, 128, seed=2))
    blended, _ = assemble(part, WholeWindow(), 2, window=32)
    assert seam_contrast(blended, 16) < 1.1
    butted, _ = assemble(part, WholeWindow(), 2, window=32, overlap=0)
    assert seam_contrast(butted, 32) > 5


def test_swaths_agree_with_one_pass():
    part = make_part(smooth_field(60, 130))
    one, _ = assemble(part, Smooth(), 5, window=16)
    many, _ = assemble(part, Smooth(), 5, window=16, memory=1)
    np.testing.assert_allclose(one, many, atol=1e-5)
    asked, _ = assemble(part, Smooth(), 5, window=16, swath=50)
    np.testing.assert_allclose(one, asked, atol=1e-5)


def test_memory_does_not_follow_from_rows_or_columns(monkeypatch):
    sizes = []
    original = Accumulator.__init__

    def spy(self, classes, size, width):
        original(self, classes, size, width)
        sizes.append(self.sums.nbytes + self.weights.nbytes)

    monkeypatch.setattr(Accumulator, "__init__", spy)
    for height, width in [(20, 40), (90, 40), (20, 400)]:
        part = make_part(np.ones((3, height, width)))
        assemble(part, PerPixel(), 4, window=8, memory=10_000)
        assert max(sizes) <= 10_000
        for window in part.layers["hsi"].source.windows:
            assert 3 * 4 * window.height * window.width <= 10_000


def test_windows_without_data_are_not_run():
    array = np.ones((3, 32, 64))
    array[:, :, 16:] = np.nan
    model = PerPixel()
    _, valid = assemble(make_part(array), model, 4, window=16, overlap=0)
    assert model.windows == 2
    assert valid.sum() == 32 * 16
    array[:] = np.nan
    model = PerPixel()
    logits, valid = assemble(make_part(array), model, 4, window=16)
    assert model.windows == 0
    assert not valid.any()
    assert (logits == 0).all()


def test_finer_layers_are_cut_to_the_same_ground():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 9, (3, 40, 60)).astype(np.float32)

    class Finer(PerPixel):
        def forward(self, layers):
            assert layers["hsi"].shape[-2:] == (8, 8)
            assert layers["rgb"].shape[-2:] == (32, 32)
            return Answer(self.conv(layers["rgb"]) * 0.1)

    part = make_part(np.ones((3, 10, 15)), rgb=(rgb, 4))
    model = Finer()
    logits, _ = assemble(part, model, 4, ratio=4, layers=("hsi", "rgb"), window=8)
    with torch.inference_mode():
        expected = model.conv(torch.from_numpy(rgb)[None])[0].numpy() * np.float32(0.1)
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize(("finer", "ratio"), [(4, 1), (4, 2), (2, 4), (3, 2), (1, 3)])
def test_mask_of_a_reference_of_any_ratio(finer, ratio):
    rng = np.random.default_rng(finer)
    rgb = rng.random((1, 6 * finer, 9 * finer))
    rgb[:, rng.random(rgb.shape[1:]) < 0.6] = np.nan
    part = make_part(np.ones((3, 6, 9)), rgb=(rgb, finer))
    _, valid = assemble(part, PerPixel(ratio=ratio), 4, ratio, window=4, reference="rgb")
    for row, col in np.ndindex(valid.shape):
        top, left = row * finer // ratio, col * finer // ratio
        bottom, right = -((row + 1) * finer // -ratio), -((col + 1) * finer // -ratio)
        assert valid[row, col] == np.isfinite(rgb[0, top:bottom, left:right]).any()


def test_the_model_is_evaluated_and_left_as_it_was():
    class Noisy(PerPixel):
        def forward(self, layers):
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().forward(layers)

    model = Noisy()
    part = make_part(np.ones((3, 9, 9)))
    for strip in predictor(model, part, reference="hsi", classes=4, window=4).strips(part):
        assert not torch.is_inference_mode_enabled()
        assert strip.valid.all()
    assert model.training


def test_flips_and_rotations_are_undone_and_averaged():
    field = np.random.default_rng(0).normal(size=(1, 16, 16))

    class Below(torch.nn.Module):
        """Answers with the pixel below: the mean over all views is that of the four neighbours."""

        def forward(self, layers):
            below = torch.nn.functional.pad(layers["hsi"], (0, 0, 0, 1))[:, :, 1:]
            return Answer(torch.cat([below, layers["hsi"]], dim=1))

    logits, _ = assemble(make_part(field), Below(), 2, window=16, tta=True)
    padded = np.pad(field[0], 1)
    four = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    np.testing.assert_allclose(logits[0], four / 4, atol=1e-6)
    np.testing.assert_allclose(logits[1], field[0], atol=1e-6)


def test_half_precision_is_close():
    part = make_part(smooth_field(20, 20))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, layers):
            logits = self.conv(layers["hsi"])
            self.dtype = logits.dtype
            return Answer(logits)

    model = Net()
    full, _ = assemble(part, model, 4, window=8)
    half, _ = assemble(part, model, 4, window=8, precision="bf16")
    assert model.dtype == torch.bfloat16
    np.testing.assert_allclose(full, half, atol=0.02)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"overlap": 8}, "overlap 8 px .* window of 8"),
        ({"overlap": -1}, "overlap -1 px"),
        ({"window": 0}, "window 0 px"),
        ({"batch": 0}, "batch 0"),
        ({"precision": "int4"}, "'int4' is none of fp32, bf16, fp16"),
    ],
)
def test_impossible_options(option, message):
    with pytest.raises(ConfigError, match=message):
        assemble(make_part(np.ones((3, 9, 9))), PerPixel(), 4, **{"window": 8} | option)


def test_answers_that_are_not_the_runs():
    with pytest.raises(RunError, match="4, 8, 8"):
        assemble(make_part(np.ones((3, 9, 9))), PerPixel(), 5, window=8)

    class Diverged(PerPixel):
        def forward(self, layers):
            return Answer(super().forward(layers).logits / 0)

    with pytest.raises(RunError, match="not finite in part 'plot'"):
        assemble(make_part(np.ones((3, 9, 9))), Diverged(), 4, window=8)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_pixels_that_are_asked_for_are_as_in_the_whole_map(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    window, ratio = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 2))
    part = make_part(np.random.default_rng(0).normal(size=(3, height, width)))
    only = np.zeros((height * ratio, width * ratio), bool)
    for _ in range(data.draw(st.integers(0, 3))):
        row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        only[row * ratio, col * ratio] = True
    options = {"window": window, "ratio": ratio, "memory": data.draw(st.sampled_from([1, 10**6]))}
    whole, _ = assemble(part, PerPixel(ratio=ratio), 4, **options)
    some, valid = assemble(part, PerPixel(ratio=ratio), 4, only=only, **options)
    assert valid[only].all()
    np.testing.assert_allclose(some[:, only], whole[:, only], rtol=1e-5, atol=1e-6)


def test_windows_without_a_pixel_that_is_asked_for_are_neither_read_nor_run():
    part, model = make_part(smooth_field(64, 48).repeat(3, 0)), PerPixel()
    only = np.zeros((64, 48), bool)
    only[30, 5] = True
    _, valid = assemble(part, model, 4, window=8, overlap=4, only=only, memory=1)
    assert model.windows == 4 + 2  # those across the border of two swaths run in both
    assert valid.sum() == 12 * 12
    assert all(20 <= each.row <= 30 for each in part.layers["hsi"].source.windows)
