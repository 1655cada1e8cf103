"""A trained sharpening run: what sharpening needs of it, read from its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bandweave.errors import SceneMismatch
from bandweave.models import SHARPENERS
from bandweave.models.contract import SharpeningModel
from bandweave.pansharp.config import SharpenConfig
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.value_scale import ValueScale, brightest
from bandweave.pansharp.pair.window import PairSource
from bandweave.pansharp.sensors import find_sensor
from bandweave.training.checkpoint import restore, weights
from bandweave.training.folder import RunFolder, count_parameters
from bandweave.training.run import TrainedRun

log = logging.getLogger(__name__)

STRANGE = 8.0  # times: values so much larger or smaller than the run's are of other units


@dataclass(frozen=True, eq=False)
class SharpenRun(TrainedRun):
    """A trained sharpening model with everything needed to use it.

    model   in evaluation mode
    names   of the MS bands, in their order
    ratio   PAN pixels an MS pixel is wide
    scale   what values are divided by
    window  px of PAN: side of the patches that it was trained on
    scaled  it was trained on values with scale and offset applied; runs of old versions were not
    """

    kind = "sharpening"

    config: SharpenConfig
    model: SharpeningModel
    names: tuple[str, ...]
    ratio: int
    scale: ValueScale
    window: int
    scaled: bool = True

    @classmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> SharpenRun:
        """The run that `metadata` and `tensors` told of."""
        config = SharpenConfig.of_run(stored["config"])
        names, ratio = tuple(stored["bands"]), stored["ratio"]
        run = cls(
            folder=folder,
            config=config,
            model=build_model(config, len(names), ratio),
            names=names,
            ratio=ratio,
            scale=ValueScale.from_dict(stored["scale"]),
            window=stored["window"],
            facts=dict(stored["facts"]),
            scaled=bool(stored.get("scaled", False)),
        )
        restore(run.model, run.model.upgrade(tensors, folder.model), origin=folder.model)
        run.model.eval()
        return run

    def metadata(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {
            "kind": self.kind,
            "format": self.format,
            "config": self.config.to_dict(),
            "bands": list(self.names),
            "ratio": self.ratio,
            "scale": self.scale.to_dict(),
            "sensor": self.config.sensor,
            "registered": self.config.register,
            "window": self.window,
            "facts": self.facts,
            "scaled": self.scaled,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return weights(self.model)

    @property
    def parameters(self) -> int:
        """Numbers that training may change."""
        return count_parameters(self.model)

    def check(self, pair: PairSource) -> None:
        """Raise SceneMismatch unless a pair has the ratio and the bands that it was trained on.

        Bands are told apart by what the run's sensor makes of their names; with the sensor
        'generic', by names of which the run has the same in another order.
        """
        origin = f"the run {self.folder.path} was trained on"
        if pair.bands != len(self.names):
            raise SceneMismatch(
                f"MS has {pair.bands} bands ({', '.join(pair.names)}), {origin} {len(self.names)} "
                f"({', '.join(self.names)}); choose these with `bands`, or another run"
            )
        if pair.ratio != self.ratio:
            raise SceneMismatch(
                f"an MS pixel is {pair.ratio} PAN pixels wide, {origin} {self.ratio}; take a run "
                f"of that ratio"
            )
        if pair.scaled and not self.scaled:
            raise SceneMismatch(
                f"PAN or MS has a scale or an offset, {origin} values without them, by an older "
                "bandweave; train again"
            )
        asked, known = (find_sensor(self.config.sensor, n).bands for n in (pair.names, self.names))
        if self.config.sensor == "generic":
            differ = set(asked) == set(known) and asked != known
        else:
            differ = asked != known
        if differ:
            raise SceneMismatch(
                f"MS has the bands {', '.join(asked)}, {origin} {', '.join(known)}; choose these, "
                f"in this order, with `bands`"
            )

    def warn_of(self, pair: Pair, register: bool, *, with_pan: bool = True) -> None:
        """Log why the run may not suit a pair: another registration, other values.

        register  whether the pair was registered
        with_pan  there is a PAN to be looked at
        """
        if self.config.register and not register:
            log.warning("the run was trained on registered pairs; `register` gives it such")
        pan, ms = brightest(pair)
        for name, value, scale in (("PAN", pan, self.scale.pan), ("MS", ms, self.scale.ms)):
            if (name == "MS" or with_pan) and not 1 / STRANGE < value / scale < STRANGE:
                log.warning(
                    "%s has values up to %.3g, the run was trained on such up to %.3g; check that "
                    "both have the same units, scale and offset",
                    name,
                    value,
                    scale,
                )


def build_model(config: SharpenConfig, bands: int, ratio: int) -> SharpeningModel:
    """The model of a run with new weights, which follow from the training seed."""
    torch.manual_seed(config.train.seed)
    return SHARPENERS[config.name].model(bands, config.model, ratio)
