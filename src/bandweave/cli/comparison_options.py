"""Parts of both commands that compare: a configuration file below the flags, names, and seeds."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bandweave.cli.options import ConfigParser
from bandweave.errors import ConfigError
from bandweave.schema import from_dict, to_dict
from bandweave.training.sections import merged
from bandweave.yaml_files import read_yaml

Named = str | list[str] | dict[str, dict[str, Any] | None]  # names, or options by a name


@dataclass(frozen=True)
class ComparisonFile:
    """Keys of the configuration files of both commands.

    against  a model of the table, or 'classical'; the tables have gains over it
    rows     file of results that are not made again, and to which new ones are added
    """

    models: Named = ""
    seeds: int | list[int] | str = 10
    samples: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    against: str = ""
    rows: str | None = None


@dataclass(frozen=True)
class SceneComparisonFile(ComparisonFile):
    """Keys of the configuration file of `compare`."""

    scenes: str | list[str] | dict[str, str] = ""
    splits: Named = "blocks"
    layers: list[str] = field(default_factory=list)
    pca: dict[str, int] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairComparisonFile(ComparisonFile):
    """Keys of the configuration file of `sharpen-compare`."""

    pairs: Any = None  # the command says what it expects
    test: Any = None
    sensor: str = "generic"
    register: bool = False
    ratio: int | None = None
    crs: str | int | None = None
    nodata: float | None = None
    peak: float | None = None


MAKING: dict[str, Any] = {  # flags of both commands that are no part of a configuration file
    **{"out": None, "processes": 1, "threads": None, "dask": None, "quiet": False, "debug": False},
}


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add the flags of both commands."""
    add = parser.add_argument
    add("--models", type=str, help="names between commas")
    add("--seeds", type=str, help="how many, from 0, or which, between commas (10)")
    add("--out", type=str, help="the folder of runs and tables")
    add("--config", type=str, help="a file with all of this, and options of single models")
    add("--against", type=str, help="a model, or classical: the tables have gains over it")
    add("--rows", type=str, help="a file of results: they are not made again, new ones are added")
    add("--processes", type=int, default=1, help="cells at a time on this machine")
    add("--threads", type=int, help="of each cell; by default the cores are shared out")
    add("--dask", type=str, help="address of a Dask scheduler whose workers make the cells")


def read_comparison(
    command: str,
    parser: ConfigParser,
    argv: Sequence[str],
    kind: type[ComparisonFile],
    lists: Sequence[str],
    examples: Mapping[str, str],
    own: Mapping[str, Any],
) -> argparse.Namespace:
    """All options: the flags' over the file's over the defaults; sections key by key.

    Names that a flag lists keep the options that the file has of them.

    kind      of the configuration file
    lists     options that may be names between commas
    examples  of options that must be given
    own       flags of this command alone, with their defaults

    Raises ConfigError for an option that does not exist or has no value of its type, and for what
    is missing.
    """
    given = parser.read(argv)
    path = given.pop("config", None)
    stored = read_yaml(path) if path else {}
    read = from_dict(kind, stored, f"{path}:")
    stored = {key: getattr(read, key) for key in stored}
    chosen = {**to_dict(kind()), **MAKING, **own, **merged(stored, given)}
    for key in lists:
        if isinstance(chosen[key], str):
            chosen[key] = split_names(chosen[key])
        if key in given and isinstance(stored.get(key), Mapping):
            chosen[key] = pick_names(chosen[key], stored[key], key)
    for key, example in examples.items():
        if not chosen[key]:
            raise ConfigError(f"which {key}? Give --{key}, such as {example}")
    for section in ("split", "train"):
        if "seed" in (chosen.get(section) or {}):
            raise ConfigError(f"--{section}.seed: the seeds are those of the comparison, --seeds")
    chosen["seeds"] = read_seed_words(chosen["seeds"])
    chosen["sections"] = {name: chosen.pop(name) for name in ("samples", "train")}
    chosen["command"] = shlex.join(["bandweave", command, *argv])
    return argparse.Namespace(**chosen)


def pick_names(
    names: Sequence[str], stored: Mapping[str, Any], what: str
) -> dict[str, Mapping[str, Any] | None]:
    """Each name with the options that a file has of it, or none, as a preset beside them.

    Raises ConfigError for a name that stands there twice.

    >>> pick_names(["wide", "svm"], {"wide": {"model": "m3amba"}, "knn": {}}, "models")
    {'wide': {'model': 'm3amba'}, 'svm': None}
    """
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--{what} names {name!r} twice; once is enough")
    return {name: stored.get(name) for name in names}


def split_names(value: str) -> list[str]:
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


def read_seed_words(value: Any) -> int | list[int]:
    """A number of seeds, or the seeds themselves."""
    words = value if isinstance(value, list) else str(value).split(",")
    try:
        numbers = [int(word) for word in words]
    except (TypeError, ValueError):
        raise ConfigError(f"--seeds {value}: how many, as in 10, or which, as in 0,3,5") from None
    return numbers if isinstance(value, list) or len(numbers) > 1 else numbers[0]
