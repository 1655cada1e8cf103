"""A run is a folder: what stands in it, who may write to it, and on what machine it was made."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandweave.csv_text import format_csv
from bandweave.errors import OutputError, RunError
from bandweave.output_files import list_contents, only_writer_of_folder
from bandweave.schema import list_differences
from bandweave.training.atomic import write_json, write_text, write_yaml
from bandweave.training.config import conflicts
from bandweave.training.history import Row
from bandweave.training.processes import is_main
from bandweave.yaml_files import read_yaml

if TYPE_CHECKING:
    from torch import nn

VERSIONS = ("bandweave", "numpy", "torch", "numba", "rasterio", "scipy", "lightning-fabric")


class RunFolder:
    """The paths of a run, its configuration, and small files written whole.

    config.yaml        the options, all of them
    model.safetensors  trained tensors, with everything needed to use them in the header
    last.ckpt          to continue training from
    history.csv        numbers of every step
    held_out/          of a first training, without held-out pixels, that found the length
    rounds/            of trainings whose answers the later ones learn from besides
    scores.json        scores with their protocol
    baseline.json      scores of a classical method on the same pixels
    map.tif            the map of the scene it was trained on
    areas.csv          how much ground each class of the map covers
    report.html        all of it, to look at
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.model = self.path / "model.safetensors"
        self.checkpoint = self.path / "last.ckpt"
        self.history = self.path / "history.csv"
        self.held_out = self.path / "held_out"
        self.rounds = self.path / "rounds"
        self.scores = self.path / "scores.json"
        self.baseline = self.path / "baseline.json"
        self.map = self.path / "map.tif"
        self.areas = self.path / "areas.csv"
        self.report = self.path / "report.html"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only process that writes to the run; other ranks than 0 need no lock.

        Raises OutputError, with the process and its machine, where another one does.
        """
        if not is_main():
            yield
            return
        with only_writer_of_folder(self.path, "a run"):
            yield

    @property
    def finished(self) -> bool:
        """Whether there are weights to use."""
        return self.model.exists()

    @classmethod
    def create(
        cls,
        path: Path | str,
        config: Mapping[str, Any],
        resume: bool = False,
        overwrite: bool = False,
    ) -> RunFolder:
        """Make the folder and write config.yaml; in other ranks than 0 do nothing but name it.

        resume     a run that stands there is continued; its config must be this one, but for
                   train.checkpoint_every and train.tensorboard
        overwrite  the files of a run that stands there are removed first

        Raises RunError where a run with weights or a checkpoint stands there already and neither
        was asked, or where its config differs; OutputError where the folder cannot be made.
        """
        run = cls(path)
        if not is_main():
            return run
        run.check(config, resume, overwrite)
        if not (run._valuable and resume):
            run._clear()
        write_yaml(run.config, config)
        return run

    def check(
        self, config: Mapping[str, Any], resume: bool = False, overwrite: bool = False
    ) -> None:
        """Raise what `create` would, and change nothing."""
        if not is_main():
            return
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; a run is a folder, choose another name")
        if self._valuable and resume:
            self._same(config)
        elif self._valuable and not overwrite:
            state = "finished" if self.finished else "interrupted"
            raise RunError(
                f"{self.path} holds {'a' if self.finished else 'an'} {state} run; continue it with "
                f"`--resume`, replace it with `--overwrite`, or choose another folder"
            )

    @property
    def checkpoints(self) -> list[Path]:
        """What an interrupted training can be continued from, the latest first."""
        name = self.checkpoint.name
        rounds = sorted(self.rounds.glob(f"*/{name}"), reverse=True)
        return [path for path in (self.checkpoint, *rounds, self.held_out / name) if path.exists()]

    @property
    def _valuable(self) -> bool:
        return self.finished or bool(self.checkpoints)

    def _same(self, config: Mapping[str, Any]) -> None:
        differing = conflicts(self.read_config(), config)
        if differing:
            raise RunError(
                f"{self.path} was made with another configuration: {'; '.join(differing)}. "
                f"Take the options as they were then, or train into another folder"
            )

    def remove_scaffold(self) -> None:
        """Remove what the trainings before the last one are continued from; their history stays."""
        (self.held_out / self.checkpoint.name).unlink(missing_ok=True)
        for pattern in (self.checkpoint.name, "*.npy"):
            for file in self.rounds.glob(f"*/{pattern}"):
                file.unlink()

    def _clear(self) -> None:
        """Remove what a run leaves; what else stands in the folder stays."""
        for file in vars(self).values():
            if file not in (self.path, self.held_out, self.rounds):
                file.unlink(missing_ok=True)
        for file in self.path.glob("map*"):  # the map's confidence, probabilities and sidecars
            if file.name.endswith((".tif", ".tif.aux.xml", ".qml")):
                file.unlink(missing_ok=True)
        for folder in ("map", "map_baseline", "tensorboard", "held_out", "rounds"):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def read_config(self) -> dict[str, Any]:
        """The options in config.yaml. Raises RunError where the folder or the file is missing."""
        if not self.path.is_dir():
            raise RunError(f"{self.path}: there is no such run folder")
        if not self.config.exists():
            there = ", ".join(sorted(p.name for p in self.path.iterdir())[:6]) or "nothing"
            raise RunError(
                f"{self.path} is no run folder: it has no config.yaml (there is: {there}); "
                f"give the folder that was `--out` when it was trained"
            )
        return read_yaml(self.config)

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Write scores.json."""
        write_json(self.scores, scores)

    def write_baseline(self, baseline: Mapping[str, Any]) -> None:
        """Write baseline.json."""
        write_json(self.baseline, baseline)

    def write_areas(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write areas.csv, one row a class."""
        write_text(self.areas, format_csv(list(rows[0]), rows))

    def write_report(self, html: str) -> None:
        """Write report.html."""
        write_text(self.report, html)


def claim_folder(out: Path, name: str, now: Mapping[str, Any], what: str) -> None:
    """Take a folder for something that is continued there, and keep in a file what it was asked.

    name  of that file
    what  is continued there: "an audit"

    Raises RunError where it holds the same of other options, or something else.
    """
    path = out / name
    if path.exists():
        if differing := list_differences(read_yaml(path), now):
            raise RunError(
                f"{out} holds another {what.split()[-1]}: {'; '.join(differing[:4])}; choose "
                "another folder"
            )
    elif list_contents(out):
        raise RunError(f"{out} holds something else than {what}; choose another folder")
    write_yaml(path, now)


def count_parameters(module: nn.Module) -> int:
    """Numbers of a module that training may change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def training_facts(module: nn.Module, rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """What any run keeps of its training: parameters, seconds, steps, machine and versions.

    rows      of history.csv, whose seconds leave pauses out
    seconds   where there is no row
    """
    return {
        "parameters": count_parameters(module),
        "seconds": float(rows[-1]["seconds"]) if rows else seconds,
        "steps": len(rows),
        **setting_facts(),
    }


def setting_facts(*libraries: str) -> dict[str, Any]:
    """Where anything was made: the machine, and the versions of VERSIONS and other libraries."""
    versions = {name: _find_version(name) for name in (*VERSIONS, *libraries)}
    return {"machine": machine(), "versions": versions}


@cache
def _find_version(library: str) -> str:
    return version(library)  # which reads a file


def machine() -> dict[str, Any]:
    """The facts that a time or a score depends on: processor, cores, GPU, system, torch."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": ", ".join(gpus) or None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
