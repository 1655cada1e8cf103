"""What the commands that compare share: a configuration file below the flags, names, and seeds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bandweave.errors import ConfigError
from bandweave.schema import from_dict
from bandweave.training.sections import merged
from bandweave.yaml_files import read_yaml

Named = str | list[str] | dict[str, dict[str, Any] | None]  # names, or options by a name


@dataclass(frozen=True)
class ComparisonFile:
    """What the configuration files of both commands may say."""

    models: Named = ""
    seeds: int | list[int] | str = 10
    samples: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SceneComparisonFile(ComparisonFile):
    """That of `compare`."""

    scenes: str | list[str] = ""
    splits: Named = ""
    layers: list[str] | None = None
    pca: dict[str, int] | None = None
    split: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairComparisonFile(ComparisonFile):
    """That of `sharpen-compare`."""

    pairs: Any = None  # the command says what it expects
    test: Any = None
    sensor: str = "generic"
    register: bool = False
    ratio: int | None = None
    crs: str | int | None = None
    nodata: float | None = None
    peak: float | None = None


def stored_options(path: str | None, kind: type[ComparisonFile]) -> dict[str, Any]:
    """What a configuration file holds; nothing without one.

    Raises ConfigError for other keys than those of `kind`, and for values of another type.
    """
    stored = read_yaml(path) if path else {}
    read = from_dict(kind, stored, f"{path}:")
    return {key: getattr(read, key) for key in stored}


def laid_over(
    defaults: Mapping[str, Any],
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    lists: Sequence[str],
) -> dict[str, Any]:
    """All options: the flags' over the file's over the defaults; sections key by key.

    Names that a flag lists keep the options that the file has of them.

    lists   options that may be names between commas
    """
    chosen = {**defaults, **merged(stored, given)}
    for key in lists:
        if isinstance(chosen[key], str):
            chosen[key] = names_of(chosen[key])
        if key in given and isinstance(stored.get(key), Mapping):
            chosen[key] = picked(chosen[key], stored[key], key)
    return chosen


def picked(
    names: Sequence[str], stored: Mapping[str, Mapping[str, Any] | None], what: str
) -> dict[str, Mapping[str, Any] | None]:
    """Each name with the options that a file has of it, or none, as a preset beside them.

    Raises ConfigError for a name that stands there twice.

    >>> picked(["wide", "svm"], {"wide": {"model": "m3amba", "width": 128}, "knn": {}}, "models")
    {'wide': {'model': 'm3amba', 'width': 128}, 'svm': None}
    """
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--{what} names {name!r} twice; once is enough")
    return {name: stored.get(name) for name in names}


def add_making(parser: argparse.ArgumentParser) -> None:
    """How cells are made: --processes, --threads and --dask."""
    add = parser.add_argument
    add("--processes", type=int, default=1, help="cells at a time on this machine")
    add("--threads", type=int, help="of each cell; by default the cores are shared out")
    add("--dask", type=str, help="address of a Dask scheduler whose workers make the cells")


def names_of(value: str) -> list[str]:
    """Names between commas, but not those inside brackets."""
    names, depth, name = [], 0, ""
    for sign in value:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            names.append(name)
            name = ""
        else:
            name += sign
    return [each.strip() for each in (*names, name) if each.strip()]


def seeds_of(value: Any) -> int | list[int]:
    """A number of seeds, or the seeds themselves."""
    if value is None:
        return 10
    words = value if isinstance(value, list) else str(value).split(",")
    try:
        numbers = [int(word) for word in words]
    except (TypeError, ValueError):
        raise ConfigError(f"--seeds {value}: how many, as in 10, or which, as in 0,3,5") from None
    return numbers if isinstance(value, list) or len(numbers) > 1 else numbers[0]
