"""All that came of a comparison of sharpening, read from its run folders, and as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.comparison.cell_folder import finished, why_not_done
from bandweave.comparison.sharpening.plan import Cell, Plan
from bandweave.csv_text import csv_of
from bandweave.errors import RunError
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.protocols import PROTOCOLS
from bandweave.training.checkpoint import MISSTATED

DEPENDS = ("sensor", "ratio", "peak", "registered", "shift_rows", "shift_cols")
COLUMNS = (
    *("model", "seed", "pair", "protocol", *SCORES),
    *("parameters", "pixels", *DEPENDS, "run", "failed"),
)
TIMES = ("model", "seed", "train", *PROTOCOLS, "threads", "cpu", "gpu", "run")


@dataclass(frozen=True, eq=False)
class Result:
    """A cell and what came of it, or why it is not done.

    facts    cell.json
    scores   by pair, protocol and name; NaN where a pair has no such score
    depends  by pair: what its scores depend on
    seconds  by pair and protocol: of fitting, sharpening and scoring
    """

    cell: Cell
    facts: dict[str, Any] | None = None
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    depends: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: str | None = None

    @property
    def done(self) -> bool:
        return self.facts is not None


def read_results(root: Path, plan: Plan, failures: dict[str, str] | None = None) -> list[Result]:
    """What stands in the folders of all cells, in the order of the table.

    failures  of cells whose folders could not even hold why, by their place

    Raises RunError where a folder cannot be read or methods were scored on other pixels.
    """
    results = [_result(root, cell, failures or {}) for cell in plan.cells()]
    first: dict[str, tuple[dict[str, Any], Cell]] = {}
    for result in results:
        for pair, found in result.depends.items():
            own = {name: found[name] for name in ("size", "bands", *DEPENDS)}
            own["pixels"] = {name: count["pixels"] for name, count in found["counted"].items()}
            known, other = first.setdefault(pair, (own, result.cell))
            differing = [name for name in own if not _same(own[name], known[name])]
            if differing:
                raise RunError(
                    f"{root / result.cell.place} and {root / other.place} were scored on other "
                    f"pixels of the test pair {pair!r} ({differing[0]}: {own[differing[0]]} and "
                    f"{known[differing[0]]}): its files changed in between. Compare into another "
                    f"folder"
                )
    return results


def _same(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers that were measured."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-6
    return one == other


def _result(root: Path, cell: Cell, failures: dict[str, str]) -> Result:
    facts = finished(root, cell)
    if facts is None:
        return Result(cell, failed=why_not_done(root, cell, failures))
    path = root / cell.place / "scores.json"
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
        read = {pair: pairs[pair] for pair in cell.test}
        result = Result(
            cell,
            facts,
            scores={
                pair: {
                    protocol: {name: _number(value) for name, value in found.items()}
                    for protocol, found in stored["scores"].items()
                }
                for pair, stored in read.items()
            },
            depends={pair: stored["facts"] for pair, stored in read.items()},
            seconds={pair: stored["seconds"] for pair, stored in read.items()},
        )
        _ = [*_rows(result)], _times(result)  # what the tables take of it
    except (OSError, *MISSTATED) as error:
        raise RunError(
            f"{path} cannot be read ({error!s:.200}); copy it again from where it was made, or "
            f"compare into another folder"
        ) from error
    return result


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)


def by_model(results: list[Result]) -> dict[str, list[Result]]:
    """Results of each model, in the order of the seeds."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.cell.model, []).append(result)
    return found


def values_of(results: list[Result], protocol: str, name: str) -> np.ndarray:
    """(k, n): a score by seed and test pair, of the cells that are done."""
    rows = [
        [found[protocol][name] for found in each.scores.values()] for each in results if each.done
    ]
    return np.array(rows, np.float64)


def results_csv(results: list[Result]) -> str:
    """A line for each test pair and protocol of each cell; nothing that depends on when."""
    return csv_of(COLUMNS, (row for result in results for row in _rows(result)))


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    cell = result.cell
    head = {
        "model": cell.model,
        "seed": cell.seed,
        "run": cell.place.as_posix(),
        "failed": result.failed,
    }
    if result.facts is None:
        yield head
        return
    head["parameters"] = result.facts["parameters"]
    for pair, protocols in result.scores.items():
        depends = result.depends[pair]
        for protocol, scores in protocols.items():
            yield {
                **head,
                "pair": pair,
                "protocol": protocol,
                "pixels": depends["counted"][protocol]["pixels"],
                **{name: depends[name] for name in DEPENDS},
                **scores,
            }


def times_csv(results: list[Result]) -> str:
    """Seconds of every cell over all its pairs, and what they depend on."""
    return csv_of(TIMES, (_times(result) for result in results if result.facts is not None))


def _times(result: Result) -> dict[str, Any]:
    assert result.facts is not None
    machine = result.facts["machine"]
    return {
        "model": result.cell.model,
        "seed": result.cell.seed,
        **result.facts["seconds"],
        **{name: machine[name] for name in ("threads", "cpu", "gpu")},
        "run": result.cell.place.as_posix(),
    }
