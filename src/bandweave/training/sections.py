"""Options in sections, as config.yaml has them: of a model, of its samples, of its training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from bandweave.errors import ConfigError
from bandweave.schema import nearest, to_dict


def in_sections(
    stored: Mapping[str, Any],
    sections: Collection[str],
    plain: Collection[str],
    named: Collection[str] = ("model",),
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """A stored configuration as its sections, each a mapping, and its plain options.

    A section may be missing, and one of the `named` ones be no more than its name, as in
    `model: m3amba`. Raises ConfigError for a key that is neither, and for a section that is no
    mapping.

    >>> in_sections({"model": "a", "scene": "s"}, ["model", "train"], ["scene"])
    ({'model': {'name': 'a'}, 'train': {}}, {'scene': 's'})
    """
    known = {*sections, *plain}
    if unknown := [key for key in stored if key not in known]:
        raise ConfigError(f"{unknown[0]}: no such option{nearest(unknown[0], known)}")
    found: dict[str, dict[str, Any]] = {}
    for section in sections:
        value = stored.get(section)
        if value is None:
            value = {}
        elif isinstance(value, str) and section in named:
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise ConfigError(f"{section}: expected a mapping, got {value!r}")
        found[section] = dict(value)
    return found, {key: stored[key] for key in plain if key in stored}


def grouped(groups: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their bare name, sorted into the group that has one of that name.

    groups  dataclasses by the name of their section; the first that has an option takes it

    >>> from bandweave.training.config import TrainConfig
    >>> grouped({"train": TrainConfig()}, {"steps": 5, "lr": 0.1})
    {'train': {'steps': 5, 'lr': 0.1}}
    """
    paths: dict[str, tuple[str, ...]] = {}
    for group, config in groups.items():
        paths |= {key: path for key, path in _paths(config, (group,)).items() if key not in paths}
    stored: dict[str, Any] = {}
    for key, value in options.items():
        if key not in paths:
            raise ConfigError(f"{key}: no such option{nearest(key, paths)}")
        *inside, last = paths[key]
        place = stored
        for group in inside:
            place = place.setdefault(group, {})
        if is_dataclass(value) and not isinstance(value, type):
            value = to_dict(value)
        place[last] = value
    return stored


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second laid over the first."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _paths(config: Any, path: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The path of each option by its bare name; those of a nested group after the group's own."""
    own = {f.name: (*path, f.name) for f in fields(config)}
    for f in fields(config):
        if is_dataclass(getattr(config, f.name)):
            inner = _paths(getattr(config, f.name), (*path, f.name))
            own |= {key: place for key, place in inner.items() if key not in own}
    return own
