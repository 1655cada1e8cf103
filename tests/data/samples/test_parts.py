"""Whole parts as examples: nothing cut, nothing padded, a function of their number alone."""

import numpy as np

from bandweave.data.samples.augment import AugmentConfig
from bandweave.data.samples.crops import SampleConfig
from bandweave.data.samples.parts import PartSampler
from bandweave.data.scaling import fit
from bandweave.data.scene import HIDDEN, IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.splitting import TRAIN, split
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid

PLAIN = AugmentConfig(False, False, 0, 0, 0, 0, 0, 0, 0)
TURNED = AugmentConfig(True, True, 0, 0, 0, 0, 0, 0, 0)


def make_scene(*shapes, ratio=2, classes=3):
    """Parts with a 4-band layer and a finer one whose only band is the number of its pixel."""
    rng, parts = np.random.default_rng(0), []
    for number, (height, width) in enumerate(shapes):
        grid = Grid(height, width, PIXELS)
        hsi = rng.normal(5, 1, (4, height, width)).astype(np.float32)
        size = height * ratio, width * ratio
        fine = (1 + np.arange(size[0] * size[1])).reshape(1, *size).astype(np.float32)
        layers = {
            "hsi": Layer(ArraySource(hsi, grid)),
            "fine": Layer(ArraySource(fine, grid.finer(ratio)), ratio),
        }
        labels = Labels(rng.integers(-1, classes, size).astype(np.int16), ratio)
        parts.append(Part(f"part{number}", grid, layers, labels))
    infos = tuple(ClassInfo(index, f"class{index}", "#000000") for index in range(classes))
    return Scene("test", tuple(parts), "hsi", infos)


def sampler(scene, name="all", augment=PLAIN, seed=0, options=None, **config):
    made = split(scene, name, **(options or {}))
    config = {"crop": 0, "batch": 1, "augment": augment, **config}
    return PartSampler(scene, made, fit(scene, made), SampleConfig(**config), seed)


def test_a_part_goes_in_as_it_is():
    scene = make_scene((6, 9))
    source = sampler(scene, name="blocks", options={"size": 4, "guard": 0, "drop": True})
    batch = source.batch(0)
    (part,), (roles,) = scene.parts, source.split.roles
    assert batch["layers"]["hsi"].shape == (1, 4, 6, 9)
    assert batch["layers"]["fine"].shape == (1, 1, 12, 18)
    expected, _ = source.scaling.read("hsi", part.layers["hsi"], part.grid.window)
    np.testing.assert_array_equal(batch["layers"]["hsi"][0], expected)
    np.testing.assert_array_equal(
        batch["labels"][0], np.where(roles == TRAIN, part.labels.values, IGNORED)
    )
    assert batch["labels"].dtype == np.int64


def test_turned_layers_and_labels_show_the_same_ground():
    scene = make_scene((5, 8))
    source = sampler(scene, augment=TURNED)
    shapes = set()
    for step in range(12):
        batch = source.batch(step)
        fine = batch["layers"]["fine"][0, 0]
        info = source.scaling.layers["fine"]
        number = np.rint(fine * info.std[0] + info.mean[0]).astype(int) - 1
        labels = scene.parts[0].labels.values.ravel()
        np.testing.assert_array_equal(batch["labels"][0], labels[number])
        shapes.add(batch["labels"].shape)
        assert all(array.flags["C_CONTIGUOUS"] for array in batch["layers"].values())
    assert shapes == {(1, 10, 16), (1, 16, 10)}


def test_parts_of_a_batch_are_of_one_size_and_turned_to_one_shape():
    scene = make_scene((5, 8), (4, 4), (5, 8), (8, 5))
    source = sampler(scene, augment=TURNED, batch=4)
    seen = {source.batch(step)["labels"].shape for step in range(20)}
    assert seen == {(4, 8, 8), (4, 10, 16), (4, 16, 10)}


def test_parts_are_drawn_as_often_as_their_labels_weigh():
    scene = make_scene((4, 4), (8, 12))
    source = sampler(scene, balance=0.0)
    counts = [np.sum(labels != IGNORED) for labels in source._labels]
    drawn = [source.batch(step)["labels"].shape == (1, 8, 8) for step in range(300)]
    assert abs(np.mean(drawn) - counts[0] / sum(counts)) < 0.07


def test_a_part_without_training_pixels_is_never_drawn():
    scene = make_scene((4, 6), (8, 5), (7, 7), (6, 6))
    source = sampler(scene, "parts", options={"train": 0.5, "drop": True})
    trained = {
        roles.shape for roles in source.split.roles if (roles == TRAIN).any()
    }  # no two parts are of one size
    assert 1 <= len(trained) < 4
    assert {source.batch(step)["labels"].shape[1:] for step in range(30)} == trained


def test_an_example_follows_from_its_number():
    scene = make_scene((5, 5))
    one, other = (sampler(scene, augment=TURNED, batch=b) for b in (4, 2))
    whole = one.batch(3)
    halves = [other.batch(3, rank, 2) for rank in (0, 1)]
    joined = {
        "labels": np.concatenate([h["labels"] for h in halves]),
        "layers": {
            name: np.concatenate([h["layers"][name] for h in halves]) for name in whole["layers"]
        },
    }
    for found in (joined, one.batch(3)):
        np.testing.assert_array_equal(found["labels"], whole["labels"])
        for name, values in whole["layers"].items():
            np.testing.assert_array_equal(found["layers"][name], values)
    different = sampler(scene, augment=TURNED, batch=4, seed=1).batch(3)
    assert not np.array_equal(different["labels"], whole["labels"])


def test_an_inductive_split_hides_test_and_guard_pixels():
    scene = make_scene((12, 16))
    options = {"size": 8, "guard": 2, "drop": True, "context": "inductive"}
    source = sampler(scene, "blocks", options=options)
    hidden = source.split.hidden(0)
    batch = source.batch(0)
    assert hidden.any()
    assert not batch["layers"]["fine"][0, 0][hidden].any()
    coarse = hidden.reshape(12, 2, 16, 2).any((1, 3))
    assert not batch["layers"]["hsi"][0][:, coarse].any()
    assert batch["layers"]["hsi"][0][:, ~coarse].any(0).all()
    assert (batch["labels"][0][hidden] == HIDDEN).all()
    assert (batch["labels"] >= 0).any()


def test_of_small_parts_a_batch_has_as_many_as_fill_it():
    small = sampler(make_scene((4, 5), (4, 5), (4, 5)), fill=100)
    assert small.batch(0)["labels"].shape == (5, 8, 10)
    large = sampler(make_scene((20, 30)), fill=100)
    assert large.batch(0)["labels"].shape == (1, 40, 60)
    assert sampler(make_scene((4, 5)), batch=7, fill=100).batch(0)["labels"].shape[0] == 7
