"""What every sharpening model holds to, whatever it is: one body for all entries of the dict."""

from dataclasses import fields, replace

import pytest
import torch

from bandweave.errors import BandweaveError, RunError
from bandweave.models import SHARPENERS
from bandweave.models.contract import SharpeningModel
from bandweave.schema import from_dict, to_dict
from bandweave.training.checkpoint import load_model, restore, save_model, weights
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer

SMALL = {"width": 8, "depth": 2, "residuals": 1, "state": 2, "mlp_ratio": 2.0}
SMALL |= {"single_layers": 2, "swaps": 1, "cross_layers": 2}
SMALL |= {"attention_width": 8}  # fewer channels may all be dead

pytestmark = pytest.mark.parametrize("name", SHARPENERS)


def build(name, bands=3, ratio=2, seed=0, **options):
    """The model of that name, shrunk so that a step takes milliseconds."""
    preset = SHARPENERS[name]
    known = {f.name for f in fields(preset.config)}
    small = {key: value for key, value in SMALL.items() if key in known}
    torch.manual_seed(seed)
    return preset.model(bands, replace(preset.config, **small | options), ratio)


def pair(bands=3, ratio=2, size=(5, 7), batch=2, seed=0):
    """MS, PAN and a target, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    fine = ratio * size[0], ratio * size[1]
    shapes = {"ms": (bands, *size), "pan": (1, *fine), "target": (bands, *fine)}
    return {name: torch.rand(batch, *s, generator=generator) for name, s in shapes.items()}


def step(model, **given):
    optimizer = make_optimizer(model, TrainConfig(lr=1e-2))
    loss = model(**given).loss
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 3)])
def test_any_size_and_ratio(name, size, ratio):
    model = build(name, ratio=ratio)
    out = model(**pair(ratio=ratio, size=size))
    assert out.image.shape == (2, 3, ratio * size[0], ratio * size[1])
    assert out.loss.isfinite()
    out.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("bands", [1, 4, 9])
def test_any_bands_and_all_is_learnt(name, bands):
    model = build(name, bands)
    model(**pair(bands)).loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_ms_and_pan_both_move_the_answer(name):
    model = build(name)
    given = pair()
    before = model(**given).image
    assert not torch.allclose(model(**given | {"pan": given["pan"].flip(2)}).image, before)
    for band in range(3):
        ms = given["ms"].clone()
        ms[:, band] += 0.5
        assert not torch.allclose(model(**given | {"ms": ms}).image, before)


def test_saved_and_loaded_it_answers_the_same(name, tmp_path):
    model, given = build(name), pair()
    step(model, **given)
    save_model(tmp_path / "model.safetensors", weights(model), {"config": to_dict(model.config)})
    tensors, stored = load_model(tmp_path / "model.safetensors")
    torch.manual_seed(99)
    config = from_dict(type(model.config), stored["config"])
    again = SHARPENERS[name].model(3, config, 2)
    restore(again, tensors)
    with torch.no_grad():
        assert torch.equal(again(**given).image, model(**given).image)


def test_weights_of_other_bands_are_refused(name):
    with pytest.raises(RunError, match="does not fit the model"):
        restore(build(name, 4), weights(build(name, 3)))


def test_same_seed_same_numbers(name):
    runs = []
    for _ in range(2):
        model = build(name, seed=3)
        losses = torch.stack([step(model, **pair()), step(model, **pair(seed=1))])
        runs.append((losses, [p.detach().clone() for p in model.parameters()]))
    (losses, first), (others, second) = runs
    assert torch.equal(losses, others)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(step(build(name, seed=4), **pair()), losses[0])


def test_evaluation_is_what_training_sees(name):
    model, given = build(name), pair()
    with torch.no_grad():
        learning = model.train()(**given).image
        assert torch.equal(model.eval()(**given).image, learning)
        assert torch.equal(model(given["ms"], given["pan"]).image, learning)


def test_the_answer_does_not_depend_on_the_batch(name):
    model, given = build(name), pair(batch=3)
    with torch.no_grad():
        together = model(**given).image
        for i in range(3):
            alone = model(given["ms"][i : i + 1], given["pan"][i : i + 1]).image
            torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_ways_without_pan_are_those_it_tells_of(name):
    model, given = build(name), pair()
    with torch.no_grad():
        first, *others = (model.super_resolve(given["ms"], way).image for way in model.zero_shots)
        assert torch.equal(model(given["ms"]).image, first)
        assert all(other.shape == first.shape == (2, 3, 10, 14) for other in others)
    for way in {"ms stream", "ms twice", "ms as pan", "pan"} - set(model.zero_shots):
        with pytest.raises(BandweaveError, match=f"zero_shot is '{way}'; it is one of ms"):
            model.super_resolve(given["ms"], way)


def test_without_a_target_there_is_no_loss(name):
    given = pair()
    out = build(name)(given["ms"], given["pan"])
    assert out.loss is None
    assert out.parts == {}


def test_pixels_without_a_target_teach_nothing(name):
    model, given = build(name).double(), {n: x.double() for n, x in pair().items()}
    out = model(**given)
    error = (out.image - given["target"]).abs().mean()
    assert out.loss.item() == pytest.approx(error.item())
    given["target"][:, :, :4] = float("nan")
    part = model(**given)
    known = (out.image - given["target"])[:, :, 4:].abs().mean()
    assert part.loss.item() == pytest.approx(known.item(), rel=1e-5)
    given["target"][:] = float("nan")
    nothing = model(**given)
    assert nothing.loss == 0
    nothing.loss.backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_bfloat16_is_close(name):
    model, given = build(name), pair()
    exact = model(**given)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(**given)
    assert rough.loss.dtype == torch.float32
    torch.testing.assert_close(rough.image.float(), exact.image, rtol=0.03, atol=0.03)
    rough.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_it_learns_what_it_is_shown(name):
    model = build(name)
    optimizer = make_optimizer(model, TrainConfig(lr=5e-3, weight_decay=0.0))
    given = pair()
    given["target"] = given["pan"] * torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    first = model(**given).loss.item()
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(**given).loss
        loss.backward()
        optimizer.step()
        if loss.item() < 0.4 * first:
            return
    pytest.fail(f"after 40 steps {loss.item():.3f} of {first:.3f}")


def test_a_phase_is_interpolated_not_shifted(name):
    """A linear image, of which U knows all: MS with a corner gives U at PAN's own pixels."""
    model = build(name).double()
    for parameter in model.tail.out_proj.parameters():
        parameter.data.zero_()
    i, j = torch.meshgrid(*[torch.arange(9, dtype=torch.float64)] * 2, indexing="ij")
    ms = (0.02 * i + 0.05 * j).expand(1, 3, -1, -1)
    found = model(ms, torch.rand(1, 1, 14, 14, dtype=torch.float64), corner=(-2.5, -1.0)).image
    at = torch.arange(14, dtype=torch.float64) + 0.5
    expected = 0.02 * ((at[:, None] + 2.5) / 2 - 0.5) + 0.05 * ((at + 1) / 2 - 0.5)
    torch.testing.assert_close(found[0, 0, 2:11, 3:11], expected[2:11, 3:11])


@pytest.mark.parametrize(
    ("ms", "pan", "corner", "said"),
    [
        ((1, 3, 4), (1, 1, 8, 8), None, r"3 bands; it was given \(1, 3, 4\)"),
        ((1, 4, 4, 4), (1, 1, 8, 8), None, "of 3 bands"),
        ((2, 3, 4, 4), (1, 1, 8, 8), None, "as many images as MS, here 2"),
        ((1, 3, 4, 4), (1, 2, 8, 8), None, r"it was given \(1, 2, 8, 8\)"),
        ((1, 3, 4, 4), (1, 1, 8, 9), None, "PAN is 8×9 px, MS 4×4 px; with ratio 2 .* 8×8 px"),
        ((1, 3, 4, 4), (1, 1, 8, 8), (2.0, 0.0), r"corner at \(2.0, 0.0\) px"),
        ((1, 3, 4, 4), (1, 1, 8, 8), (0.0, -2.0), r"corner at \(0.0, -2.0\) px"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, ms, pan, corner, said):
    with pytest.raises(BandweaveError, match=said):
        build(name)(torch.zeros(ms), torch.zeros(pan), corner=corner)


def test_a_target_of_another_size_is_refused(name):
    given = pair()
    with pytest.raises(BandweaveError, match="target is 9×14 px, the sharpened image 10×14 px"):
        build(name)(given["ms"], given["pan"], given["target"][:, :, 1:])


@pytest.mark.parametrize(("bands", "ratio"), [(0, 2), (3, 0)])
def test_no_bands_and_no_ratio_are_refused(name, bands, ratio):
    with pytest.raises(BandweaveError, match=f"{bands} bands and ratio {ratio}"):
        build(name, bands, ratio)


def test_its_preset_is_complete(name):
    preset = SHARPENERS[name]
    assert set(preset.samples) == {"patch", "batch"}
    from_dict(TrainConfig, preset.train)
    assert issubclass(preset.model, SharpeningModel)
