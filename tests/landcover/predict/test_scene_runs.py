"""Runs of a model that takes whole scenes: trained, resumed, mapped, scored, reported."""

import dataclasses

import numpy as np
import pytest
import torch

import bandweave as bw
from bandweave.data.scene import IGNORED, Layer, Part
from bandweave.data.splits.splitting import TEST
from bandweave.errors import ConfigError
from bandweave.landcover.predict.classify import predict_classes
from bandweave.landcover.report.page import write_report
from bandweave.raster.formats.arrays import ArraySource
from bandweave.training.history import read_history

TINY = {"width": 8, "steps": 3, "quiet": True}


def classes_of(run, scene):
    """Of the scene's first part."""
    return predict_classes(run.predictor(scene.reference), scene.parts[0], run.output_ratio)


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=1, height=40, width=56, bands=6)


@pytest.fixture(scope="module")
def split(scene):
    return bw.split(scene, "blocks", size=8, guard=1, drop=True)


def train(scene, split, out, **options):
    return bw.train(scene, split, "mambamoe_tiny", out, **{**TINY, **options})


@pytest.fixture(scope="module")
def run(scene, split, tmp_path_factory):
    return train(scene, split, tmp_path_factory.mktemp("whole") / "run")


def weights(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_a_run_of_whole_parts_is_opened_mapped_scored_and_reported(scene, split, run, tmp_path):
    again = bw.Run.open(run.folder.path)
    assert again.window == 0
    (part,) = scene.parts
    predicted = classes_of(run, scene)
    np.testing.assert_array_equal(predicted, classes_of(again, scene))
    assert (predicted != IGNORED).all()
    scores = bw.score(again, scene, quiet=True)
    test = split.roles[0] == TEST
    assert scores.overall_accuracy == (predicted == part.labels.values)[test].mean()
    assert scores.pixels.protocol["reach_px"] == 55  # of all the scene
    maps = bw.map_scene(again, scene, tmp_path / "map.tif", uncertainty=True, quiet=True)
    assert [path.name for path in maps] == ["map.tif", "map_uncertainty.tif"]
    text = write_report(again, scene, quiet=True).read_text()
    assert "use of experts" in text
    assert "whole parts" in text


def test_the_use_of_experts_is_in_the_history(run):
    for row in read_history(run.folder.history):
        assert sum(v for k, v in row.items() if k.startswith("expert_")) == pytest.approx(
            1, abs=1e-5
        )


def test_a_resumed_run_has_the_weights_of_one_that_was_not_interrupted(scene, split, run, tmp_path):
    calls = []

    class StoppedError(Exception):
        pass

    def stop(module, _):
        if module.training and (calls.append(1) or len(calls) == 3):
            raise StoppedError

    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: stop(module, given) if type(module).__name__ == "MambaMoE" else None
    )
    try:
        with pytest.raises(StoppedError):
            train(scene, split, tmp_path / "run", checkpoint_every=1)
    finally:
        hook.remove()
    resumed = train(scene, split, tmp_path / "run", checkpoint_every=1, resume=True)
    assert_equal(weights(resumed), weights(run))


def test_inductive_weights_do_not_depend_on_what_the_test_looks_like(scene, tmp_path):
    inductive = bw.split(scene, "blocks", size=8, guard=1, drop=True, context="inductive")
    (part,) = scene.parts
    layers = {}
    for name, layer in part.layers.items():
        values, _ = layer.read(part.grid.window)
        values[:, inductive.hidden(0)] = 7 - 2 * values[:, inductive.hidden(0)]
        layers[name] = Layer(ArraySource(values, part.grid, info=layer.source.info))
    changed = dataclasses.replace(scene, parts=(dataclasses.replace(part, layers=layers),))
    one = train(scene, inductive, tmp_path / "one", steps=2)
    two = train(changed, inductive, tmp_path / "two", steps=2)
    assert_equal(weights(one), weights(two))


def test_trained_on_windows_it_is_mapped_in_windows(scene, split, tmp_path):
    run = train(scene, split, tmp_path / "run", crop=16, batch=2)
    assert run.window == 16
    sizes = []
    run.model.register_forward_pre_hook(lambda _, given: sizes.append(given[0]["hsi"].shape[2:]))
    predicted = classes_of(run, scene)
    assert set(sizes) == {(16, 16)}
    assert (predicted != IGNORED).all()


def test_validation_maps_whole_parts(scene, tmp_path):
    options = {"guard": 0, "validation": 0.3, "drop": True}
    split = bw.split(scene, "blocks", size=4, **options)
    run = train(scene, split, tmp_path / "run", validate_every=1)
    rows = read_history(run.folder.history)
    assert all(0 <= row["validation"] <= 1 for row in rows)


def test_parts_of_other_sizes(tmp_path):
    scene = bw.simulated_scene(seed=0, height=80, width=80, bands=5, parts=4)
    sizes = ((20, 31), (33, 17), (20, 31), (40, 40))
    parts = tuple(cropped(p, *size) for p, size in zip(scene.parts, sizes, strict=True))
    scene = dataclasses.replace(scene, parts=parts)
    split = bw.split(scene, "parts", drop=True)
    run = train(scene, split, tmp_path / "run", batch=2)
    assert bw.score(run, scene, quiet=True).pixels.support.sum() == split.counts[TEST].sum()
    assert bw.map_scene(run, scene, tmp_path / "maps", quiet=True)


def cropped(part, height, width):
    window = part.grid.window._replace(height=height, width=width)
    grid = part.grid.crop(window)
    layers = {
        name: Layer(ArraySource(layer.read(window)[0], grid, info=layer.source.info))
        for name, layer in part.layers.items()
    }
    cut = (slice(height), slice(width))
    labels = dataclasses.replace(
        part.labels,
        values=part.labels.values[cut],
        objects=None if part.labels.objects is None else part.labels.objects[cut],
    )
    return Part(part.name, grid, layers, labels)


def test_a_model_of_crops_takes_no_whole_part(scene, split, tmp_path):
    with pytest.raises(ConfigError, match="crop 0 is a whole part"):
        bw.train(scene, split, "m3amba_tiny", tmp_path / "run", crop=0, quiet=True)
    assert not (tmp_path / "run").exists()
