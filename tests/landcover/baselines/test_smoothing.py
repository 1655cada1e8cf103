"""Smoothed probabilities: alone among others, at edges, beside holes, and in strips."""

from typing import get_args

import numpy as np
import pytest

import bandweave as bw
from bandweave.data.splits.splitting import TEST
from bandweave.landcover.baselines import inputs
from bandweave.landcover.baselines.options import Smoothing
from bandweave.landcover.baselines.smoothing import reach_of, smooth
from bandweave.landcover.predict.classify import predict_part

KINDS = [kind for kind in get_args(Smoothing) if kind != "none"]


def halves(height=20, width=24):
    """Logits of two classes, left and right, each with a pixel of the other; a guide; all known."""
    right = np.arange(width) >= width // 2
    guide = np.broadcast_to(np.where(right, 1.0, -1.0), (height, width)).astype(np.float32)
    share = np.where(right, 0.7, 0.3) * np.ones((height, 1))
    share[10, 5], share[10, 18] = 0.6, 0.4
    return np.log(np.stack([1 - share, share])), guide, np.ones((height, width), bool)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_alone_goes_with_its_neighbours_and_an_edge_stays(kind):
    logits, guide, known = halves()
    found = smooth(kind, logits, guide, known, 2)
    np.testing.assert_array_equal(found.argmax(axis=0), (guide > 0).astype(int))
    assert (logits.argmax(axis=0) != found.argmax(axis=0)).sum() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_known_takes_no_part(kind):
    logits, guide, known = halves()
    known[:, 15:] = False
    first = smooth(kind, logits, guide, known, 2)
    logits[:, ~known], guide = -np.inf, np.where(known, guide, 1000)
    second = smooth(kind, logits, guide, known, 2)
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert not second[:, ~known].any()


@pytest.mark.parametrize("kind", KINDS)
def test_it_reaches_as_far_as_it_says(kind):
    logits, guide, known = halves(30, 30)
    before = smooth(kind, logits, guide, known, 1)
    logits[:, 0, 0] = [0.0, -9.0] if logits[0, 0, 0] < logits[1, 0, 0] else [-9.0, 0.0]
    changed = np.abs(smooth(kind, logits, guide, known, 1) - before).max(axis=0) > 1e-5
    assert changed.any()
    rows, cols = np.nonzero(changed)
    assert max(rows.max(), cols.max()) <= reach_of(kind, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smoothed_map_is_the_same_in_strips_swaths_and_where_it_is_wanted(
    kind, tmp_path, monkeypatch
):
    scene = bw.simulated_scene(seed=0, height=48, width=40, bands=4)
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    plain = bw.train(scene, split, "knn", tmp_path / "plain", neighbours=[3])
    run = bw.train(scene, split, "knn", tmp_path / "run", neighbours=[3], smooth=kind)
    assert bw.Run.open(tmp_path / "run").fitted.radius == run.fitted.radius > 0
    assert run.reach(scene) == plain.reach(scene) + reach_of(kind, run.fitted.radius)
    (part,), predictor = scene.parts, run.predictor(scene.reference)
    whole = predict_part(predictor, part, 1)
    assert (whole.classes != predict_part(plain.predictor(scene.reference), part, 1).classes).any()
    monkeypatch.setattr(inputs, "ROWS", 7)
    test = split.roles[0] == TEST
    some = predict_part(predictor, part, 1, only=test)
    for found in (predict_part(predictor, part, 1), some):
        np.testing.assert_array_equal(found.classes[test], whole.classes[test])
        np.testing.assert_allclose(found.confidence[test], whole.confidence[test], atol=1e-4)
    swaths = np.full(test.shape, -1)
    for strip in predictor.strips(part, swath=11):
        swaths[strip.window.slices()] = strip.logits.argmax(axis=0)
    np.testing.assert_array_equal(swaths, whole.classes)
