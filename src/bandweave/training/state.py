"""All that training carries from one step to the next, as one thing to save and to load."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bandweave.errors import RunError
from bandweave.schema import to_dict
from bandweave.training.checkpoint import (
    check_fit,
    load_checkpoint,
    restore,
    save_checkpoint,
    weights,
)
from bandweave.training.config import TrainConfig, conflicts
from bandweave.training.optimizer import WeightAverage

log = logging.getLogger(__name__)

SKIPS = 30  # steps in a row that fp16 may skip while its loss scale halves from 65536


@dataclass
class Counters:
    """Where training stands. Together with the seed they are its random state too: every step
    seeds torch with (seed, step, rank), and batches are a function of the same."""

    step: int = 0  # optimiser steps done
    seconds: float = 0.0  # trained, pauses left out
    skipped: int = 0  # steps in a row that fp16 skipped
    waited: int = 0  # validations since the best one
    best_step: int = 0
    best_score: float = float("-inf")
    stopped: bool = False  # early


@dataclass
class TrainState:
    """The module, its optimiser and the rest.

    frozen    names of tensors that come from elsewhere and never change: not saved
    identity  what must be the same for a checkpoint to be continued
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    scaling: Any  # Fabric's precision plugin, whose state is fp16's loss scale
    frozen: Collection[str]
    identity: Mapping[str, Any]
    counters: Counters = field(default_factory=Counters)
    best: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write everything in one file, whole or not at all."""
        state = {
            "identity": dict(self.identity),
            "counters": asdict(self.counters),
            "weights": weights(self.module, self.frozen),
            "optimizer": self.optimizer.state_dict(),
            "scaling": self.scaling.state_dict(),
            "average": self.average.values,
            "best": self.best,
        }
        save_checkpoint(path, state)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises RunError if it is of another configuration, or anything in it is not as it was saved.
        """
        state = load_checkpoint(path)
        try:
            self._check_identity(path, state["identity"])
            counters = _counters(state["counters"])
            restore(self.module, state["weights"], self.frozen, path)
            if state["best"]:
                check_fit(self.module, state["best"], self.frozen, path)
            self.optimizer.load_state_dict(state["optimizer"])
            _check_moments(self.optimizer)
            self.scaling.load_state_dict(state["scaling"])
            self.average.load(state["average"])
        except RunError:
            raise
        except Exception as error:  # torch checks little of what it is given
            raise RunError(
                f"{path}: damaged: its training state lacks or misstates {_brief(error)}; copy it "
                f"again from where it was made, or train into another folder"
            ) from error
        self.counters, self.best = counters, state["best"]

    def _check_identity(self, path: Path, stored: Mapping[str, Any]) -> None:
        differing = conflicts(stored, self.identity)
        if differing:
            raise RunError(
                f"{path} was written with another configuration: {_some(differing)}. "
                f"Take the options as they were then, or train into another folder"
            )

    def judge(self, score: float, patience: int) -> None:
        """Keep the weights now in the module if `score` is the best; stop if none was for long."""
        counters = self.counters
        if score > counters.best_score:
            counters.best_score, counters.best_step, counters.waited = score, counters.step, 0
            self.best = {
                n: t.detach().clone() for n, t in weights(self.module, self.frozen).items()
            }
        else:
            counters.waited += 1
            counters.stopped = 0 < patience <= counters.waited
        if counters.stopped:
            best = (counters.best_score, counters.best_step)
            log.info("step %d: stopped early; best score %.4f at step %d", counters.step, *best)

    def finish(self) -> None:
        """Leave in the module the weights to use: the best, else the averages, else the last."""
        if self.best:
            restore(self.module, self.best, self.frozen)
        else:
            self.average.keep()
        self.module.eval()

    def check(self, row: Mapping[str, float], fp16: bool) -> None:
        """Raise RunError if loss or gradient is not finite, unless fp16 may skip the step."""
        loss, norm = row["loss"], row["gradient_norm"]
        finite = math.isfinite(loss) and math.isfinite(norm)
        self.counters.skipped = 0 if finite else self.counters.skipped + 1
        if finite:
            return
        if fp16 and self.counters.skipped <= SKIPS:
            log.info("step %d: overflow in fp16, the step is skipped", row["step"])
            return
        raise RunError(
            f"step {row['step']}: the loss is {loss:.4g}, the norm of the gradient {norm:.4g} at a "
            f"learning rate of {row['lr']:.3g}; training cannot go on. Lower `lr`, set `clip`, "
            f"take `precision: fp32`, and look for infinite values in the layers"
        )


def _counters(stored: Mapping[str, Any]) -> Counters:
    """All counters, of their types and within reason; KeyError or ValueError otherwise."""
    found = Counters(**stored)
    if lacking := [each.name for each in fields(Counters) if each.name not in stored]:
        raise KeyError(lacking[0])
    for name, default in asdict(Counters()).items():
        value = getattr(found, name)
        least = -math.inf if name == "best_score" else 0
        if type(value) is not type(default) or not least <= value < math.inf:
            raise ValueError(f"the counter {name!r}: {value!r}")
    return found


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """What an optimiser keeps of each parameter has the parameter's shape, or is one number."""
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape not in (parameter.shape, torch.Size()):
                raise ValueError(
                    f"{name!r} of shape {tuple(value.shape)} for a parameter of shape "
                    f"{tuple(parameter.shape)}"
                )


def _brief(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{lines[0] if lines else type(error).__name__:.200}"


def _some(lines: list[str]) -> str:
    return "; ".join(lines[:6]) + (f" and {len(lines) - 6} more" if len(lines) > 6 else "")


def identity_of(config: TrainConfig, world: int, more: Mapping[str, Any] | None) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that continues it, as plain values."""
    return json.loads(json.dumps({"train": to_dict(config), "processes": world, **(more or {})}))
