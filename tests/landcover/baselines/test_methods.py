"""Classical methods on the pixels of a split."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio

import bandweave as bw
from bandweave.data.scene import Labels
from bandweave.data.splits.splitting import TEST, TRAIN
from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.baselines.methods import (
    BASELINES,
    Bands,
    Profiles,
    fit_baseline,
    on_labels,
    pixels_of,
    score_baseline,
)
from bandweave.landcover.baselines.run import BaselineRun
from bandweave.raster.formats.arrays import ArraySource


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=0, height=48, width=56, rgb=2)


@pytest.fixture(scope="module")
def split(scene):
    return bw.split(scene, "blocks", size=8, guard=1, drop=True)


@pytest.mark.parametrize("name", BASELINES)
def test_each_beats_the_largest_class_on_every_test_pixel_once(scene, split, name, monkeypatch):
    monkeypatch.setattr("bandweave.landcover.baselines.methods.TREES", 20)
    monkeypatch.setattr("bandweave.landcover.baselines.methods.SEARCHED", 20)
    scores = score_baseline(name, scene, split, ["hsi", "lidar"])
    assert scores.support.sum() == (split.roles[0] == TEST).sum()
    assert scores.overall_accuracy > 1.2 * scores.support.max() / scores.support.sum()
    assert score_baseline(name, scene, split, ["hsi", "lidar"]).confusion.tolist() == (
        scores.confusion.tolist()
    )


def test_a_layer_that_tells_nothing_scores_less(scene, split):
    both = score_baseline("knn", scene, split)
    height = score_baseline("knn", scene, split, ["lidar"])
    assert height.overall_accuracy < both.overall_accuracy


def test_sides_are_those_of_the_split(scene, split):
    bands_of = Bands(scene, split, ["hsi", "rgb"])
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
    averaged = on_labels(part, "rgb", 1)
    assert averaged[3, 5] == pytest.approx(fine[:, 6:8, 10:12].mean((1, 2)))
    height, width = part.grid.height, part.grid.width
    finer = on_labels(part, "lidar", 2)
    assert finer.shape == (2 * height, 2 * width, 1)
    coarse, _ = part.layers["lidar"].read(part.grid.window)
    assert coarse.min() <= finer.min() <= finer.max() <= coarse.max()


def test_what_does_not_exist_is_named(scene, split):
    with pytest.raises(ConfigError, match=r"no baseline 'knnn'; did you mean 'knn'\?"):
        score_baseline("knnn", scene, split)
    with pytest.raises(ConfigError, match="has no layer 'sar'; it has hsi, lidar, rgb"):
        score_baseline("knn", scene, split, ["sar"])


def test_a_single_class_is_refused(scene, split):
    (part,) = scene.parts
    values = np.where(split.roles[0] == TRAIN, 0, part.labels.values).astype(np.int16)
    alone = replace(scene, parts=(replace(part, labels=Labels(values)),))
    with pytest.raises(SplitError, match="trains on a single class"):
        score_baseline("knn", alone, split)


def test_hidden_pixels_take_no_part_in_profiles(scene):
    """Another height where training must not look changes what is tested, not what is trained."""
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True, context="inductive")
    (part,) = scene.parts
    height, _ = part.layers["lidar"].read(part.grid.window)
    hidden = split.hidden(0)
    changed = np.where(hidden, height * 3 + 5, height).astype(np.float32)
    source = ArraySource(changed, info=part.layers["lidar"].source.info)
    layers = {**part.layers, "lidar": replace(part.layers["lidar"], source=source)}
    other = replace(scene, parts=(replace(part, layers=layers),))
    first, second = (Profiles(each, split, ["lidar"]) for each in (scene, other))
    np.testing.assert_array_equal(first(0, True), second(0, True))
    train = split.roles[0] == TRAIN
    assert (first(0, False)[train] != second(0, False)[train]).any(), "whole images: they reach"
    seen = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    assert (Profiles(scene, seen, ["lidar"])(0, True)[train] != first(0, True)[train]).any()


def test_a_fitted_method_maps_what_it_scores(scene, split):
    fitted = fit_baseline("knn", scene, split, ["lidar"])
    mapped, test = fitted.predict(0), split.roles[0] == TEST
    right = (mapped == scene.parts[0].labels.values)[test].mean()
    assert right == pytest.approx(fitted.score().overall_accuracy)


def test_the_map_of_a_method_is_what_it_predicts(scene, split, tmp_path):
    two = bw.simulated_scene(seed=0, height=32, width=40, parts=2, bands=4)
    drawn = bw.split(two, "random", per_class=5, drop=True)
    fitted = fit_baseline("knn", two, drawn)
    bw.map_scene(BaselineRun.of(fitted), two, tmp_path / "map", quiet=True)
    codes = np.array([each.code for each in two.classes])
    for index, part in enumerate(two.parts):
        with rasterio.open(tmp_path / "map" / f"{part.name}.tif") as written:
            np.testing.assert_array_equal(written.read(1), codes[fitted.predict(index)])
