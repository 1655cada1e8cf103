"""The results of a comparison's cells: a long table of scores, and facts beside each cell.

A score is found by its case (a scene and split, or a protocol), its part (a class, or a test pair;
"" for all pixels), its metric, and the cell's model and seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.comparison.cells import explain_missing, read_finished
from bandweave.comparison.plan import Cell
from bandweave.errors import RunError
from bandweave.training.checkpoint import MISSTATED

ALL = ""  # the part of a score that is of everything
Values = dict[tuple[str, ...], dict[str, dict[str, float]]]  # by case, part and metric


@dataclass(frozen=True, eq=False)
class Result:
    """A cell and what came of it, or why it is not done.

    facts    what cell.json holds
    values   scores by case, part and metric; NaN where there is none
    details  what else scores.json holds, as the task reads it
    failed   why the cell is not done, in words
    """

    cell: Cell
    facts: dict[str, Any] | None = None
    values: Values = field(default_factory=dict)
    details: Any = None
    failed: str | None = None

    @property
    def done(self) -> bool:
        """True where there are scores."""
        return self.facts is not None

    @property
    def seconds(self) -> Mapping[str, float | None]:
        """Seconds of each job of the cell, by its name."""
        return (self.facts or {}).get("seconds", {})


def read_results(
    root: Path,
    cells: Iterable[Cell],
    read: Callable[[Cell, dict[str, Any], dict[str, Any]], Result],
    failures: Mapping[str, str] | None = None,
) -> list[Result]:
    """Read the folders of all cells, in the order of the table.

    read      makes the result of a cell from cell.json and scores.json
    failures  why cells failed whose folders could not even hold it, by their place

    Raises RunError where a folder cannot be read.
    """
    return [_read_result(root, cell, read, failures or {}) for cell in cells]


def _read_result(
    root: Path,
    cell: Cell,
    read: Callable[[Cell, dict[str, Any], dict[str, Any]], Result],
    failures: Mapping[str, str],
) -> Result:
    facts = read_finished(root, cell)
    if facts is None:
        return Result(cell, failed=explain_missing(root, cell, failures))
    path = root / cell.place / "scores.json"
    try:
        return read(cell, facts, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, RunError, *MISSTATED) as error:
        raise RunError(
            f"{path} cannot be read ({error!s:.200}), or cell.json beside it; copy both again from "
            f"where they were made, or compare into another folder"
        ) from error


def group_by_model(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results of each model, in the order of the seeds."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.cell.model, []).append(result)
    return found


def score_table(
    results: Iterable[Result], case: tuple[str, ...], metric: str, parts: Sequence[str]
) -> np.ndarray:
    """Scores by seed and part (k, n) of the cells that are done; NaN where there is none."""
    rows = [
        [each.values[case][part].get(metric, math.nan) for part in parts]
        for each in results
        if each.done
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(parts))


def name_cell(case_names: Sequence[str], cell: Cell) -> dict[str, Any]:
    """The columns of a CSV file that tell a cell from others.

    case_names   names of the columns of its case
    """
    case = dict(zip(case_names, cell.case, strict=True))
    return {**case, "model": cell.model, "seed": cell.seed}


def time_row(case_names: Sequence[str], result: Result) -> dict[str, Any]:
    """The line of times.csv: seconds of a cell, and what they depend on."""
    facts = result.facts or {}
    where = {name: facts["machine"][name] for name in ("threads", "cpu", "gpu")}
    own = name_cell(case_names, result.cell)
    return {**own, **result.seconds, **where, "run": result.cell.place.as_posix()}


def list_facts(results: Iterable[Result], name: str) -> list[str]:
    """The texts that cells state under a name, such as 'versions', each only once."""
    found: dict[str, None] = {}
    for each in results:
        value = (each.facts or {}).get(name)
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        if value:
            found[str(value)] = None
    return list(found)
