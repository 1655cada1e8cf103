"""From a scene to a run folder and back: train, open, resume, score, with and without CLIP."""

import dataclasses
import json

import numpy as np
import pytest
import rasterio
import torch

import bandweave as bw
from bandweave.data.scene import IGNORED, Labels, Layer, Part, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, VALIDATION
from bandweave.errors import ConfigError, RunError, SceneMismatch, SplitError, WeightsError
from bandweave.landcover.predict.classify import labelled_logits, predict_classes, predict_part
from bandweave.landcover.scoring import SceneScores
from bandweave.models import LAND_COVER
from bandweave.raster.formats.arrays import ArraySource

TINY = {"width": 8, "depth": 2, "state": 2, "crop": 8, "batch": 4, "steps": 3, "quiet": True}
BLOCKS = {"size": 16, "guard": 2}


def classes_of(run, scene):
    """Of the scene's first part."""
    return predict_classes(run.predictor(scene.reference), scene.parts[0], run.output_ratio)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return bw.simulated_scene(seed=1, height=64, width=80, bands=8)


def small_split(scene, name="blocks", **options):
    return bw.split(scene, name, **{**BLOCKS, "drop": True, **options})


def train(scene, split, out, **options):
    return bw.train(scene, split, "m3amba_tiny", out, **{**TINY, **options})


def weights_of(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_a_run_opened_again_maps_what_it_mapped(scene, tmp_path):
    split = small_split(scene)
    run = train(scene, split, tmp_path / "run", pca={"hsi": 3})
    again = bw.Run.open(tmp_path / "run")
    assert_equal(weights_of(run), weights_of(again))
    assert again.classes == scene.classes
    assert again.layers["hsi"]["wavelengths"] == list(scene.layers["hsi"].info.wavelengths)
    np.testing.assert_array_equal(classes_of(run, scene), classes_of(again, scene))
    (path,) = bw.map_scene(tmp_path / "run", scene, tmp_path / "map.tif", quiet=True)
    assert path.exists()


def test_a_preset_with_components_reduces_the_first_layer(scene, tmp_path, monkeypatch):
    reduced = dataclasses.replace(LAND_COVER["m3amba_tiny"], components=3)
    monkeypatch.setitem(LAND_COVER, "m3amba_tiny", reduced)
    split = small_split(scene)
    assert scene.layers["hsi"].bands > 3 >= scene.layers["lidar"].bands
    run = train(scene, split, tmp_path / "run", steps=1)
    assert (run.config.pca, run.scaling.bands("hsi")) == ({"hsi": 3}, 3)
    assert bw.Run.open(tmp_path / "run").config.pca == {"hsi": 3}
    train(scene, split, tmp_path / "run", steps=1, resume=True)
    assert train(scene, split, tmp_path / "own", steps=1, pca={"hsi": 2}).config.pca == {"hsi": 2}
    assert train(scene, split, tmp_path / "whole", steps=1, pca={"hsi": 0}).config.pca == {}
    assert train(scene, split, tmp_path / "few", steps=1, layers=["lidar"]).config.pca == {}


def test_the_same_seed_gives_the_same_weights_and_another_does_not(scene, tmp_path):
    split = small_split(scene)
    one = train(scene, split, tmp_path / "one", seed=3)
    two = train(scene, split, tmp_path / "two", seed=3)
    assert_equal(weights_of(one), weights_of(two))
    other = train(scene, split, tmp_path / "other", seed=4)
    name = "fusion_head.2.weight"
    assert not torch.equal(weights_of(one)[name], weights_of(other)[name])


def test_scores_count_every_test_pixel_once(scene, tmp_path):
    split = small_split(scene)
    run = train(scene, split, tmp_path / "run")
    scores = bw.score(run, scene, quiet=True)
    roles, labels = split.roles[0], scene.parts[0].labels.values
    truth = labels[roles == TEST]
    predicted = classes_of(run, scene)[roles == TEST]
    assert scores.overall_accuracy == (truth == predicted).mean()
    np.testing.assert_array_equal(
        scores.pixels.support, np.bincount(truth, minlength=len(scene.classes))
    )
    assert scores.objects is not None
    stored = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert stored["pixels"]["overall_accuracy"] == scores.overall_accuracy
    assert stored["pixels"]["protocol"]["hash"] == split.hash
    assert "overall accuracy" in str(scores)


def test_inductive_weights_do_not_depend_on_what_the_test_looks_like(scene, tmp_path):
    def trained(context, changed):
        split = small_split(scene, context=context)
        seen = with_test_pixels_changed(scene, split) if changed else scene
        run = train(seen, split, tmp_path / f"{context}{changed}")
        return weights_of(run), run.scaling.to_dict()

    (weights, scaling), (changed, rescaled) = (trained("inductive", c) for c in (False, True))
    assert_equal(weights, changed)
    assert scaling == rescaled
    (weights, _), (changed, _) = (trained("transductive", c) for c in (False, True))
    assert any(not torch.equal(weights[name], changed[name]) for name in weights)


def with_test_pixels_changed(scene, split):
    """Other values wherever an inductive training may not look."""
    (part,) = scene.parts
    hidden = bw.split(scene, **{**vars(split.config), "context": "inductive"}).hidden(0)
    layers = {}
    for name, layer in part.layers.items():
        values, _ = layer.read(part.grid.window)
        values[:, hidden] = 7 - 2 * values[:, hidden]
        layers[name] = Layer(ArraySource(values, part.grid, info=layer.source.info))
    return dataclasses.replace(scene, parts=(dataclasses.replace(part, layers=layers),))


def test_test_labels_never_reach_the_weights(scene, tmp_path):
    split = small_split(scene)
    (part,) = scene.parts
    values = np.where(split.roles[0] == TRAIN, part.labels.values, (part.labels.values + 1) % 10)
    labels = dataclasses.replace(part.labels, values=values.astype(np.int16))
    other = dataclasses.replace(scene, parts=(dataclasses.replace(part, labels=labels),))
    one, two = train(scene, split, tmp_path / "one"), train(other, split, tmp_path / "two")
    assert_equal(weights_of(one), weights_of(two))


@pytest.mark.parametrize("names", [["hsi"], ["lidar"]])
def test_single_modalities(scene, tmp_path, names):
    run = train(scene, small_split(scene), tmp_path / "run", layers=names)
    assert list(run.layers) == names
    assert bw.score(tmp_path / "run", scene, quiet=True).pixels.support.sum() > 0


def test_validation_keeps_the_best_weights(scene, tmp_path):
    split = small_split(scene, validation=0.3)
    train(scene, split, tmp_path / "run", validate_every=1, patience=1, steps=4)
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert "validation" in header
    with pytest.raises(ConfigError, match="validation"):
        train(scene, small_split(scene), tmp_path / "none", validate_every=1)


def test_many_small_parts_are_padded(tmp_path):
    scene = bw.simulated_scene(seed=0, height=96, width=96, bands=6, parts=4)
    parts = tuple(cropped(part, 20, 13) for part in scene.parts)
    scene = dataclasses.replace(scene, parts=parts)
    split = bw.split(scene, "parts", drop=True)
    run = train(scene, split, tmp_path / "run", crop=24)
    assert bw.score(run, scene, quiet=True).pixels.support.sum() == split.counts[TEST].sum()
    rasters = bw.map_scene(run, scene, tmp_path / "maps", quiet=True)
    assert {path.suffix for path in rasters} >= {".tif"}


def cropped(part: Part, height: int, width: int) -> Part:
    window = part.grid.window._replace(height=height, width=width)
    grid = part.grid.crop(window)
    layers = {
        name: Layer(ArraySource(layer.read(window)[0], grid, info=layer.source.info))
        for name, layer in part.layers.items()
    }
    labels = dataclasses.replace(
        part.labels, values=part.labels.values[:height, :width],
        objects=None if part.labels.objects is None else part.labels.objects[:height, :width],
    )  # fmt: skip
    return Part(part.name, grid, layers, labels)


def test_another_scene_is_refused_with_the_reason(scene, tmp_path):
    run = train(scene, small_split(scene), tmp_path / "run")
    with pytest.raises(SceneMismatch, match="bands"):
        bw.score(run, bw.simulated_scene(seed=1, height=64, width=80, bands=9), quiet=True)
    with pytest.raises(SplitError, match="hash"):
        bw.score(run, bw.simulated_scene(seed=2, height=64, width=80, bands=8), quiet=True)
    renamed = tuple(dataclasses.replace(each, name=f"a {each.name}") for each in scene.classes)
    with pytest.raises(SceneMismatch, match="classes"):
        bw.score(run, dataclasses.replace(scene, classes=renamed), quiet=True)
    labels = Labels(np.repeat(np.repeat(scene.parts[0].labels.values, 2, 0), 2, 1), 2)
    part = dataclasses.replace(scene.parts[0], labels=labels)
    finer = dataclasses.replace(scene, parts=(part,))
    with pytest.raises(SceneMismatch, match="give them ratio: 1"):
        bw.score(run, finer, quiet=True)


def test_a_folder_is_not_overwritten_unasked(scene, tmp_path):
    split = small_split(scene)
    train(scene, split, tmp_path / "run")
    with pytest.raises(RunError, match="overwrite"):
        train(scene, split, tmp_path / "run")
    train(scene, split, tmp_path / "run", overwrite=True)
    with pytest.raises(RunError, match="width"):
        train(scene, split, tmp_path / "run", resume=True, width=16)


def test_options_by_name_and_their_hints(scene, tmp_path):
    run = train(scene, small_split(scene), tmp_path / "run", flips=False, lr=0.01, mlp_ratio=1.0)
    assert run.config.samples.augment.flips is False
    assert (run.config.train.lr, run.config.model.mlp_ratio) == (0.01, 1.0)
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        train(scene, small_split(scene), tmp_path / "other", step=3)
    with pytest.raises(ConfigError, match="did you mean 'm3amba_tiny'"):
        bw.train(scene, small_split(scene), "m3amba_tiyn", tmp_path / "other")
    with pytest.raises(ConfigError, match="no layer 'sar'"):
        train(scene, small_split(scene), tmp_path / "other", layers=["sar"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("mode", ["frozen", "adapters", "finetune"])
def test_clip_weights_stay_where_they_came_from(scene, tmp_path, tiny_clip, mode):
    clip = {
        "mode": mode,
        "weights": str(tiny_clip),
        "input": "pca" if mode == "frozen" else "learned",
    }
    run = train(scene, small_split(scene), tmp_path / "run", clip=clip)
    again = bw.Run.open(tmp_path / "run")
    predicted = classes_of(again, scene)
    np.testing.assert_array_equal(classes_of(run, scene), predicted)
    assert (predicted != IGNORED).all()


def test_clips_picture_of_a_reduced_layer_is_its_first_components(scene, tmp_path, tiny_clip):
    clip = {"mode": "frozen", "weights": str(tiny_clip), "input": "pca"}
    run = train(scene, small_split(scene), tmp_path / "run", clip=clip, pca={"hsi": 4})
    taken = run.model.guidance.inputs["hsi"].weight
    assert torch.equal(taken, torch.eye(4)[:3])


def test_a_self_contained_run_needs_no_clip_weights(scene, tmp_path, tiny_clip):
    import shutil

    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    clip = {"mode": "adapters", "weights": str(folder)}
    one = train(scene, small_split(scene), tmp_path / "one", clip=clip)
    train(scene, small_split(scene), tmp_path / "two", clip=clip, self_contained=True)
    shutil.rmtree(folder)
    with pytest.raises(WeightsError, match="clip"):
        bw.Run.open(tmp_path / "one")
    assert_equal(weights_of(one), weights_of(bw.Run.open(tmp_path / "two")))


def test_a_temperature_makes_held_out_pixels_likelier(scene, tmp_path):
    split = small_split(scene, validation=0.3)
    run = train(scene, split, tmp_path / "run", temperature=True, steps=30, lr=0.02)
    assert run.temperature != 1
    assert bw.Run.open(tmp_path / "run").temperature == run.temperature
    (part,) = scene.parts
    where = split.roles[0] == VALIDATION
    logits, labels = labelled_logits(run.predictor(scene.reference), part, where)
    assert labels.size == (split.roles[0] == VALIDATION).sum()

    def loss(temperature):
        return torch.nn.functional.cross_entropy(
            torch.from_numpy(logits / temperature), torch.from_numpy(labels).long()
        )

    assert loss(run.temperature) < min(loss(1.0), loss(1.1 * run.temperature))
    sure = predict_part(run.predictor(scene.reference), part, run.output_ratio, run.temperature)
    run.facts["temperature"] = 100 * run.temperature
    unsure = predict_part(run.predictor(scene.reference), part, run.output_ratio, run.temperature)
    np.testing.assert_array_equal(sure.classes, unsure.classes)
    assert (unsure.confidence < sure.confidence).all()


def test_a_temperature_needs_validation_pixels(scene, tmp_path):
    with pytest.raises(ConfigError, match="temperature is set, but the split has no validation"):
        train(scene, small_split(scene), tmp_path / "run", temperature=True)
    assert not (tmp_path / "run").exists()


def test_scores_say_whether_confidence_can_be_believed(scene, tmp_path):
    split = small_split(scene)
    run = train(scene, split, tmp_path / "run")
    scores = bw.score(run, scene, quiet=True)
    (part,), test = scene.parts, split.roles[0] == TEST
    answer = predict_part(run.predictor(scene.reference), part, run.output_ratio, run.temperature)
    assert scores.calibration.pixels.sum() == test.sum()
    assert scores.calibration.accuracy_at(1.0) == scores.overall_accuracy
    assert scores.calibration.confidence.sum() == pytest.approx(answer.confidence[test].sum())
    assert "expected calibration error" in str(scores)
    stored = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert SceneScores.from_dict(stored).calibration.expected_error == pytest.approx(
        scores.calibration.expected_error
    )


def test_a_map_is_as_sure_as_the_temperature_says(scene, tmp_path):
    split = small_split(scene, validation=0.3)
    run = train(scene, split, tmp_path / "run", temperature=True)
    bw.map_scene(run, scene, tmp_path / "map.tif", confidence=True, quiet=True)
    with rasterio.open(tmp_path / "map_confidence.tif") as file:
        written = file.read(1)
    (part,) = scene.parts
    answer = predict_part(run.predictor(scene.reference), part, run.output_ratio, run.temperature)
    np.testing.assert_allclose(written, answer.confidence, rtol=1e-5)


def test_a_crop_that_is_not_the_patch_is_warned_of(scene, tmp_path, caplog):
    split = small_split(scene)
    options = {"width": 8, "batch": 2, "steps": 1, "quiet": True}
    bw.train(scene, split, "cnn2d", tmp_path / "same", crop=5, patch=5, **options)
    assert "patch" not in caplog.text
    bw.train(scene, split, "cnn2d", tmp_path / "other", crop=7, patch=5, **options)
    assert "crop is 7 px and the model's patch 5" in caplog.text
