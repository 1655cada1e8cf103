"""What is compared of sharpening: methods, training and test pairs, seeds; the cells of these.

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
from typing import Any

from bandweave.comparison.plan import file_name, once, preset_of, seeds_of
from bandweave.errors import ConfigError
from bandweave.models import SHARPENERS
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.config import SECTIONS, PairFiles, SharpenConfig, option_groups
from bandweave.pansharp.pair.pair import Files
from bandweave.pansharp.training import as_pair_files, check_pairs
from bandweave.schema import to_dict
from bandweave.training.sections import grouped, merged


@dataclass(frozen=True)
class Cell:
    """A method, trained by a seed where it is trained, and scored on all test pairs.

    seed     None of a classical method
    config   of a model, as config.yaml holds it; {"method": …} of a classical method
    test     by name, the PAN file and the MS files
    options  how pairs are opened and scored: those of `Options`
    """

    model: str
    seed: int | None
    config: dict[str, Any]
    test: dict[str, dict[str, Any]]
    options: dict[str, Any]

    @property
    def method(self) -> str | None:
        """The classical method, where it is one."""
        return self.config.get("method")

    @property
    def place(self) -> Path:
        """Its run folder inside that of the comparison."""
        folder = Path("runs", file_name(self.model))
        return folder if self.seed is None else folder / f"seed-{self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a folder to be this cell's."""
        return {
            "config": self.config,
            "seed": self.seed,
            "test": self.test,
            "options": self.options,
        }

    def __str__(self) -> str:
        return self.model if self.seed is None else f"{self.model}, seed {self.seed}"


@dataclass(frozen=True)
class Options:
    """How all pairs are opened, and scored; as `train_sharpener` and `score_sharpeners` have it."""

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
        named = models if isinstance(models, Mapping) else dict.fromkeys(once(models, "model"))
        if not named:
            raise ConfigError("nothing to compare: name some models")
        plan = cls(
            models={name: _model(name, own, shared or {}) for name, own in named.items()},
            pairs=[_absolute(pair) for pair in pairs],
            validation=[_absolute(pair) for pair in validation],
            test=_test(test),
            options=options,
            seeds=seeds_of(seeds),
        )
        for what, names in (("models", plan.models), ("test pairs", plan.test)):
            if len({file_name(name).lower() for name in names}) < len(names):
                raise ConfigError(f"two {what} have names that make the same folder")
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
        stored = merged(self.models[name], {"train": {"seed": seed}})
        return SharpenConfig.read(
            {**stored, "pairs": self.pairs, "validation": self.validation, **options}
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell, in the order of the table."""
        test = {name: to_dict(files) for name, files in self.test.items()}
        for name, own in self.models.items():
            if "method" in own:
                yield Cell(name, None, own, test, asdict(self.options))
                continue
            for seed in self.seeds:
                yield Cell(
                    name, seed, self.config(name, seed).to_dict(), test, asdict(self.options)
                )

    def to_dict(self) -> dict[str, Any]:
        """As compare.yaml holds it; pairs that nothing is trained on are left out."""
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


def _absolute(pair: Files | PairFiles) -> PairFiles:
    """The same files from any folder."""
    files = as_pair_files(pair)
    return PairFiles(os.path.abspath(files.pan), tuple(map(os.path.abspath, files.ms)))


def _test(
    test: Mapping[str, Files | PairFiles] | Sequence[Files | PairFiles],
) -> dict[str, PairFiles]:
    """Test pairs by name; by default that of the PAN file."""
    if not test:
        raise ConfigError("there is no test pair; give at least one PAN and its MS file")
    if isinstance(test, Mapping):
        return {str(name): _absolute(pair) for name, pair in test.items()}
    named: dict[str, PairFiles] = {}
    for pair in map(_absolute, test):
        name = Path(pair.pan).stem
        if name in named:
            raise ConfigError(
                f"two test pairs are called {name!r}, after their PAN files; give pairs by names"
            )
        named[name] = pair
    return named


def _model(name: str, own: Mapping[str, Any] | None, shared: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a model, or {"method": …}."""
    preset, options = preset_of(name, own, SHARPENERS, CLASSICAL)
    if preset in CLASSICAL:
        return {"method": preset}
    stored: dict[str, Any] = {"model": {"name": preset}}
    stored = merged(stored, {key: dict(shared.get(key) or {}) for key in SECTIONS})
    try:
        stored = merged(stored, grouped(option_groups(preset), options))
        config = SharpenConfig.read(stored).to_dict()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return {section: config[section] for section in SECTIONS}
