"""The parts of every comparison's plan: cells, names, options of models, and seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.errors import ConfigError
from bandweave.schema import nearest
from bandweave.training.sections import grouped, merged

MOST_SEEDS = 10_000  # of a comparison
CLASSICAL = "classical"  # the best classical method, as the one that gains are over


@dataclass(frozen=True)
class Cell:
    """One model, made by one seed: the smallest piece of a comparison, with a folder of its own.

    case   what the model is compared in, such as a scene and a split; () where one cell answers for
           all cases
    seed   None for a method that no seed changes
    work   everything the cell is made from, as plain values
    """

    case: tuple[str, ...]
    model: str
    seed: int | None
    work: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "case", tuple(self.case))  # JSON gives it back as a list

    @property
    def place(self) -> Path:
        """The cell's run folder inside that of the comparison."""
        folder = Path("runs", *map(file_name, (*self.case, self.model)))
        return folder if self.seed is None else folder / f"seed-{self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """The facts that must be the same for a folder to be this cell's."""
        return {**self.work, "seed": self.seed}

    def __str__(self) -> str:
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return ", ".join([*self.case, self.model, *seed])


@dataclass(frozen=True)
class CellOptions:
    """Options of making cells; nothing here may change a score.

    command   as the user gave it
    pictured  the seed that is pictured, and methods without seeds beside it; None for no pictures
    maps      map scenes that are not too large
    threads   threads that a cell may compute with; None for what the process has
    quiet     log nothing but errors
    """

    command: str = ""
    pictured: int | None = 0
    maps: bool = True
    threads: int | None = None
    quiet: bool = False


def file_name(name: str) -> str:
    """A name as that of a folder.

    >>> file_name("m3amba + clip")
    'm3amba_clip'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "_"


def check_folders(names: Iterable[object], what: str) -> None:
    """Raise ConfigError where two names or paths make the same folder on some file system."""
    folders = [str(name).lower() for name in names]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"two {what} have names that make the same folder")


def check_named_once(names: Sequence[str], what: str) -> list[str]:
    """Return the names. Raises ConfigError where one of them is given twice."""
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"the {what} {name!r} is named twice; once is enough")
    return list(names)


def options_by_name(
    given: Sequence[str] | Mapping[str, Mapping[str, Any] | None], what: str
) -> dict[str, dict[str, Any]]:
    """The options of each name; none where names alone are given.

    what   is named, such as 'model'

    Raises ConfigError for a name that is given twice.
    """
    if isinstance(given, Mapping):
        return {name: dict(own or {}) for name, own in given.items()}
    return {name: {} for name in check_named_once(given, what)}


def find_method(
    name: str,
    own: Mapping[str, Any],
    presets: Iterable[str],
    classical: Iterable[str],
    allowed: Container[str] = (),
) -> tuple[str, dict[str, Any]]:
    """The preset or classical method that a table's name stands for, and its options.

    allowed   options that a classical method may have

    Raises ConfigError for one that does not exist, and for options that it cannot have.
    """
    options = dict(own)
    preset = options.pop("model", name)
    if preset in [*classical]:
        if idle := [key for key in options if key not in allowed]:
            raise ConfigError(f"{name}: the classical method {preset!r} has no option {idle}")
    elif preset not in [*presets]:
        known = [*presets, *classical]
        raise ConfigError(f"there is no model {preset!r}{nearest(str(preset), known)}")
    elif "seed" in options:
        raise ConfigError(f"{name}: the seeds are those of the comparison, leave out `seed`")
    return preset, options


def read_model(
    name: str,
    stored: Mapping[str, Any],
    own: Mapping[str, Any],
    groups: Mapping[str, Any],
    read: Callable[[dict[str, Any]], Any],
) -> dict[str, Any]:
    """The configuration of a trained model, as config.yaml holds it.

    stored   sections that all trained models share
    own      options of this one by their bare names
    groups   dataclasses by the name of their section, which have these options
    read     makes a checked configuration of the sections

    Raises ConfigError, with the table's name of the model, for an option that does not exist.
    """
    try:
        return read(merged(stored, grouped(groups, own))).to_dict()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def check_reference(against: str, models: Iterable[str]) -> str:
    """Return the model that gains are over. Raises ConfigError where it is not in the table."""
    if against and against != CLASSICAL and against not in [*models]:
        raise ConfigError(
            f"against {against!r}: no such model in the table{nearest(against, [*models])}; give "
            f"one of {', '.join(models)}, or {CLASSICAL!r} for the best classical method"
        )
    return against


def read_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """A number of seeds, counted from 0; or the seeds themselves. Raises ConfigError for others."""
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise ConfigError(f"seeds {seeds:,}: at most {MOST_SEEDS:,}")
    listed = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not listed or min(listed) < 0 or len(set(listed)) < len(listed):
        raise ConfigError(
            f"seeds {seeds}: give how many, 1 at least, or different whole numbers from 0 on"
        )
    return listed
