"""How long a net is trained, by pixels of the training side that are held out."""

import logging

import numpy as np
import pytest
import torch

import bandweave as bw
from bandweave.cli.run_facts import run_facts
from bandweave.data.splits.splitting import GUARD, TEST, TRAIN, VALIDATION
from bandweave.errors import ConfigError, RunError
from bandweave.landcover import length
from bandweave.landcover.length import best_length, hold_out, looks_every, warn_of_learning_by_heart
from bandweave.landcover.validation import thin_out
from bandweave.training.history import read_history

pytestmark = pytest.mark.usefixtures("few_looks")
TINY = {"width": 8, "depth": 1, "state": 2, "crop": 8, "batch": 4, "quiet": True}


def train(scene, split, out, **options):
    options = {**TINY, "steps": 10, "hold_out": 0.3, **options}
    return bw.train(scene, split, "m3amba_tiny", out, **options)


def rows(*scores, accuracy=0.5):
    return [
        {"step": float(5 * n), "validation": score, "accuracy": accuracy}
        for n, score in enumerate(scores, 1)
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("blocks", {"size": 16, "guard": 2, "drop": True}),
        ("blocks", {"size": 16, "context": "inductive", "drop": True}),
        ("random", {"drop": True}),
        ("all", {}),
    ],
)
def test_only_training_pixels_are_held_out(scene, name, options):
    made = bw.split(scene, name, **options)
    held = hold_out(scene, made, 0.3)
    for before, after in zip(made.roles, held.roles, strict=True):
        assert ((before == TEST) == (after == TEST)).all()
        assert np.isin(before[after == VALIDATION], (TRAIN, GUARD)).all()
        assert (before[after == TRAIN] == TRAIN).all()
    assert held.counts[VALIDATION].any()


def test_where_nothing_can_be_held_out_all_steps_are_taken(scene, tmp_path, caplog):
    whole = bw.split(scene, "blocks", size=40, guard=0, drop=True)  # one block trains
    assert hold_out(scene, whole, 0.5) is None
    assert "no pixels are held out" in caplog.text
    run = train(scene, whole, tmp_path / "run")
    assert run.facts["steps"] == 10
    assert "length" not in run.facts


def test_a_net_is_trained_for_as_long_as_was_best(scene, split, tmp_path, monkeypatch):
    monkeypatch.setattr(length, "best_length", lambda rows, units: (5, 0.75))
    run = train(scene, split, tmp_path / "run", schedule="constant", warmup=0.5)
    assert run.facts["steps"] == len(read_history(run.folder.history)) == 5
    held = hold_out(scene, split, 0.3)
    pixels = int(held.counts[VALIDATION].sum())
    found = run.facts["length"]
    assert (found["steps"], found["score"], found["held_out"]) == (5, 0.75, pixels)
    assert run.facts["seconds"] > found["seconds"] > 0
    assert [row["step"] for row in read_history(run.folder.held_out / "history.csv")][-1] == 10
    assert not (run.folder.held_out / "last.ckpt").exists()
    plain = bw.train(  # of the whole training side, warmed up by as many steps
        scene, split, "m3amba_tiny", tmp_path / "plain",
        **{**TINY, "steps": 5, "hold_out": 0, "schedule": "constant", "warmup": 1.0},
    )  # fmt: skip
    for one, two in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_what_is_held_out_is_looked_at_on_the_way(scene, split, tmp_path):
    train(scene, split, tmp_path / "run")
    history = read_history(tmp_path / "run" / "held_out" / "history.csv")
    assert [row["step"] for row in history if "validation" in row] == [5, 10]
    assert len({row["lr"] for row in history[2:]}) == 1


def test_few_steps_and_splits_with_validation_pixels_hold_nothing_out(scene, tmp_path):
    plain = bw.split(scene, "blocks", size=16, guard=2, drop=True)
    assert train(scene, plain, tmp_path / "few", steps=9).facts["steps"] == 9
    own = bw.split(scene, "blocks", size=16, guard=2, drop=True, validation=0.3)
    run = train(scene, own, tmp_path / "own", validate_every=5)
    assert run.facts["steps"] == 10
    assert not run.folder.held_out.exists()


def test_a_temperature_is_that_of_held_out_pixels(scene, split, tmp_path):
    run = train(scene, split, tmp_path / "run", temperature=True)
    assert run.temperature > 0
    assert run.temperature != 1
    assert bw.Run.open(tmp_path / "run").temperature == run.temperature


@pytest.mark.parametrize("stop", ["finding the length", "training"])
def test_an_interrupted_run_goes_on_to_the_same_weights(scene, split, tmp_path, monkeypatch, stop):
    whole = train(scene, split, tmp_path / "whole", checkpoint_every=1)
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
    assert f"interrupted {'finding the length: ' * (stop != 'training')}after step 3 of" in (
        run_facts(tmp_path / "run")
    )
    with pytest.raises(RunError, match="an interrupted run"):
        train(scene, split, tmp_path / "run", checkpoint_every=1)
    run = train(scene, split, tmp_path / "run", checkpoint_every=1, resume=True)
    found, expected = run.facts["length"], whole.facts["length"]
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    for one, two in zip(run.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_best_length_is_that_of_the_best_neighbourhood():
    assert best_length(rows(0.1, 0.9, 0.2, 0.7, 0.8, 0.75, 0.4), 10_000)[0] == 25
    assert best_length(rows(0.5), 3) == (5, 0.5)


def test_few_units_tell_only_large_differences():
    assert best_length(rows(*[0.5] * 9), 5)[0] == 25  # the middle of what is alike
    noisy = rows(0.43, 0.45, 0.50, 0.52, 0.45, 0.50, 0.49, 0.47, 0.47, 0.46)
    assert best_length(noisy, 10_000)[0] == 20
    assert best_length(noisy, 6)[0] == 30
    falls = rows(0.5, 0.7, 0.7, 0.6, 0.4, 0.3, 0.3, 0.3)
    assert best_length(falls, 6)[0] == 15
    rises = rows(0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8)
    assert best_length(rises, 6)[0] == 40


def test_learning_by_heart_is_warned_of(caplog):
    caplog.set_level(logging.WARNING)
    warn_of_learning_by_heart(rows(0.8, 0.7, accuracy=0.9))
    warn_of_learning_by_heart(rows(0.7, 0.8, accuracy=1.0))
    warn_of_learning_by_heart(rows(0.8, accuracy=1.0))
    assert not caplog.text
    warn_of_learning_by_heart(rows(0.8, 0.7, accuracy=1.0))
    assert "100.0 % right after 10 steps" in caplog.text
    assert "70.0 % are right, where 80.0 % were" in caplog.text


def test_validation_pixels_of_a_split_warn_too(scene, tmp_path, caplog, monkeypatch):
    heart = rows(0.8, 0.7, accuracy=1.0)
    monkeypatch.setattr("bandweave.landcover.training.read_history", lambda path: heart)
    own = bw.split(scene, "blocks", size=16, guard=2, drop=True, validation=0.3)
    train(scene, own, tmp_path / "run", validate_every=5)
    assert "by heart" in caplog.text


def test_looks_are_spread_over_the_most_steps(monkeypatch):
    monkeypatch.setattr(length, "LOOKS", 16)
    assert [looks_every(steps) for steps in (1, 79, 80, 600)] == [0, 0, 5, 37]


def test_masks_are_thinned_out_to_squares():
    masks = [np.ones((9, 20), bool), np.zeros((4, 4), bool), np.ones((8, 8), bool)]
    thin_out(masks, 4, 3)
    assert 0 < sum(mask.sum() for mask in masks) <= 3 * 16
    few = [np.eye(6, dtype=bool)]
    thin_out(few, 4, 100)
    assert (few[0] == np.eye(6, dtype=bool)).all()


def test_a_share_that_cannot_be_held_out_is_refused(scene, split, tmp_path):
    with pytest.raises(ConfigError, match=r"hold_out is 1.0; it must be a share from 0"):
        train(scene, split, tmp_path / "run", hold_out=1.0)
