"""CALC and UACL from a scene to a run: what is kept, what is concluded, what a resume continues."""

import numpy as np
import pytest
import torch

import bandweave as bw
from bandweave.models.calc import CALC
from bandweave.models.uacl import UACL

TINY = {"patch": 8, "width": 4, "crop": 8, "batch": 6, "steps": 4, "quiet": True}
TRAINERS = {"calc": ("decoder.", "discriminators."), "uacl": ("mapper.",)}


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=1, height=48, width=56, bands=6)


@pytest.fixture(scope="module")
def split(scene):
    return bw.split(scene, "blocks", size=12, guard=1, drop=True)


@pytest.mark.parametrize("name", TRAINERS)
def test_what_only_training_uses_is_not_kept_nor_counted(name, scene, split, tmp_path):
    run = bw.train(scene, split, name, tmp_path, **TINY)
    again = bw.Run.open(tmp_path)
    assert run.tensors().keys() == again.tensors().keys()
    assert all(torch.equal(value, again.tensors()[n]) for n, value in run.tensors().items())
    assert not [n for n in run.tensors() if n.startswith(TRAINERS[name])]
    assert [n for n in run.model.state_dict() if n.startswith(TRAINERS[name])]
    whole = sum(p.numel() for p in run.model.parameters())
    assert again.parameters == again.facts["parameters"] < whole
    maps = [
        next(each.predictor(scene.reference).strips(scene.parts[0])).logits for each in (run, again)
    ]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize(("name", "model"), [("calc", CALC), ("uacl", UACL)])
def test_an_interrupted_run_continues_to_the_same_weights(
    name, model, scene, split, tmp_path, monkeypatch
):
    class Interrupted(Exception):
        pass

    begin_step = model.begin_step

    def interrupt(self, done):
        begin_step(self, done)
        if done == 0.5:
            raise Interrupted

    options = {**TINY, "checkpoint_every": 2, **({"unlabelled": 2} if name == "uacl" else {})}
    whole = bw.train(scene, split, name, tmp_path / "whole", **options)
    with monkeypatch.context() as patched:
        patched.setattr(model, "begin_step", interrupt)
        with pytest.raises(Interrupted):
            bw.train(scene, split, name, tmp_path / "halves", **options)
    halves = bw.train(scene, split, name, tmp_path / "halves", resume=True, **options)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, halves.model.state_dict()[key]), key


def test_heads_are_weighed_on_training_pixels_before_they_are_judged(scene, tmp_path):
    split = bw.split(scene, "blocks", size=12, guard=1, drop=True, validation=0.3)
    run = bw.train(scene, split, "calc", tmp_path, validate_every=2, **TINY)
    weights = run.model.head_weights
    assert not torch.equal(weights, torch.full_like(weights, 1 / 3))
    torch.testing.assert_close(weights.sum(0), torch.ones(len(scene.classes)))
    assert not torch.equal(run.model.scaling.range0, torch.ones_like(run.model.scaling.range0))


def test_unlabelled_pixels_of_the_scene_are_learnt_from(scene, split, tmp_path):
    options = {**TINY, "pretraining": 0.0}
    learnt = bw.train(scene, split, "uacl", tmp_path / "with", unlabelled=2, **options)
    alone = bw.train(scene, split, "uacl", tmp_path / "without", unlabelled=0, **options)
    assert not torch.equal(learnt.model.encoder.shares, alone.model.encoder.shares)
    header = (tmp_path / "with/history.csv").read_text().splitlines()[0]
    assert "believed" in header
