"""All that came of a comparison, read from its run folders, and as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.comparison.cell_folder import finished, why_not_done
from bandweave.comparison.plan import Cell, Plan
from bandweave.csv_text import csv_of
from bandweave.errors import RunError
from bandweave.landcover.metrics import PER_CLASS, Scores
from bandweave.landcover.scoring import SceneScores
from bandweave.training.checkpoint import MISSTATED

COLUMNS = (
    *("scene", "split", "model", "seed", "row", "class", "train", "test", *PER_CLASS),
    *("overall_accuracy", "average_accuracy", "kappa", "parameters", "split_hash", "run", "failed"),
)
TIMES = ("scene", "split", "model", "seed", "train", "score", "map", "threads", "cpu", "gpu", "run")


@dataclass(frozen=True, eq=False)
class Result:
    """A cell and what came of it: facts (cell.json) and scores, or why it is not done."""

    cell: Cell
    facts: dict[str, Any] | None = None
    scores: Scores | None = None
    failed: str | None = None

    @property
    def test_to_train(self) -> float:
        """Test pixels over training pixels."""
        pixels = (self.scores.protocol if self.scores else {}).get("pixels", {})
        return pixels["test"] / pixels["train"] if pixels.get("train") else math.nan


@dataclass(frozen=True)
class Panel:
    """Results of one scene and split, by model, each in the order of the seeds."""

    scene: str
    split: str
    results: dict[str, list[Result]]

    @property
    def title(self) -> str:
        return f"{self.scene}, {self.split}"

    @property
    def done(self) -> list[Result]:
        """Those with scores."""
        return [each for own in self.results.values() for each in own if each.scores is not None]

    @property
    def classes(self) -> tuple[str, ...]:
        return next((r.scores.classes for r in self.done if r.scores is not None), ())


def read_results(root: Path, plan: Plan, failures: dict[str, str] | None = None) -> list[Result]:
    """What stands in the folders of all cells, in the order of the table.

    failures  of cells whose folders could not even hold why, by their place

    Raises RunError where a folder cannot be read or models were scored on other pixels.
    """
    results = [_result(root, cell, failures or {}) for cell in plan.cells()]
    hashes: dict[tuple[str, str, int], tuple[str, Cell]] = {}
    for result in results:
        if result.facts is None:
            continue
        cell, own = result.cell, result.facts["split_hash"]
        first, other = hashes.setdefault((cell.scene, cell.split, cell.seed), (own, cell))
        if own != first:
            raise RunError(
                f"{root / cell.place} and {root / other.place} are of one scene, split and seed, "
                f"but of other pixels (hashes {own[:12]}… and {first[:12]}…): the scene or its "
                f"labels changed in between. Compare into another folder"
            )
    return results


def _result(root: Path, cell: Cell, failures: dict[str, str]) -> Result:
    facts = finished(root, cell)
    if facts is None:
        return Result(cell, failed=why_not_done(root, cell, failures))
    path = root / cell.place / "scores.json"
    try:
        scores = SceneScores.from_dict(json.loads(path.read_text(encoding="utf-8"))).pixels
    except (OSError, ValueError, KeyError, TypeError, RunError) as error:
        raise RunError(
            f"{path} cannot be read ({error!s:.200}); copy it again from where it was made, or "
            f"compare into another folder"
        ) from error
    result = Result(cell, facts, scores)
    try:  # what the tables take of it
        _ = [*_rows(result)], _times(result)
    except MISSTATED as error:
        raise RunError(
            f"{path.parent}: cell.json or scores.json lacks or misstates {error!s:.200}; copy them "
            f"again from where they were made, or compare into another folder"
        ) from error
    return result


def panels(results: list[Result]) -> list[Panel]:
    """Results by scene and split."""
    found: dict[tuple[str, str], Panel] = {}
    for result in results:
        cell = result.cell
        panel = found.setdefault((cell.scene, cell.split), Panel(cell.scene, cell.split, {}))
        panel.results.setdefault(cell.model, []).append(result)
    return list(found.values())


def results_csv(results: list[Result]) -> str:
    """A line for each class of each cell, and one of its totals; nothing that depends on when."""
    return csv_of(COLUMNS, (row for result in results for row in _rows(result)))


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    cell, scores = result.cell, result.scores
    head = {
        **{name: getattr(cell, name) for name in ("scene", "split", "model", "seed")},
        "run": cell.place.as_posix(),
        "failed": result.failed,
    }
    if scores is None or result.facts is None:
        yield {**head, "row": "total"}
        return
    head["split_hash"] = result.facts["split_hash"]
    train = scores.protocol.get("pixels_per_class", {})
    for index, name in enumerate(scores.classes):
        yield {
            **head,
            "row": "class",
            "class": name,
            "train": train.get(name, {}).get("train"),
            "test": int(scores.support[index]),
            **{column: getattr(scores, column)[index] for column in PER_CLASS},
        }
    yield {
        **head,
        "row": "total",
        "train": scores.protocol["pixels"]["train"],
        "test": int(scores.support.sum()),
        "overall_accuracy": scores.overall_accuracy,
        "average_accuracy": scores.average_accuracy,
        "kappa": scores.kappa,
        "parameters": result.facts["parameters"],
    }


def times_csv(results: list[Result]) -> str:
    """Seconds of every cell, and what they depend on."""
    return csv_of(TIMES, (_times(result) for result in results if result.facts is not None))


def _times(result: Result) -> dict[str, Any]:
    assert result.facts is not None
    cell, machine = result.cell, result.facts["machine"]
    head = {name: getattr(cell, name) for name in ("scene", "split", "model", "seed")}
    where = {name: machine[name] for name in ("threads", "cpu", "gpu")}
    return {**head, **result.facts["seconds"], **where, "run": cell.place.as_posix()}


def said_of(facts: Iterable[Mapping[str, Any] | None], name: str) -> list[str]:
    """What cells say of themselves under a name, each only once."""
    found: dict[str, None] = {}
    for each in facts:
        value = (each or {}).get(name)
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        if value:
            found[str(value)] = None
    return list(found)
