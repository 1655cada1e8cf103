"""Patches around training pixels: what lies in the middle, what is learnt, what is hidden."""

import numpy as np
import pytest

from bandweave.data.samples.augment import AugmentConfig
from bandweave.data.samples.crops import Drawn, SampleConfig
from bandweave.data.samples.pixels import PixelSampler
from bandweave.data.scaling import fit
from bandweave.data.scene import HIDDEN, IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.splitting import TRAIN, split
from bandweave.errors import ConfigError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window

PLAIN = AugmentConfig(False, False, 0, 0, 0, 0, 0, 0, 0)
TURNED = AugmentConfig(True, True, 0, 0, 0, 0, 0, 0, 0)


def make_scene(size=(12, 17), ratio=2, classes=3):
    """A layer whose first band is the number of its pixel, and labels that differ in a pixel."""
    rng = np.random.default_rng(0)
    grid = Grid(*size, PIXELS)
    hsi = rng.normal(5, 1, (2, *size)).astype(np.float32)
    hsi[0] = 1 + np.arange(size[0] * size[1]).reshape(size)
    fine = rng.normal(size=(1, size[0] * ratio, size[1] * ratio)).astype(np.float32)
    labels = rng.integers(-1, classes, fine.shape[1:]).astype(np.int16)
    layers = {
        "hsi": Layer(ArraySource(hsi, grid)),
        "fine": Layer(ArraySource(fine, grid.finer(ratio)), ratio),
    }
    infos = tuple(ClassInfo(index, f"class{index}", "#000000") for index in range(classes))
    return Scene("test", (Part("part", grid, layers, Labels(labels, ratio)),), "hsi", infos)


def make_sampler(scene, name="all", augment=PLAIN, seed=0, options=None, **config):
    made = split(scene, name, **(options or {}))
    config = {"crop": 5, "batch": 16, "augment": augment, **config}
    return PixelSampler(scene, made, fit(scene, made, None), SampleConfig(**config), seed)


def middles(sampler, batch):
    """Rows and columns of the pixels in the middle."""
    layer, half = sampler.scaling.layers["hsi"], sampler.config.crop // 2
    values = batch["layers"]["hsi"][:, 0, half, half] * layer.std[0] + layer.mean[0]
    return np.divmod(np.rint(values).astype(int) - 1, sampler.scene.parts[0].grid.width)


@pytest.mark.parametrize("augment", [PLAIN, TURNED])
@pytest.mark.parametrize("cache_mb", [0, 100])
def test_the_labels_are_those_of_the_pixel_in_the_middle(augment, cache_mb):
    scene = make_scene()
    sampler = make_sampler(scene, "blocks", augment, options={"size": 4}, cache_mb=cache_mb)
    role, truth = sampler.split.roles[0], scene.parts[0].labels.values
    batch = sampler.batch(0)
    assert batch["layers"]["hsi"].shape == (16, 2, 5, 5)
    assert batch["layers"]["fine"].shape == (16, 1, 10, 10)
    assert batch["labels"].shape == (16, 2, 2)
    assert batch["labels"].dtype == np.int64
    for learnt, row, col in zip(batch["labels"], *middles(sampler, batch), strict=True):
        place = slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2)
        expected = np.where(role[place] == TRAIN, truth[place], IGNORED)
        assert sorted(learnt.ravel()) == sorted(expected.ravel())  # turned, or as it lies
        if augment is PLAIN:
            np.testing.assert_array_equal(learnt, expected)
        assert (learnt >= 0).any()


def test_patches_reach_out_of_the_part_with_zeros():
    sampler = make_sampler(make_scene((3, 3)))
    batch = sampler.batch(0)
    rows, cols = middles(sampler, batch)
    for patch, row, col in zip(batch["layers"]["hsi"], rows, cols, strict=True):
        inside = np.zeros((5, 5), bool)
        inside[2 - row : 5 - row, 2 - col : 5 - col] = True
        assert not patch[:, ~inside].any()
        assert patch[1, inside].all()


def test_every_pixel_of_a_class_is_drawn_and_the_classes_evenly_when_asked():
    scene = make_scene((6, 6), ratio=1)
    scene.parts[0].labels.values[...] = 0
    scene.parts[0].labels.values[2, 3] = 1
    sampler = make_sampler(scene, balance=1.0, batch=400)
    batch = sampler.batch(0)
    rows, cols = middles(sampler, batch)
    rare = batch["labels"][:, 0, 0] == 1
    assert 150 < rare.sum() < 250
    assert set(zip(rows[rare].tolist(), cols[rare].tolist(), strict=True)) == {(2, 3)}
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 36


def test_an_inductive_split_hides_what_is_not_trained_on():
    scene = make_scene()
    options = {"size": 4, "context": "inductive"}
    sampler = make_sampler(scene, "blocks", options=options, batch=64)
    hidden = sampler.split.hidden(0)
    assert hidden.any()
    unseen = hidden[::2, ::2]
    batch = sampler.batch(0)
    rows, cols = middles(sampler, batch)
    met = 0
    for patch, row, col in zip(batch["layers"]["hsi"], rows, cols, strict=True):
        for i in range(5):
            for j in range(5):
                r, c = row + i - 2, col + j - 2
                if 0 <= r < 12 and 0 <= c < 17 and unseen[r, c]:
                    assert not patch[:, i, j].any()
                    met += 1
    assert met


def test_two_processes_draw_what_one_would():
    one = make_sampler(make_scene(), augment=TURNED, batch=4).batch(3)
    halves = [make_sampler(make_scene(), augment=TURNED, batch=2).batch(3, r, 2) for r in range(2)]
    for name in ("hsi", "fine"):
        both = np.concatenate([half["layers"][name] for half in halves])
        np.testing.assert_array_equal(one["layers"][name], both)
    np.testing.assert_array_equal(one["labels"], np.concatenate([h["labels"] for h in halves]))


def test_no_data_in_the_middle_is_no_label():
    scene = make_scene(ratio=1)
    source = scene.parts[0].layers["hsi"].source
    source._values[:, 4, 4] = np.nan
    scene.parts[0].labels.values[...] = IGNORED
    scene.parts[0].labels.values[4, 5] = 0
    sampler = make_sampler(scene, crop=1)
    assert (sampler.batch(0)["labels"] == 0).all()
    drawn = sampler._draw_pixel(np.random.default_rng(0))
    assert drawn == (0, 4, 5)
    beside = Drawn(np.random.default_rng(0), 0, Window(4, 4, 1, 1), False, 0)
    assert sampler._make_example(beside, PLAIN)[1].item() == HIDDEN


def test_whole_parts_are_no_patches():
    with pytest.raises(ConfigError, match="crop 0"):
        make_sampler(make_scene(), crop=0)


def with_gaps(scene, without=IGNORED):
    """The scene, a part of whose columns has no label at all."""
    scene.parts[0].labels.values[:, 20:] = without
    return scene


@pytest.mark.parametrize("context", ["transductive", "inductive"])
@pytest.mark.parametrize("cache_mb", [0, 100])
def test_unlabelled_pixels_stand_behind_those_of_training(cache_mb, context):
    scene = with_gaps(make_scene())
    scene.parts[0].layers["hsi"].source._values[:, 5, 12:] = np.nan
    options = {"size": 4, "validation": 0.4, "guard": 0, "context": context}
    given = {"options": options, "cache_mb": cache_mb, "batch": 30}
    sampler = make_sampler(scene, "blocks", unlabelled=3, **given)
    plain = make_sampler(scene, "blocks", **given)
    batch, alone = sampler.batch(1), plain.batch(1)
    assert batch["labels"].shape == (120, 2, 2)
    np.testing.assert_array_equal(batch["labels"][:30], alone["labels"])
    np.testing.assert_array_equal(batch["layers"]["hsi"][:30], alone["layers"]["hsi"])
    assert (batch["labels"][30:] == IGNORED).all()
    rows, cols = (each[30:] for each in middles(sampler, batch))
    drawn = set(zip(rows.tolist(), cols.tolist(), strict=True))
    truth = scene.parts[0].labels.values
    hidden = sampler.split.hidden(0)[::2, ::2]
    free = (truth.reshape(12, 2, 17, 2) == IGNORED).all((1, 3)) & ~hidden
    free[5, 12:] = False
    assert drawn <= set(zip(*(each.tolist() for each in free.nonzero()), strict=True))
    assert len(drawn) > 20


def test_test_labels_do_not_move_what_is_drawn_of_unlabelled_pixels():
    scene = with_gaps(make_scene())
    sampler = make_sampler(scene, "blocks", options={"size": 4}, unlabelled=2)
    before = sampler.batch(0)
    roles = sampler.split.roles[0]
    values = scene.parts[0].labels.values
    held = (roles != TRAIN) & (values != IGNORED)
    values[held] = (values[held] + 1) % 3
    again = PixelSampler(scene, sampler.split, sampler.scaling, sampler.config).batch(0)
    for name, layer in before["layers"].items():
        np.testing.assert_array_equal(layer, again["layers"][name])
    np.testing.assert_array_equal(before["labels"], again["labels"])


def test_unlabelled_pixels_of_two_processes_are_those_of_one():
    scene = with_gaps(make_scene())
    given = {"augment": TURNED, "unlabelled": 2}
    one = make_sampler(scene, batch=4, **given).batch(3)["layers"]["hsi"]
    halves = [make_sampler(scene, batch=2, **given).batch(3, r, 2) for r in range(2)]
    first, second = (half["layers"]["hsi"] for half in halves)
    both = np.concatenate([first[:2], second[:2], first[2:], second[2:]])
    np.testing.assert_array_equal(one, both)


def test_a_scene_with_too_few_unlabelled_pixels_says_so(caplog):
    scene = make_scene()
    scene.parts[0].labels.values[...] = 1
    assert make_sampler(scene, unlabelled=1).batch(0)["labels"].shape == (16, 2, 2)
    assert "has 0 pixels that have data and no label" in caplog.text
    assert "a batch asks for 16" in caplog.text
    scene.parts[0].labels.values[:2, :2] = IGNORED
    assert make_sampler(scene, unlabelled=1).batch(0)["labels"].shape == (32, 2, 2)
    assert "has 1 pixels" in caplog.text or "drawn again" in caplog.text


def test_training_pixels_are_shown_as_they_are_each_once():
    scene = make_scene()
    sampler = make_sampler(scene, "blocks", AugmentConfig(), options={"size": 4}, batch=7)
    shown = list(sampler.show_training_pixels())
    labels = np.concatenate([batch["labels"] for batch in shown])
    where = np.concatenate([np.stack(middles(sampler, batch), 1) for batch in shown])
    trained = sampler.split.roles[0].reshape(12, 2, 17, 2) == TRAIN
    expected = np.stack(trained.any((1, 3)).nonzero(), 1)
    np.testing.assert_array_equal(where, expected)
    truth = np.where(sampler.split.roles[0] == TRAIN, scene.parts[0].labels.values, IGNORED)
    for learnt, (row, col) in zip(labels, where, strict=True):
        np.testing.assert_array_equal(learnt, truth[2 * row : 2 * row + 2, 2 * col : 2 * col + 2])
    few = np.concatenate([batch["labels"] for batch in sampler.show_training_pixels(most=2)])
    assert len(few) <= 6
    assert set(few[few >= 0]) == {0, 1, 2}


def test_patches_have_one_side():
    with pytest.raises(ConfigError, match="patches of one side"):
        make_sampler(make_scene((9, 9)), scales=[1, 2])
