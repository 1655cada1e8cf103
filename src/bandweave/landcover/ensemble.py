"""Several runs as one, which maps by the mean of their probabilities.

A run's probabilities are the softmax of its logits over its own temperature. What is saved holds
all of the runs itself: it opens after they were moved or deleted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bandweave.data.match import has_made_up_name
from bandweave.data.scene import ClassInfo, Scene
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.config import EnsembleConfig, EnsembleOptions
from bandweave.landcover.predict.mean import MeanPredictor, Voice
from bandweave.landcover.run import NetRun, Run
from bandweave.training.config import Launch
from bandweave.training.folder import RunFolder, setting_facts
from bandweave.training.run import train_run

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class EnsembleRun(Run):
    """Several runs of the same classes and output grid as one.

    Classes, their order and their colours are those of the first. It takes the layers of all.

    joined  the runs, none of them an ensemble
    saved   its folder is its own; else it is in memory alone
    """

    config: EnsembleConfig
    joined: tuple[Run, ...]
    saved: bool

    @classmethod
    def of(
        cls,
        joined: Sequence[Run],
        config: EnsembleConfig,
        folder: RunFolder | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> EnsembleRun:
        """Join runs under the names that the config has for them.

        folder  where it stands; None: in memory alone
        facts   that were stored; None: those of the runs

        Raises RunError, with the names of both, for two that do not fit together.
        """
        names, first = config.model.members, joined[0]
        pairs = combinations(zip(names, joined, strict=True), 2)
        for (name, run), (other_name, other) in pairs:
            if problem := find_misfit(run, other):
                raise RunError(f"{name} and {other_name} cannot be in one ensemble: {problem}")
        layers: dict[str, dict[str, Any]] = {}
        for run in joined:
            for layer, own in run.layers.items():
                known = layers.get(layer, own)
                layers[layer] = {key: value for key, value in known.items() if key in own}
        return cls(
            folder=folder or RunFolder(Path(" + ".join(names))),
            config=config,
            facts=dict(_collect_facts(names, joined) if facts is None else facts),
            classes=first.classes,
            layers=layers,
            output_ratio=first.output_ratio,
            joined=tuple(joined),
            saved=folder is not None,
        )

    @classmethod
    def from_stored(
        cls, folder: RunFolder, stored: dict[str, Any], tensors: Mapping[str, Tensor]
    ) -> EnsembleRun:
        """The run that `metadata` and `tensors` told of."""
        joined = []
        for index, described in enumerate(stored["members"]):
            own = {
                name.removeprefix(f"{index}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{index}.")
            }
            joined.append(Run.from_stored(folder, described, own))
        return cls.of(joined, EnsembleConfig.read(stored["config"]), folder, stored["facts"])

    def metadata(self) -> dict[str, Any]:
        """Its own, and those of all runs."""
        return {**super().metadata(), "members": [run.metadata() for run in self.joined]}

    def tensors(self) -> dict[str, Tensor]:
        """Those of all runs, each behind the number of its run."""
        return {
            f"{index}.{name}": tensor
            for index, run in enumerate(self.joined)
            for name, tensor in run.tensors().items()
        }

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that are joined."""
        return self.joined

    @property
    def names(self) -> list[str]:
        """The folders of the runs when they were joined."""
        return self.config.model.members

    @property
    def has_folder(self) -> bool:
        """Whether it was saved."""
        return self.saved

    @property
    def files(self) -> tuple[str, ...]:
        """What it was read from: its own, or all of the runs'."""
        if self.saved:
            return super().files
        return tuple(dict.fromkeys(file for run in self.joined for file in run.files))

    @property
    def parameters(self) -> int | None:
        """Those of all nets together; None without a net."""
        numbers = [run.parameters for run in self.joined if run.parameters is not None]
        return sum(numbers) if numbers else None

    @property
    def temperature(self) -> float:
        """1: each run's own is in the mean."""
        return 1.0

    @property
    def gives_probabilities(self) -> bool:
        """They are the mean of the runs'; of classes alone, the share of the runs."""
        return True

    @property
    def protocol_facts(self) -> dict[str, Any]:
        """Which runs it is the mean of, and the splits that they were trained on."""
        shares = zip(self.names, self.joined, self.config.model.weights, strict=True)
        return {
            **super().protocol_facts,
            "mean_of": [
                f"{100 * weight:.3g} % {run.config.name} ({name}; {_describe_split(run)})"
                for name, run, weight in shares
            ],
        }

    def summary(self) -> str:
        """The models of its runs, and what their training took together."""
        models = ", ".join(run.config.name for run in self.joined)
        return f"{len(self.joined)} runs ({models}), trained in {self.facts['seconds']:.0f} s"

    def reach(self, scene: Scene) -> int:
        """The farthest of the runs'."""
        return max(run.reach(scene) for run in self.joined)

    def use_device(self, device: torch.device | str | None = None) -> None:
        """Move the nets among the runs. Raises ConfigError for a device where there is none."""
        for run in self._nets or self.joined:
            run.use_device(device)

    def predictor(self, reference: str, **options: Any) -> MeanPredictor:
        """What maps parts by the mean. The options are for the nets among the runs.

        Raises ConfigError for options where there is no net, and for those that a net cannot have.
        """
        askable = self._nets or self.joined
        return MeanPredictor(
            [
                Voice(
                    run.predictor(reference, **(options if run in askable else {})),
                    weight,
                    run.temperature,
                    order_classes(self.classes, run.classes),
                )
                for run, weight in zip(self.joined, self.config.model.weights, strict=True)
            ]
        )

    @property
    def _nets(self) -> tuple[Run, ...]:
        return tuple(run for run in self.joined if isinstance(run, NetRun))


def join_runs(
    runs: Sequence[PathLike | Run],
    out: PathLike | None = None,
    *,
    weights: Sequence[float] | None = None,
    overwrite: bool = False,
) -> EnsembleRun:
    """Join runs into one that maps by the mean of their probabilities.

    runs       their folders, or the runs themselves; those of an ensemble are taken one by one
    out        the folder to save it into, with all that the runs hold; None: it is not saved
    weights    how much the probabilities of each count; all alike by default
    overwrite  replace a run that stands in `out`

    Raises ConfigError for fewer than two runs, or the same one twice; RunError for runs that do not
    fit together, and where `out` holds another run; OutputError where it cannot be written.
    """
    opened = [Run.open(run) if isinstance(run, str | os.PathLike) else run for run in runs]
    if len(opened) < 2:
        raise ConfigError(f"an ensemble is of two runs or more, and {len(opened)} is given")
    places = [str(run.folder.path) for run in opened]
    resolved = [os.path.realpath(place) for place in places]
    for index, place in enumerate(places):
        if resolved[index] in resolved[:index]:
            raise ConfigError(f"{place} is given twice; for it to count more, give it a weight")
    if out is not None and os.path.realpath(out) in resolved:
        raise ConfigError(f"{out} is one of the runs; save the ensemble into another folder")
    asked = EnsembleOptions(places, list(weights or [1.0] * len(places)))
    shares = [
        (name, member, weight * share)
        for run, weight in zip(opened, asked.weights, strict=True)
        for name, member, share in _list_shares(run)
    ]
    names, joined, counts = (list(each) for each in zip(*shares, strict=True))
    options = EnsembleOptions(names, [count / sum(counts) for count in counts])
    first = opened[0].config
    run = EnsembleRun.of(
        joined, EnsembleConfig(scene=first.scene, model=options, split=first.split)
    )
    if out is None:
        return run
    launch = Launch(overwrite=overwrite)
    return train_run(
        run.config, out, launch, lambda folder: lambda: replace(run, folder=folder, saved=True)
    )


def open_run(run: PathLike | Run | Sequence[PathLike | Run]) -> Run:
    """A run from its folder, or as it is; of several, their ensemble in memory."""
    if isinstance(run, str | os.PathLike):
        return Run.open(run)
    if not isinstance(run, Sequence):
        return run
    return open_run(run[0]) if len(run) == 1 else join_runs(run)


def order_classes(first: Sequence[ClassInfo], own: Sequence[ClassInfo]) -> list[int]:
    """For each class of a run, where it stands in another one; empty where they are others.

    They are the same where all names are, in any case, or else all codes, and no more than half of
    the names are others, none of them that of another code.

    >>> oak, ash = ClassInfo(1, "oak", "#000000"), ClassInfo(2, "ash", "#ffffff")
    >>> order_classes([oak, ash], [ash, oak])
    [1, 0]
    """
    names, own_names = ([one.name.strip().casefold() for one in each] for each in (first, own))
    if sorted(names) == sorted(own_names) and len({*names}) == len(names):
        return [own_names.index(name) for name in names]
    codes, own_codes = ([one.code for one in each] for each in (first, own))
    if sorted(codes) != sorted(own_codes):
        return []
    found = [own_codes.index(code) for code in codes]
    others = [
        own_names[place]
        for one, name, place in zip(first, names, found, strict=True)
        if name != own_names[place] and not (has_made_up_name(one) or has_made_up_name(own[place]))
    ]
    return [] if set(others) & set(names) or 2 * len(others) > len(first) else found


def find_misfit(run: Run, other: Run) -> str:
    """Why no mean can be made of two runs, with what differs; '' where one can."""
    if not order_classes(run.classes, other.classes):
        return f"their classes are {_list_classes(run)}, and {_list_classes(other)}"
    if run.output_ratio != other.output_ratio:
        return (
            f"their maps are {run.output_ratio} and {other.output_ratio} times finer than the grid "
            "of the layers"
        )
    for name in sorted(run.layers.keys() & other.layers.keys()):
        known, own = run.layers[name], other.layers[name]
        for key in {**known, **own}:
            values = known.get(key), own.get(key)
            if values[0] != values[1]:
                return f"the {key} of layer {name!r}: {values[0]!s:.80}, and {values[1]!s:.80}"
    return ""


def _list_classes(run: Run) -> str:
    return ", ".join(f"{one.code} {one.name}" for one in run.classes)


def _list_shares(run: Run) -> list[tuple[str, Run, float]]:
    """Names, runs and weights of what a run is the mean of."""
    if isinstance(run, EnsembleRun):
        return list(zip(run.names, run.joined, run.config.model.weights, strict=True))
    return [(str(run.folder.path), run, 1.0)]


def _collect_facts(names: Sequence[str], joined: Sequence[Run]) -> dict[str, Any]:
    """The facts of an ensemble: what its runs have in common, and what they took together."""
    hashes = {run.facts["split_hash"] for run in joined}
    if len(hashes) == 1:
        protocols = [run.facts["protocol"] for run in joined]
        protocol = max(protocols, key=lambda each: each.get("reach_px") or 0)
    else:
        pairs = zip(names, joined, strict=True)
        protocol = {"splits": [f"{name}: {_describe_split(run)}" for name, run in pairs]}
    return {
        "protocol": protocol,
        "split_hash": hashes.pop() if len(hashes) == 1 else None,
        "seconds": sum(run.facts["seconds"] for run in joined),
        **setting_facts(),
    }


def _describe_split(run: Run) -> str:
    config = run.config.split
    return f"split {config.name}, seed {config.seed}, hash {run.facts['split_hash'][:12]}"
