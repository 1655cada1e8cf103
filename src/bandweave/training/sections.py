"""Options in sections, as config.yaml has them: of a model, of its samples, of its training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol, Self, get_type_hints

from bandweave.errors import ConfigError
from bandweave.schema import from_dict, nearest, to_dict


class NamedOptions(Protocol):
    """What a name stands for: the options of a model, and values of other sections."""

    @property
    def config(self) -> Any:
        """A dataclass of the model's options."""
        ...

    @property
    def sections(self) -> Mapping[str, Mapping[str, Any]]:
        """Values that differ from the defaults, by section: samples, train."""
        ...


@dataclass
class RunConfig(ABC):
    """Everything that a run was asked for, as config.yaml holds it.

    A subclass is a dataclass with the fields `name` and, next to it, `model`: a preset's name and
    its options. Its other fields are sections (dataclasses) or plain options. In config.yaml the
    name stands among the options of the model.
    """

    default_name: ClassVar[str]
    """The preset where none is named."""

    @classmethod
    @abstractmethod
    def preset(cls, name: str) -> NamedOptions:
        """What a name stands for. Raises ConfigError, with the nearest right one, for no name."""

    def to_dict(self) -> dict[str, Any]:
        """As config.yaml holds it; `read` gives it back."""
        stored = to_dict(self)
        options = stored.pop("model")
        return {
            key if key != "name" else "model": value if key != "name" else {key: value, **options}
            for key, value in stored.items()
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Strictly from a mapping, on top of the preset that it names."""
        kinds, plain = cls.section_types(), cls.plain_options()
        named = [key for key, kind in kinds.items() if "name" in get_type_hints(kind)]
        sections, given = in_sections(stored, ("model", *kinds), plain, ["model", *named])
        model = sections.pop("model")
        preset = cls.preset(name := model.pop("name", cls.default_name))
        config = from_dict(cls, given, "config")
        options = merged(to_dict(preset.config), model)
        made: dict[str, Any] = {
            "name": name,
            "model": from_dict(type(preset.config), options, "model"),
        }
        for key, options in sections.items():
            made[key] = from_dict(kinds[key], merged(preset.sections.get(key, {}), options), key)
        return replace(config, **made)

    @classmethod
    def of_run(cls, stored: Mapping[str, Any]) -> Self:
        """That of a run folder: an option that is newer than the run is what it was made with.

        A model's config names such options, and their values, in `former`; those of other sections
        were at their defaults, whatever a preset says today.
        """
        model = stored["model"]
        former = getattr(cls.preset(model["name"]).config, "former", {})
        sections = {
            key: {**to_dict(kind()), **stored[key]}
            for key, kind in cls.section_types().items()
            if key in stored and "name" not in get_type_hints(kind)
        }
        return cls.read({**stored, **sections, "model": {**former, **model}})

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any]) -> Self:
        """On top of a preset, of options by their bare name, whatever their section."""
        plain = {key: value for key, value in options.items() if key in cls.plain_options()}
        others = {key: value for key, value in options.items() if key not in plain}
        stored = merged(grouped(cls.option_groups(name), others), {"model": {"name": name}})
        return cls.read({**stored, **plain})

    @classmethod
    def section_types(cls) -> dict[str, type]:
        """The dataclass of each section but the model, by name."""
        hints = get_type_hints(cls)
        return {f.name: hints[f.name] for f in fields(cls) if is_dataclass(hints[f.name])}

    @classmethod
    def plain_options(cls) -> list[str]:
        """The names of the options that are in no section."""
        kinds = cls.section_types()
        return [f.name for f in fields(cls) if f.name not in ("name", "model", *kinds)]

    @classmethod
    def option_groups(cls, name: str) -> dict[str, Any]:
        """The sections whose options go by their bare name, with a preset's model."""
        kinds = cls.section_types()
        others: dict[str, Any] = {key: kinds[key]() for key in ("samples", "train") if key in kinds}
        return {"model": cls.preset(name).config, **others}


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
