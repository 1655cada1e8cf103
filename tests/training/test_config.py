"""Training options: impossible ones are named, and few may change when a run continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from bandweave.errors import ConfigError
from bandweave.schema import from_dict, to_dict
from bandweave.training.atomic import write_yaml
from bandweave.training.config import TrainConfig, conflicts
from bandweave.yaml_files import read_yaml


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"warmup": 1.5}, {"ema": 1.0},
        {"clip": -1.0}, {"accumulate": 0}, {"checkpoint_every": 0}, {"patience": 2}, {"seed": -1},
    ],
)  # fmt: skip
def test_impossible_values_are_named(options):
    with pytest.raises(ConfigError, match=f"train: {next(iter(options))}="):
        from_dict(TrainConfig, options, "train")


def test_config_is_written_and_read_again(tmp_path):
    write_yaml(tmp_path / "d.yaml", {"train": TrainConfig(lr=1e-5), "at": Path("x")})
    read = read_yaml(tmp_path / "d.yaml")
    assert from_dict(TrainConfig, read["train"]) == TrainConfig(lr=1e-5)
    assert read["at"] == "x"
    assert list(tmp_path.glob(".*")) == []


def test_only_what_leaves_the_weights_alone_may_change():
    then = {"train": to_dict(TrainConfig())}
    assert conflicts(then, {"train": to_dict(TrainConfig(checkpoint_every=7))}) == []
    changed = {"train": to_dict(TrainConfig(seed=3, tensorboard=True))}
    assert conflicts(then, changed) == ["train.seed: 0 then, 3 now"]
