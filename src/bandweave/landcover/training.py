"""Train a land-cover model on a scene and a split, into a run folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bandweave.data.match import describe_layers
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import VALIDATION, Split
from bandweave.errors import ConfigError
from bandweave.landcover.calibration import fit_temperature
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.metrics import confusion_matrix
from bandweave.landcover.predict.classify import labelled_logits, predict_classes
from bandweave.landcover.predict.feeding import Sampler, make_sampler, seen_at_once
from bandweave.landcover.run import Run, build_model
from bandweave.models import DEFAULT_MODEL
from bandweave.nn.clip.guidance import frozen_names
from bandweave.training.config import Accelerator, Launch
from bandweave.training.folder import RunFolder
from bandweave.training.loop import TrainTask
from bandweave.training.processes import check_devices, is_main
from bandweave.training.run import train_module, train_run

PREPARED = 8  # batches that a model may look at before training


def train(
    scene: Scene,
    split: Split,
    model: str = DEFAULT_MODEL,
    out: str | os.PathLike[str] = "runs/landcover",
    *,
    config: LandCoverConfig | None = None,
    layers: list[str] | None = None,
    pca: dict[str, int] | None = None,
    temperature: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    self_contained: bool = False,
    quiet: bool = False,
    accelerator: Accelerator = "auto",
    devices: int = 1,
    nodes: int = 1,
    **options: Any,
) -> Run:
    """Train a model and return the run, whose folder holds everything needed to use it.

    model    name of a preset, in bandweave.models.LAND_COVER
    out      the run folder, which must not hold another run
    config   all options at once, in place of those by name
    layers   names of the layers to use; all by default
    pca      principal components a layer is reduced to, by its name
    temperature     fit one to the validation pixels: the map's confidence is then as often right
    resume   continue an interrupted run of the same configuration
    overwrite       replace a run that stands in `out`
    self_contained  keep frozen CLIP weights inside the run too
    options  any option of the model, of samples (`crop`, `batch`, …) or of training (`steps`,
             `lr`, …), by its name

    Raises ConfigError for options that do not exist or fit, RunError where `out` holds another
    run, SplitError where there is nothing to train on.

    >>> import bandweave as bw, tempfile
    >>> scene = bw.simulated_scene(seed=0, height=64, width=64)
    >>> split = bw.split(scene, "blocks", size=8, guard=1)
    >>> folder = tempfile.mkdtemp()
    >>> run = bw.train(scene, split, model="m3amba_tiny", out=f"{folder}/run", steps=2, width=8,
    ...                crop=8, batch=2, quiet=True)
    >>> run.output_ratio, run.window
    (1, 8)
    """
    if config is None:
        plain = {"layers": list(layers or []), "pca": dict(pca or {}), "temperature": temperature}
        config = LandCoverConfig.from_options(model, {**options, **plain})
    elif options or layers or pca or temperature:
        raise ConfigError("give options either in `config` or by name, not both")
    config = replace(config, scene=scene.origin or scene.name, split=split.config)
    described = described_layers(scene, config.layers)
    launch = Launch(resume, overwrite, quiet, accelerator, devices, nodes)

    def prepare(folder: RunFolder) -> Callable[[], Run]:
        check_devices(config.train.precision, accelerator, devices, nodes)
        scaling = fit_scaling(scene, split, config.pca, list(described))
        bands = {name: scaling.bands(name) for name in described}
        module = build_model(config, bands, scene.classes, described, scene.label_ratio)
        sampler = make_sampler(module, scene, split, scaling, config.samples, config.train.seed)
        module.prepare(lambda: first_layers(sampler), config.pca)
        check_validation(config, split)
        reach = module.reach(seen_at_once(config.samples.crop, scene))
        run = Run(
            folder=folder,
            config=config,
            model=module,
            scaling=scaling,
            classes=scene.classes,
            layers=described,
            window=config.samples.crop,
            output_ratio=scene.label_ratio,
            self_contained=self_contained,
            facts={
                "protocol": split.protocol(reach),
                "split_hash": split.hash,
                "scaling_from": scaling.source,
            },
        )
        task = TrainTask(
            module,
            sampler.batch,
            config.train,
            validate=Validation(run, scene, split) if config.train.validate_every else None,
            unused_parameters=module.unused_parameters,
            frozen=frozen_names(module),
            identity={"split": split.hash},
        )

        def learn() -> Run:
            run.facts.update(train_module(task, config, folder, launch))
            if config.temperature and is_main():
                run.facts["temperature"] = validation_temperature(run, scene, split)
            return run

        return learn

    return train_run(config, out, launch, prepare)


def first_layers(sampler: Sampler) -> dict[str, torch.Tensor]:
    """Layers (B, C, h, w) of the first training samples, the same in every process."""
    layers = [sampler.batch(step)["layers"] for step in range(PREPARED)]
    return {n: torch.from_numpy(np.concatenate([each[n] for each in layers])) for n in layers[0]}


def described_layers(scene: Scene, names: list[str]) -> dict[str, dict[str, Any]]:
    """What a run keeps of the named layers, of all where none is named."""
    layers = describe_layers(scene)
    if missing := [name for name in names if name not in layers]:
        raise ConfigError(
            f"scene {scene.name!r} has no layer {missing[0]!r}; it has {', '.join(layers)}"
        )
    return {name: layer for name, layer in layers.items() if name in names or not names}


def check_validation(config: LandCoverConfig, split: Split) -> None:
    """Raise ConfigError where options need validation pixels, and the split has none."""
    for option, asked in (
        ("validate_every", bool(config.train.validate_every)),
        ("temperature", config.temperature),
    ):
        if asked and not any((roles == VALIDATION).any() for roles in split.roles):
            raise ConfigError(
                f"{option} is set, but the split has no validation pixels; "
                "draw some with its option `validation`, 0.2 say"
            )


def validation_temperature(run: Run, scene: Scene, split: Split) -> float:
    """What makes the validation pixels likeliest; see `calibration.fit_temperature`."""
    predictor = run.predictor(scene.reference)
    found = [
        labelled_logits(predictor, part, roles == VALIDATION)
        for part, roles in zip(scene.parts, split.roles, strict=True)
        if (roles == VALIDATION).any()
    ]
    logits, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    return fit_temperature(logits, labels)


class Validation:
    """Overall accuracy on the validation pixels, mapped as the scene would be."""

    def __init__(self, run: Run, scene: Scene, split: Split) -> None:
        self.run, self.scene, self.split = run, scene, split

    def __call__(self, _: torch.nn.Module) -> float:
        predictor = self.run.predictor(self.scene.reference)
        total = np.zeros((len(self.run.classes),) * 2, np.int64)
        for part, roles in zip(self.scene.parts, self.split.roles, strict=True):
            held_out = roles == VALIDATION
            if not held_out.any() or part.labels is None:
                continue
            predicted = predict_classes(predictor, part, self.split.ratio, held_out)
            total += confusion_matrix(
                part.labels.values[held_out], predicted[held_out], len(self.run.classes)
            )
        return float(np.trace(total) / total.sum())
