import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from bandweave.data.scene import IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.splitting import TEST, split
from bandweave.errors import LabelError, RunError, SplitError
from bandweave.landcover.metrics import (
    METRICS,
    MapMetric,
    Scores,
    assert_supports,
    confusion_matrix,
    score_objects,
)
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid

NAMES = tuple("abcdefg")


@st.composite
def maps(draw):
    """Truth and prediction of up to 60 pixels, with classes that may be absent in either."""
    classes = draw(st.integers(1, 6))
    number = draw(st.integers(1, 60))
    index = st.integers(0, classes - 1)
    truth, predicted = (
        np.array(draw(st.lists(index, min_size=number, max_size=number))) for _ in range(2)
    )
    return truth, predicted, classes


def scores_of(truth, predicted, classes) -> Scores:
    return Scores(confusion_matrix(truth, predicted, classes), NAMES[:classes])


@given(maps())
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_scikit_learn(drawn):
    truth, predicted, classes = drawn
    scores, labels = scores_of(truth, predicted, classes), list(range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        confusion = sklearn.confusion_matrix(truth, predicted, labels=labels)
        precision, recall, f1, support = sklearn.precision_recall_fscore_support(
            truth, predicted, labels=labels, zero_division=np.nan
        )
        iou = sklearn.jaccard_score(truth, predicted, labels=labels, average=None, zero_division=0)
        kappa = sklearn.cohen_kappa_score(truth, predicted, labels=labels)
        average = sklearn.balanced_accuracy_score(truth, predicted)
    np.testing.assert_array_equal(scores.confusion, confusion)
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(scores.accuracy, recall, **close)
    np.testing.assert_allclose(scores.precision, precision, **close)
    np.testing.assert_allclose(scores.f1, f1, **close)
    np.testing.assert_allclose(np.nan_to_num(scores.iou), iou, **close)
    np.testing.assert_array_equal(scores.support, support)
    np.testing.assert_allclose(
        scores.overall_accuracy, sklearn.accuracy_score(truth, predicted), **close
    )
    np.testing.assert_allclose(scores.average_accuracy, average, **close)
    np.testing.assert_allclose(scores.kappa, kappa, rtol=1e-9, atol=1e-12)


@given(maps(), st.data())
@settings(max_examples=50, deadline=None)
def test_pieces_add_up_and_order_does_not_matter(drawn, data):
    truth, predicted, classes = drawn
    order = np.array(data.draw(st.permutations(range(truth.size))))
    cut = data.draw(st.integers(0, truth.size))
    whole = confusion_matrix(truth, predicted, classes)
    pieces = [
        confusion_matrix(truth[order[part]], predicted[order[part]], classes)
        for part in (slice(cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(pieces[0] + pieces[1], whole)


def test_what_has_no_denominator_is_not_a_number():
    scores = Scores(np.array([[2, 1, 0, 0], [0, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), NAMES[:4])
    assert scores.absent == ("d",)
    assert scores.average_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-15)
    assert np.isnan(scores.precision[2])
    assert scores.f1[2] == 0
    assert np.isnan([scores.accuracy[3], scores.f1[3], scores.iou[3]]).all()
    assert np.isnan(Scores(np.array([[5]]), ("a",)).kappa)


def test_large_counts_keep_all_their_digits():
    big = 3 * 10**9
    scores = Scores(np.array([[big, 1], [0, big]]), ("a", "b"))
    assert 1 - scores.overall_accuracy == pytest.approx(1 / (2 * big + 1), rel=1e-6)
    assert 0 < scores.kappa < 1


def test_ignored_truth_is_left_out_whatever_the_map_says():
    truth, predicted = np.array([[0, IGNORED], [1, IGNORED]]), np.array([[0, 9], [0, IGNORED]])
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 2), [[1, 0], [1, 0]])


def test_a_test_pixel_without_a_prediction_is_refused():
    with pytest.raises(LabelError, match="1 of 2 test pixels have no predicted class"):
        confusion_matrix(np.array([0, 1]), np.array([0, IGNORED]), 2)


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, 2], [0, 0]), ([0, 0], [0, 2]), ([0, 1], [0]), ([-2, 0], [0, 0])]
)
def test_indices_and_shapes_that_do_not_fit_are_refused(truth, predicted):
    with pytest.raises(ValueError, match=r"class indices|differ in shape"):
        confusion_matrix(np.array(truth), np.array(predicted), 2)


def test_nothing_to_score_is_refused():
    with pytest.raises(LabelError, match="no test pixel"):
        Scores(np.zeros((2, 2), np.int64), ("a", "b"))
    with pytest.raises(LabelError, match="no test object"):
        score_objects(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int), ["a", "b"])


def test_objects_go_to_the_majority_of_their_test_pixels():
    objects = np.array([[7, 7, 7, 0], [2, 2, 2, 2], [9, 9, 0, 0]])
    truth = np.array([[1, 1, 1, 0], [0, 0, IGNORED, 0], [2, 2, 1, 1]])
    predicted = np.array([[1, 2, 1, 0], [1, 1, IGNORED, 0], [2, 1, 1, 1]])
    scores = score_objects(objects, truth, predicted, ["a", "b", "c"], {"split": "objects"})
    # 7: b as b; 2: a as b; 9: c, tied between b and c, so b
    np.testing.assert_array_equal(scores.confusion, [[0, 1, 0], [0, 1, 0], [0, 1, 0]])
    assert scores.unit == "object"
    assert scores.protocol == {"split": "objects"}


@given(st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_objects_of_one_pixel_score_as_pixels(number, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 3, (2, number))
    objects = rng.permutation(100)[:number] + 1
    np.testing.assert_array_equal(
        score_objects(objects, truth, predicted, NAMES[:3]).confusion,
        confusion_matrix(truth, predicted, 3),
    )


@given(maps())
@settings(max_examples=30, deadline=None)
def test_json_brings_back_the_same_scores(drawn):
    scores = Scores(
        confusion_matrix(*drawn), NAMES[: drawn[2]], {"split": "blocks", "seed": 3}, "object"
    )
    text = json.dumps(scores.to_dict(), allow_nan=False)
    again = Scores.from_dict(json.loads(text))
    assert again.to_dict() == scores.to_dict()
    np.testing.assert_array_equal(again.confusion, scores.confusion)


@pytest.mark.parametrize(
    "change",
    [
        {"confusion": [[1.5]]},
        {"confusion": [[-1]]},
        {"confusion": [[1, 2]]},
        {"confusion": [[0]]},
        {"classes": None},
        {"classes": [1]},
        {"protocol": {"pixels_per_class": {"a": None}}},
        {"protocol": {"notes": 3}},
        {"protocol": "x"},
        {"unit": None},
        {"confusion": [[float("inf")]]},
        {"confusion": [[10**30]]},
    ],
)
def test_broken_stored_scores_are_named(change):
    stored = Scores(np.array([[1]]), ("a",)).to_dict() | change
    with pytest.raises(RunError, match="scores cannot be read"):
        Scores.from_dict(stored)
    with pytest.raises(RunError, match="scores cannot be read"):
        Scores.from_dict({})


def make_split():
    grid = Grid(40, 40, PIXELS)
    values = (np.arange(1600).reshape(40, 40) // 3 % 3).astype(np.int16)
    layer = Layer(ArraySource(np.ones((1, 40, 40), np.float32), grid))
    part = Part("all", grid, {"hsi": layer}, Labels(values))
    classes = tuple(ClassInfo(i + 1, name, "#000000") for i, name in enumerate("abc"))
    return values, split(Scene("test", (part,), "hsi", classes), "blocks", size=10, guard=2)


def test_supports_must_be_those_of_the_split():
    values, made = make_split()
    truth = np.where(made.roles[0] == TEST, values, IGNORED)
    scores = scores_of(truth, values, 3)
    assert_supports(scores, made)
    twice = Scores(scores.confusion * 2, scores.classes)
    with pytest.raises(SplitError, match=rf"{twice.support[0]} instead of {scores.support[0]}"):
        assert_supports(twice, made)


def test_the_table_says_scores_classes_and_protocol():
    values, made = make_split()
    truth = np.where(made.roles[0] == TEST, values, IGNORED)
    predicted = np.where(values == 2, 1, values)
    scores = Scores(confusion_matrix(truth, predicted, 3), NAMES[:3], made.protocol(reach=16))
    text = str(scores)
    assert f"overall accuracy {100 * scores.overall_accuracy:.2f} %" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("c "))
    assert row[1:4] == ["0.00", "%", "–"]
    assert row[-2:] == [str(scores.support[2]), str(made.counts[1, 2])]
    for line in ("split: blocks", "guard px: 2", f"hash: {made.hash}", "reach px: 16"):
        assert line in text
    assert "note: guard:" in text


def test_every_row_can_be_printed_and_says_what_it_is():
    for metric in METRICS.values():
        assert metric.name
        assert metric.symbol
        assert metric.formula
        assert metric.source
        assert (metric.best, metric.higher, metric.scale) == (1, True, 100)
    assert len({metric.name for metric in METRICS.values()}) == len(METRICS)


@given(maps())
@settings(max_examples=30, deadline=None)
def test_a_perfect_map_has_the_best_of_every_score(drawn):
    truth, _, classes = drawn
    scores = scores_of(truth, truth, classes)
    for values in (*scores.overall().values(), *scores.by_class().values()):
        known = np.asarray(values)[~np.isnan(values)]
        np.testing.assert_allclose(known, 1, rtol=1e-12)


def test_a_row_that_is_added_is_stored_and_printed(monkeypatch):
    worst = MapMetric(
        name="weakest class", symbol="min", compute=lambda scores: np.nanmin(scores.accuracy)
    )
    missed = MapMetric(
        name="missed",
        symbol="missed",
        unit="",
        best=0,
        higher=False,
        compute=lambda scores: scores.support - np.diagonal(scores.confusion),
        per_class=True,
        digits=0,
        scale=1,
    )
    monkeypatch.setitem(METRICS, "weakest", worst)
    monkeypatch.setitem(METRICS, "missed", missed)
    scores = Scores(np.array([[3, 1], [0, 4]]), ("a", "b"))
    stored = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert stored["weakest"] == 0.75
    assert [stored["per_class"][name]["missed"] for name in "ab"] == [1, 0]
    lines = str(scores).splitlines()
    assert "kappa 0.7500   " in lines[0]
    assert "   weakest class 75.00 %   (8 test pixels)" in lines[0]
    assert lines[2].split()[-2:] == ["missed", "test"]
    assert lines[3].split()[-2:] == ["1", "4"]
