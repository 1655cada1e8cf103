"""The plan of a sharpening comparison: methods, training and test pairs, seeds; their cells.

models    by the name that the table gives them: a preset of SHARPENERS with options, or a classical
          method, which has none
training  pairs that every trained model learns from, and those that choose its weights
test      pairs by name; every method is scored on all of them
seeds     each trains every model; a classical method has none, and is scored once
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from bandweave.comparison.plan import (
    Cell,
    check_folders,
    file_name,
    find_method,
    options_by_name,
    read_model,
    read_seeds,
)
from bandweave.errors import ConfigError
from bandweave.models import SHARPENERS
from bandweave.models.contract import SharpeningModel
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.config import SECTIONS, PairFiles, SharpenConfig, option_groups
from bandweave.pansharp.pair.files import Files
from bandweave.pansharp.training import as_pair_files, check_pairs
from bandweave.schema import to_dict
from bandweave.training.sections import merged


@dataclass(frozen=True)
class Options:
    """Options of opening and scoring pairs, those of `train_sharpener` and `score_sharpeners`."""

    sensor: str = "generic"
    register: bool = False
    ratio: int | None = None
    crs: str | None = None
    nodata: float | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Plan:
    """All that is compared, resolved and checked; `cells` in the order of the table.

    models  sections model, samples and train of those that are trained; {"method": …} of others
    """

    models: dict[str, dict[str, Any]]
    pairs: list[PairFiles]
    validation: list[PairFiles]
    test: dict[str, PairFiles]
    options: Options
    seeds: tuple[int, ...]

    @classmethod
    def make(
        cls,
        models: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
        pairs: Sequence[Files | PairFiles],
        validation: Sequence[Files | PairFiles],
        test: Mapping[str, Files | PairFiles] | Sequence[Files | PairFiles],
        seeds: int | Sequence[int],
        options: Options,
        shared: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Plan:
        """Check what was asked for, but for the files.

        shared   sections (model, samples, train) of every trained model

        Raises ConfigError for a name or option that does not exist, with the nearest right one.
        """
        named = options_by_name(models, "model")
        if not named:
            raise ConfigError("nothing to compare: name some models")
        plan = cls(
            models={name: _read_model(name, own, shared or {}) for name, own in named.items()},
            pairs=[_make_absolute(pair) for pair in pairs],
            validation=[_make_absolute(pair) for pair in validation],
            test=_name_pairs(test),
            options=options,
            seeds=read_seeds(seeds),
        )
        for what, names in (("models", plan.models), ("test pairs", plan.test)):
            check_folders(map(file_name, names), what)
        for name in plan.trained:
            try:
                check_pairs(plan.config(name))
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
        return plan

    @property
    def trained(self) -> list[str]:
        """The models that are trained."""
        return [name for name, config in self.models.items() if "method" not in config]

    @property
    def training_names(self) -> list[str]:
        """Training pairs by their PAN files, with the folder where that tells them apart."""
        paths = [Path(pair.pan) for pair in self.pairs]
        if len({path.stem for path in paths}) == len(paths):
            return [path.stem for path in paths]
        return [f"{path.parent.name}/{path.stem}" for path in paths]

    def config(self, name: str, seed: int = 0) -> SharpenConfig:
        """All options of a trained model."""
        options = asdict(self.options)
        del options["peak"]
        own = {section: self.models[name][section] for section in SECTIONS}
        stored = merged(own, {"train": {"seed": seed}})
        return SharpenConfig.read(
            {**stored, "pairs": self.pairs, "validation": self.validation, **options}
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell, in the order of the table; a cell answers for all test pairs."""
        scored = {
            "test": {name: to_dict(files) for name, files in self.test.items()},
            "options": asdict(self.options),
        }
        for name, own in self.models.items():
            if "method" in own:
                yield Cell((), name, None, {"config": own, **scored})
                continue
            for seed in self.seeds:
                work = {"config": self.config(name, seed).to_dict(), **scored}
                if "zero_shot" in own:
                    work["zero_shot"] = own["zero_shot"]
                yield Cell((), name, seed, work)

    def to_dict(self) -> dict[str, Any]:
        """The plan as compare.yaml holds it; pairs that nothing is trained on are left out."""
        training = {
            section: {pair.pan: list(pair.ms) for pair in pairs}
            for section, pairs in (("pairs", self.pairs), ("validation", self.validation))
        }
        return {
            "models": self.models,
            **({"training": training} if self.trained else {}),
            "test": {name: to_dict(files) for name, files in self.test.items()},
            "options": asdict(self.options),
            "seeds": list(self.seeds),
        }


def _make_absolute(pair: Files | PairFiles) -> PairFiles:
    """The files of a pair by paths that hold in any folder."""
    files = as_pair_files(pair)
    return PairFiles(os.path.abspath(files.pan), tuple(map(os.path.abspath, files.ms)))


def _name_pairs(
    test: Mapping[str, Files | PairFiles] | Sequence[Files | PairFiles],
) -> dict[str, PairFiles]:
    """Test pairs by name; by default that of the PAN file."""
    if not test:
        raise ConfigError("there is no test pair; give at least one PAN and its MS file")
    if isinstance(test, Mapping):
        return {str(name): _make_absolute(pair) for name, pair in test.items()}
    named: dict[str, PairFiles] = {}
    for pair in map(_make_absolute, test):
        name = Path(pair.pan).stem
        if name in named:
            raise ConfigError(
                f"two test pairs are called {name!r}, after their PAN files; give pairs by names"
            )
        named[name] = pair
    return named


def _read_model(name: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a trained model, or {"method": …} of a classical method."""
    preset, options = find_method(name, own, SHARPENERS, CLASSICAL)
    if preset in CLASSICAL:
        return {"method": preset}
    way = options.pop("zero_shot", None)
    if way is not None:
        try:
            cast(type[SharpeningModel], SHARPENERS[preset].model).check_zero_shot(way)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    stored = merged(
        {"model": {"name": preset}}, {key: dict(shared.get(key) or {}) for key in SECTIONS}
    )
    config = read_model(name, stored, options, option_groups(preset), SharpenConfig.read)
    return {
        **{section: config[section] for section in SECTIONS},
        **({"zero_shot": way} if way else {}),
    }
