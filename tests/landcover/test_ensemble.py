"""Several runs as one: what it maps, what it keeps, which runs do not fit."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from scipy.special import softmax

import bandweave as bw
from bandweave.data.scene import ClassInfo, Labels
from bandweave.data.splits.splitting import TEST, TRAIN
from bandweave.errors import ConfigError, RunError, SplitError
from bandweave.landcover.ensemble import join_runs, order_classes
from bandweave.landcover.report.page import write_report
from bandweave.training.checkpoint import load_model, save_model
from bandweave.training.folder import RunFolder

TINY = {"width": 8, "depth": 1, "state": 2, "crop": 8, "batch": 2, "steps": 2, "quiet": True}
BLOCKS = {"size": 16, "guard": 2, "drop": True}


@pytest.fixture(scope="module")
def scene():
    """Three layers, one of them twice as fine, and labels as fine as that."""
    made = bw.simulated_scene(seed=0, height=32, width=40, bands=6, rgb=2)
    (part,) = made.parts
    labels = Labels(part.labels.values.repeat(2, 0).repeat(2, 1), 2)
    return replace(made, parts=(replace(part, labels=labels),))


@pytest.fixture(scope="module")
def split(scene):
    return bw.split(scene, "blocks", **BLOCKS)


@pytest.fixture(scope="module")
def runs(scene, split, tmp_path_factory):
    """A net whose logits are divided by 2, and a classical method of other layers."""
    root = tmp_path_factory.mktemp("runs")
    net = bw.train(scene, split, "m3amba_tiny", root / "net", layers=["hsi", "lidar"], **TINY)
    net.facts["temperature"] = 2.0
    net.save()
    knn = bw.train(scene, split, "knn", root / "knn", layers=["rgb", "hsi"], neighbours=[3])
    return net, knn


def logits_of(run, scene):
    """Of the scene's first part, and where they are valid."""
    (part,) = scene.parts
    size = part.grid.height * run.output_ratio, part.grid.width * run.output_ratio
    logits, valid = np.full((len(run.classes), *size), np.nan, np.float32), np.zeros(size, bool)
    for strip in run.predictor(scene.reference).strips(part):
        at = strip.window.slices()
        logits[:, *at], valid[at] = strip.logits, strip.valid
    return logits, valid


def codes_of(run, scene, path):
    bw.map_scene(run, scene, path, quiet=True)
    with rasterio.open(path) as file:
        return file.read(1)


def test_what_is_saved_gives_the_calibrated_mean_wherever_it_stands(scene, runs, tmp_path):
    folders = [shutil.copytree(run.folder.path, tmp_path / run.config.name) for run in runs]
    join_runs(folders, tmp_path / "both", weights=[1, 3])
    for folder in folders:
        shutil.rmtree(folder)
    (tmp_path / "both").rename(tmp_path / "moved")
    opened = bw.Run.open(tmp_path / "moved")
    assert list(opened.layers) == ["hsi", "lidar", "rgb"]
    assert opened.output_ratio == 2
    assert opened.facts["split_hash"] == runs[0].facts["split_hash"]
    assert all(file.startswith(str(tmp_path / "moved")) for file in opened.files)
    (net, seen), (knn, _) = (logits_of(run, scene) for run in runs)
    expected = 0.25 * softmax(net / 2, axis=0) + 0.75 * softmax(knn, axis=0)
    logits, valid = logits_of(opened, scene)
    np.testing.assert_array_equal(valid, seen)
    np.testing.assert_allclose(np.exp(logits)[:, valid], expected[:, valid], atol=1e-5)
    assert opened.reach(scene) == max(run.reach(scene) for run in runs)


def test_several_runs_are_mapped_and_scored_as_what_is_saved(scene, runs, tmp_path):
    saved = join_runs(runs, tmp_path / "both")
    for run, name in ((saved, "saved"), (list(runs), "several")):
        bw.map_scene(run, scene, tmp_path / f"{name}.tif", confidence=True, quiet=True)
    for suffix in ("", "_confidence"):
        paths = [tmp_path / f"{name}{suffix}.tif" for name in ("saved", "several")]
        with rasterio.open(paths[0]) as one, rasterio.open(paths[1]) as other:
            np.testing.assert_array_equal(one.read(), other.read())
    scores = bw.score(saved, scene, quiet=True)
    assert scores.calibration is not None
    assert saved.folder.scores.exists()
    several = bw.score([run.folder.path for run in runs], scene, quiet=True)
    np.testing.assert_array_equal(several.pixels.confusion, scores.pixels.confusion)
    assert not any(run.folder.scores.exists() for run in runs)
    protocol = scores.pixels.protocol
    assert protocol["model"] == "ensemble"
    assert [line.split(" (")[0] for line in protocol["mean_of"]] == ["50 % m3amba_tiny", "50 % knn"]
    assert "test_px_trained_on" not in protocol


def test_classes_in_another_order_are_those_of_the_first(scene, split, runs, tmp_path):
    (part,) = scene.parts
    turned = len(scene.classes) - 1 - part.labels.values
    labels = replace(part.labels, values=np.where(part.labels.values < 0, -1, turned))
    labels = replace(labels, values=labels.values.astype(np.int16))
    backwards = replace(scene, classes=scene.classes[::-1], parts=(replace(part, labels=labels),))
    assert part.labels.values.min() == -1
    drawn = replace(split, classes=backwards.classes)
    knn = bw.train(backwards, drawn, "knn", tmp_path / "knn", neighbours=[1])
    alone = codes_of(knn, scene, tmp_path / "alone.tif")
    assert len(np.unique(alone)) > 3
    almost = join_runs([runs[0], knn], weights=[1e-9, 1])
    assert almost.classes == scene.classes
    np.testing.assert_array_equal(codes_of(almost, scene, tmp_path / "map.tif"), alone)


def named(*names, first=1):
    return [ClassInfo(code, name, "#000000") for code, name in enumerate(names, first)]


@pytest.mark.parametrize(
    ("own", "order"),
    [
        (named("oak", "ash", "elm"), [0, 1, 2]),
        (named("elm", "Oak ", "ash"), [1, 2, 0]),  # by name, where all names are there
        (named("elm", "ash", "oak", first=7), [2, 1, 0]),
        (named("oak", "ash", "wych elm")[::-1], [2, 1, 0]),  # by code, where one is renamed
        (named("class 1", "class 2", "class 3"), [0, 1, 2]),
        (named("oak", "ash"), []),
        (named("oak", "ash", "elm", "yew"), []),
        (named("oak", "elm", "yew"), []),  # ash is renamed to what has another code
        (named("oak", "fir", "yew"), []),
        (named("oak", "ash", "yew", first=2), []),
    ],
)
def test_which_classes_are_the_same(own, order):
    assert order_classes(named("oak", "ash", "elm"), own) == order


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": tuple(named("oak", "ash"))}, "their classes are .*, and 1 oak, 2 ash"),
        ({"output_ratio": 1}, "their maps are 2 and 1 times finer than the grid"),
        ({"layers": {"hsi": {"bands": 9}}}, "the bands of layer 'hsi': 6, and 9"),
    ],
)
def test_runs_that_do_not_fit_are_named(runs, changed, words):
    net, knn = runs
    other = replace(knn, folder=RunFolder("elsewhere"), **changed)
    with pytest.raises(RunError, match=f"{net.folder.path} and elsewhere cannot be .*: {words}"):
        join_runs([net, other])


def test_what_makes_no_ensemble(runs, tmp_path):
    net, knn = runs
    for given, options, words in (
        ([net], {}, "two runs or more, and 1 is given"),
        ([net, knn, net.folder.path], {}, "net is given twice"),
        (runs, {"weights": [1]}, "1 weights for 2 runs"),
        (runs, {"weights": [1, 0]}, "a weight of 0 must be above 0"),
        (runs, {"out": knn.folder.path, "overwrite": True}, "knn is one of the runs"),
    ):
        with pytest.raises(ConfigError, match=words):
            join_runs(given, **options)
    join_runs(runs, tmp_path / "both")
    with pytest.raises(RunError, match="holds a finished run"):
        join_runs(runs, tmp_path / "both")
    both = join_runs(runs, tmp_path / "both", weights=[1, 3], overwrite=True)
    again = join_runs([both, replace(knn, folder=RunFolder("other"))])
    assert [*zip(again.names, again.config.model.weights, strict=True)] == [
        (str(net.folder.path), 0.125),
        (str(knn.folder.path), 0.375),
        ("other", 0.5),
    ], "an ensemble's runs are taken one by one"


def test_options_are_for_the_nets(scene, runs, tmp_path):
    net, knn = runs
    place = tmp_path / "map.tif"
    bw.map_scene([net, knn], scene, place, tta=True, overlap=2, device="cpu", quiet=True)
    alike = join_runs([knn, replace(knn, folder=RunFolder("other"))])
    for option in ({"tta": True}, {"device": "cpu"}):
        with pytest.raises(ConfigError, match="the classical method 'knn' has no use for it"):
            bw.map_scene(alike, scene, tmp_path / "other.tif", quiet=True, **option)


def test_runs_of_several_splits_say_what_they_have_seen(scene, split, runs, tmp_path, caplog):
    drawn = bw.split(scene, "blocks", **BLOCKS, seed=1)
    other = bw.train(scene, drawn, "knn", tmp_path / "knn", neighbours=[3])
    both = join_runs([runs[0], other], tmp_path / "both")
    with pytest.raises(SplitError, match=r"not trained on one split.*seed 0.*seed 1.*--split NAME"):
        bw.score(both, scene, quiet=True)
    with caplog.at_level(logging.WARNING, "bandweave"):
        scores = bw.score(bw.Run.open(tmp_path / "both"), scene, split, quiet=True)
    seen = int(((drawn.roles[0] == TRAIN) & (split.roles[0] == TEST)).sum())
    assert seen > 0
    assert scores.pixels.protocol["test_px_trained_on"] == seen
    assert f"runs of the ensemble were trained on {seen} of the" in caplog.text
    page = write_report(both, scene, scores=scores, baseline=False, quiet=True).read_text()
    assert "Splits of its runs" in page


def test_a_report_needs_a_folder(scene, runs, tmp_path):
    with pytest.raises(RunError, match="bandweave ensemble"):
        write_report(join_runs(runs), scene)
    both = join_runs(runs, tmp_path / "both")
    bw.map_scene(both, scene, both.folder.map, quiet=True)
    bw.score(both, scene, quiet=True)
    page = write_report(both, scene, baseline=False, quiet=True).read_text()
    assert f"bandweave ensemble {runs[0].folder.path} {runs[1].folder.path}" in page
    assert "2 runs (m3amba_tiny, knn)" in page


def test_metadata_that_do_not_fit_are_refused(runs, tmp_path):
    both = join_runs(runs, tmp_path / "both")
    tensors, stored = load_model(both.folder.model)
    for damage in (
        {"members": stored["members"][:1]},
        {"members": None},
        {"config": {**stored["config"], "model": {"name": "ensemble", "members": ["a"]}}},
    ):
        save_model(both.folder.model, tensors, {**stored, **damage})
        with pytest.raises(RunError, match=r"model\.safetensors"):
            bw.Run.open(tmp_path / "both")
