"""The plan of a land-cover comparison: models on scenes, splits and seeds, and their cells.

models  by the name that the table gives them: a preset of LAND_COVER with options, or a classical
        method of pixels (landcover/baselines/methods.py)
scenes  by name: what `scene_from` opens; with `{seed}` in it, another scene for each seed
splits  by name: options of a split, without its seed
seeds   each draws the split (but for masks that are given) and trains the model
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from bandweave.comparison.plan import (
    Cell,
    check_folders,
    find_method,
    options_by_name,
    read_model,
    read_seeds,
)
from bandweave.data.scene import Scene
from bandweave.data.splits.protocols import SPLITS, SplitConfig
from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.baselines.methods import METHODS
from bandweave.landcover.config import AnyConfig, ClassicalConfig, LandCoverConfig
from bandweave.models import LAND_COVER
from bandweave.schema import from_dict, nearest, to_dict
from bandweave.training.sections import merged

SECTIONS = ("model", "samples", "train")
NUMBERS = "numbers"  # class names that a model is told instead of the scene's


@dataclass(frozen=True)
class Plan:
    """Everything that is compared, resolved and checked; `cells` in the order of the table."""

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
        shared: Mapping[str, Any] | None = None,
        split_options: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Check what was asked for, before anything is trained.

        scenes         by name: how to open it, and the scene itself where it is open
        shared         sections (model, samples, train), layers and pca of every model
        split_options  of every split that has a use for them

        Raises ConfigError for a name or option that does not exist, with the nearest right one.
        """
        named, drawn = options_by_name(models, "model"), options_by_name(splits, "split")
        for what, given in (("models", named), ("scenes", scenes), ("splits", drawn)):
            if not given:
                raise ConfigError(f"nothing to compare: name some {what}")
        plan = cls(
            models={name: _read_model(name, own, shared or {}) for name, own in named.items()},
            scenes={name: origin for name, (origin, _) in scenes.items()},
            splits=_read_splits(drawn, split_options or {}),
            seeds=read_seeds(seeds),
            opened={name: scene for name, (_, scene) in scenes.items() if scene is not None},
        )
        check_folders((cell.place for cell in plan.cells()), "models, scenes or splits")
        return plan

    def cells(self) -> Iterator[Cell]:
        """Every cell, in the order of the table."""
        for scene, origin in self.scenes.items():
            for split, options in self.splits.items():
                for model, config in self.models.items():
                    for seed in self.seeds:
                        drawn = {**options, "seed": seed if SPLITS[options["name"]].drawn else 0}
                        work = {"scene": name_seed_scene(origin, seed), "split": drawn}
                        work["config"] = _set_seed(config, seed)
                        yield Cell((scene, split), model, seed, work)

    def to_dict(self) -> dict[str, Any]:
        """The plan as compare.yaml holds it."""
        return {
            "models": self.models,
            "scenes": self.scenes,
            "splits": self.splits,
            "seeds": list(self.seeds),
        }


def name_seed_scene(origin: str, seed: int) -> str:
    """The name that opens the scene of a seed.

    >>> name_seed_scene("simulated_scene(seed={seed})", 3)
    'simulated_scene(seed=3)'
    """
    return origin.replace("{seed}", str(seed))


def _read_model(name: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model, as config.yaml holds it but for scene, split and seed."""
    preset, options = find_method(name, own, {**LAND_COVER, **METHODS}, ())
    layers = options.pop("layers", shared.get("layers") or [])
    if preset in METHODS:
        try:
            ClassicalConfig.from_options(preset, options)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        config = {"baseline": preset, "layers": list(layers)}
        return {**config, "options": options} if options else config
    pca = options.pop("pca", shared.get("pca") or {})
    names = options.pop("class_names", None)
    if names not in (None, NUMBERS):
        raise ConfigError(f"{name}: class_names {names!r}: leave it out, or give {NUMBERS!r}")
    stored = {"model": {"name": preset}, "layers": list(layers), "pca": dict(pca)}
    stored = merged(stored, {key: dict(shared.get(key) or {}) for key in SECTIONS})
    config = read_model(
        name, stored, options, LandCoverConfig.option_groups(preset), LandCoverConfig.read
    )
    del config["scene"], config["split"]
    return {**config, **({"class_names": names} if names else {})}


def read_cell_config(cell: Cell) -> AnyConfig:
    """The configuration by which a cell's run is trained."""
    stored = {key: value for key, value in cell.work["config"].items() if key != "class_names"}
    if "baseline" not in stored:
        return LandCoverConfig.read(stored)
    options = {**stored.get("options", {}), "layers": stored["layers"], "seed": cell.seed or 0}
    return ClassicalConfig.from_options(stored["baseline"], options)


def _set_seed(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return (
        {**config, "train": {**config["train"], "seed": seed}} if "train" in config else {**config}
    )


def _read_splits(
    named: Mapping[str, Mapping[str, Any]], shared: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """All options of each split but the seed; shared ones where there is a use for them."""
    known = {option.name for option in fields(SplitConfig)} - {"name", "seed"}
    used: set[str] = set()
    resolved = {}
    for name, given in named.items():
        own = dict(given)
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
