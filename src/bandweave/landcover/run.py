"""Trained land-cover runs: what map, score and report need of them, read from their folder."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bandweave.data.scaling import Scaling
from bandweave.data.scene import ClassInfo, Scene
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.methods import METHODS, FittedMethod
from bandweave.landcover.baselines.predictor import MethodPredictor
from bandweave.landcover.config import (
    AnyConfig,
    ClassicalConfig,
    EnsembleConfig,
    LandCoverConfig,
)
from bandweave.landcover.predict.feeding import predictor_of, seen_at_once
from bandweave.landcover.predict.net import Net, Predictor
from bandweave.models import LAND_COVER
from bandweave.models.contract import LandCoverModel
from bandweave.nn.pretrained.provenance import check_weights, frozen_names, weights_fingerprint
from bandweave.training.checkpoint import restore, weights
from bandweave.training.folder import RunFolder
from bandweave.training.processes import best_device
from bandweave.training.run import TrainedRun


@dataclass(frozen=True, eq=False)
class Run(TrainedRun):
    """A trained run with everything needed to map a scene: a net, a classical method, or several.

    classes       in the order of its logits
    layers        what it was trained on, as data.match.describe_layers gives it
    output_ratio  how many times finer than the grid it answers
    """

    kind = "land cover"

    config: AnyConfig | EnsembleConfig
    classes: tuple[ClassInfo, ...]
    layers: dict[str, dict[str, Any]]
    output_ratio: int

    @classmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> Run:
        """The run that `metadata` and `tensors` told of, of its own kind."""
        from bandweave.landcover.ensemble import EnsembleRun

        name = stored["config"]["model"]["name"]
        kinds: dict[str, type[Run]] = dict.fromkeys(METHODS, ClassicalRun)
        kinds[EnsembleConfig.default_name] = EnsembleRun
        return kinds.get(name, NetRun).from_stored(folder, stored, tensors)

    def metadata(self) -> dict[str, Any]:
        """Everything but tensors, as JSON can hold it."""
        return {
            "format": self.format,
            "config": self.config.to_dict(),
            "classes": [asdict(each) for each in self.classes],
            "layers": self.layers,
            "output_ratio": self.output_ratio,
            "facts": self.facts,
        }

    @property
    def files(self) -> tuple[str, ...]:
        """What it was read from, which no output may replace."""
        folder = self.folder
        own = folder.config, folder.model, folder.checkpoint, folder.history
        return tuple(str(path) for path in own)

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that it is made of: itself alone, or those of an ensemble."""
        return (self,)

    @property
    def has_folder(self) -> bool:
        """Whether there is a folder of its own, for scores and a report."""
        return True

    @property
    def protocol_facts(self) -> dict[str, Any]:
        """What must stand beside its scores, besides the split: the model."""
        return {"model": self.config.name}

    @property
    def temperature(self) -> float:
        """What logits are divided by for probabilities: 1, or what held-out pixels told."""
        return float(self.facts.get("temperature", 1.0))

    @property
    @abstractmethod
    def parameters(self) -> int | None:
        """Numbers that training may change; None of a classical method."""

    @property
    @abstractmethod
    def gives_probabilities(self) -> bool:
        """Whether logits tell how sure it is, and not the class alone."""

    @abstractmethod
    def reach(self, scene: Scene) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its class."""

    @abstractmethod
    def use_device(self, device: torch.device | str | None = None) -> None:
        """Compute on that device from now on; None for a GPU where there is one."""

    @abstractmethod
    def predictor(self, reference: str, **options: Any) -> Predictor:
        """What maps parts of a scene with this run.

        reference  name of the scene's layer whose data decide where there is a map
        options    precision, overlap, tta and batch, as `NetRun.net` takes them

        Raises ConfigError for options that the run has no use for.
        """


@dataclass(frozen=True, eq=False)
class NetRun(Run):
    """A run of a net that was trained step by step.

    model    in evaluation mode
    scaling  of every layer that it takes
    window   px of the grid: side of the crops that it was trained on
    self_contained  frozen weights of others are in the run's file too
    """

    config: LandCoverConfig
    model: LandCoverModel
    scaling: Scaling
    window: int
    self_contained: bool = False

    @classmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> NetRun:
        """The run that `metadata` and `tensors` told of."""
        config = LandCoverConfig.of_run(stored["config"])
        published = stored.get("published") or stored.get("clip")  # its name in former runs
        if published and stored["self_contained"]:
            holder = getattr(config.model, "clip", config.model)
            holder.architecture = published["architecture"]
        classes, layers = _read_described(stored)
        bands, ratio = stored["bands"], stored["output_ratio"]
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
        restore(run.model, run.model.upgrade(tensors, folder.model), run.left_out, folder.model)
        if not run.self_contained:
            check_weights(run.model, published)
        run.model.eval()
        return run

    def metadata(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {
            **super().metadata(),
            "bands": {name: self.scaling.bands(name) for name in self.layers},
            "scaling": self.scaling.to_dict(),
            "window": self.window,
            "published": weights_fingerprint(self.model),
            "self_contained": self.self_contained,
        }

    @property
    def frozen(self) -> set[str]:
        """Names of weights that come from elsewhere and are not in the run's file."""
        return set() if self.self_contained else frozen_names(self.model)

    @property
    def left_out(self) -> set[str]:
        """Names of weights that are not in the run's file: frozen ones, and of training alone."""
        return self.frozen | {name for name in self.model.state_dict() if self._is_trainers(name)}

    def _is_trainers(self, name: str) -> bool:
        return name.partition(".")[0] in self.model.training_only

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return weights(self.model, self.left_out)

    @property
    def parameters(self) -> int:
        """Numbers that training may change, of those that the run keeps."""
        return sum(
            parameter.numel()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and not self._is_trainers(name)
        )

    @property
    def gives_probabilities(self) -> bool:
        """They are the softmax of its logits."""
        return True

    def reach(self, scene: Scene) -> int:
        """That of the model, for what goes into it at once."""
        return self.model.reach(seen_at_once(self.window, scene)) + scene.reach(self.layers)

    def use_device(self, device: torch.device | str | None = None) -> None:
        """Move the model."""
        self.model.to(best_device() if device is None else device)

    def predictor(self, reference: str, **options: Any) -> Predictor:
        """What maps parts in the way that the model is fed; the options are those of `net`."""
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
        overlap    None: that of the run's options, where its windows are theirs
        """
        own = self.config.samples
        if overlap is None and self.window == own.map_window:
            overlap = own.map_overlap
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


@dataclass(frozen=True, eq=False)
class ClassicalRun(Run):
    """A run of a classical method, whose file holds its training pixels and what was chosen.

    The method is fitted to them again, to the same numbers, when it is first asked.
    """

    config: ClassicalConfig
    fitted: FittedMethod

    @classmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> ClassicalRun:
        """The run that `metadata` and `tensors` told of."""
        config = ClassicalConfig.read(stored["config"])
        classes, layers = _read_described(stored)
        method = METHODS[config.name]
        fitted = FittedMethod(
            config.name,
            config.model,
            config.train.seed,
            method.inputs.from_dict(list(layers), stored["output_ratio"], stored["inputs"]),
            tensors["values"].numpy(),
            tensors["labels"].numpy(),
            dict(stored["chosen"]),
            stored.get("slope", None if method.pairs else 1.0),  # former runs have none
            stored.get("radius", 0),
        )
        fitted.check(len(classes))
        return cls(
            folder=folder,
            config=config,
            fitted=fitted,
            classes=classes,
            layers=layers,
            output_ratio=stored["output_ratio"],
            facts=dict(stored["facts"]),
        )

    def metadata(self) -> dict[str, Any]:
        """Everything but the table of training pixels."""
        fitted = self.fitted
        own = {name: getattr(fitted, name) for name in ("chosen", "slope", "radius")}
        return {**super().metadata(), "inputs": fitted.inputs.to_dict(), **own}

    def tensors(self) -> dict[str, Tensor]:
        """The table of training pixels: what describes them, and their classes."""
        fitted = self.fitted
        return {
            "values": torch.from_numpy(fitted.values),
            "labels": torch.from_numpy(fitted.labels),
        }

    @property
    def parameters(self) -> None:
        """It has none."""
        return None

    @property
    def gives_probabilities(self) -> bool:
        """They are its votes; a support vector machine of earlier versions kept the class alone."""
        return self.fitted.slope is not None

    def summary(self) -> str:
        """Training pixels, seconds, and what was chosen."""
        chosen = "".join(f", {name} {value:g}" for name, value in self.fitted.named.items())
        pixels, seconds = len(self.fitted.labels), self.facts["seconds"]
        return f"{pixels:,} training pixels in {seconds:.0f} s{chosen}"

    def reach(self, scene: Scene) -> int:
        """That of what describes a pixel, and of the smoothing."""
        return self.fitted.reach(scene)

    def use_device(self, device: torch.device | str | None = None) -> None:
        """It computes on the CPU. Raises ConfigError where a device is named."""
        self._refuse(device=device)

    def predictor(self, reference: str, **options: Any) -> Predictor:
        """What maps parts. Raises ConfigError for options, which mean nothing to it."""
        self._refuse(**options)
        return MethodPredictor(self.fitted, reference, len(self.classes))

    def _refuse(self, **options: Any) -> None:
        for name, value in options.items():
            if value not in (None, False, "fp32"):
                raise ConfigError(
                    f"{name}: the classical method {self.config.name!r} has no use for it"
                )


def _read_described(
    stored: Mapping[str, Any],
) -> tuple[tuple[ClassInfo, ...], dict[str, dict[str, Any]]]:
    """Classes and layers of a run; TypeError or KeyError unless they are as they were saved."""
    classes = tuple(ClassInfo(**each) for each in stored["classes"])
    layers = stored["layers"]
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
        for key in ("units", "derived"):
            if not isinstance(layer.get(key), str | None):
                raise TypeError(f"the {key} of the layer {name!r}")
    return classes, layers


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
