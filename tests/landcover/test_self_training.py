"""Trainings that learn from what an earlier one says of pixels without a label."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bandweave as bw
from bandweave.cli.run_facts import run_facts
from bandweave.data.samples.pseudo_labels import CERTAIN
from bandweave.data.splits.splitting import TEST, TRAIN, UNUSED
from bandweave.errors import ConfigError, RunError
from bandweave.landcover import self_training
from bandweave.landcover.length import hold_out
from bandweave.landcover.self_training import (
    Shares,
    fit_teacher,
    teach,
    thin_out_classes,
    weigh_teacher,
)
from bandweave.training.history import read_history

pytestmark = pytest.mark.usefixtures("few_looks")
TINY = {"width": 8, "depth": 1, "state": 2, "crop": 8, "batch": 4, "scales": [1.0, 2.0]}
TINY |= {"steps": 6, "hold_out": 0.0, "self_training": 1, "teacher": "knn", "quiet": True}


def train(scene, split, out, **options):
    return bw.train(scene, split, "m3amba_tiny", out, **{**TINY, **options})


@pytest.fixture(scope="module")
def taught(scene, split, tmp_path_factory):
    return train(scene, split, tmp_path_factory.mktemp("runs") / "run")


def same_weights(one, two):
    pairs = zip(one.model.parameters(), two.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_last_training_learns_from_the_one_before(scene, split, taught, tmp_path):
    folder = taught.folder
    assert [row["step"] for row in read_history(folder.rounds / "0" / "history.csv")][-1] == 6
    assert not list(folder.rounds.glob("*/*.ckpt")) + list(folder.rounds.glob("*/*.npy"))
    assert taught.facts["seconds"] > read_history(folder.history)[-1]["seconds"]
    plain = train(scene, split, tmp_path / "plain", self_training=0)
    assert not same_weights(plain, taught)
    assert same_weights(bw.Run.open(folder.path), taught)
    again = train(scene, split, tmp_path / "again")
    assert same_weights(again, taught)


def test_no_label_of_test_pixels_has_a_part_in_it(scene, split, taught, tmp_path):
    roles, part = split.roles[0], scene.parts[0]
    values = part.labels.values.copy()
    rng = np.random.default_rng(0)
    used = np.unique(values[(roles == TEST) | (roles == TRAIN)])
    values[roles == TEST] = rng.choice(used, (roles == TEST).sum())
    other = replace(scene, parts=(replace(part, labels=replace(part.labels, values=values)),))
    assert same_weights(train(other, split, tmp_path / "other"), taught)


def test_answers_are_probabilities_near_training_pixels(
    scene, split, taught, tmp_path, monkeypatch
):
    monkeypatch.setattr(self_training, "NEAR", 3)
    monkeypatch.setattr(self_training, "WHOLE", 100)
    pseudo = teach(taught, Shares(), scene, split, tmp_path, quiet=True)
    sums = pseudo.tables[0].sum(axis=2, dtype=int)
    train_pixels = split.roles[0] == TRAIN
    assert (sums[train_pixels] > 0).all()
    assert (abs(sums[sums > 0] - CERTAIN) <= len(scene.classes)).all()
    assert (sums == 0).any()
    assert pseudo.share == 0.2
    before = (tmp_path / "pseudo_labels_0.npy").stat().st_mtime_ns
    teach(taught, Shares(), scene, split, tmp_path, quiet=True)  # what stands there is taken
    assert (tmp_path / "pseudo_labels_0.npy").stat().st_mtime_ns == before


def test_an_inductive_split_is_asked_for_nothing_that_it_hides(scene, taught, tmp_path):
    made = bw.split(scene, "blocks", size=16, guard=2, drop=True, context="inductive")
    hidden = made.hidden(0)
    pseudo = teach(taught, Shares(), scene, made, tmp_path, quiet=True)
    assert (pseudo.tables[0][hidden] == 0).all()
    assert pseudo.tables[0][~hidden].any()


@pytest.mark.parametrize("stop", ["round 1", "training"])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    scene, split, taught, tmp_path, monkeypatch, stop
):
    from bandweave.training import loop

    shown = loop.Progress

    class Killed(shown):
        def advance(self, numbers):
            super().advance(numbers)
            if self.description == stop and self.done == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(loop, "Progress", Killed)
    with pytest.raises(KeyboardInterrupt):
        train(scene, split, tmp_path / "run", checkpoint_every=1)
    monkeypatch.setattr(loop, "Progress", shown)
    told = f"interrupted {'round 1: ' * (stop != 'training')}after step 3 of 6"
    assert told in run_facts(tmp_path / "run")
    with pytest.raises(RunError, match="an interrupted run"):
        train(scene, split, tmp_path / "run")
    run = train(scene, split, tmp_path / "run", checkpoint_every=1, resume=True)
    assert same_weights(run, taught)


def test_a_finished_run_is_continued_by_doing_nothing(scene, split, taught, monkeypatch):
    monkeypatch.setattr(self_training, "fit_teacher", None)
    run = train(scene, split, taught.folder.path, resume=True)
    assert same_weights(run, taught)
    other = bw.split(scene, "blocks", size=16, guard=2, drop=True, seed=1)
    with pytest.raises(RunError):
        train(scene, other, taught.folder.path, resume=True)


def test_held_out_pixels_tell_how_much_the_teacher_counts(scene, split, taught, tmp_path):
    held = hold_out(scene, split, 0.3)
    found = weigh_teacher(taught, scene, held)
    assert 0.01 < found.temperature < 100
    assert 0.5 <= found.teacher <= 1  # six steps of a net are worth little
    alone = replace(taught.config, train=replace(taught.config.train, teacher=""))
    assert weigh_teacher(replace(taught, config=alone), scene, held).teacher == 0
    options = {"self_training": 1, "steps": 10, "hold_out": 0.3}
    run = train(scene, split, tmp_path / "run", **options)
    assert set(run.facts["teaching"]) == {"temperature", "teacher", "teacher_temperature"}
    share = f"{100 * run.facts['teaching']['teacher']:.0f} %"
    assert f"of what unlabelled pixels teach, {share} is" in run_facts(run.folder.path)


def test_a_teacher_of_many_pixels_sees_some_of_each_class(scene, split):
    thinned = thin_out_classes(scene, split, 20, seed=0)
    values = scene.parts[0].labels.values
    before = np.bincount(values[split.roles[0] == TRAIN], minlength=len(scene.classes))
    after = np.bincount(values[thinned.roles[0] == TRAIN], minlength=len(scene.classes))
    assert (after[before <= 20] == before[before <= 20]).all()
    assert (after[before > 20] < before[before > 20]).all()
    assert (after <= 40).all()
    changed = thinned.roles[0] != split.roles[0]
    assert (thinned.roles[0][changed] == UNUSED).all()
    assert thin_out_classes(scene, split, 10**6, seed=0) is split


def test_options_of_a_teacher_are_chosen_on_pixels_where_there_are_no_blocks(scene):
    one_block = bw.split(scene, "blocks", size=40, guard=0, drop=True)
    fitted = fit_teacher("knn", scene, one_block, ["hsi"], seed=0)
    assert fitted.options.folds in ("pixels", "blocks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_training": -1}, "self_training is -1"),
        ({"pseudo_labels": 0.0}, "pseudo_labels 0.0 and must be a share above 0"),
        ({"teacher": "svn"}, "teacher 'svn' is no classical method; there are random_forest"),
    ],
)
def test_wrong_options_are_refused(scene, split, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        train(scene, split, tmp_path / "run", **options)


@pytest.mark.parametrize("name", ["mambamoe_tiny", "cf_ipt_tiny"])
def test_models_of_parts_and_of_patches_learn_so_too(scene, split, tmp_path, name):
    options = {"steps": 2, "hold_out": 0.0, "self_training": 1, "teacher": "", "quiet": True}
    run = bw.train(scene, split, name, tmp_path / "run", **options)
    assert (run.folder.rounds / "0" / "history.csv").exists()
