"""The script behind the embedded CLIP: true captions, whole words, and runs that go on."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from bandweave.data.simulation.canvas import COVERS

FOLDER = Path(__file__).parents[2] / "tools" / "embedded_clip"


@pytest.fixture
def script(monkeypatch):
    """script(name): a module of the training script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("pictures", "captions", "train")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def test_pictures_are_those_of_their_seed(script, monkeypatch):
    pictures = script("pictures")
    monkeypatch.setitem(pictures.SCENE, "height", 64)
    monkeypatch.setitem(pictures.SCENE, "width", 70)
    monkeypatch.setitem(pictures.SCENE, "bands", 9)
    images, facts = pictures.draw(3, 60)
    assert images.shape == (60, 3, 48, 48)
    assert set(facts["kind"]) == set(range(len(pictures.KINDS)))
    np.testing.assert_allclose(facts["shares"].sum(1), 1, rtol=1e-5)
    assert (images.reshape(60, -1).std(1) > 0).mean() > 0.9
    again, said = pictures.draw(3, 60)
    assert np.array_equal(images, again)
    assert np.array_equal(facts, said)
    assert not np.array_equal(images, pictures.draw(4, 60)[0])


def test_captions_tell_the_truth(script):
    pictures, captions = script("pictures"), script("captions")
    rng = np.random.default_rng(0)
    facts = np.zeros((), pictures.FACTS)
    facts["shares"][COVERS.index("water")] = 1.0
    facts["kind"], facts["centre"], facts["side"] = 0, COVERS.index("water"), 30
    wet = {captions.caption(facts, rng) for _ in range(200)}
    assert "A multisource fusion patch of water" in wet
    assert all(any(word in text for word in ("water", "river")) for text in wet)
    assert any("nothing but" in text and "about 30 m wide" in text for text in wet)
    assert not any(name in text for text in wet for name in ("grass", "roof", "height map"))

    facts["shares"][:] = 0
    facts["shares"][[COVERS.index("grass"), COVERS.index("trees")]] = 0.4, 0.35
    facts["centre"] = -1
    mixed = {captions.caption(facts, rng) for _ in range(50)}
    assert not any("multisource" in text for text in mixed), "no class prompt without a class"
    assert all(" and " in text for text in mixed)


def test_the_vocabulary_has_every_word_of_a_caption(script, tmp_path):
    captions, train = script("captions"), script("train")
    counts = Counter(word for text in captions.all_words() for word in train.words(text))
    merges = train.learn_merges(counts, train.MERGES)
    assert merges == train.learn_merges(counts, train.MERGES)
    _, tokens = train.build(tmp_path, write(train, tmp_path, merges), 0)
    for text in captions.all_words():
        assert len(tokens.pieces(text)) == len(train.words(text)), text
    assert len(tokens.pieces("zelkova")) > 1


def write(train, folder, merges):
    train.write_vocabulary(folder, merges)
    return merges


def test_a_stopped_training_goes_on(script, monkeypatch, tmp_path):
    pictures, train = script("pictures"), script("train")
    for module, name, value in [
        (pictures, "SCENE", {"height": 64, "width": 64, "bands": 4, "labelled": 1.0}),
        (train, "PER_SCENE", 12),
        (train, "CHECKED_SCENES", 1),
        (train, "BATCH", 6),
        (train, "MERGES", 5),
        (train, "VISION", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}),
        (train, "TEXT", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}),
    ]:
        monkeypatch.setattr(module, name, value)

    def trained(work, steps):
        options = ["--work", str(work), "--out", str(work / "out"), "--scenes", "1"]
        monkeypatch.setattr(sys, "argv", ["train.py", *options, "--steps", str(steps)])
        train.main()
        return load_file(work / "out" / "model.safetensors")

    # the schedule is the whole run's: what was stopped after two steps is not a run of two
    step = train.contrastive
    calls = []

    def stopped(*args):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(train, "SAVED_EVERY", 2)
    whole = trained(tmp_path / "whole", 4)
    monkeypatch.setattr(train, "contrastive", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", 4)
    monkeypatch.setattr(train, "contrastive", step)
    resumed = trained(tmp_path / "stopped", 4)
    assert all((resumed[name] == value).all() for name, value in whole.items())
