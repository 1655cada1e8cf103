"""AdamW, its parameter groups, its schedule, and the running average of its weights.

Source: decoupled weight decay, Loshchilov & Hutter 2019; the groups are those of Mamba's authors:
A_log and D say `no_weight_decay`, and nothing of one dimension (biases, norms) decays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bandweave.errors import RunError
from bandweave.training.config import TrainConfig

POWER = 0.9  # of the schedule `poly` (DeepLab; MambaMoE)


def make_optimizer(module: nn.Module, config: TrainConfig, fused: bool = True) -> torch.optim.AdamW:
    """AdamW over the parameters that need a gradient, in a decaying and a not decaying group."""
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            bare = parameter.ndim <= 1 or getattr(parameter, "no_weight_decay", False)
            (stays if bare else decays).append(parameter)
    if not decays and not stays:
        raise RunError(
            "the module has no parameter that needs a gradient: there is nothing to train"
        )
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": config.weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, fused=fused)


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate of step 0, 1, … steps − 1: a line up to `lr`, then its schedule.

    >>> config = TrainConfig(steps=100, lr=1.0, warmup=0.1)
    >>> [round(learning_rate(step, config), 3) for step in (0, 9, 55, 99)]
    [0.1, 1.0, 0.5, 0.0]
    """
    rising = round(config.warmup * config.steps)
    if step < rising:
        return config.lr * ((step + 1) / rising)
    done = (step - rising) / max(1, config.steps - rising)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "poly":
        return config.lr * (1 - done) ** POWER
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


class WeightAverage:
    """Exponential running average of the trained parameters; off when `decay` is 0.

    The first steps average over fewer weights, those of about the last ninth of the steps:
    decay = min(decay, (1 + step) / (10 + step)).
    Buffers are not averaged.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad and decay}
        self.values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step 0, 1, …"""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.values[name].lerp_(parameter.to(self.values[name].device), 1 - decay)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Continue from values that were saved; ValueError for such as are not this module's."""
        for name, parameter in self._parameters.items():
            if values[name].shape != parameter.shape:
                raise ValueError(
                    f"the average of {name}, of shape {tuple(values[name].shape)} instead of "
                    f"{tuple(parameter.shape)}"
                )
        self.values = {n: values[n].to(p.device, copy=True) for n, p in self._parameters.items()}

    @torch.no_grad()
    def keep(self) -> None:
        """Leave the averages in the module, for good."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.values[name])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The averages in the module, for as long as the block lasts."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.keep()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(own[name])
