"""The files and the ground that training and test pairs share, as far as their files tell."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from bandweave.errors import ConfigError
from bandweave.local_files import split_key
from bandweave.pansharp.comparison.plan import Plan
from bandweave.pansharp.config import PairFiles
from bandweave.pansharp.pair.pair import Pair


def check_apart(plan: Plan) -> None:
    """Raise ConfigError where a file is trained or validated on, and tested on too, or twice.

    Files are told apart by where they lie, links followed, and arrays in a file by their names.
    Copies are not seen through.
    """
    training = {file: pair.pan for pair in _learnt(plan) for file in _files(pair)}
    found = {
        name: [file for file in _files(pair) if file in training]
        for name, pair in plan.test.items()
    }
    shared = {name: files[0] for name, files in found.items() if files}
    if shared:
        names = ", ".join(repr(name) for name in shared)
        first, file = next(iter(shared.items()))
        raise ConfigError(
            f"of the test pairs, {names} {'is' if len(shared) == 1 else 'are'} trained on too: "
            f"{_name(file)} of {first!r} is in the training pair {training[file]}. Scores there "
            f"would say nothing; take each out of one of the two lists"
        )
    tested: dict[frozenset[tuple[str, str | None]], str] = {}
    for name, pair in plan.test.items():
        same = tested.setdefault(frozenset(_files(pair)), name)
        if same != name:
            raise ConfigError(
                f"the test pairs {same!r} and {name!r} are the same files; a pair counts once"
            )


def describe_shared_ground(learnt: Sequence[Pair], test: Mapping[str, Pair]) -> list[str]:
    """A sentence on the test pairs that overlap a training pair on the ground, if there are any.

    learnt   pairs of training and validation, open

    Only what both files say of their place is compared: no CRS, no answer.
    """
    over = [name for name, pair in test.items() if any(_overlaps(pair, each) for each in learnt)]
    if not over:
        return []
    return [
        f"By their georeference, these test pairs overlap training pairs on the ground: "
        f"{', '.join(over)}. Their scores may owe something to that"
    ]


def _learnt(plan: Plan) -> list[PairFiles]:
    return [*plan.pairs, *plan.validation]


def _files(pair: PairFiles) -> list[tuple[str, str | None]]:
    """Each file, and the array in it; PAN first."""
    found = [split_key(file) for file in (pair.pan, *pair.ms)]
    return [(os.path.realpath(path), key) for path, key in found]


def _name(file: tuple[str, str | None]) -> str:
    path, key = file
    return path if key is None else f"{path}:{key}"


def _overlaps(one: Pair, other: Pair) -> bool:
    """True where some ground is in both."""
    if not (one.grid.georeferenced and other.grid.georeferenced) or one.grid.crs != other.grid.crs:
        return False
    if one.grid.crs is None:
        return False
    left, bottom, right, top = one.grid.bounds
    other_left, other_bottom, other_right, other_top = other.grid.bounds
    return max(left, other_left) < min(right, other_right) and max(bottom, other_bottom) < min(
        top, other_top
    )
