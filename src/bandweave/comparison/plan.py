"""What is compared: models, scenes, splits and seeds, and the cells that these make.

models  by the name that the table gives them: a preset of LAND_COVER with options, or a classical
        method of pixels (landcover/baselines/methods.py), which has none
scenes  by name: what `scene_from` opens
splits  by name: options of a split, without its seed
seeds   each draws the split (but for masks that are given) and trains the model
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bandweave.data.scene import Scene
from bandweave.data.splits.protocols import SPLITS
from bandweave.data.splits.roles import SplitConfig
from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.baselines.methods import BASELINES
from bandweave.landcover.config import LandCoverConfig, option_groups
from bandweave.models import LAND_COVER
from bandweave.schema import from_dict, nearest, to_dict
from bandweave.training.sections import grouped, merged

SECTIONS = ("model", "samples", "train")


@dataclass(frozen=True)
class Cell:
    """One training, map and score.

    config   of a model, as config.yaml holds it; {"baseline": …, "layers": …} of a classical method
    origin   how to open the scene
    """

    scene: str
    split: str
    model: str
    seed: int
    origin: str
    split_config: dict[str, Any]
    config: dict[str, Any]

    @property
    def baseline(self) -> str | None:
        """The classical method, where it is one."""
        return self.config.get("baseline")

    @property
    def place(self) -> Path:
        """Its run folder inside that of the comparison."""
        names = (self.scene, self.split, self.model)
        return Path("runs", *map(file_name, names), f"seed-{self.seed}")

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a folder to be this cell's."""
        return {
            "scene": self.origin,
            "split": self.split_config,
            "config": self.config,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return f"{self.scene}, {self.split}, {self.model}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that is compared, resolved and checked; `cells` in the order of the table."""

    models: dict[str, dict[str, Any]]
    scenes: dict[str, str]
    splits: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    opened: dict[str, Scene] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def make(
        cls,
        models: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
        scenes: Mapping[str, tuple[str, Scene | None]],
        splits: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
        seeds: int | Sequence[int],
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        split_options: Mapping[str, Any] | None = None,
        layers: Sequence[str] = (),
        pca: Mapping[str, int] | None = None,
    ) -> Plan:
        """Check what was asked for, before anything is trained.

        scenes         by name: how to open it, and the scene itself where it is open
        options        sections (model, samples, train) of every trained model
        split_options  of every split that has a use for them

        Raises ConfigError for a name or option that does not exist, with the nearest right one.
        """
        shared = {**(options or {}), "layers": list(layers), "pca": dict(pca or {})}
        named = models if isinstance(models, Mapping) else dict.fromkeys(once(models, "model"))
        drawn = splits if isinstance(splits, Mapping) else dict.fromkeys(once(splits, "split"))
        for what, given in (("models", named), ("scenes", scenes), ("splits", drawn)):
            if not given:
                raise ConfigError(f"nothing to compare: name some {what}")
        plan = cls(
            models={name: _model(name, own, shared) for name, own in named.items()},
            scenes={name: origin for name, (origin, _) in scenes.items()},
            splits=_splits(drawn, dict(split_options or {})),
            seeds=seeds_of(seeds),
            opened={name: scene for name, (_, scene) in scenes.items() if scene is not None},
        )
        places = [cell.place for cell in plan.cells()]
        if len({str(place).lower() for place in places}) < len(places):
            raise ConfigError("two models, scenes or splits have names that make the same folder")
        return plan

    def cells(self) -> Iterator[Cell]:
        """Every cell, in the order of the table."""
        for scene, origin in self.scenes.items():
            for split, options in self.splits.items():
                for model, config in self.models.items():
                    for seed in self.seeds:
                        drawn = {**options, "seed": seed if SPLITS[options["name"]].drawn else 0}
                        yield Cell(scene, split, model, seed, origin, drawn, _seeded(config, seed))

    def to_dict(self) -> dict[str, Any]:
        """As compare.yaml holds it."""
        return {
            "models": self.models,
            "scenes": self.scenes,
            "splits": self.splits,
            "seeds": list(self.seeds),
        }


def file_name(name: str) -> str:
    """A name as that of a folder.

    >>> file_name("m3amba + clip")
    'm3amba_clip'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "_"


def once(names: Sequence[str], what: str) -> list[str]:
    """The names. Raises ConfigError where one stands there twice."""
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"the {what} {name!r} is named twice; once is enough")
    return list(names)


def preset_of(
    name: str,
    own: Mapping[str, Any] | None,
    presets: Iterable[str],
    classical: Iterable[str],
) -> tuple[str, dict[str, Any]]:
    """The preset or classical method that a table's name stands for, and its options.

    Raises ConfigError for one that does not exist, and for options that it cannot have.
    """
    options = dict(own or {})
    preset = options.pop("model", name)
    if preset in [*classical]:
        if options:
            raise ConfigError(f"{name}: the classical method {preset!r} has no option {[*options]}")
    elif preset not in [*presets]:
        known = [*presets, *classical]
        raise ConfigError(f"there is no model {preset!r}{nearest(str(preset), known)}")
    elif "seed" in options:
        raise ConfigError(f"{name}: the seeds are those of the comparison, leave out `seed`")
    return preset, options


def _model(name: str, own: Mapping[str, Any] | None, shared: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model, as config.yaml holds it but for scene, split and seed."""
    preset, options = preset_of(name, own, LAND_COVER, BASELINES)
    if preset in BASELINES:
        return {"baseline": preset, "layers": shared["layers"]}
    layers, pca = options.pop("layers", shared["layers"]), options.pop("pca", shared["pca"])
    stored: dict[str, Any] = {"model": {"name": preset}, "layers": layers, "pca": pca}
    stored = merged(stored, {key: dict(shared.get(key) or {}) for key in SECTIONS})
    try:
        stored = merged(stored, grouped(option_groups(preset), options))
        config = LandCoverConfig.read(stored).to_dict()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    for other in ("scene", "split"):
        del config[other]
    return config


def _seeded(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return (
        {**config, "train": {**config["train"], "seed": seed}} if "train" in config else {**config}
    )


def _splits(
    named: Mapping[str, Mapping[str, Any] | None], shared: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """All options of each split but the seed; shared ones where there is a use for them."""
    known = {option.name for option in fields(SplitConfig)} - {"name", "seed"}
    used: set[str] = set()
    resolved = {}
    for name, given in named.items():
        own = dict(given or {})
        kind = own.pop("name", name)
        if not isinstance(kind, str) or kind not in SPLITS:
            raise ConfigError(f"there is no split {kind!r}{nearest(str(kind), SPLITS)}")
        if not SPLITS[kind].tested:
            raise SplitError(f"the split {kind!r} has no test side, so there is nothing to compare")
        if unknown := [key for key in (*shared, *own) if key not in known]:
            raise ConfigError(f"{name}.{unknown[0]}: no such option{nearest(unknown[0], known)}")
        fitting = {k: v for k, v in shared.items() if k in own or _has_use(kind, k, v)}
        used |= set(fitting)
        stored = to_dict(from_dict(SplitConfig, {"name": kind, **fitting, **own}, name))
        del stored["seed"]
        resolved[name] = stored
    if idle := set(shared) - used:
        raise ConfigError(f"none of the splits has a use for {sorted(idle)[0]!r}; leave it out")
    return resolved


def _has_use(kind: str, option: str, value: Any) -> bool:
    try:
        from_dict(SplitConfig, {"name": kind, option: value}, "split")
    except ConfigError as error:
        if "has no use for" in str(error):
            return False
        raise
    return True


MOST_SEEDS = 10_000  # of a comparison


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """A number of seeds, from 0; or the seeds themselves. Raises ConfigError for others."""
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise ConfigError(f"seeds {seeds:,}: at most {MOST_SEEDS:,}")
    listed = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not listed or min(listed) < 0 or len(set(listed)) < len(listed):
        raise ConfigError(
            f"seeds {seeds}: give how many, 1 at least, or different whole numbers from 0 on"
        )
    return listed
