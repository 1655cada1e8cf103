"""Weights and checkpoints whose bits flipped, or that say what they never said, are refused."""

from __future__ import annotations

import json
import logging
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy import batch_at, config, score, toy

from bandweave.errors import RunError
from bandweave.training.checkpoint import load_checkpoint, load_model, load_trained, save_model
from bandweave.training.config import Launch
from bandweave.training.loop import TrainTask, fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of three steps of six, with averages and a best validation."""
    out = tmp_path_factory.mktemp("trained")
    options = config(3, ema=0.9, validate_every=2, checkpoint_every=3)
    fit(TrainTask(toy(), batch_at, options, score), out, Launch(quiet=True))
    return out, options


def resume(out, options):
    fit(TrainTask(toy(), batch_at, options, score), out, Launch(resume=True, quiet=True))


def rewrite(trained, tmp_path, change):
    """The checkpoint in the format without checksums, after `change` of its state."""
    folder, options = trained
    state = load_checkpoint(folder / "last.ckpt")
    state["format"] = 1
    change(state)
    torch.save(state, tmp_path / "last.ckpt")
    return tmp_path, options


def test_a_checkpoint_without_checksums_is_continued(trained, tmp_path, caplog):
    out, options = rewrite(trained, tmp_path, lambda state: None)
    with caplog.at_level(logging.DEBUG, logger="bandweave"):
        resume(out, options)
    assert "no checksums to compare" in caplog.text


@pytest.mark.parametrize("name", ["weights", "optimizer", "average", "best"])
def test_a_flipped_bit_in_a_checkpoint_is_found(trained, tmp_path, name):
    folder = trained[0]
    state = load_checkpoint(folder / "last.ckpt")
    content = state[name]["state"][0]["exp_avg"] if name == "optimizer" else None
    tensor = content if content is not None else next(iter(state[name].values()))
    image = (folder / "last.ckpt").read_bytes()
    bits = tensor.numpy().tobytes()
    assert bits in image
    flipped = bytes([bits[0] ^ 1]) + bits[1:]
    (tmp_path / "last.ckpt").write_bytes(image.replace(bits, flipped))
    with pytest.raises(RunError, match=r"damaged: [1-9]"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("name", ["weights", "counters", "best", "average", "checksums"])
def test_a_checkpoint_that_lacks_an_entry_is_damaged(trained, tmp_path, name):
    state = torch.load(trained[0] / "last.ckpt", weights_only=True)
    del state[name]
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match=r"damaged: .*copy it again"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_a_changed_number_beside_the_tensors_is_found(trained, tmp_path):
    state = torch.load(trained[0] / "last.ckpt", weights_only=True)
    state["counters"]["step"] = 1
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match=r"1 of \d+ entries .*: counters\.step;"):
        load_checkpoint(tmp_path / "last.ckpt")


def put(*places, value):
    def change(state):
        for place in places[:-1]:
            state = state[place]
        state[places[-1]] = value

    return change


def drop(*places):
    def change(state):
        for place in places[:-1]:
            state = state[place]
        del state[places[-1]]

    return change


MOMENTS = ("optimizer", "state", 0)
CHANGES = {
    **{f"no {name}": drop(name) for name in ("weights", "optimizer", "scaling", "average", "best")},
    "no counters": drop("counters"),
    "no identity": drop("identity"),
    "no step": drop("counters", "step"),
    "no best score": drop("counters", "best_score"),
    "one counter more": put("counters", "more", value=1),
    "a step of words": put("counters", "step", value="three"),
    "a step below 0": put("counters", "step", value=-1),
    "seconds that are none": put("counters", "seconds", value=float("nan")),
    "counters in a list": put("counters", value=[1, 2]),
    "a weight that is a word": put("weights", "stem.weight", value="x"),
    "a weight without values": put(
        "weights", "stem.weight", value=torch.empty(8, 4, 3, 3).to("meta")
    ),
    "weights that are none": put("weights", value=None),
    "one best weight less": drop("best", "stem.weight"),
    "a best weight of another shape": put("best", "stem.weight", value=torch.ones(2)),
    "best weights that are a word": put("best", value="x"),
    "no average of one": drop("average", "stem.weight"),
    "an average of another shape": put("average", "stem.weight", value=torch.ones(1)),
    "averages that are none": put("average", value=None),
    "no groups": drop("optimizer", "param_groups"),
    "other groups": put("optimizer", "param_groups", value=[]),
    "groups that are none": put("optimizer", "param_groups", value=None),
    "moments of another shape": put(*MOMENTS, "exp_avg", value=torch.ones(3)),
    "moments without values": put(*MOMENTS, "exp_avg", value=torch.empty(1).to("meta")),
    "moments that are a word": put("optimizer", "state", value="x"),
    "an identity that is a tensor": put("identity", value=torch.ones(2)),
    "an option that is a tensor": put("identity", "train", "lr", value=torch.ones(2)),
    "an endless option": put("identity", "train", "lr", value="x" * 100_000),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_checkpoint_misstates_is_one_line(trained, tmp_path, change):
    out, options = rewrite(trained, tmp_path, change)
    with pytest.raises(RunError, match=r"last\.ckpt") as caught:
        resume(out, options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2100


@pytest.mark.parametrize("form", [3, 99])
def test_a_newer_checkpoint_is_said_to_be_newer(tmp_path, form):
    torch.save({"format": form}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match=f"format {form}, written by a newer bandweave"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("form", [[1], None, "1", True, torch.ones(2), 1.0])
def test_a_strange_format_of_a_checkpoint(tmp_path, form):
    torch.save({"format": form}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="a checkpoint of format"):
        load_checkpoint(tmp_path / "last.ckpt")


def model(path, **metadata):
    tensors = {"a.weight": torch.rand(50), "half": torch.rand(3).bfloat16(), "n": torch.tensor(7)}
    save_model(path, tensors, {"kind": "sharpening", "format": 1, "lr": 0.25, **metadata})
    return path


def test_a_flipped_bit_anywhere_in_a_model_is_found(tmp_path):
    whole = model(tmp_path / "m.safetensors").read_bytes()
    expected, metadata = load_model(tmp_path / "m.safetensors")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "m.safetensors").write_bytes(damaged)
        try:
            read, told = load_model(tmp_path / "m.safetensors")
        except RunError:
            continue
        assert told == metadata, place  # a blank between two words of JSON
        assert all(torch.equal(read[name], tensor) for name, tensor in expected.items()), place


def test_the_damaged_tensor_is_named(tmp_path):
    path = model(tmp_path / "m.safetensors")
    whole = bytearray(path.read_bytes())
    values = load_file(path)["a.weight"].numpy().tobytes()
    whole[bytes(whole).index(values) + 40] ^= 8
    path.write_bytes(whole)
    with pytest.raises(RunError, match=r"damaged: 1 of 4 entries .*: a\.weight; copy it again"):
        load_model(path)


def test_a_model_without_checksums_is_read(tmp_path, caplog):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"bandweave": json.dumps({"format": 1})})
    with caplog.at_level(logging.DEBUG, logger="bandweave"):
        assert load_model(path)[1] == {"format": 1}
    assert "no checksums" in caplog.text


@pytest.mark.parametrize(
    "text", ["[]", '"x"', "1", "null", "NaN", '{"a": Infinity}', "[" * 100_000, "{"]
)
def test_metadata_of_other_types(tmp_path, text):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"bandweave": text})
    with pytest.raises(RunError, match=r"m\.safetensors: the 'bandweave' entry"):
        load_model(path)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (2, "format 2, written by a newer bandweave"),
        (0, "format 0, expected 1"),
        ("x", "expected 1"),
    ],
)
def test_a_model_of_another_format(tmp_path, form, told):
    with pytest.raises(RunError, match=told):
        load_trained(model(tmp_path / "m.safetensors", format=form), "sharpening", 1)


@pytest.mark.parametrize("read", [load_model, load_checkpoint])
def test_what_is_not_allowed_or_no_file_is_not_called_truncated(tmp_path, monkeypatch, read):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, told in (("folder", "a folder"), ("pipe", "a pipe")):
        with pytest.raises(RunError, match=told):
            read(tmp_path / name)
    path = model(tmp_path / "m.safetensors")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bandweave.training.checkpoint.open", refuse, raising=False)
    with pytest.raises(RunError, match="cannot be read: Permission denied") as caught:
        read(path)
    assert "truncated" not in str(caught.value)
