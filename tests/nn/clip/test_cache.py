"""Fixed projections before CLIP, and the features that are kept behind them."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.nn.clip.guidance import ClipConfig, ClipGuidance


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


def model_bands(model):
    return {name: part.weight.shape[1] for name, part in model.inputs.items()}


def test_principal_components_are_those_of_the_pixels(config):
    bands = {"hsi": 6, "lidar": 1, "sar": 2}
    model = guidance_of(config(mode="frozen", input="pca"), bands)
    torch.manual_seed(0)
    mixing = torch.randn(6, 6)
    layers = crops(bands, (16, 16), batch=4)
    layers["hsi"] = torch.einsum("bchw,cd->bdhw", layers["hsi"], mixing) + 3
    layers["hsi"][0, :, :4] = 0  # a hole
    model.fit_projection(layers)
    image = model.inputs["hsi"](layers["hsi"])
    valid = image.movedim(1, -1)[layers["hsi"].ne(0).any(1)]
    torch.testing.assert_close(torch.cov(valid.T), torch.eye(3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(valid.mean(0), torch.zeros(3), atol=1e-4, rtol=0)

    from sklearn.decomposition import PCA

    pixels = layers["hsi"].movedim(1, -1)[layers["hsi"].ne(0).any(1)]
    expected = torch.from_numpy(PCA(3, whiten=True).fit_transform(pixels.numpy()))
    torch.testing.assert_close(valid.abs(), expected.abs(), atol=1e-3, rtol=1e-3)
    grey = model.inputs["lidar"](layers["lidar"])
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    two = model.inputs["sar"](layers["sar"])
    assert torch.equal(two[:, 0], two[:, 2])


def test_of_a_layer_of_components_the_first_three_are_taken(config):
    bands = {"hsi": 6, "sar": 2}
    model = guidance_of(config(mode="frozen", input="pca"), bands)
    layers = crops(bands, (16, 16), batch=2)
    model.fit_projection(layers, reduced={"hsi", "sar"})
    assert torch.equal(model.inputs["hsi"](layers["hsi"]), layers["hsi"][:, :3])
    assert torch.equal(model.inputs["sar"](layers["sar"]), layers["sar"][:, [0, 1, 0]])


def test_constant_bands_give_finite_components(config):
    model = guidance_of(config(mode="frozen", input="pca"), {"hsi": 4})
    model.fit_projection({"hsi": torch.ones(2, 4, 3, 3)})
    assert model({"hsi": torch.ones(1, 4, 3, 3)}, (3, 3)).isfinite().all()


def test_a_projection_that_was_not_fitted_is_an_error(config):
    model = guidance_of(config(mode="frozen", input="pca"))
    with pytest.raises(ConfigError, match="were not fitted"):
        model(crops(model_bands(model)), (8, 8))
    with pytest.raises(ConfigError, match="0 valid pixels"):
        model.fit_projection({"hsi": torch.zeros(1, 6, 4, 4), "lidar": torch.zeros(1, 1, 4, 4)})
    with pytest.raises(ConfigError, match="no fixed projection"):
        guidance_of(config()).fit_projection({})


def test_a_fitted_projection_is_saved_and_loaded(config):
    bands = {"hsi": 6, "lidar": 1}
    model, other = (guidance_of(config(mode="frozen", input="pca"), bands) for _ in range(2))
    model.fit_projection(crops(bands))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(crops(bands), (8, 8)), other(crops(bands), (8, 8)))


def cached_guidance(config, **options):
    bands = {"hsi": 6, "lidar": 1}
    model = guidance_of(config(mode="frozen", input="pca", **options), bands).eval()
    model.fit_projection(crops(bands))
    return model, bands


@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
def test_kept_features_are_the_computed_ones(config, guidance):
    model, bands = cached_guidance(config, guidance=guidance)
    without, _ = cached_guidance(config, guidance=guidance, cache=0)
    assert without.cache is None
    encoded = []
    model.encoder.register_forward_hook(lambda _, args, out: encoded.append(len(out)))
    first, second = crops(bands, seed=1), crops(bands, seed=2)
    mixed = {name: torch.cat([second[name], first[name][:1]]) for name in bands}
    for layers in (first, first, mixed):
        torch.testing.assert_close(model(layers, (8, 8)), without(layers, (8, 8)))
    assert encoded == [2, 2, 2, 2]  # nothing in the second call, only what is new in the third
    assert (model.cache.hits, model.cache.misses) == (4 + 2, 4 + 4)


def test_heads_still_learn_behind_kept_features(config):
    model, bands = cached_guidance(config)
    model(crops(bands), (8, 8))
    model(crops(bands), (8, 8)).square().mean().backward()
    assert model.heads["hsi"].proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "options",
    [{"mode": mode, "input": "learned"} for mode in ("frozen", "adapters", "finetune")]
    + [{"mode": "adapters", "input": "pca"}, {"mode": "finetune", "input": "pca"}],
)
def test_nothing_is_kept_where_something_learns_before_the_features(config, options):
    assert guidance_of(config(**options)).cache is None


def test_nothing_is_kept_in_training(config):
    model, bands = cached_guidance(config)
    model.train()
    model(crops(bands), (8, 8))
    assert (model.cache.hits, model.cache.misses, model.cache.size) == (0, 0, 0)


def test_kept_features_do_not_outlive_their_weights(config):
    model, bands = cached_guidance(config)
    before = model(crops(bands), (8, 8))
    state = model.state_dict()
    state["encoder.tower.vision_model.embeddings.patch_embedding.weight"] *= -1
    model.load_state_dict(state)
    assert model.cache.size == 0
    assert not torch.allclose(model(crops(bands), (8, 8)), before)


def test_the_cache_keeps_to_its_size(config):
    model, bands = cached_guidance(config)
    model.cache.limit = 3 * 16 * 32 * 4  # three crops of 4×4 tokens of 32 floats
    for seed in range(5):
        model(crops(bands, seed=seed), (8, 8))
    assert model.cache.size == model.cache.limit
    held = {value.untyped_storage().data_ptr(): value for value in model.cache._kept.values()}
    assert sum(value.untyped_storage().nbytes() for value in held.values()) == model.cache.limit
    model(crops(bands, seed=4), (8, 8))
    assert model.cache.hits == 3  # the oldest of the last four went
