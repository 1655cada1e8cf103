"""Train a land-cover model on a scene and a split, into a run folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from bandweave.data.match import describe_layers
from bandweave.data.samples.pseudo_labels import PseudoLabels
from bandweave.data.scaling import Scaling
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import VALIDATION, Split
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.baselines.methods import fit_method
from bandweave.landcover.config import AnyConfig, ClassicalConfig, LandCoverConfig, config_type
from bandweave.landcover.length import (
    WINDOWS,
    Length,
    find_length,
    hold_out,
    looks_every,
    shortened,
    trial_of,
    warn_of_learning_by_heart,
)
from bandweave.landcover.predict.feeding import Sampler, make_sampler, seen_at_once
from bandweave.landcover.run import ClassicalRun, NetRun, Run, build_model
from bandweave.landcover.self_training import Shares, teach, weigh_teacher
from bandweave.landcover.validation import Validation, check_validation, validation_temperature
from bandweave.models import DEFAULT_MODEL
from bandweave.training.config import Accelerator, Launch
from bandweave.training.feed import as_tensors
from bandweave.training.folder import RunFolder, setting_facts
from bandweave.training.history import read_history
from bandweave.training.loop import TrainTask, fit
from bandweave.training.processes import check_devices, is_main
from bandweave.training.run import train_module, train_run, with_config

log = logging.getLogger(__name__)

PREPARED = 8  # batches that a model may look at before training


def train(
    scene: Scene,
    split: Split,
    model: str = DEFAULT_MODEL,
    out: str | os.PathLike[str] = "runs/landcover",
    *,
    config: AnyConfig | None = None,
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

    model    name of a preset in bandweave.models.LAND_COVER, or of a classical method in
             bandweave.landcover.baselines.methods.METHODS
    out      the run folder, which must not hold another run
    config   all options at once, in place of those by name
    layers   names of the layers to use; all by default
    pca      principal components a layer is reduced to, by its name; 0: its bands as they are. By
             default those of the preset, where it has any, of the first layer
    temperature     fit one to the validation pixels: the map's confidence is then as often right
    resume   continue an interrupted run of the same configuration
    overwrite       replace a run that stands in `out`
    self_contained  keep frozen weights of others inside the run too
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
    (1, 16)
    """
    if config is None:
        plain = {"layers": list(layers or []), "pca": pca, "temperature": temperature}
        given = {key: value for key, value in plain.items() if value}
        config = config_type(model).from_options(model, {**options, **given})
    elif options or layers or pca or temperature:
        raise ConfigError("give options either in `config` or by name, not both")
    config = replace(config, scene=scene.origin or scene.name, split=split.config)
    described = describe_layers(scene, config.layers)
    if isinstance(config, LandCoverConfig):
        config = replace(config, pca=choose_components(config, described))
    launch = Launch(resume, overwrite, quiet, accelerator, devices, nodes)

    def prepare(folder: RunFolder) -> Callable[[], Run]:
        if isinstance(config, ClassicalConfig):
            if self_contained or launch != Launch(resume, overwrite, quiet):
                raise ConfigError(
                    f"{config.name!r} is a classical method: it is trained in one process on the "
                    "CPU, and has no use for accelerator, devices, nodes or self_contained"
                )
            return prepare_method(config, scene, split, folder, launch)
        return prepare_net(config, scene, split, described, folder, launch, self_contained)

    return train_run(config, out, launch, prepare)


def choose_components(
    config: LandCoverConfig, layers: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Components by layer: those asked for, or the preset's of a first layer with more bands.

    layers  as describe_layers gives them
    """
    components, first = config.preset(config.name).components, next(iter(layers))
    if not config.pca and 0 < components < layers[first]["bands"]:
        return {first: components}
    return {name: number for name, number in config.pca.items() if number}


def prepare_net(
    config: LandCoverConfig,
    scene: Scene,
    split: Split,
    layers: dict[str, dict[str, Any]],
    folder: RunFolder,
    launch: Launch,
    self_contained: bool,
) -> Callable[[], Run]:
    """Build a net with all that trains it; what is returned trains it and gives the run.

    layers  that it looks at, as describe_layers gives them
    """
    check_devices(config.train.precision, launch.accelerator, launch.devices, launch.nodes)
    held = held_out_split(config, scene, split)
    check_validation(config, held or split)
    scaling = fit_scaling(scene, split, config.pca, list(layers))
    made = [make_net(config, scene, split, scaling, layers, folder, self_contained)]

    def train_it() -> Run:
        if launch.resume and folder.finished:
            return finished_run(folder, split)
        train, facts, spent, shares = config.train, dict[str, Any](), 0.0, Shares()
        if held is not None:
            found, tried = try_length(config, scene, held, scaling, layers, folder, launch)
            train, spent = shortened(train, found.steps), found.seconds
            facts["length"] = asdict(found)
            if config.temperature and is_main():
                facts["temperature"] = validation_temperature(tried, scene, held)
            if train.self_training and is_main():
                shares = weigh_teacher(tried, scene, held)
                facts["teaching"] = asdict(shares)
        run, task = made.pop()  # its samples are in memory no longer than they are needed
        for number in range(train.self_training):
            task = with_config(replace(task, config=train), config)
            own = folder.rounds / str(number)
            rows = fit(replace(task, title=f"round {number + 1}"), own, launch)
            run.model.cpu().eval()
            pseudo = teach(run, shares, scene, split, own, launch.quiet)
            spent += rows[-1]["seconds"]
            del run, task
            run, task = make_net(
                config, scene, split, scaling, layers, folder, self_contained, pseudo
            )
        run.facts.update(facts)
        run.facts.update(train_module(replace(task, config=train), config, folder, launch))
        run.facts["parameters"] = run.parameters
        run.facts["seconds"] += spent
        if is_main():
            if train.validate_every:
                warn_of_learning_by_heart(read_history(folder.history))
            if config.temperature and held is None:
                run.facts["temperature"] = validation_temperature(run, scene, split)
            folder.remove_scaffold()
        return run

    return train_it


def make_net(
    config: LandCoverConfig,
    scene: Scene,
    split: Split,
    scaling: Scaling,
    layers: dict[str, dict[str, Any]],
    folder: RunFolder,
    self_contained: bool = False,
    pseudo: PseudoLabels | None = None,
) -> tuple[NetRun, TrainTask]:
    """A net that is not trained yet, as a run, and what trains it on a split.

    pseudo  classes for pixels without a label
    """
    bands = {name: scaling.bands(name) for name in layers}
    module = build_model(config, bands, scene.classes, layers, scene.label_ratio)
    if module.patch_side not in (None, config.samples.crop):
        log.warning(
            "crop is %d px and the model's patch %d: what lies beyond that is cut off, and what is "
            "missing is 0; give both the same side",
            *(config.samples.crop, module.patch_side),
        )
    sampler = make_sampler(module, scene, split, scaling, config.samples, config.train.seed, pseudo)
    module.prepare(lambda: first_layers(sampler), config.pca)
    reach = module.reach(seen_at_once(config.samples.map_window, scene)) + scene.reach(layers)
    run = NetRun(
        folder=folder,
        config=config,
        model=module,
        scaling=scaling,
        classes=scene.classes,
        layers=layers,
        window=config.samples.map_window,
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
        begin_step=module.begin_step,
        conclude=lambda: module.conclude(show_samples(sampler)),
        unused_parameters=module.unused_parameters,
        frozen=run.frozen,
        identity={"split": split.hash},
    )
    return run, task


def held_out_split(config: LandCoverConfig, scene: Scene, split: Split) -> Split | None:
    """The split whose validation pixels tell how long to train; None where nothing asks for it."""
    train = config.train
    asked = train.hold_out and not train.validate_every and looks_every(train.steps)
    if not asked or split.counts[VALIDATION].any():
        return None
    return hold_out(scene, split, train.hold_out)


def try_length(
    config: LandCoverConfig,
    scene: Scene,
    held: Split,
    scaling: Scaling,
    layers: dict[str, dict[str, Any]],
    folder: RunFolder,
    launch: Launch,
) -> tuple[Length, NetRun]:
    """Train without held-out pixels: for how long was best, and what came of it."""
    trial = replace(config, train=trial_of(config.train))
    run, task = make_net(trial, scene, held, scaling, layers, folder)
    task = replace(with_config(task, trial), validate=Validation(run, scene, held, windows=WINDOWS))
    found = find_length(task, held, folder, launch)
    run.model.cpu().eval()
    return found, run


def prepare_method(
    config: ClassicalConfig, scene: Scene, split: Split, folder: RunFolder, launch: Launch
) -> Callable[[], Run]:
    """Check a classical method; what is returned trains it and gives the run.

    A run that is to be continued and is finished is given as it is.
    """
    if launch.resume and folder.finished:
        done = finished_run(folder, split)
        return lambda: done
    return lambda: fit_classical(config, scene, split, folder)


def finished_run(folder: RunFolder, split: Split) -> Run:
    """The run of a folder that is to be continued, and is finished.

    Raises RunError where it was trained on another split.
    """
    done = Run.open(folder.path)
    if done.facts["split_hash"] != split.hash:
        raise RunError(
            f"{folder.path} holds a run of another split; train into another folder, or "
            "replace it with `--overwrite`"
        )
    return done


def fit_classical(
    config: ClassicalConfig, scene: Scene, split: Split, folder: RunFolder
) -> ClassicalRun:
    """Train a classical method and give its run, which is not saved."""
    began = time.monotonic()
    layers = describe_layers(scene, config.layers)
    layers = {name: layers[name] for name in config.layers or layers}  # in the order asked for
    fitted = fit_method(config.name, config.model, scene, split, list(layers), config.train.seed)
    return ClassicalRun(
        folder=folder,
        config=config,
        fitted=fitted,
        classes=scene.classes,
        layers=layers,
        output_ratio=scene.label_ratio,
        facts={
            "protocol": split.protocol(fitted.reach(scene)),
            "split_hash": split.hash,
            "seconds": time.monotonic() - began,
            **setting_facts("scikit-learn", "scikit-image"),
        },
    )


def show_samples(sampler: Sampler) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Layers and labels of training samples as they are in the scene; of patches alone."""
    for batch in map(as_tensors, sampler.show_training_pixels()):
        yield batch["layers"], batch["labels"]


def first_layers(sampler: Sampler) -> dict[str, torch.Tensor]:
    """Layers (B, C, h, w) of the first training samples of one side, the same in every process."""
    turn = len(sampler.sides)
    layers = [sampler.batch(turn * number)["layers"] for number in range(PREPARED)]
    return {n: torch.from_numpy(np.concatenate([each[n] for each in layers])) for n in layers[0]}
