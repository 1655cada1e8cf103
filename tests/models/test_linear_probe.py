"""The linear probe: what of it trains, what it is shown, what a run keeps."""

import shutil

import numpy as np
import pytest
import torch

import bandweave as bw
from bandweave.errors import ConfigError, WeightsError
from bandweave.landcover.predict.classify import predict_classes
from bandweave.landcover.run import Run
from bandweave.models.linear_probe import LinearProbe, LinearProbeConfig
from bandweave.nn.pretrained.provenance import frozen_names
from bandweave.training.checkpoint import load_model
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer

CLASSES = ["grass", "tree", "roof"]
BANDS = {"hsi": 8, "rgb": 3, "lidar": 1}
RATIOS = {"rgb": 4}


def save_encoder(folder, seed=0):
    """transformers' DINOv2 of random weights, tiny."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 1}
    Dinov2Model(Dinov2Config(image_size=16, patch_size=4, **sizes)).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder")
    save_encoder(path)
    return path


def build(folder, output_ratio=1, **options):
    config = LinearProbeConfig(weights=str(folder), **options)
    return LinearProbe(BANDS, CLASSES, config, RATIOS, output_ratio)


def draw_layers(size=8, batch=2):
    torch.manual_seed(0)
    return {
        name: torch.randn(batch, count, *[size * RATIOS.get(name, 1)] * 2)
        for name, count in BANDS.items()
    }


def test_a_norm_and_a_linear_layer_train(folder):
    model = build(folder)
    model.prepare(draw_layers, ())
    width = 3 * 16  # a picture of each layer
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == 2 * width + (width + 1) * len(CLASSES)
    assert not trained.keys() & frozen_names(model)
    optimizer = make_optimizer(model, TrainConfig(lr=1e-2))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in trained.values()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = torch.randint(len(CLASSES), (2, 8, 8))
    model.train()(draw_layers(), labels).loss.backward()
    optimizer.step()
    after = model.state_dict()
    assert {n for n, tensor in before.items() if not tensor.equal(after[n])} == trained.keys()


@pytest.mark.parametrize(("pictures", "shown"), [(1, 3), (2, 4), (9, 5)])
def test_more_pictures_where_there_are_bands(folder, pictures, shown):
    model = build(folder, pictures=pictures)
    assert model.head[1].in_features == 16 * shown
    model.prepare(draw_layers, ())
    assert model(draw_layers()).logits.shape == (2, len(CLASSES), 8, 8)


def test_bands_that_fit_are_shown_as_they_are(folder):
    model = build(folder)
    model.prepare(draw_layers, {"hsi"})
    layers = draw_layers()
    assert torch.equal(model.inputs["rgb"](layers["rgb"]), layers["rgb"])
    assert torch.equal(model.inputs["hsi"](layers["hsi"]), layers["hsi"][:, :3])
    shown = model.inputs["lidar"](layers["lidar"])
    assert torch.equal(shown, shown[:, :1].expand(-1, 3, -1, -1))


def test_pictures_of_a_sample_stay_together(folder):
    """Of two pictures, the second's channels are the encoder's second input."""
    model = build(folder, pictures=2)
    model.prepare(draw_layers, {"hsi"})
    layers = draw_layers(size=16)
    first, second = model._encode("hsi", layers["hsi"]).split(16, dim=1)
    expected = [model.encoder(layers["hsi"][:, part]) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(first, expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second, expected[1], rtol=1e-4, atol=1e-5)


def test_components_that_were_not_fitted_are_an_error(folder):
    with pytest.raises(ConfigError, match="were not fitted"):
        build(folder)(draw_layers())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "pca"}, "input is 'pca'; it is one of fixed, learned"),
        ({"image_size": -1}, "image_size is -1; it must be 0 or more"),
        ({"pictures": 0}, "pictures is 0; it must be 1 or more"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        LinearProbeConfig(**options)


def test_a_run_keeps_the_encoder_by_its_digest_or_whole(tmp_path):
    folder = tmp_path / "encoder"
    save_encoder(folder)
    scene = bw.simulated_scene(seed=0, height=24, width=20, bands=5)
    split = bw.split(scene, "blocks", size=4, guard=1)
    options = {"steps": 2, "crop": 8, "batch": 4, "weights": str(folder), "quiet": True}
    runs = {
        name: bw.train(
            scene, split, "linear_probe", tmp_path / name, self_contained=name == "whole", **options
        )
        for name in ("run", "whole")
    }
    run = runs["run"]
    expected = classes_of(run, scene)
    assert np.array_equal(classes_of(Run.open(tmp_path / "run"), scene), expected)
    saved = {name: load_model(each.folder.model)[0] for name, each in runs.items()}
    assert not saved["run"].keys() & frozen_names(run.model)
    assert saved["whole"].keys() > frozen_names(run.model)
    save_encoder(folder, seed=1)
    with pytest.raises(WeightsError, match="the run was trained on the encoder"):
        Run.open(tmp_path / "run")
    shutil.rmtree(folder)
    with pytest.raises(WeightsError, match="no encoder at"):
        Run.open(tmp_path / "run")
    assert np.array_equal(classes_of(Run.open(tmp_path / "whole"), scene), expected)


def classes_of(run, scene):
    """Of the scene's first part."""
    return predict_classes(run.predictor(scene.reference), scene.parts[0], run.output_ratio)
