"""Classical methods on the pixels of a split, and their runs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

import bandweave as bw
from bandweave.data.scene import Labels
from bandweave.data.splits.splitting import TEST, TRAIN
from bandweave.errors import ConfigError, RunError, SplitError
from bandweave.landcover.baselines import inputs
from bandweave.landcover.baselines.inputs import Bands, Means, Profiles, read_bands
from bandweave.landcover.baselines.methods import (
    INPUTS,
    METHODS,
    fit_method,
    pixels_of,
)
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Window

FEW = {  # options, for time
    "random_forest": {"trees": 20},
    "svm": {"penalties": [10.0, 100.0], "gammas": [1.0]},
    "knn": {},
    "gradient_boosting": {"leaves": [5], "iterations": [10]},
}
FEW = {name + ending: own for ending in INPUTS for name, own in FEW.items()}


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=0, height=48, width=56, rgb=2)


@pytest.fixture(scope="module")
def split(scene):
    return bw.split(scene, "blocks", size=8, guard=1, drop=True)


@pytest.fixture(scope="module")
def knn(scene, split, tmp_path_factory):
    return bw.train(scene, split, "knn", tmp_path_factory.mktemp("runs") / "knn", neighbours=[3])


@pytest.mark.parametrize("name", METHODS)
def test_each_beats_the_largest_class_and_opens_as_it_was_trained(scene, split, name, tmp_path):
    layers = ["hsi", "lidar"]
    run = bw.train(scene, split, name, tmp_path / "run", layers=layers, seed=1, **FEW[name])
    scores = bw.score(run, scene, split, quiet=True).pixels
    assert scores.support.sum() == (split.roles[0] == TEST).sum()
    assert scores.overall_accuracy > 1.2 * scores.support.max() / scores.support.sum()
    assert scores.protocol["model"] == name
    assert scores.protocol["hash"] == split.hash

    opened = bw.Run.open(tmp_path / "run")
    assert opened.fitted.chosen == run.fitted.chosen
    assert (opened.fitted.slope, opened.fitted.radius) == (run.fitted.slope, 0)
    assert opened.config.to_dict() == run.config.to_dict()
    again = bw.score(opened, scene, quiet=True).pixels
    np.testing.assert_array_equal(again.confusion, scores.confusion)

    pixels = run.fitted.values[::5]
    np.testing.assert_array_equal(
        run.fitted.predict(pixels), run.fitted.estimator.predict(pixels), "the estimator's own"
    )
    other = bw.train(scene, split, name, tmp_path / "same", layers=layers, seed=1, **FEW[name])
    np.testing.assert_array_equal(other.fitted.values, run.fitted.values)
    np.testing.assert_array_equal(
        bw.score(other, scene, quiet=True).pixels.confusion, scores.confusion
    )


def test_a_layer_that_tells_nothing_scores_less(scene, split, knn, tmp_path):
    height = bw.train(scene, split, "knn", tmp_path / "run", layers=["lidar"], neighbours=[3])
    least, both = (bw.score(each, scene, split, quiet=True) for each in (height, knn))
    assert least.overall_accuracy < both.overall_accuracy


def test_sides_are_those_of_the_split(scene, split):
    bands_of = Bands(["hsi", "rgb"], 1)
    (part,) = scene.parts
    bands, _ = part.layers["hsi"].read(part.grid.window)
    for role in (TRAIN, TEST):
        where = split.roles[0] == role
        values, labels = pixels_of(scene, split, role, bands_of)
        assert values.shape == (where.sum(), scene.layers["hsi"].bands + 3)
        np.testing.assert_array_equal(values[:, : len(bands)], bands[:, where].T)
        np.testing.assert_array_equal(labels, part.labels.values[where])


def test_finer_layers_are_averaged_and_coarser_ones_interpolated(scene):
    (part,) = scene.parts
    fine, _ = part.layers["rgb"].read(part.grid.window)
    averaged = read_bands(part, "rgb", 1, part.grid.window)
    assert averaged[3, 5] == pytest.approx(fine[:, 6:8, 10:12].mean((1, 2)))
    height, width = part.grid.height, part.grid.width
    finer = read_bands(part, "lidar", 2, part.grid.window)
    assert finer.shape == (2 * height, 2 * width, 1)
    coarse, _ = part.layers["lidar"].read(part.grid.window)
    assert coarse.min() <= finer.min() <= finer.max() <= coarse.max()


@pytest.mark.parametrize("ratio", [1, 2])
def test_rows_are_described_as_the_whole_part_is(scene, ratio, monkeypatch):
    (part,) = scene.parts
    monkeypatch.setattr(inputs, "ROWS", 7 * ratio)
    strips = [*Bands(["lidar", "rgb"], ratio).strips(part)]
    assert [place.height for place, _ in strips] == [7 * ratio] * 6 + [6 * ratio]
    whole = Window(0, 0, part.grid.height, part.grid.width)
    bands = [read_bands(part, name, ratio, whole) for name in ("lidar", "rgb")]
    found = np.concatenate([values for _, values in strips])
    np.testing.assert_allclose(found, np.concatenate(bands, axis=-1), rtol=1e-6)


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("kind", [Bands, Profiles, Means])
def test_swaths_are_described_as_the_whole_part_is(scene, split, ratio, kind):
    (part,) = scene.parts
    options = SimpleNamespace(radii=[1], sigmas=[0.7])
    made = replace(kind.fit(scene, split, ["lidar", "rgb"], options), ratio=ratio)
    whole = made.values(part)
    count = np.zeros(whole.shape[:2], int)
    for place, values in made.strips(part, swath=10):
        assert place.width <= 10 * ratio
        np.testing.assert_allclose(values, whole[place.slices()], rtol=1e-6)
        count[place.slices()] += 1
    assert (count == 1).all()


def test_what_does_not_exist_is_named(scene, split, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no model 'knnn'; did you mean 'knn'\?"):
        bw.train(scene, split, "knnn", tmp_path / "run")
    with pytest.raises(ConfigError, match="has no layer 'sar'; it has hsi, lidar, rgb"):
        bw.train(scene, split, "knn", tmp_path / "run", layers=["sar"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"steps": 5},
            "steps: a classical method has no use for it; its options are .*, neighbours",
        ),
        ({"pca": {"hsi": 3}}, "pca: a classical method has no use for it"),
        ({"temperature": True}, "temperature: a classical method has no use for it"),
        ({"devices": 2}, "no use for accelerator, devices, nodes or self_contained"),
        ({"self_contained": True}, "no use for accelerator, devices, nodes or self_contained"),
        ({"neighbours": [0]}, "neighbours=0 must be 1 or more"),
        ({"neighbours": []}, "neighbours is empty"),
        ({"seed": -1}, "seed=-1 must be 0 or more"),
    ],
)
def test_options_that_do_not_fit(scene, split, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        bw.train(scene, split, "knn", tmp_path / "run", **options)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("option", [{"tta": True}, {"device": "cpu"}, {"overlap": 4}])
def test_a_map_has_no_use_for_how_a_net_is_run(scene, knn, tmp_path, option):
    (name,) = option
    with pytest.raises(ConfigError, match=f"{name}: the classical method 'knn' has no use for it"):
        bw.map_scene(knn, scene, tmp_path / "map.tif", quiet=True, **option)


def test_a_single_class_is_refused(scene, split, tmp_path):
    (part,) = scene.parts
    values = np.where(split.roles[0] == TRAIN, 0, part.labels.values).astype(np.int16)
    alone = replace(scene, parts=(replace(part, labels=Labels(values)),))
    with pytest.raises(SplitError, match="trains on a single class"):
        bw.train(alone, split, "knn", tmp_path / "run")


@pytest.mark.parametrize("kind", [Profiles, Means])
def test_hidden_pixels_take_no_part_in_what_is_made_of_neighbours(scene, kind):
    """Another height where training must not look changes what is tested, not what is trained."""
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True, context="inductive")
    (part,) = scene.parts
    height, _ = part.layers["lidar"].read(part.grid.window)
    hidden = split.hidden(0)
    changed = np.where(hidden, height * 3 + 5, height).astype(np.float32)
    source = ArraySource(changed, info=part.layers["lidar"].source.info)
    layers = {**part.layers, "lidar": replace(part.layers["lidar"], source=source)}
    other = replace(scene, parts=(replace(part, layers=layers),))
    options = METHODS["svm_all"].config
    fitted = [kind.fit(each, split, ["lidar"], options) for each in (scene, other)]
    first, second = (
        pixels_of(each, split, TRAIN, profiles)[0]
        for each, profiles in zip((scene, other), fitted, strict=True)
    )
    np.testing.assert_array_equal(first, second)
    train = split.roles[0] == TRAIN
    whole = [
        profiles.values(each.parts[0])[train]
        for each, profiles in zip((scene, other), fitted, strict=True)
    ]
    assert (whole[0] != whole[1]).any(), "whole images: they reach"
    seen = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    assert (
        pixels_of(scene, seen, TRAIN, kind.fit(scene, seen, ["lidar"], options))[0] != first
    ).any()


def test_the_map_of_a_method_is_what_it_predicts(tmp_path):
    two = bw.simulated_scene(seed=0, height=32, width=40, parts=2, bands=4)
    drawn = bw.split(two, "random", per_class=5, drop=True)
    run = bw.train(two, drawn, "knn", tmp_path / "run")
    bw.map_scene(tmp_path / "run", two, tmp_path / "map", confidence=True, quiet=True)
    codes = np.array([each.code for each in two.classes])
    for part in two.parts:
        predicted = run.fitted.predict(run.fitted.inputs.values(part))
        with rasterio.open(tmp_path / "map" / f"{part.name}.tif") as written:
            np.testing.assert_array_equal(written.read(1), codes[predicted])
        with rasterio.open(tmp_path / "map" / "confidence" / f"{part.name}.tif") as written:
            logits = run.fitted.logits(run.fitted.inputs.values(part), len(two.classes))
            np.testing.assert_allclose(written.read(1), np.exp(logits).max(axis=-1), rtol=1e-5)


def test_an_svm_of_a_former_run_gives_classes_alone(scene, split, tmp_path):
    run = bw.train(scene, split, "svm", tmp_path / "run", layers=["lidar"], **FEW["svm"])
    stored = {key: run.metadata()[key] for key in run.metadata() if key not in ("slope", "radius")}
    former = type(run).from_stored(run.folder, stored, run.tensors())
    assert run.gives_probabilities
    assert not former.gives_probabilities
    (part,) = scene.parts
    now, then = (each.fitted.inputs.values(part)[:9] for each in (run, former))
    np.testing.assert_array_equal(former.fitted.predict(then), run.fitted.predict(now))
    logits = former.fitted.logits(then, len(scene.classes))
    assert set(np.unique(logits)) == {-np.inf, 0}
    assert (np.exp(logits).sum(axis=-1) == 1).all()


def test_another_scene_than_the_one_it_was_trained_on(knn, tmp_path):
    other = bw.simulated_scene(seed=5, height=24, width=32, rgb=2)
    (path,) = bw.map_scene(knn, other, tmp_path / "map.tif", quiet=True)
    predicted = knn.fitted.predict(knn.fitted.inputs.values(other.parts[0]))
    with rasterio.open(path) as written:
        codes = np.array([each.code for each in knn.classes])
        np.testing.assert_array_equal(written.read(1), codes[predicted])


def test_what_was_trained_is_continued_replaced_or_refused(scene, split, tmp_path):
    out, options = tmp_path / "run", {"neighbours": [1, 3]}
    run = bw.train(scene, split, "knn", out, **options)
    with pytest.raises(RunError, match="holds a finished run"):
        bw.train(scene, split, "knn", out, **options)
    again = bw.train(scene, split, "knn", out, resume=True, **options)
    assert again.facts == run.facts, "not trained again"
    with pytest.raises(RunError, match="another configuration"):
        bw.train(scene, split, "knn", out, resume=True, neighbours=[1])
    replaced = bw.train(scene, split, "knn", out, overwrite=True, neighbours=[1])
    assert bw.Run.open(out).fitted.chosen == replaced.fitted.chosen == {"on__n_neighbors": 1}


def test_what_is_chosen_follows_from_the_seed_and_the_training_pixels(scene, split):
    options = METHODS["knn"].config
    one, two, three = (fit_method("knn", options, scene, split, ["lidar"], s) for s in (0, 0, 7))
    assert one.chosen == two.chosen
    assert one.chosen["on__n_neighbors"] in options.neighbours
    np.testing.assert_array_equal(one.values, three.values)
