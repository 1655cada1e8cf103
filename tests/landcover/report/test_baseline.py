"""The classical method that a report shows beside its model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from bandweave.data.scene import IGNORED, Labels, Layer
from bandweave.data.splits.splitting import TEST, TRAIN, split
from bandweave.landcover.baselines.methods import fit_method
from bandweave.landcover.baselines.options import SvmOptions
from bandweave.landcover.metrics import Scores, confusion_matrix
from bandweave.landcover.report import baseline
from bandweave.landcover.report.baseline import Baseline, thin_training
from bandweave.landcover.report.beside import set_beside
from bandweave.landcover.report.interval import UnitCounts, bootstrap_difference
from bandweave.landcover.report.page import write_report
from bandweave.landcover.training import fit_classical
from bandweave.raster.formats.arrays import ArraySource
from bandweave.training.atomic import write_json

from .test_page import (
    CLASSES,
    guess,
    make_part,
    make_run,
    make_scene,
    pixels_of,
    read_page,
    write_map,
)

SIZE = (20, 24)
FEW = {"penalties": [1.0, 10.0], "gammas": [1.0]}


def predict_all(scene, drawn):
    """The class index of every pixel of the first part, by the method itself."""
    fitted = fit_method("svm", SvmOptions(**FEW), scene, drawn, ["hsi"])
    return fitted.predict(fitted.inputs.values(scene.parts[0]))


def predicted_scores(scene, drawn):
    """The scores of the method on the test pixels of the first part."""
    test, truth = drawn.roles[0] == TEST, scene.parts[0].labels.values
    total = confusion_matrix(truth[test], predict_all(scene, drawn)[test], len(scene.classes))
    return Scores(total, tuple(each.name for each in scene.classes), {})


def make_plot(name="plot", seed=0, left=500_000):
    """A part whose bands tell most of its classes; objects of a few pixels, most labelled."""
    part = make_part(name, *SIZE, seed=seed, left=left)
    rng = np.random.default_rng(seed)
    shown = np.kron(rng.integers(0, 3, (5, 6)), np.ones((4, 4), int))
    labels = np.where(rng.random(SIZE) < 0.6, shown, IGNORED).astype(np.int16)
    means = 1.5 * rng.normal(size=(3, 4)).astype(np.float32)
    values = np.moveaxis(means[shown], -1, 0) + rng.normal(size=(4, *SIZE)).astype(np.float32)
    layer = part.layers["hsi"]
    source = ArraySource(values.astype(np.float32), part.grid, info=layer.source.info)
    return replace(part, layers={"hsi": Layer(source)}, labels=Labels(labels, 1, None))


def finish(folder, *parts):
    """A run with a map and scores on a scene of these parts: (run, scene, split, scores)."""
    scene = make_scene(*parts)
    drawn = split(scene, "blocks", size=4, guard=0)
    run = make_run(folder, scene, drawn)
    maps = [guess(part.labels.values) for part in parts]
    total = np.zeros((3, 3), np.int64)
    for part, roles, mapped in zip(parts, drawn.roles, maps, strict=True):
        test = roles == TEST
        np.add.at(total, (part.labels.values[test], mapped[test]), 1)
    names = tuple(each.name for each in CLASSES)
    scores = Scores(total, names, {**drawn.protocol(7), "scene": scene.name})
    write_json(run.folder.scores, {"pixels": scores.to_dict()})
    if len(parts) == 1:
        write_map(run.folder.map, parts[0], maps[0])
    else:
        for part, mapped in zip(parts, maps, strict=True):
            (run.folder.path / "map").mkdir(exist_ok=True)
            write_map(run.folder.path / "map" / f"{part.name}.tif", part, mapped)
    return run, scene, drawn, scores


@pytest.fixture(autouse=True)
def _few_options(monkeypatch):
    """Two options to choose from rather than twelve, for time."""
    monkeypatch.setattr(baseline, "OPTIONS", FEW)


@pytest.fixture
def finished(tmp_path):
    return finish(tmp_path / "run", make_plot())


@pytest.fixture
def trainings(monkeypatch):
    """How often a classical method was trained, as a list that grows."""
    calls = []

    def counting(config, *args):
        calls.append(config.name)
        return fit_classical(config, *args)

    monkeypatch.setattr(baseline, "fit_classical", counting)
    return calls


def test_scores_are_those_of_the_method_on_the_runs_own_pixels(finished):
    run, scene, drawn, scores = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    expected = predicted_scores(scene, drawn)
    stored = Baseline.from_dict(json.loads(run.folder.baseline.read_text()))
    np.testing.assert_array_equal(stored.scores.confusion, expected.confusion)
    assert stored.scores.protocol["hash"] == scores.protocol["hash"] == drawn.hash
    assert stored.by_unit.tested.sum() == (drawn.roles[0] == TEST).sum()

    for name, one in (("m3amba_tiny", scores), ("svm", expected)):
        row = page.row(name)
        assert row[1] == f"{100 * one.overall_accuracy:.2f} %"
        assert row[3:5] == [f"{100 * one.average_accuracy:.2f} %", f"{one.kappa:.4f}"]
    points = 100 * (scores.overall_accuracy - expected.overall_accuracy)
    row = page.row("difference")
    assert row[1] == f"{points:+.2f} points".replace("-", "−")
    assert row[2].endswith(" points")
    assert row[4] == f"{scores.kappa - expected.kappa:+.4f}".replace("-", "−")
    training = int((drawn.roles[0] == TRAIN).sum())
    assert f"trained on the run's {training} training pixels" in page.text
    conclusion = text[text.index('class="conclusion"') : text.index("</p>")]
    assert "support vector machine on single pixels" in conclusion
    assert f"right on {100 * expected.overall_accuracy:.1f} %" in conclusion
    where = "above" if points > 0 else "below"
    assert f"the model is {abs(points):.1f} points {where} it" in conclusion
    assert "95 % intervals" in conclusion


def test_a_second_report_does_not_train_again(finished, trainings):
    run, scene, *_ = finished
    first = write_report(run, scene, quiet=True).read_bytes()
    assert write_report(run, scene, quiet=True).read_bytes() == first
    assert trainings == ["svm"]


def damage(stored):
    return "{"


def another_split(stored):
    stored["scores"]["protocol"]["hash"] = "0" * 64
    return json.dumps(stored)


def another_layer(stored):
    stored["layers"] = ["lidar"]
    return json.dumps(stored)


def other_pixels(stored):
    stored["units"]["tested"][0] += 1
    return json.dumps(stored)


@pytest.mark.parametrize("change", [damage, another_split, another_layer, other_pixels])
def test_what_is_stored_and_does_not_fit_is_made_again(finished, trainings, change):
    run, scene, *_ = finished
    first = write_report(run, scene, quiet=True).read_bytes()
    good = run.folder.baseline.read_text()
    run.folder.baseline.write_text(change(json.loads(good)))
    assert write_report(run, scene, quiet=True).read_bytes() == first
    assert trainings == ["svm", "svm"]
    assert run.folder.baseline.read_text() == good


def test_left_out_where_it_is_not_asked_for(finished, trainings):
    run, scene, *_ = finished
    _, page = read_page(write_report(run, scene, baseline=False, quiet=True))
    assert trainings == []
    assert not run.folder.baseline.exists()
    assert "aseline" not in page.text
    assert "support vector" not in page.text


def test_none_for_scores_of_another_split(finished, trainings):
    run, scene, _, scores = finished
    other = replace(scores, protocol=scores.protocol | {"hash": "0" * 64})
    write_json(run.folder.scores, {"pixels": other.to_dict()})
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "No baseline is shown: the scores are of another split" in page.text
    assert trainings == []


def test_none_where_there_are_no_scores_or_labels(finished, trainings):
    run, scene, *_ = finished
    bare = replace(scene, parts=tuple(replace(each, labels=None) for each in scene.parts))
    _, page = read_page(write_report(run, replace(bare, classes=()), quiet=True))
    assert "aseline" not in page.text
    run.folder.scores.unlink()
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "aseline" not in page.text
    assert trainings == []


def test_many_training_pixels_are_thinned_and_said(finished, monkeypatch):
    run, scene, drawn, _ = finished
    monkeypatch.setattr(baseline, "MOST_TRAINED", 40)
    monkeypatch.setattr(baseline, "FEWEST_TRAINED", 40)
    _, page = read_page(write_report(run, scene, quiet=True))
    stored = Baseline.from_dict(json.loads(run.folder.baseline.read_text()))
    training = int((drawn.roles[0] == TRAIN).sum())
    assert 40 <= stored.trained <= 42 < training == stored.training
    assert f"trained on {stored.trained} of the run's {training} training pixels" in page.text
    assert "on a share of the same training pixels" in page.text


def test_thinning_takes_the_same_share_of_each_class_and_no_other_pixel(finished):
    _, scene, drawn, _ = finished
    labels, roles = scene.parts[0].labels.values, drawn.roles[0]
    total = int((roles == TRAIN).sum())
    some = thin_training(scene, drawn, 30)
    kept = some.roles[0] == TRAIN
    assert (roles[kept] == TRAIN).all()
    np.testing.assert_array_equal(some.roles[0][roles != TRAIN], roles[roles != TRAIN])
    for index in range(3):
        own = int((labels[roles == TRAIN] == index).sum())
        assert int((labels[kept] == index).sum()) == np.ceil(own * 30 / total)
    assert some.hash == drawn.hash
    assert thin_training(scene, drawn, total) is drawn
    np.testing.assert_array_equal(thin_training(scene, drawn, 30).roles[0], some.roles[0])


@pytest.mark.parametrize(
    ("limit", "words"),
    [("WORK", "test pixels of 4 bands would take it too long"), ("VALUES", "too many values")],
)
def test_what_would_take_too_long_is_left_out_and_said(finished, monkeypatch, limit, words):
    run, scene, _, scores = finished
    monkeypatch.setattr(baseline, limit, 100)
    text, page = read_page(write_report(run, scene, quiet=True))
    assert words in page.text
    assert f"<b>{100 * scores.overall_accuracy:.2f} %</b>" in text
    assert not run.folder.baseline.exists()


def test_its_map_stands_beside_the_models(finished):
    run, scene, drawn, _ = finished
    _, page = read_page(write_report(run, scene, quiet=True))
    place = page.titles.index("map of the baseline")
    assert page.titles[place - 1] == "map"
    indices = predict_all(scene, drawn)
    colours = np.array([[0, 0, 255, 255], [0, 205, 0, 255], [255, 128, 0, 255]])
    np.testing.assert_array_equal(pixels_of(page.images[place]), colours[indices])
    with rasterio.open(run.folder.path / "map_baseline.tif") as image:
        codes = np.array([each.code for each in CLASSES])
        np.testing.assert_array_equal(image.read(1), codes[indices])


def test_a_map_that_takes_long_is_not_made_and_an_older_one_goes(finished, monkeypatch):
    run, scene, *_ = finished
    write_report(run, scene, quiet=True)
    run.folder.baseline.unlink()
    monkeypatch.setattr(baseline, "FEWEST_TRAINED", 1)
    monkeypatch.setattr(baseline, "WORK", SIZE[0] * SIZE[1] * 4 * 5)
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "map of the baseline" not in page.titles
    assert page.row("svm")
    assert not (run.folder.path / "map_baseline.tif").exists()


def test_maps_of_many_parts(tmp_path):
    parts = (make_plot("a"), make_plot("b", seed=3, left=510_000))
    run, scene, *_ = finish(tmp_path / "run", *parts)
    _, page = read_page(write_report(run, scene, quiet=True))
    assert page.titles.count("map of the baseline") == 2
    assert (run.folder.path / "map_baseline" / "b.tif").exists()


def test_a_run_that_is_replaced_leaves_no_baseline(finished):
    run, scene, *_ = finished
    write_report(run, scene, quiet=True)
    run.folder.model.write_bytes(b"")
    type(run.folder).create(run.folder.path, run.config.to_dict(), overwrite=True)
    assert not [path.name for path in run.folder.path.iterdir() if "baseline" in path.name]


def counts_of(right, tested):
    return UnitCounts("block", np.array(right), np.array(tested))


def test_the_interval_of_a_difference_is_over_the_same_units():
    rng = np.random.default_rng(0)
    tested = np.full(30, 10)
    right = rng.integers(0, 8, 30)
    low, high = bootstrap_difference(counts_of(right + 2, tested), counts_of(right, tested))
    assert (low, high) == pytest.approx((0.2, 0.2)), "two of ten more in every unit"
    other = rng.integers(0, 10, 30)
    one = bootstrap_difference(counts_of(right, tested), counts_of(other, tested))
    back = bootstrap_difference(counts_of(other, tested), counts_of(right, tested))
    assert one == pytest.approx((-back[1], -back[0]))
    assert one[0] < (right - other).sum() / 300 < one[1]
    few = counts_of(right[:9], tested[:9])
    assert bootstrap_difference(few, few) is None
    assert bootstrap_difference(counts_of(right, tested), counts_of(right, tested + 1)) is None


@pytest.mark.parametrize(
    ("right", "words", "stands"),
    [
        (9, "and their 95 % intervals do not overlap.", "the model is 40.0 points above it"),
        (5, "and their 95 % intervals overlap.", "the model is as often right"),
        (1, "and their 95 % intervals do not overlap.", "the model is 40.0 points below it"),
    ],
)
def test_whether_the_intervals_overlap_is_said(right, words, stands):
    tested = np.full(20, 10)
    names = ("a", "b")

    def scores_of(share):
        return Scores(np.array([[share, 10 - share], [0, 0]]) * 20, names, {"hash": "h"})

    wave = np.tile([-1, 1], 10)
    beside = set_beside(
        "m",
        scores_of(right),
        counts_of(right + wave, tested),
        Baseline("svm", ("hsi",), scores_of(5), counts_of(5 + wave, tested), 10, 10),
    )
    assert stands in beside.sentence
    assert beside.sentence.endswith(words)
    overlap = words.removeprefix("and their 95 % ").rstrip(".")
    assert f"The two {overlap}." in beside.about
    assert beside.rows[2][
        2
    ] == f"{10 * (right - 5):+.1f} to {10 * (right - 5):+.1f} points".replace("-", "−")


def test_without_intervals_nothing_is_said_of_them():
    scores = Scores(np.array([[3, 1], [0, 4]]), ("a", "b"), {"hash": "h"})
    few = counts_of([3, 4], [4, 4])
    beside = set_beside("m", scores, None, Baseline("svm", ("hsi",), scores, few, 4, 4))
    assert "interval" not in beside.sentence
    assert [row[2] for row in beside.rows] == ["–", "–", "–"]
    assert "overlap" not in beside.about
