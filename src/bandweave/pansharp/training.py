"""Train a sharpening model on pairs of files, into a run folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from bandweave.errors import ConfigError, SceneMismatch
from bandweave.pansharp.config import DEFAULT, PairFiles, SharpenConfig
from bandweave.pansharp.pair.files import Files, pairs_to_train
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.registration import register_pair
from bandweave.pansharp.pair.survey import tell_of_pair
from bandweave.pansharp.pair.value_scale import fit_scale
from bandweave.pansharp.patches import PatchSampler
from bandweave.pansharp.run import SharpenRun, build_model
from bandweave.pansharp.sensors import Sensor, find_sensor
from bandweave.raster.open import PathLike
from bandweave.training.config import Launch
from bandweave.training.feed import as_tensors
from bandweave.training.folder import RunFolder
from bandweave.training.loop import TrainTask
from bandweave.training.processes import check_devices
from bandweave.training.run import train_module, train_run

log = logging.getLogger(__name__)


def train_sharpener(
    pairs: Sequence[Files] | PathLike = (),
    model: str = DEFAULT,
    out: str | os.PathLike[str] = "runs/sharpening",
    *,
    validation: Sequence[Files] = (),
    config: SharpenConfig | None = None,
    **options: Any,
) -> SharpenRun:
    """Train a model on pairs and return the run, whose folder holds everything needed to use it.

    By Wald's protocol: PAN and MS are made `ratio` times coarser through the sensor's MTF, and the
    observed MS is what the model should make of them.

    pairs       (PAN file, MS file or one file a band) of each, at full resolution; or a YAML file
                that lists them, and those to validate on
    model       name of a preset: mmmamba, mmmamba_small, mmmamba_tiny, panmamba
    out         the run folder, which must not hold another run
    validation  pairs whose PSNR chooses the weights that are kept, with the option
                `validate_every`; neither trained nor to be tested on
    config      all options at once, in place of all others but those of `Launch`
    options     any option of `SharpenConfig` (`sensor`, `register`, `ratio`, `crs`, `nodata`), of
                the model, of samples (`patch`, `batch`, …), of training (`steps`, `lr`, …) or of
                `Launch` (`resume`, `overwrite`, `quiet`, `accelerator`, …), by its name

    Raises ConfigError for options that do not exist or fit, RunError where `out` holds another
    run, FileError and GridMismatch for files that cannot be a pair, SceneMismatch for pairs of
    different bands or ratios.
    """
    learnt, held = pairs_to_train(pairs, validation)
    launch, options = Launch.split_off(options)
    if config is None:
        config = SharpenConfig.from_options(model, options)
        config.pairs = [as_pair_files(pair) for pair in learnt]
        config.validation = [as_pair_files(pair) for pair in held]
    elif options or learnt or held:
        raise ConfigError("give options and pairs either in `config` or by name, not both")
    check_pairs(config)

    def prepare(folder: RunFolder) -> Callable[[], SharpenRun]:
        check_devices(config.train.precision, launch.accelerator, launch.devices, launch.nodes)
        opened = open_pairs(config.pairs, config)
        held_out = open_pairs(config.validation, config)
        known = common_sensor(config, [*opened, *held_out])
        scale = fit_scale(opened, known)
        log.info(
            "values are divided by %g (MS) and %g (PAN): %s", scale.ms, scale.pan, scale.source
        )
        first = opened[0]
        sampler = PatchSampler(opened, known, scale, config.samples, config.train.seed)
        validate = None
        if held_out:
            validate = Validation(PatchSampler(held_out, known, scale, config.samples))
        run = SharpenRun(
            folder=folder,
            config=config,
            model=build_model(config, first.bands, first.ratio),
            names=first.names,
            ratio=first.ratio,
            scale=scale,
            window=config.samples.patch * first.ratio,
            facts={},
        )
        task = TrainTask(
            run.model,
            sampler.batch,
            config.train,
            validate=validate,
            unused_parameters=run.model.unused_parameters,
            identity={"scale": scale.to_dict()},
        )

        def learn() -> SharpenRun:
            run.facts.update(train_module(task, config, folder, launch))
            return run

        return learn

    return train_run(config, out, launch, prepare)


def check_pairs(config: SharpenConfig) -> None:
    """Raise ConfigError where there is no pair, or validation lacks its pairs or its steps."""
    if not config.pairs:
        raise ConfigError("there is no pair to train on; give at least one PAN and its MS file")
    if config.validation and not config.train.validate_every:
        raise ConfigError(
            "there are validation pairs, but validate_every is 0; set it to a number of steps"
        )
    if config.train.validate_every and not config.validation:
        raise ConfigError(
            "validate_every is set, but there is no validation pair; give one, and no test pair"
        )


def open_pairs(files: Sequence[PairFiles], config: SharpenConfig) -> list[Pair]:
    """Open pairs as a run wants them, registered where it does."""
    pairs = []
    for each in files:
        log.info("pair %s, %s", each.pan, ", ".join(each.ms))
        pair = open_pair(
            each.pan, list(each.ms), ratio=config.ratio, crs=config.crs, nodata=config.nodata
        )
        tell_of_pair(pair, find_sensor(config.sensor, pair.names, pair.ratio), choosable=False)
        pairs.append(register_pair(pair, correct=config.register)[0])
    return pairs


def as_pair_files(pair: Files | PairFiles) -> PairFiles:
    """A pair as configurations hold it. Raises ConfigError for what is none."""
    if isinstance(pair, PairFiles):
        return pair
    try:
        pan, ms = pair
        files = [ms] if isinstance(ms, str | os.PathLike) else ms
        return PairFiles(os.fspath(pan), tuple(os.fspath(file) for file in files))
    except (TypeError, ValueError):
        raise ConfigError(
            f"a pair is (PAN file, MS file or a list of one file a band), not {pair!r}"
        ) from None


def common_sensor(config: SharpenConfig, pairs: Sequence[Pair]) -> Sensor:
    """The sensor with the bands of the first pair.

    pairs   those of the configuration, and then those to validate on, open

    Raises SceneMismatch where another one has other bands or another ratio.
    """
    first = pairs[0]
    known = find_sensor(config.sensor, first.names)
    files = [*config.pairs, *config.validation]
    for pair, file in zip(pairs, files, strict=True):
        bands = find_sensor(config.sensor, pair.names).bands
        named = config.sensor != "generic" and bands != known.bands
        if pair.bands != first.bands or pair.ratio != first.ratio or named:
            raise SceneMismatch(
                f"{', '.join(file.ms)} has {pair.bands} bands ({', '.join(pair.names)}) at ratio "
                f"{pair.ratio}, {', '.join(files[0].ms)} {first.bands} ({', '.join(first.names)}) "
                f"at ratio {first.ratio}; a model is trained on pairs of the same bands and ratio"
            )
    return known


class Validation:
    """PSNR in dB on fixed patches of the validation pairs; its peak is the run's scale."""

    def __init__(self, sampler: PatchSampler) -> None:
        self.patches = list(sampler.spread())

    def __call__(self, module: nn.Module) -> float:
        device = next(module.parameters()).device
        squares, known = 0.0, 0
        for patch in self.patches:
            tensors = as_tensors({"ms": patch["ms"], "pan": patch["pan"]})
            image = module(**{name: tensor.to(device) for name, tensor in tensors.items()}).image
            error = image.float().cpu().numpy().astype(np.float64) - patch["target"]
            squares += float(np.nansum(error**2))
            known += int(np.isfinite(error).sum())
        return 10 * float(np.log10(max(known, 1) / max(squares, 1e-300)))
