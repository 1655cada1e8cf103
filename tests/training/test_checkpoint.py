"""Weights on disk come back equal; what is damaged or unsafe is refused with a reason."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from toy import toy

from bandweave.errors import OutputError, RunError
from bandweave.training.checkpoint import (
    load_checkpoint,
    load_model,
    restore,
    save_checkpoint,
    save_model,
    weights,
)

METADATA = {"classes": ["Gräser", "Dach"], "scaling": {"hsi": [0.5, 1e-3]}, "none": None}


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_model_round_trip(tmp_path):
    module = toy()
    tensors = {
        **weights(module),
        "transposed": torch.rand(3, 4).T,
        "half": torch.rand(2).bfloat16(),
    }
    tensors["tied"] = tensors["half"]
    save_model(tmp_path / "model.safetensors", tensors, METADATA)
    read, metadata = load_model(tmp_path / "model.safetensors")
    assert metadata == METADATA
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1000, -1])
def test_truncated_model(tmp_path, kept):
    file = tmp_path / "model.safetensors"
    save_model(file, {"a": torch.rand(1000)}, METADATA)
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    with pytest.raises(RunError, match=f"{len(whole[:kept])} bytes"):
        load_model(file)
    if kept < 0:
        with pytest.raises(RunError, match=f"its header tells of {len(whole)}"):
            load_model(file)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickles_are_not_opened(tmp_path):
    file = tmp_path / "model.safetensors"
    torch.save({"a": Evil(tmp_path / "made")}, file)
    with pytest.raises(RunError, match="a pickle, not safetensors; it is not opened"):
        load_model(file)
    file.write_bytes(pickle.dumps({"a": Evil(tmp_path / "made")}))
    with pytest.raises(RunError, match="a pickle, not safetensors"):
        load_model(file)
    torch.save({"format": 1, "a": Evil(tmp_path / "made")}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="it holds more than tensors"):
        load_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes(pickle.dumps({"a": Evil(tmp_path / "made")}))
    with pytest.raises(RunError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "made").exists()


def test_other_files_are_named_for_what_they_lack(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    with pytest.raises(RunError, match="there are no weights; was the run trained to its end"):
        load_model(file)
    save_file({"a": torch.rand(2)}, file)
    with pytest.raises(RunError, match="its header has no 'bandweave' entry"):
        load_model(file)
    save_file({"a": torch.rand(2)}, file, metadata={"bandweave": "{"})
    with pytest.raises(RunError, match="is not JSON"):
        load_model(file)
    file.write_text("these are not the weights that you are looking for")
    with pytest.raises(RunError, match="not safetensors"):
        load_model(file)


def test_restore_is_strict():
    tensors = {name: tensor.clone() for name, tensor in weights(toy()).items()}
    module = toy()
    with torch.no_grad():
        module.stem.weight.zero_()
    restore(module, tensors)
    assert torch.equal(module.stem.weight, toy().stem.weight)
    del tensors["stem.weight"]
    with pytest.raises(
        RunError, match=r"model\.st does not fit .* 1 tensors are missing: stem\.we"
    ):
        restore(module, tensors, origin="model.st")
    restore(module, tensors, frozen={"stem.weight"})
    with pytest.raises(RunError, match="1 are not the model's: other"):
        restore(module, {**tensors, "other": torch.ones(1)}, frozen={"stem.weight"})
    tensors["head.bias"] = torch.zeros(7)
    with pytest.raises(RunError, match=r"head\.bias \(7,\), expected \(3,\)"):
        restore(module, tensors, frozen={"stem.weight"})


def test_checkpoint_round_trip_and_damage(tmp_path):
    file = tmp_path / "last.ckpt"
    save_checkpoint(file, {"step": 3, "weights": {"a": torch.arange(1000)}, "best": {}})
    state = load_checkpoint(file)
    assert state["step"] == 3
    assert torch.equal(state["weights"]["a"], torch.arange(1000))
    whole = file.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        with pytest.raises(RunError, match=f"{kept} bytes that are no readable checkpoint"):
            load_checkpoint(file)
    torch.save({"format": 0}, file)
    with pytest.raises(RunError, match="a checkpoint of format 0, expected 1"):
        load_checkpoint(file)
    torch.save(torch.ones(2), file)
    with pytest.raises(RunError, match="a checkpoint of format Tensor"):
        load_checkpoint(file)
    with pytest.raises(RunError, match="there is no such checkpoint"):
        load_checkpoint(tmp_path / "missing.ckpt")


def test_a_full_disk_leaves_what_was_there(tmp_path, no_space):
    file = tmp_path / "model.safetensors"
    save_model(file, {"a": torch.zeros(10)}, METADATA)
    with no_space(50_000), pytest.raises(OutputError, match="File too large; the file that was"):
        save_model(file, {"a": torch.ones(100_000)}, METADATA)
    assert torch.equal(load_model(file)[0]["a"], torch.zeros(10))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_others_may_read_the_weights_as_any_file(tmp_path):
    save_model(tmp_path / "model.safetensors", {"a": torch.ones(2)}, {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
