"""Everything a land-cover run was asked for, as one configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from bandweave.data.samples import SampleConfig
from bandweave.data.splits import SplitConfig
from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER, Preset
from bandweave.run.config import TrainConfig
from bandweave.schema import from_dict, nearest, to_dict


@dataclass
class LandCoverConfig:
    """The options of a run, as config.yaml holds them.

    scene    path, benchmark name or simulation that the run was trained on
    model    name of a preset, and its options
    layers   names of the layers that are used; empty for all
    pca      principal components a layer is reduced to, by layer name
    """

    scene: str = ""
    name: str = "m3amba"
    model: Any = None
    layers: list[str] = field(default_factory=list)
    pca: dict[str, int] = field(default_factory=dict)
    split: SplitConfig = field(default_factory=SplitConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """As config.yaml holds it; `read` gives it back."""
        stored = to_dict(self)
        name, options = stored.pop("name"), stored.pop("model")
        return {"scene": stored.pop("scene"), "model": {"name": name, **options}, **stored}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> LandCoverConfig:
        """Strictly from a mapping, on top of the preset that it names."""
        stored = dict(stored)
        for section in ("model", "split"):
            if isinstance(stored.get(section), str):
                stored[section] = {"name": stored[section]}
        known = {f.name for f in fields(cls)} - {"name"}
        if unknown := [key for key in stored if key not in known]:
            raise ConfigError(f"{unknown[0]}: no such option{nearest(unknown[0], known)}")
        for section in ("model", "split", "samples", "train"):
            if stored.get(section) is None:
                stored[section] = {}
            if not isinstance(stored[section], dict):
                raise ConfigError(f"{section}: expected a mapping, got {stored[section]!r}")
        model = dict(stored.pop("model"))
        preset = find_preset(name := model.pop("name", "m3amba"))
        if isinstance(model.get("clip"), str):
            model["clip"] = {"mode": model["clip"]}
        plain: dict[str, Any] = {
            key: stored[key] for key in ("scene", "layers", "pca") if key in stored
        }
        return replace(
            from_dict(cls, plain, "config"),
            name=name,
            model=from_dict(type(preset.config), merged(to_dict(preset.config), model), "model"),
            split=from_dict(SplitConfig, stored["split"], "split"),
            samples=from_dict(SampleConfig, merged(preset.samples, stored["samples"]), "samples"),
            train=from_dict(TrainConfig, merged(preset.train, stored["train"]), "train"),
        )


def find_preset(name: str) -> Preset:
    """The preset of that name. Raises ConfigError with the nearest right one."""
    if not isinstance(name, str) or name not in LAND_COVER:
        raise ConfigError(f"there is no model {name!r}{nearest(name, LAND_COVER)}")
    return LAND_COVER[name]


def grouped(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options by their bare name, sorted into the group that has one of that name.

    >>> grouped("m3amba_tiny", {"width": 16, "crop": 8, "steps": 5, "flips": False})
    {'model': {'width': 16}, 'samples': {'crop': 8, 'augment': {'flips': False}}, \
'train': {'steps': 5}}
    """
    paths: dict[str, tuple[str, ...]] = {}
    for group, config in _groups(name).items():
        paths |= {key: path for key, path in _paths(config, (group,)).items() if key not in paths}
    stored: dict[str, Any] = {}
    for key, value in options.items():
        if key not in paths:
            raise ConfigError(f"{key}: no such option{nearest(key, paths)}")
        *groups, last = paths[key]
        place = stored
        for group in groups:
            place = place.setdefault(group, {})
        if is_dataclass(value) and not isinstance(value, type):
            value = to_dict(value)
        place[last] = value
    return stored


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second laid over the first."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _groups(name: str) -> dict[str, Any]:
    return {
        "model": find_preset(name).config,
        "samples": SampleConfig(),
        "train": TrainConfig(),
    }


def _paths(config: Any, path: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The path of each option by its bare name; those of a nested group after the group's own."""
    own = {f.name: (*path, f.name) for f in fields(config)}
    for f in fields(config):
        if is_dataclass(getattr(config, f.name)):
            inner = _paths(getattr(config, f.name), (*path, f.name))
            own |= {key: place for key, place in inner.items() if key not in own}
    return own
