"""The files of pairs: how one is named, and files that list those to train and to score on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.errors import ConfigError
from bandweave.raster.open import PathLike
from bandweave.schema import OneOrMore, from_dict
from bandweave.yaml_files import read_yaml

Files = tuple[PathLike, PathLike | Sequence[PathLike]]  # PAN, and MS or one file a band


@dataclass(frozen=True)
class PairFiles:
    """The files of a pair.

    pan  a file of one band, or FILE:KEY where it holds several arrays
    ms   a file, or one file a band
    """

    pan: str
    ms: OneOrMore[str]


def list_ms_files(ms: PathLike | Sequence[PathLike]) -> list[PathLike]:
    """The MS file, or one file a band, as a list."""
    return [ms] if isinstance(ms, str | os.PathLike) else list(ms)


def listed_pairs(path: PathLike) -> dict[str, Any]:
    """The pairs to train on that a file lists, and those to validate on; paths from its folder.

    Raises ConfigError where it is no such list.
    """
    stored, folder = read_yaml(Path(path)), Path(path).parent
    try:
        if unknown := set(stored) - {"pairs", "validation"}:
            raise ConfigError(f"{min(map(str, unknown))}: a file of pairs has no such key")
        return {
            section: [_beside(folder, each, f"{section}[{i}]") for i, each in enumerate(found)]
            for section, found in stored.items()
        }
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def pairs_to_train(
    pairs: Sequence[Files | PairFiles] | PathLike, validation: Sequence[Files | PairFiles]
) -> tuple[list[Files | PairFiles], list[Files | PairFiles]]:
    """Pairs to train and to validate on, where the first may be a file that lists both."""
    if not isinstance(pairs, str | os.PathLike):
        return list(pairs), list(validation)
    found = listed_pairs(pairs)
    return found.get("pairs", []), [*found.get("validation", []), *validation]


def _beside(folder: Path, pair: Mapping[str, Any], where: str) -> PairFiles:
    if isinstance(pair, Mapping):  # a name is for scores
        pair = {key: value for key, value in pair.items() if key != "name"}
    files = from_dict(PairFiles, pair, where)
    return PairFiles(
        _beside_list(folder, files.pan), tuple(_beside_list(folder, f) for f in files.ms)
    )


def _beside_list(folder: Path, name: str) -> str:
    """A file by its path from the list, with ~ and variables of the environment as they are."""
    return str(folder / os.path.expanduser(os.path.expandvars(name)))


def pair_files(path: PathLike) -> dict[str, tuple[str, list[str]]]:
    """The PAN file and the MS files of each pair in a list, by name; by default that of PAN."""
    stored = read_yaml(Path(path))
    listed = stored.get("pairs")
    if not isinstance(listed, list) or not listed or not set(stored) <= {"pairs", "validation"}:
        raise ConfigError(f"{path}: expected `pairs:` with a list of mappings {{pan: …, ms: …}}")
    folder, files = Path(path).parent, {}
    for number, each in enumerate(listed, 1):
        where = f"{path}: pair {number}"
        if not isinstance(each, dict) or not {"pan", "ms"} <= set(each) <= {"name", "pan", "ms"}:
            raise ConfigError(f"{where}: expected {{pan: …, ms: …}} and, if you like, `name`")
        ms = each["ms"] if isinstance(each["ms"], list) else [each["ms"]]
        if not all(isinstance(file, str) for file in (each["pan"], *ms)):
            raise ConfigError(f"{where}: `pan` is the name of a file, `ms` one or a list of them")
        name = str(each.get("name") or Path(each["pan"]).stem)
        if name in files:
            raise ConfigError(f"{where}: a pair before is called {name!r} too; give it a `name`")
        files[name] = (
            _beside_list(folder, each["pan"]),
            [_beside_list(folder, file) for file in ms],
        )
    return files
