"""What every land-cover model holds to, whatever it is: one body for all entries of the dict."""

from contextlib import suppress
from dataclasses import fields, replace

import pytest
import torch

from bandweave.errors import BandweaveError, ConfigError, RunError
from bandweave.landcover.predict.feeding import FEEDS
from bandweave.models import LAND_COVER
from bandweave.models.patch_model import PatchModel
from bandweave.nn.clip.encoder import ClipConfig
from bandweave.nn.clip.prompted import PromptedClipConfig
from bandweave.nn.experts import RoutedExperts
from bandweave.nn.output import HIDDEN, IGNORED
from bandweave.nn.pretrained.provenance import frozen_names
from bandweave.schema import from_dict, to_dict
from bandweave.training.checkpoint import load_model, name_now, restore, save_model, weights
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer
from tiny_clip import tiny_clip

CLASSES = ["grass", "tree", "roof"]
SMALL = {"width": 8, "depth": 2, "state": 4, "mlp_ratio": 2.0, "hidden": 8}
SMALL |= {"input": "learned", "image_size": 80}  # of a frozen encoder: what single pixels need
SIDES = 5, 9  # px of a patch: the smaller one, for models that can be made for it


def shrunk(name, **options):
    """The preset's config, so small that a step takes milliseconds, with the options it has."""
    config = LAND_COVER[name].config
    known = {f.name for f in fields(config) if not isinstance(getattr(config, f.name), tuple)}
    values = {key: value for key, value in (SMALL | options).items() if key in known}
    if isinstance(getattr(config, "clip", None), PromptedClipConfig):
        values["clip"] = tiny_clip(len(CLASSES))
    if isinstance(getattr(config, "clip", None), ClipConfig):
        values["clip"] = ClipConfig(mode="none")  # adapters start as the identity, unlearnt
    if not issubclass(LAND_COVER[name].model, PatchModel) or "patch" in values:
        return replace(config, **values)
    with suppress(ConfigError):
        return replace(config, **values, patch=SIDES[0])
    return replace(config, **values, patch=SIDES[1])


# Presets that differ in their sizes alone are one and the same model when shrunk.
MODELS = {f"{preset.model} {shrunk(name)}": name for name, preset in LAND_COVER.items()}

pytestmark = pytest.mark.parametrize("name", MODELS.values())


def build(name, bands, ratios=None, output_ratio=1, seed=0, **options):
    """The model of that name, shrunk."""
    torch.manual_seed(seed)
    config = shrunk(name, **options)
    return LAND_COVER[name].model(bands, CLASSES, config, ratios, output_ratio)


def trained(model):
    """Its parameters, but for those that are to stay as they are."""
    return [p for p in model.parameters() if p.requires_grad]


def answered(model, size=(5, 9)):
    """What of layers of that size is answered, in labels: all, or one pixel of the grid."""
    height, width = (1, 1) if model.fed == "pixels" else size
    return height * model.output_ratio, width * model.output_ratio


def crops(bands, size=(5, 9), batch=2, ratios=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    return {
        name: torch.randn(
            batch, count, height * (ratios or {}).get(name, 1), width * (ratios or {}).get(name, 1),
            generator=generator,
        )
        for name, count in bands.items()
    }  # fmt: skip


def labels(size=(5, 9), batch=2, seed=0):
    """Every kind of label: the classes, IGNORED and HIDDEN; the first of a sample is a class."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(HIDDEN, len(CLASSES), (batch, *size), generator=generator)
    found[:, 0, 0] = torch.arange(batch) % len(CLASSES)
    return found


BANDS = {"hsi": 6, "lidar": 1}


def learn_all(model, bands):
    """Gradients of an input; of routed experts, of several that are routed in several ways.

    Late in training, with two samples that have no label.
    """
    model.begin_step(0.99)
    routers = [m.router for m in model.modules() if isinstance(m, RoutedExperts)]
    for seed in range(12 if routers else 1):
        for router in routers:
            torch.nn.init.normal_(router.weight)
        target = labels(answered(model), batch=4, seed=seed)
        target[2:] = IGNORED
        model(crops(bands, batch=4, seed=seed), target).loss.backward()
        if all(p.grad is not None and p.grad.any() for p in trained(model)):
            break


def step(model, size=(5, 9), **options):
    """Loss of one training step of the optimiser that training uses."""
    optimizer = make_optimizer(model, TrainConfig(lr=1e-2, **options))
    loss = model(crops(BANDS, size), labels(answered(model, size))).loss
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 9), (17, 13)])
def test_any_size(name, size):
    model = build(name, BANDS)
    out = model(crops(BANDS, size), labels(answered(model, size)))
    assert out.logits.shape == (2, len(CLASSES), *answered(model, size))
    assert out.loss.isfinite()
    out.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "bands",
    [{"pan": 1}, {"hsi": 4, "sar": 2}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3, "d": 9}],
    ids=len,
)
def test_one_to_four_layers_all_learnt(name, bands):
    model = build(name, bands, drop_path=0.0)
    learn_all(model, bands)
    frozen = frozen_names(model)
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(idle) == frozen
    assert not [n for n, p in model.named_parameters() if p.grad is not None and n in frozen]
    assert all(p.grad.isfinite().all() for p in trained(model))


@pytest.mark.parametrize(
    ("ratio", "output_ratio"),  # layers as fine as labels, coarser, finer, and by no whole number
    [(1, 1), (2, 2), (1, 4), (4, 2), (10, 1), (10, 4)],
)
def test_finer_layers_and_finer_labels(name, ratio, output_ratio):
    bands, ratios = {"hsi": 4, "rgb": 3}, {"rgb": ratio}
    model = build(name, bands, ratios, output_ratio)
    fine = answered(model, (3, 5))
    layers = crops(bands, (3, 5), ratios=ratios)
    layers["rgb"].requires_grad_()
    out = model(layers, labels(fine))
    assert out.logits.shape == (2, len(CLASSES), *fine)
    out.loss.backward()
    assert layers["rgb"].grad.ne(0).all()  # no fine pixel is left out


def test_all_layers_move_the_answer(name):
    model = build(name, BANDS).eval()
    layers = crops(BANDS)
    with torch.no_grad():
        before = model(layers).logits
        for layer in BANDS:
            other = {**layers, layer: layers[layer] + 1}
            assert not torch.allclose(model(other).logits, before)


def test_saved_and_loaded_it_answers_the_same(name, tmp_path):
    model = build(name, BANDS)
    step(model)
    save_model(tmp_path / "model.safetensors", weights(model), {"config": to_dict(model.config)})
    tensors, stored = load_model(tmp_path / "model.safetensors")
    assert [name_now(tensor) for tensor in tensors] == list(tensors)  # no name means another
    torch.manual_seed(99)
    config = from_dict(type(model.config), stored["config"])
    again = LAND_COVER[name].model(BANDS, CLASSES, config)
    restore(again, tensors)
    with torch.no_grad():
        expected = model.eval()(crops(BANDS)).logits
        assert torch.equal(again.eval()(crops(BANDS)).logits, expected)


def test_weights_of_other_bands_are_refused(name):
    model, others = build(name, {"hsi": 5, "lidar": 1}), weights(build(name, BANDS))
    if all(value.shape == others[key].shape for key, value in weights(model).items()):
        pytest.skip("its weights serve any number of bands")
    with pytest.raises(RunError, match="does not fit the model"):
        restore(model, others)


def test_same_seed_same_numbers(name):
    runs = []
    for _ in range(2):
        model = build(name, BANDS, seed=3, drop_path=0.5, dropout=0.5)
        losses = torch.stack([step(model), step(model)])
        runs.append((losses, [p.detach().clone() for p in model.parameters()]))
    (losses, first), (others, second) = runs
    assert torch.equal(losses, others)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(step(build(name, BANDS, seed=4)), losses[0])


def test_evaluation_draws_nothing(name):
    model = build(name, BANDS, drop_path=0.5, dropout=0.5)
    layers = crops(BANDS)
    drawn = any(getattr(model.config, option, 0) for option in ("drop_path", "dropout"))
    with torch.no_grad():
        assert torch.equal(model(layers).logits, model(layers).logits) is not drawn
        model.eval()
        assert torch.equal(model(layers).logits, model(layers).logits)


def test_evaluation_does_not_depend_on_the_batch(name):
    model = build(name, BANDS).eval()
    layers = crops(BANDS, batch=3)
    with torch.no_grad():
        together = model(layers).logits
        for i in range(3):
            alone = model({n: layer[i : i + 1] for n, layer in layers.items()}).logits
            torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_labels_do_not_move_the_logits(name):
    model = build(name, BANDS).eval()
    with torch.no_grad():
        supervised = model(crops(BANDS), labels(answered(model)))
        plain = model(crops(BANDS))
    assert torch.equal(plain.logits, supervised.logits)
    assert plain.loss is None
    assert supervised.parts


def test_no_label_at_all_is_no_loss_and_no_nan(name):
    model = build(name, BANDS)
    out = model(crops(BANDS), torch.full((2, *answered(model)), HIDDEN))
    assert out.loss == 0
    out.loss.backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_hidden_inputs_without_data_stay_finite(name):
    model = build(name, BANDS)
    layers = {n: torch.zeros_like(layer) for n, layer in crops(BANDS).items()}
    loss = model(layers, torch.full((2, *answered(model)), IGNORED)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_bfloat16_is_close(name):
    model = build(name, BANDS, seed=1, drop_path=0.0)
    layers, target = crops(BANDS), labels(answered(model))
    torch.manual_seed(1)  # of what a loss draws
    exact = model(layers, target)
    exact.loss.backward()
    used = [p for p in model.parameters() if p.grad is not None]
    gradients = [p.grad.clone() for p in used]
    model.zero_grad()
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(layers, target)
    rough.loss.backward()
    assert rough.loss.dtype == torch.float32
    torch.testing.assert_close(rough.loss, exact.loss, rtol=1e-2, atol=1e-2)
    scale = exact.logits.abs().max()
    assert (rough.logits.float() - exact.logits).abs().max() < 0.05 * scale
    found = torch.cat([p.grad.flatten() for p in used])
    true = torch.cat([g.flatten() for g in gradients])
    assert found.isfinite().all()
    few = any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())  # pixels in a norm,
    assert torch.cosine_similarity(found, true, dim=0) > (0.97 if few else 0.99)  # which adds noise


def test_it_learns_what_it_is_shown(name):
    models = (build(name, BANDS, drop_path=0.0, dropout=0.0) for _ in range(2))
    assert any(learn(model, lr) > 0.9 for model, lr in zip(models, (1e-2, 1e-3), strict=True))


def learn(model, lr):
    """Accuracy in evaluation after 40 steps, or fewer where all is learnt."""
    optimizer = make_optimizer(model, TrainConfig(lr=lr))
    block = {"scene": 4}.get(model.fed, 1)  # px: coarser than what is mapped by pixels half as fine
    layers = {
        n: x.repeat_interleave(block, 2).repeat_interleave(block, 3)
        for n, x in crops(BANDS, batch=12 if model.fed == "pixels" else 2).items()
    }
    target = layers["lidar"][:, 0].sign().long() + 1  # 0 or 2, by the height
    if model.fed == "pixels":
        target = target[:, 2:3, 4:5]  # in the middle of 5×9
    for _ in range(40):
        optimizer.zero_grad()
        out = model.train()(layers, target)
        out.loss.backward()
        optimizer.step()
        if out.parts["accuracy"] > 0.9:
            with torch.no_grad():
                out = model.eval()(layers, target)
            if (out.logits.argmax(1) == target).float().mean() > 0.9 < out.parts["accuracy"]:
                break
    return float((out.logits.argmax(1) == target).float().mean())


def test_it_says_how_it_is_fed_and_how_far_it_looks(name):
    model = build(name, BANDS).eval().double()
    assert model.fed in FEEDS
    window = 6
    layers = {n: x.double().requires_grad_() for n, x in crops(BANDS, (window, window), 1).items()}
    corner = model(layers).logits[0, 0, 0, 0]
    reached = torch.autograd.grad(corner, layers["lidar"])[0][0, 0].nonzero()
    middle = window // 2 if model.fed == "pixels" else 0  # what the corner of the answer is of
    farthest = (reached - middle).abs().max()
    assert farthest <= model.reach(window)
    assert farthest == min(model.reach(window), max(middle, window - 1 - middle))


def test_layers_that_do_not_fit_are_refused(name):
    model = build(name, {"hsi": 4, "rgb": 3}, {"rgb": 4})
    layers = crops({"hsi": 4, "rgb": 3}, ratios={"rgb": 4})
    with pytest.raises(BandweaveError, match=r"takes hsi, rgb.*without rgb"):
        model({"hsi": layers["hsi"]})
    with pytest.raises(BandweaveError, match="hsi 5×9 px at ratio 1, rgb 21×36 px at ratio 4"):
        model({**layers, "rgb": torch.zeros(2, 3, 21, 36)})
    with pytest.raises(BandweaveError, match="labels 10×18 px at ratio 1"):
        model(layers, labels((10, 18)))
