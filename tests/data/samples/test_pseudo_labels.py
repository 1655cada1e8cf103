"""Classes that are drawn for pixels without a label, by probabilities of an earlier training."""

import numpy as np
import pytest

import bandweave as bw
from bandweave.data.samples.crops import CropSampler, SampleConfig
from bandweave.data.samples.parts import PartSampler
from bandweave.data.samples.pixels import PixelSampler
from bandweave.data.samples.pseudo_labels import CERTAIN, PseudoLabels, as_table
from bandweave.data.scaling import fit
from bandweave.data.scene import HIDDEN, IGNORED
from bandweave.data.splits.splitting import TEST, TRAIN
from bandweave.raster.grid import Window


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=1, height=40, width=56, bands=6)


def certain_of(scene, split, of, share=1.0):
    """Pseudo-labels that are sure of one class everywhere."""
    tables = []
    for roles in split.roles:
        table = np.zeros((*roles.shape, len(scene.classes)), np.uint8)
        table[..., of] = CERTAIN
        tables.append(table)
    return PseudoLabels(tables, share)


def test_classes_are_drawn_by_their_probabilities():
    rng = np.random.default_rng(0)
    table = as_table(np.array([0.6, 0.0, 0.3, 0.1])[:, None, None].repeat(200, 1).repeat(200, 2))
    labels = np.full((200, 200), IGNORED, np.int16)
    PseudoLabels([table], 1.0).fill(0, Window(0, 0, 200, 200), labels, rng, 1.0)
    found = np.bincount(labels.ravel(), minlength=4) / labels.size
    np.testing.assert_allclose(found, [0.6, 0, 0.3, 0.1], atol=0.01)


def test_labels_stay_and_what_is_not_known_or_outside_gets_none():
    table = np.zeros((4, 6, 3), np.uint8)
    table[:, :3, 2] = CERTAIN
    labels = np.full((6, 6), IGNORED, np.int16)
    labels[2, 2], labels[2, 3] = 1, HIDDEN
    pseudo, rng = PseudoLabels([table], 1.0), np.random.default_rng(0)
    pseudo.fill(0, Window(-1, -1, 6, 6), labels, rng, 1.0)
    expected = np.full((6, 6), IGNORED)
    expected[1:5, 1:4] = 2
    expected[2, 2], expected[2, 3] = 1, HIDDEN
    np.testing.assert_array_equal(labels, expected)
    before = labels.copy()
    pseudo.fill(0, Window(20, 20, 6, 6), labels, rng, 1.0)
    np.testing.assert_array_equal(labels, before)


def test_only_a_share_of_the_pixels_gets_one():
    table = np.full((100, 100, 1), CERTAIN, np.uint8)
    labels = np.full((100, 100), IGNORED, np.int16)
    PseudoLabels([table], 0.2).fill(
        0, Window(0, 0, 100, 100), labels, np.random.default_rng(0), 0.2
    )
    assert 0.18 < (labels == 0).mean() < 0.22


@pytest.mark.parametrize(("kind", "crop"), [(CropSampler, 8), (PartSampler, 0)])
def test_crops_and_parts_have_them_beside_their_labels(scene, kind, crop):
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    scaling, config = fit(scene, split, None), SampleConfig(crop=crop, batch=8)
    truth, roles = scene.parts[0].labels.values, split.roles[0]
    other = next(k for k in range(len(scene.classes)) if k not in np.unique(truth[roles == TRAIN]))
    plain = kind(scene, split, scaling, config).batch(0)["labels"]
    taught = kind(scene, split, scaling, config, pseudo=certain_of(scene, split, other)).batch(0)
    labels = taught["labels"]
    assert (plain == IGNORED).any()
    assert (labels != IGNORED).all()
    assert (labels == other).any()
    assert np.isin(labels, [*np.unique(truth[roles == TRAIN]), other]).all()
    none = PseudoLabels([np.zeros((*roles.shape, len(scene.classes)), np.uint8)], 1.0)
    assert_same(kind(scene, split, scaling, config, pseudo=none).batch(0)["labels"], plain)


def assert_same(one, two):
    np.testing.assert_array_equal(one, two)


def test_crops_are_around_pixels_without_a_label_by_their_share(scene):
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    table = np.zeros((*split.roles[0].shape, len(scene.classes)), np.uint8)
    table[:3, :3, 0] = CERTAIN
    split.roles[0][:3, :3] = TEST
    config = SampleConfig(crop=1, batch=400)
    labels = CropSampler(
        scene, split, fit(scene, split, None), config, pseudo=PseudoLabels([table], 0.3)
    ).batch(0)["labels"]
    bare = (labels == IGNORED).mean()  # around one of these nine, and without its class
    assert 0.3 * 0.7 - 0.08 < bare < 0.3 * 0.7 + 0.08


def test_an_inductive_split_hides_its_test_pixels_from_them_too(scene):
    split = bw.split(scene, "blocks", size=8, guard=1, context="inductive", drop=True)
    scaling, config = fit(scene, split, None), SampleConfig(crop=0, batch=1)
    batch = PartSampler(scene, split, scaling, config, pseudo=certain_of(scene, split, 2)).batch(0)
    hidden = split.hidden(0)
    labels = batch["labels"][0]
    assert (labels != HIDDEN).any()
    assert (np.sort((labels == HIDDEN).ravel()) == np.sort(hidden.ravel())).all()


def test_patches_are_around_pixels_with_them_by_their_share(scene):
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    scaling, config = fit(scene, split, None), SampleConfig(crop=3, batch=400)
    other = next(k for k in range(len(scene.classes)) if k not in split.dropped)
    pseudo = certain_of(scene, split, other, share=0.25)
    labels = PixelSampler(scene, split, scaling, config, pseudo=pseudo).batch(0)["labels"]
    assert (labels != IGNORED).all()
    plain = PixelSampler(scene, split, scaling, config).batch(0)["labels"]
    gained = (labels == other).mean() - (plain == other).mean()
    assert 0.25 * (plain != other).mean() - 0.08 < gained < 0.25 * (plain != other).mean() + 0.08
    known = certain_of(scene, split, other).known(0, split.ratio)
    assert known.shape == (scene.parts[0].grid.height, scene.parts[0].grid.width)
    assert known.all()
    assert (split.roles[0] == TRAIN).any()
