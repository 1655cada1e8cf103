"""The models by name. A preset is a model with other values in its config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from bandweave.models.m3amba import M3amba, M3ambaConfig


@dataclass(frozen=True)
class Preset:
    """A model, its config, and the training options that suit its size.

    samples, train  values of the sample and training options that differ from their defaults
    """

    model: type[nn.Module]
    config: Any
    samples: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


LAND_COVER: dict[str, Preset] = {
    "m3amba": Preset(M3amba, M3ambaConfig()),
    "m3amba_small": Preset(
        M3amba,
        M3ambaConfig(width=64, depth=3, state=4, mlp_ratio=2.0, average="rate"),
        samples={"crop": 16, "batch": 16},
        train={"lr": 2e-3, "weight_decay": 1e-2, "steps": 300},
    ),
    "m3amba_tiny": Preset(
        M3amba,
        M3ambaConfig(width=32, depth=2, state=4, mlp_ratio=2.0, average="rate"),
        samples={"crop": 16, "batch": 16},
        train={"lr": 2e-3, "weight_decay": 1e-2, "steps": 200},
    ),
}
