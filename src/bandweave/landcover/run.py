"""A trained land-cover run: what map and score need of it, read from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bandweave.data.scaling import Scaling
from bandweave.data.scene import ClassInfo
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.predict.feeding import predictor_of
from bandweave.landcover.predict.net import Net, Predictor
from bandweave.models import LAND_COVER
from bandweave.models.contract import LandCoverModel
from bandweave.nn.clip.guidance import check_weights, frozen_names, weights_fingerprint
from bandweave.training.checkpoint import restore, weights
from bandweave.training.folder import RunFolder
from bandweave.training.run import TrainedRun


@dataclass(frozen=True, eq=False)
class Run(TrainedRun):
    """A trained land-cover model with everything needed to use it.

    model         in evaluation mode
    scaling       of every layer that it takes
    classes       in the order of its logits
    layers        what it was trained on, as data.match.describe_layers gives it
    window        px of the grid: side of the crops that it was trained on
    output_ratio  how many times finer than the grid it answers
    self_contained  frozen CLIP weights are in the run's file too
    """

    kind = "land cover"

    config: LandCoverConfig
    model: LandCoverModel
    scaling: Scaling
    classes: tuple[ClassInfo, ...]
    layers: dict[str, dict[str, Any]]
    window: int
    output_ratio: int
    self_contained: bool = False

    @classmethod
    def from_metadata(cls, folder: RunFolder, stored: dict[str, Any]) -> Run:
        """A run with new weights, of what `metadata` gave."""
        config = LandCoverConfig.read(stored["config"])
        architecture = (stored.get("clip") or {}).get("architecture")
        if architecture and stored["self_contained"]:
            config.model.clip.architecture = architecture
        classes = tuple(ClassInfo(**each) for each in stored["classes"])
        bands, layers, ratio = stored["bands"], stored["layers"], stored["output_ratio"]
        _check_described(classes, layers)
        run = cls(
            folder=folder,
            config=config,
            model=build_model(config, bands, classes, layers, ratio),
            scaling=Scaling.from_dict(stored["scaling"]),
            classes=classes,
            layers=layers,
            window=stored["window"],
            output_ratio=ratio,
            self_contained=stored["self_contained"],
            facts=dict(stored["facts"]),
        )
        if not 0 < run.temperature < math.inf:
            raise ValueError(f"the temperature {run.temperature:g}")
        if not run.self_contained:
            check_weights(run.model, stored.get("clip"))
        return run

    def metadata(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {
            "format": self.format,
            "config": self.config.to_dict(),
            "bands": {name: self.scaling.bands(name) for name in self.layers},
            "classes": [asdict(each) for each in self.classes],
            "layers": self.layers,
            "scaling": self.scaling.to_dict(),
            "window": self.window,
            "output_ratio": self.output_ratio,
            "clip": weights_fingerprint(self.model),
            "self_contained": self.self_contained,
            "facts": self.facts,
        }

    @property
    def frozen(self) -> set[str]:
        """Names of weights that come from elsewhere and are not in the run's file."""
        return set() if self.self_contained else frozen_names(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return weights(self.model, self.frozen)

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights, and be in evaluation mode."""
        restore(self.model, tensors, self.frozen, self.folder.model)
        self.model.eval()

    @property
    def files(self) -> tuple[str, ...]:
        """What it was read from, which no output may replace."""
        folder = self.folder
        own = folder.config, folder.model, folder.checkpoint, folder.history
        return tuple(str(path) for path in own)

    def predictor(self, reference: str, **options: Any) -> Predictor:
        """What maps parts of a scene with this run; the options are those of `net`.

        Raises ConfigError for options that the model cannot be run with.
        """
        return predictor_of(self.net(reference, **options))

    def net(
        self,
        reference: str,
        *,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        overlap: int | None = None,
        tta: bool = False,
        batch: int | None = None,
    ) -> Net:
        """The run's net and how it is run; see `Net` for precision, overlap, tta and batch.

        reference  name of the scene's layer whose data decide where there is a map
        device     None: where the model is
        """
        return Net(
            model=self.model,
            layers=list(self.layers),
            scaling=self.scaling,
            reference=reference,
            classes=len(self.classes),
            window=self.window,
            output_ratio=self.output_ratio,
            device=next(self.model.parameters()).device if device is None else device,
            precision=precision,
            overlap=overlap,
            tta=tta,
            batch=batch,
        )

    @property
    def temperature(self) -> float:
        """What logits are divided by for probabilities: 1, or what held-out pixels told."""
        return float(self.facts.get("temperature", 1.0))

    @property
    def parameters(self) -> int:
        """Numbers that training may change."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def _check_described(classes: tuple[ClassInfo, ...], layers: dict[str, dict[str, Any]]) -> None:
    """Raise TypeError or KeyError unless classes and layers are of the types they were saved in."""
    for each in classes:
        if type(each.code) is not int or not isinstance(each.name, str):
            raise TypeError(f"a class: {each}")
        if not isinstance(each.color, str):
            raise TypeError(f"the colour of the class {each.name!r}")
    for name, layer in layers.items():
        for key in ("wavelengths", "numbers"):
            values = layer["wavelengths"] if key == "wavelengths" else layer.get(key)
            if values is not None and not all(type(value) in (int, float) for value in values):
                raise TypeError(f"the {key} of the layer {name!r}")
        if not isinstance(layer["units"], str | None):
            raise TypeError(f"the units of the layer {name!r}")


def build_model(
    config: LandCoverConfig,
    bands: dict[str, int],
    classes: tuple[ClassInfo, ...],
    layers: dict[str, dict[str, Any]],
    output_ratio: int,
) -> LandCoverModel:
    """The model of a run with new weights, which follow from the training seed."""
    torch.manual_seed(config.train.seed)
    return LAND_COVER[config.name].model(
        bands,
        [each.name for each in classes],
        config.model,
        ratios={name: layer["ratio"] for name, layer in layers.items()},
        output_ratio=output_ratio,
    )
