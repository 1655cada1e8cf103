"""CLIP guidance: what is trained, what is frozen, what is kept, at any size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bandweave.errors import ConfigError, WeightsError
from bandweave.nn.clip.adapters import Adapter
from bandweave.nn.clip.encoder import has_bfloat16
from bandweave.nn.clip.guidance import (
    ClipConfig,
    ClipEncoder,
    ClipGuidance,
)
from bandweave.nn.clip.weights import load_tower, load_vision_weights
from bandweave.nn.pretrained.provenance import check_weights, frozen_names, weights_fingerprint

TRAINED = ["frozen", "adapters", "finetune"]
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 2, "patch_size": 8, "image_size": 32, "projection_dim": 24}


@pytest.fixture
def config(tiny_clip):
    def make(**options):
        return ClipConfig(**({"weights": str(tiny_clip), "precision": "fp32"} | options))

    return make


def guidance_of(config, bands=None, width=12):
    torch.manual_seed(0)
    return ClipGuidance(bands or {"hsi": 6, "lidar": 1}, width, config)


def crops(bands, size=(8, 8), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, c, *size, generator=generator) for name, c in bands.items()}


# The tower


@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
@pytest.mark.parametrize("mode", TRAINED)
def test_an_untrained_encoder_is_transformers_own(config, tiny_clip, mode, guidance):
    from transformers import CLIPVisionModelWithProjection

    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    encoder = ClipEncoder(["hsi"], config(mode=mode, guidance=guidance))
    clip = CLIPVisionModelWithProjection.from_pretrained(tiny_clip).eval()
    with torch.no_grad():
        found = encoder(images, "hsi")
        expected = clip(images, output_hidden_states=True)
    if guidance == "pooled":
        torch.testing.assert_close(found, expected.image_embeds)
    else:  # the last layer is dropped, the class token too
        hidden = expected.hidden_states[-2]
        torch.testing.assert_close(found, hidden[:, 1:].reshape(2, 4, 4, 32))


def test_the_last_layer_can_stay(config, tiny_clip):
    images = torch.randn(1, 3, 32, 32)
    encoder = ClipEncoder(["hsi"], config(mode="frozen", drop_last_layer=False))
    tower = load_tower(load_vision_weights(str(tiny_clip)))
    with torch.no_grad():
        hidden = tower(images).last_hidden_state
        torch.testing.assert_close(encoder(images, "hsi").flatten(1, 2), hidden[:, 1:])


def test_dropping_the_only_layer_is_refused():
    shape = TINY | {"num_hidden_layers": 1}
    with pytest.raises(WeightsError, match="none is left without its last"):
        ClipEncoder(["hsi"], ClipConfig(architecture=shape))


def test_an_untrained_adapter_is_the_identity():
    x = torch.randn(2, 5, 16)
    adapter = Adapter(16, 4)
    assert torch.equal(adapter(x), x)
    nn.init.normal_(adapter.up.weight)
    assert not torch.allclose(adapter(x), x)


def test_untrained_adapters_leave_the_guidance_as_it_is(config):
    bands = {"hsi": 6, "lidar": 1}
    adapted, frozen = guidance_of(config()), guidance_of(config(mode="frozen"))
    frozen.load_state_dict(
        {name: value for name, value in adapted.state_dict().items() if ".adapters." not in name}
    )
    layers = crops(bands)
    assert torch.equal(adapted(layers, (8, 8)), frozen(layers, (8, 8)))


def test_each_modality_has_its_own_adapters(config):
    encoder = ClipEncoder(["hsi", "lidar"], config())
    images = torch.randn(1, 3, 32, 32)
    before = encoder(images, "hsi"), encoder(images, "lidar")
    nn.init.normal_(encoder.adapters["hsi"][0].up.weight)
    assert not torch.allclose(encoder(images, "hsi"), before[0])
    assert torch.equal(encoder(images, "lidar"), before[1])


# What learns


@pytest.mark.parametrize("fuse", ["sum", "concat"])
@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
@pytest.mark.parametrize("mode", TRAINED)
def test_gradients_reach_what_is_trained_and_nothing_else(config, mode, guidance, fuse):
    model = guidance_of(config(mode=mode, guidance=guidance, fuse=fuse))
    for name, parameter in model.named_parameters():
        if ".up." in name:  # at their start of zero they let no gradient through to `down`
            nn.init.normal_(parameter, std=0.1)
    model(crops(model_bands(model)), (8, 8)).square().mean().backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith("encoder.tower.") and mode != "finetune"
        assert parameter.requires_grad is not frozen, name
        assert (parameter.grad is None) is frozen, name
    assert all(model.inputs[name].weight.grad.abs().max() > 0 for name in model.inputs)
    kinds = {name.split(".")[1] for name, _ in model.named_parameters() if "encoder" in name}
    assert kinds == ({"tower", "adapters"} if mode == "adapters" else {"tower"})


def model_bands(model):
    return {name: part.weight.shape[1] for name, part in model.inputs.items()}


def test_the_gradient_through_the_frozen_tower_is_the_derivative(config):
    model = guidance_of(config(), {"hsi": 2}, width=3).double()
    model.encoder.forward = model.encoder._encode  # without the fall to single precision
    weight = model.inputs["hsi"].weight
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)

    def loss(value):
        image = nn.functional.conv2d(x, value, model.inputs["hsi"].bias)
        return model.heads["hsi"](model._encode(image, "hsi"), (4, 4)).double().square().mean()

    exact = torch.autograd.grad(loss(weight), weight)[0].flatten()
    step = 1e-3 * torch.eye(weight.numel(), dtype=torch.float64).reshape(-1, *weight.shape)
    with torch.no_grad():
        numeric = torch.stack([(loss(weight + d) - loss(weight - d)) / 2e-3 for d in step])
    torch.testing.assert_close(exact, numeric, rtol=1e-2, atol=1e-6)


def test_a_step_leaves_the_frozen_tower_as_published(config):
    model = guidance_of(config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(crops(model_bands(model)), (8, 8)).square().mean().backward()
        optimiser.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == set(before) - frozen_names(model)


# Any size, any modalities


@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
@pytest.mark.parametrize("fuse", ["sum", "concat"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_to_four_modalities(count, fuse, guidance):
    bands = dict(list({"hsi": 5, "lidar": 1, "sar": 4, "rgb": 3}.items())[:count])
    model = guidance_of(ClipConfig(architecture=TINY, guidance=guidance, fuse=fuse), bands)
    layers = crops(bands, (6, 6))
    layers["hsi"] = torch.randn(2, 5, 24, 24)  # four times finer, over the same ground
    z = model(layers, (6, 6))
    assert z.shape == (2, 6, 6, 12)
    assert z.isfinite().all()
    for name in bands:  # every modality has its say
        moved = model(layers | {name: layers[name].flip(-1) * 2 + 1}, (6, 6))
        assert not torch.allclose(moved, z)


@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
@settings(max_examples=15, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), ratio=st.integers(1, 3))
def test_any_crop_size(guidance, h, w, ratio):
    bands = {"hsi": 2}
    model = guidance_of(ClipConfig(architecture=TINY, guidance=guidance), bands, width=4)
    z = model({"hsi": torch.randn(1, 2, h * ratio, w * ratio)}, (h, w))
    assert z.shape == (1, h, w, 4)
    assert z.isfinite().all()


@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (1, 9)])
def test_small_and_oblong_crops_train(size, guidance):
    bands = {"hsi": 3, "lidar": 1}
    model = guidance_of(ClipConfig(architecture=TINY, guidance=guidance), bands)
    z = model(crops(bands, size), size)
    assert z.shape == (2, *size, 12)
    z.square().mean().backward()
    assert model.inputs["hsi"].weight.grad.isfinite().all()


def test_tokens_lie_where_their_patches_are():
    """A change in one corner of the crop moves the guidance most in that corner."""
    model = guidance_of(ClipConfig(architecture=TINY, mode="frozen"), {"hsi": 1})
    x = torch.zeros(1, 1, 32, 32)
    y = x.clone()
    y[..., :8, 24:] = 3 * torch.randn(8, 8)  # the upper right patch
    with torch.no_grad():
        change = (model({"hsi": y}, (4, 4)) - model({"hsi": x}, (4, 4))).norm(dim=-1)[0]
    assert divmod(change.argmax().item(), 4) == (0, 3)


def test_pooled_guidance_is_the_embedding_laid_out(config):
    model = guidance_of(config(guidance="pooled", fuse="sum", mode="frozen"), {"hsi": 4})
    head = model.heads["hsi"]
    embedding = torch.randn(2, 24)
    laid = head.unfold(embedding).reshape(2, 1, 32, 32)
    expected = head.norm(head.stem(head.spread(laid)).movedim(1, -1))
    torch.testing.assert_close(head(embedding, (32, 32)), expected)
    shapes = [tuple(p.shape) for p in head.parameters()]
    assert shapes[:2] == [(1024, 24), (1024,)]
    assert shapes[2] == (4, 1, 1, 1)
    assert shapes[4] == (12, 4, 1, 1)


def test_sum_is_the_sum_of_the_modalities(config):
    model = guidance_of(config(fuse="sum"))
    layers = crops(model_bands(model))
    each = [
        model.heads[name](model._encode(model.inputs[name](layers[name]), name), (8, 8))
        for name in layers
    ]
    torch.testing.assert_close(model(layers, (8, 8)), each[0] + each[1])


def test_a_layer_finer_than_the_tower_is_not_aliased(config):
    model = guidance_of(config(mode="frozen", normalise=False), {"rgb": 1})
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    seen = []
    stripes = torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(32).expand(1, 1, 128, 128)
    for x in (stripes, torch.zeros(1, 1, 128, 128)):
        model({"rgb": x}, (8, 8))
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(seen[0][inner], seen[1][inner], atol=0.02, rtol=0)


def test_normalising_gives_the_tower_colours(config):
    seen = []
    model = guidance_of(config(mode="frozen", normalise=True))
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model({"hsi": 50 * torch.randn(1, 6, 8, 8), "lidar": torch.randn(1, 1, 8, 8)}, (8, 8))
    colours = seen[0] * model.std + model.mean
    assert colours.min() >= -1e-6
    assert colours.max() <= 1 + 1e-6
    raw = guidance_of(config(mode="frozen", normalise=False))
    raw.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    raw({"hsi": 50 * torch.randn(1, 6, 8, 8), "lidar": torch.randn(1, 1, 8, 8)}, (8, 8))
    assert seen[2].abs().max() > 5


# The full size


@pytest.mark.parametrize(("mode", "trained"), [("frozen", 0), ("adapters", 2 * 11 * 99_136)])
def test_trained_parameters_of_vit_b_16(mode, trained):
    with torch.device("meta"):  # shapes alone
        model = ClipGuidance({"hsi": 144, "lidar": 1}, 384, ClipConfig(mode=mode, architecture={}))
    encoder = model.encoder
    counts = {True: 0, False: 0}
    for parameter in encoder.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    assert counts[True] == trained  # adapters: 768·64 + 64 + 64·768 + 768 in each of 11 layers
    assert counts[False] == 85_799_424 - 7_087_872 - 1_536  # without last layer and last norm
    outside = sum(p.numel() for name, p in model.named_parameters() if "encoder" not in name)
    inputs = 144 * 3 + 3 + 1 * 3 + 3
    heads = 2 * (2 * 768 + 768 * 384 + 384)
    assert outside == inputs + heads + 2 * 384 * 384 + 384


def test_the_released_form_has_the_releases_parameters():
    """Linear 512→1024, Conv 1→C and a stem for each modality of Houston2013."""
    config = ClipConfig(mode="frozen", guidance="pooled", fuse="sum", architecture={})
    with torch.device("meta"):
        model = ClipGuidance({"hsi": 144, "lidar": 1}, 384, config)
    assert model.encoder.width == 512
    assert sum(p.numel() for p in model.heads.parameters()) == 2 * 525_312 + 290 + 57_984


# What a run keeps


@pytest.mark.parametrize("mode", TRAINED)
def test_frozen_names_are_the_towers(config, mode):
    model = nn.Sequential(guidance_of(config(mode=mode)))
    names = frozen_names(model)
    tower = {name for name in model.state_dict() if name.startswith("0.encoder.tower.")}
    assert names == (set() if mode == "finetune" else tower)
    assert frozen_names(nn.Linear(2, 2)) == set()


def test_a_run_without_the_frozen_tower_restores_the_same_model(config, tmp_path):
    from safetensors.torch import load_file, save_file

    model = guidance_of(config())
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    frozen = frozen_names(model)
    save_file({n: v for n, v in model.state_dict().items() if n not in frozen}, tmp_path / "m")
    other = guidance_of(config())
    keys = other.load_state_dict(load_file(tmp_path / "m"), strict=False)
    assert set(keys.missing_keys) == frozen
    assert not keys.unexpected_keys
    layers = crops(model_bands(model))
    assert torch.equal(model(layers, (8, 8)), other(layers, (8, 8)))


def test_a_self_contained_run_needs_no_weights(config, tmp_path):
    from safetensors.torch import load_file, save_file

    model = guidance_of(config())
    save_file(model.state_dict(), tmp_path / "m")
    shape = weights_fingerprint(model)["architecture"]
    other = guidance_of(config(weights="gone/away", architecture=shape))
    other.load_state_dict(load_file(tmp_path / "m"))
    layers = crops(model_bands(model))
    assert torch.equal(model(layers, (8, 8)), other(layers, (8, 8)))


def test_a_fingerprint_says_source_and_digest(config, tiny_clip):
    found = weights_fingerprint(nn.Sequential(guidance_of(config())))
    assert found["source"] == str(tiny_clip)
    assert list(found["sha256"]) == ["model.safetensors"]
    assert len(found["sha256"]["model.safetensors"]) == 64
    assert found["architecture"]["image_size"] == 32
    assert weights_fingerprint(nn.Linear(2, 2)) is None


def test_other_weights_than_the_runs_are_refused(config):
    model = guidance_of(config())
    recorded = weights_fingerprint(model)
    check_weights(model, recorded)
    check_weights(nn.Linear(2, 2), recorded)
    other = recorded | {"sha256": {"model.safetensors": "0" * 64}}
    with pytest.raises(WeightsError, match=r"trained on CLIP weights.*sha256 0000"):
        check_weights(model, other)
    check_weights(guidance_of(config(mode="finetune")), other)  # saved whole: nothing to compare


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "adapter"},
        {"guidance": "cls"},
        {"fuse": "mean"},
        {"input": "rgb"},
        {"precision": "fp16"},
        {"activation": "relu"},
        {"bottleneck": 0},
        {"cache": -1},
    ],
)
def test_impossible_options_are_named(options):
    (name, value), *_ = options.items()
    with pytest.raises(ConfigError, match=rf"clip\.{name} is {value!r}"):
        ClipConfig(**options)


def test_no_guidance_without_clip():
    with pytest.raises(ConfigError, match="'none'"):
        ClipGuidance({"hsi": 3}, 8, ClipConfig(mode="none"))


def test_pooled_needs_the_projection(tiny_clip, tmp_path):
    from transformers import CLIPVisionModel

    CLIPVisionModel.from_pretrained(tiny_clip).save_pretrained(tmp_path)
    ClipEncoder(["hsi"], ClipConfig(weights=str(tmp_path)))
    with pytest.raises(WeightsError, match="no projection to the image embedding"):
        ClipEncoder(["hsi"], ClipConfig(weights=str(tmp_path), guidance="pooled"))


@pytest.mark.parametrize("mode", TRAINED)
def test_precision_is_that_of_a_frozen_tower(config, mode):
    cpu = torch.device("cpu")
    encoders = {
        precision: ClipEncoder(["hsi"], config(mode=mode, precision=precision))
        for precision in ("auto", "fp32", "bf16")
    }
    half = mode != "finetune"
    assert encoders["bf16"].bfloat16_on(cpu) is half
    assert encoders["fp32"].bfloat16_on(cpu) is False
    assert encoders["auto"].bfloat16_on(cpu) is (half and has_bfloat16(cpu))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        full, rounded = (encoders[p](images, "hsi") for p in ("fp32", "bf16"))
    assert full.dtype == rounded.dtype == torch.float32
    assert torch.equal(full, rounded) is not half
    torch.testing.assert_close(full, rounded, rtol=0.1, atol=0.1 * full.std().item())


def test_single_precision_holds_under_mixed_precision_training(config):
    encoder = ClipEncoder(["hsi"], config(mode="frozen", precision="fp32"))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = encoder(images.bfloat16().float(), "hsi")
    with torch.no_grad():
        assert torch.equal(mixed, encoder(images.bfloat16().float(), "hsi"))


@pytest.mark.parametrize("mode", TRAINED)
def test_training_in_mixed_precision(config, mode):
    model = guidance_of(config(mode=mode, precision="auto"))
    with torch.autocast("cpu", torch.bfloat16):
        z = model(crops(model_bands(model)), (8, 8))
    z.float().square().mean().backward()
    assert model.inputs["hsi"].weight.grad.isfinite().all()
    assert model.inputs["hsi"].weight.grad.abs().max() > 0


@pytest.mark.parametrize("side", [16, 32])
def test_the_kernel_that_enlarges_a_crop_hardly_moves_its_embedding(side):
    """The release enlarges crops by another cubic kernel (a = -¾) than the antialiased one."""
    encoder = ClipEncoder(["a"], ClipConfig(mode="frozen", weights="embedded", guidance="pooled"))
    size = (encoder.architecture.image_size,) * 2
    crops = torch.randn(4, 3, side, side).cumsum(2).cumsum(3)
    crops = (crops - crops.mean()) / crops.std()
    with torch.no_grad():
        ours, released = (
            encoder.eval()(F.interpolate(crops, size, mode="bicubic", antialias=antialias), "a")
            for antialias in (True, False)
        )
    assert 0 < (ours - released).norm() < 0.03 * released.norm()
