"""Options of a model that held-out pixels of the training side favour, found in some minutes.

Each trial trains as `length.py` does, without a part of the training side, and is judged by its
best score on that part. The first trial has the options as they were given; every other changes
some of those in SPACE. Test pixels have no part in this. The best of many scores on the same pixels
is better than it will be elsewhere: it is no estimate.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.data.match import describe_layers
from bandweave.data.scaling import fit as fit_scaling
from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import ConfigError, RunError, SplitError
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.length import Length, hold_out, looks_every, shortened, trial_of
from bandweave.landcover.training import choose_components, try_length
from bandweave.output_files import only_writer_of_folder
from bandweave.training.atomic import write_text, write_yaml
from bandweave.training.config import Launch
from bandweave.training.folder import RunFolder, claim_folder
from bandweave.training.sections import merged

SHARE = 0.2  # of the training side that is held out, where the options name none
CHANGED = 0.4  # probability that an option is changed in a trial

Draw = Callable[[np.random.Generator, Any], Any]


def _by_factor(most: float) -> Draw:
    """Times or divided by so much at most, evenly in the logarithm."""
    return lambda rng, value: float(value * math.exp(rng.uniform(-1, 1) * math.log(most)))


def _one_of(*values: Any) -> Draw:
    return lambda rng, value: values[int(rng.integers(len(values)))]


SPACE: dict[str, dict[str, Draw]] = {  # how an option is drawn, by section; those a model has
    "train": {"lr": _by_factor(4), "weight_decay": _one_of(1e-3, 1e-2, 1e-1)},
    "samples": {
        "balance": _one_of(0.0, 0.5, 1.0),
        "scales": _one_of([1.0], [1.0, 1.5, 2.0], [1.0, 1.5, 2.0, 4.0]),
        "augment": _one_of(0.0, 0.5, 1.0, 2.0),
    },
    "model": {
        "dropout": _one_of(0.0, 0.1, 0.2, 0.3),
        "drop_path": _one_of(0.0, 0.1, 0.2),
        "label_smoothing": _one_of(0.0, 0.05, 0.1),
        "class_balance": _one_of(0.0, 0.5, 1.0),
    },
}


@dataclass(frozen=True)
class Trial:
    """What was tried, and how it went.

    options  that differ from those given, by section
    length   steps and score that were best
    """

    number: int
    options: dict[str, dict[str, Any]]
    length: Length

    def line(self) -> str:
        """One line for people."""
        changed = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for section in self.options.values()
            for name, value in section.items()
        )
        return (
            f"trial {self.number:<3} {100 * self.length.score:5.1f} %  {self.length.steps:>5} steps"
            f"  {self.length.seconds:5.0f} s  {changed or 'as given'}"
        )


@dataclass(frozen=True)
class Tuned:
    """All trials, and the configuration of the best."""

    trials: list[Trial]
    config: LandCoverConfig

    @property
    def best(self) -> Trial:
        """The trial whose options the configuration has."""
        return find_best(self.trials)


def tune(
    scene: Scene,
    split: Split,
    out: str | os.PathLike[str],
    *,
    config: LandCoverConfig,
    minutes: float,
    quiet: bool = False,
) -> Tuned:
    """Try options for so many minutes; write trials.jsonl, and config.yaml of the best, into `out`.

    config  what is tuned; its split and scene are replaced
    out     a folder, which is continued where the same was interrupted, or with more minutes

    A trial that has begun is finished: the last one may end later. Raises SplitError where no pixel
    can be held out, ConfigError for steps that are too few, RunError where `out` holds another.
    """
    if not 0 < minutes < math.inf:
        raise ConfigError(f"minutes is {minutes:g}; it must be above 0")
    if not looks_every(config.train.steps):
        raise ConfigError(
            f"steps is {config.train.steps}: too few to find the best number of; give 80 or more"
        )
    until = time.monotonic() + 60 * minutes
    config = replace(config, scene=scene.origin or scene.name, split=split.config)
    layers = describe_layers(scene, config.layers)
    config = replace(config, pca=choose_components(config, layers))
    held = hold_out(scene, split, config.train.hold_out or SHARE)
    if held is None:
        raise SplitError(
            "there is nothing to tune on: no block, object or part of the training side can be "
            "held out; choose smaller blocks"
        )
    scaling = fit_scaling(scene, split, config.pca, list(layers))
    folder = Path(out)
    with only_writer_of_folder(folder, "a tuning"):
        claim_folder(folder, "tune.yaml", config.to_dict(), "a tuning")
        trials = _read_trials(folder)
        while not trials or time.monotonic() < until:
            number = len(trials)
            options = draw_options(config, number)
            tried = _changed(config, options)
            at = RunFolder(folder / "trials" / str(number))
            launch = Launch(resume=True, quiet=quiet)
            length, _ = try_length(tried, scene, held, scaling, layers, at, launch)
            trials.append(Trial(number, options, length))
            write_yaml(folder / "config.yaml", _choose(config, trials).to_dict())
            write_text(folder / "trials.jsonl", "".join(_stored(trial) for trial in trials))
            shutil.rmtree(at.path)
        return Tuned(trials, _choose(config, trials))


def find_best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest score; of several the first."""
    return max(trials, key=lambda trial: (trial.length.score, -trial.number))


def _choose(config: LandCoverConfig, trials: Sequence[Trial]) -> LandCoverConfig:
    """What trains as the best trial did, for as long as was best, on the whole training side."""
    best = find_best(trials)
    chosen = _changed(config, best.options)
    train = shortened(trial_of(chosen.train), best.length.steps)
    return replace(chosen, train=replace(train, validate_every=0, hold_out=0.0))


def draw_options(config: LandCoverConfig, number: int) -> dict[str, dict[str, Any]]:
    """The options that a trial changes, by section; none for the first."""
    rng = np.random.default_rng([config.train.seed, number])
    stored = config.to_dict()
    drawn: dict[str, dict[str, Any]] = {}
    for section, draws in SPACE.items():
        for name, draw in draws.items():
            there = name in stored[section] and not (name == "scales" and not config.samples.scales)
            changes, value = rng.random() < CHANGED, draw(rng, stored[section].get(name, 0))
            if number and there and changes and value != stored[section][name]:
                drawn.setdefault(section, {})[name] = value
    return drawn


def _changed(config: LandCoverConfig, options: Mapping[str, Mapping[str, Any]]) -> LandCoverConfig:
    """The configuration with a trial's options; `augment` is a factor of all its strengths."""
    stored = config.to_dict()
    over: dict[str, Any] = {section: dict(values) for section, values in options.items()}
    if (factor := over.get("samples", {}).pop("augment", None)) is not None:
        strengths = stored["samples"]["augment"]
        over["samples"]["augment"] = {
            name: value if isinstance(value, bool) else _strength(name, factor * value)
            for name, value in strengths.items()
        }
    return LandCoverConfig.read(merged(stored, over))


def _strength(name: str, value: float) -> float:
    return min(value, 0.5) if name.endswith("dropout") else value


def _read_trials(out: Path) -> list[Trial]:
    path = out / "trials.jsonl"
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Trial(row["trial"], row["options"], Length(**row["length"])) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path}: not what a tuning writes ({error!s:.100})") from None


def _stored(trial: Trial) -> str:
    row = {"trial": trial.number, "options": trial.options, "length": asdict(trial.length)}
    return json.dumps(row) + "\n"
