"""How a module is trained and how that is started; and what a continued run may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from bandweave.errors import ConfigError
from bandweave.schema import list_differences

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Schedule = Literal["cosine", "poly", "constant"]

HARMLESS = ("checkpoint_every", "tensorboard")  # options that may differ when a run continues


@dataclass
class TrainConfig:
    """How a module is trained. Steps are optimiser steps; every schedule follows from them alone.

    >>> TrainConfig(steps=100).warmup
    0.05
    """

    steps: int = 2000
    lr: float = 1e-4  # highest learning rate of AdamW (M³amba)
    weight_decay: float = 1e-3  # of matrices and kernels; vectors, A_log and D have none (M³amba)
    warmup: float = 0.05  # fraction of the steps in which the rate rises
    schedule: Schedule = "cosine"  # of its fall; 'poly': (1 - share done)^0.9 (MambaMoE);
    # 'constant': it stays, and `ema` takes the place of a fall
    clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    precision: Precision = "auto"  # auto: bf16 on a GPU that has it, fp32 on a CPU
    accumulate: int = 1  # batches a step, one after another
    ema: float = 0.0  # decay a step of averaged weights (0.999, say), used instead; 0: none. Early
    # on they average over fewer: the last ninth of the steps
    validate_every: int = 0  # steps; 0: never; then the best weights are kept, not the last
    patience: int = 0  # validations without a better score before it stops early; 0: never
    checkpoint_every: int = 100  # steps; what a killed run can lose
    seed: int = 0
    tensorboard: bool = False  # event files beside history.csv (extra `tensorboard`)
    compile: bool = False  # torch.compile; on a CPU it needs a C++ compiler

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "checkpoint_every"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("weight_decay", "clip", "validate_every", "patience", "seed"):
            value = getattr(self, name)
            _require(self, name, value >= 0 and math.isfinite(value), "0 or more, and finite")
        _require(self, "lr", 0 < self.lr < math.inf, "above 0, and finite")
        _require(self, "warmup", 0 <= self.warmup <= 1, "a fraction of the steps, 0 to 1")
        _require(self, "ema", 0 <= self.ema < 1, "a decay from 0 (none) to below 1")
        if self.patience and not self.validate_every:
            raise ConfigError(
                f"patience={self.patience} counts validations, but validate_every is 0; "
                f"set validate_every to a number of steps, or patience to 0"
            )


@dataclass(frozen=True)
class Launch:
    """How a training is started. Nothing here is part of a run's configuration.

    resume       continue an interrupted run of the same configuration
    overwrite    replace a run that stands in the folder
    quiet        no progress
    accelerator  what to train on
    devices      processes on each machine, one a GPU
    nodes        machines, on each of which the command runs
    """

    resume: bool = False
    overwrite: bool = False
    quiet: bool = False
    accelerator: Accelerator = "auto"
    devices: int = 1
    nodes: int = 1

    @classmethod
    def split_off(cls, options: Mapping[str, Any]) -> tuple[Launch, dict[str, Any]]:
        """A launch of those options that are its own, and the other options.

        >>> Launch.split_off({"quiet": True, "steps": 5})[1]
        {'steps': 5}
        """
        names = {field.name for field in fields(cls)}
        own = {key: value for key, value in options.items() if key in names}
        return cls(**own), {key: value for key, value in options.items() if key not in names}


def _require(config: TrainConfig, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(f"{name}={getattr(config, name)!r} must be {what}")


def conflicts(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences that stand against continuing a run: all but HARMLESS ones under `train`."""
    harmless = tuple(f"train.{name}" for name in HARMLESS)
    return [
        line for line in list_differences(then, now) if not line.split(":")[0].endswith(harmless)
    ]
