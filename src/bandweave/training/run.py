"""A trained run and how it comes to be: what the runs of all tasks have in common."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from torch import Tensor

from bandweave.errors import RunError
from bandweave.training.checkpoint import MISSTATED, load_trained, save_model
from bandweave.training.config import Launch
from bandweave.training.folder import RunFolder, training_facts
from bandweave.training.loop import TrainTask, fit
from bandweave.training.processes import is_main
from bandweave.training.sections import RunConfig


@dataclass(frozen=True, eq=False)
class TrainedRun(ABC):
    """What a run folder holds: a trained model with everything needed to use it.

    folder  where it stands
    config  everything that it was asked for
    facts   what is known of its training: protocol, seconds, machine, versions
    """

    kind: ClassVar[str]
    """One of `checkpoint.KINDS`."""

    format: ClassVar[int] = 1
    """Of the metadata; a file of another one is refused."""

    folder: RunFolder
    config: RunConfig
    facts: dict[str, Any]

    @classmethod
    @abstractmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> Self:
        """The run that `metadata` and `tensors` told of.

        Raises RunError for tensors that do not fit, one of MISSTATED for metadata that do not.
        """

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Everything but tensors, as JSON can hold it."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read a run folder. Raises RunError where it is missing, incomplete or damaged."""
        folder = RunFolder(Path(path))
        folder.read_config()  # says what the folder is, if it is no run
        tensors, stored = load_trained(folder.model, cls.kind, cls.format)
        try:
            return cls.from_stored(folder, stored, tensors)
        except MISSTATED as error:
            raise RunError(
                f"{folder.model}: its metadata lacks or misstates {error!s:.200}; copy it again "
                f"from where it was made, or train again"
            ) from error

    def summary(self) -> str:
        """What its training took, in a few words."""
        parameters, steps, seconds = (self.facts[n] for n in ("parameters", "steps", "seconds"))
        return f"{parameters:,} parameters, {steps} steps in {seconds:.0f} s"

    def save(self) -> None:
        """Write model.safetensors, whole or not at all."""
        save_model(self.folder.model, self.tensors(), self.metadata())


R = TypeVar("R", bound=TrainedRun)


def train_run(
    config: RunConfig,
    out: str | os.PathLike[str],
    launch: Launch,
    prepare: Callable[[RunFolder], Callable[[], R]],
) -> R:
    """Train into a run folder, by the steps that all runs have in common.

    prepare  reads, checks and builds everything, and writes nothing; it returns what then trains
             and gives the run

    Raises RunError where `out` holds another run, OutputError where it cannot be written.
    """
    folder, stored = RunFolder(Path(out)), config.to_dict()
    with folder.writing():
        folder.check(stored, launch.resume, launch.overwrite)
        train = prepare(folder)
        RunFolder.create(folder.path, stored, resume=launch.resume, overwrite=launch.overwrite)
        run = train()
        if is_main():
            run.save()
        return run


def train_module(
    task: TrainTask, config: RunConfig, folder: RunFolder, launch: Launch
) -> dict[str, Any]:
    """Train the module of a run and return the facts of the training.

    The module is then on the CPU, in evaluation mode.
    """
    began = time.monotonic()
    rows = fit(with_config(task, config), folder.path, launch)
    task.module.cpu().eval()
    return training_facts(task.module, rows, time.monotonic() - began)


def with_config(task: TrainTask, config: RunConfig) -> TrainTask:
    """The task, which is continued only with the configuration that it was begun with."""
    same = {"config": {**config.to_dict(), "train": None}, **task.identity}
    return replace(task, identity=same)
