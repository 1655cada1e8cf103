"""Results in one file, a line of JSON each: they stay where run folders are gone or code changes.

    case, model, seed   of the cell
    identity            what the cell was made from; null where that is not known
    values              scores: case, part, and each metric by its name
    facts, details      what Result holds besides

A line counts for its cell as long as it stands there, whatever the code does today; the versions
that it was measured with are among its facts. To measure again, delete the line.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bandweave.comparison.plan import Cell
from bandweave.comparison.results import Result
from bandweave.errors import RunError
from bandweave.training.atomic import write_text
from bandweave.training.config import conflicts

MOST_NAMED = 3  # versions in a note
Key = tuple[tuple[str, ...], str, int | None]


def read_kept(path: Path, cells: Iterable[Cell]) -> dict[Key, Result]:
    """Read the results of these cells that a file holds; none where there is no file.

    Raises RunError for a file that is damaged.
    """
    if not path.exists():
        return {}
    wanted = {_key(cell): cell for cell in cells}
    found: dict[Key, Result] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            stored = json.loads(line)
            key = (tuple(stored["case"]), stored["model"], stored["seed"])
            if key in wanted:
                found[key] = _read_line(wanted[key], stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"line {number} of {path} cannot be read ({error!s:.200}); restore the file, or "
                f"delete the line to measure its cell again"
            ) from error
    return found


def keep_results(path: Path, results: Iterable[Result], kept: Mapping[Key, Result]) -> None:
    """Add the finished results to a file that does not hold them yet, and write it whole."""
    new = [each for each in results if each.done and _key(each.cell) not in kept]
    if new:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, before + "".join(_write_line(each) + "\n" for each in new))


def find_kept(kept: Mapping[Key, Result], cell: Cell) -> Result | None:
    """The kept result of a cell, if there is one."""
    return kept.get(_key(cell))


def explain_kept(kept: Sequence[Result]) -> list[str]:
    """Notes on kept results: how many they are, with which versions, and what differs by now."""
    if not kept:
        return []
    found = [str((r.facts or {}).get("versions", {}).get("bandweave", "?")) for r in kept]
    versions = list(dict.fromkeys(found))
    if len(versions) > MOST_NAMED:
        versions = [*versions[:MOST_NAMED], f"and {len(versions) - MOST_NAMED} more"]
    notes = [
        f"{len(kept)} cell{'s' if len(kept) > 1 else ''} measured earlier, with bandweave "
        f"{', '.join(versions)}, and kept in a file"
    ]
    if unknown := sum("differs" not in (each.facts or {}) for each in kept):
        notes[0] += f"; {unknown} of them were carried over with scores alone: options not checked"
    others: dict[str, None] = {}
    for each in kept:
        for line in (each.facts or {}).get("differs", []):
            others[
                f"{each.cell.model}: measured with other options than the plan has now ({line})"
            ] = None
    return notes + list(others)


def _key(cell: Cell) -> Key:
    return cell.case, cell.model, cell.seed


def _read_line(cell: Cell, stored: Mapping[str, Any]) -> Result:
    facts = {**stored["facts"], "kept": True}
    if stored.get("identity") is not None:
        now = json.loads(_write_portable(json.dumps(cell.identity)))
        facts["differs"] = conflicts(stored["identity"], now)
    values: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for row in stored["values"]:
        case, part = tuple(row["case"]), row["part"]
        own = {name: value for name, value in row.items() if name not in ("case", "part")}
        values.setdefault(case, {})[part] = {
            name: math.nan if value is None else float(value) for name, value in own.items()
        }
    return Result(cell, facts, values, stored.get("details"))


def _write_line(result: Result) -> str:
    values = [
        {"case": case, "part": part, **{name: _make_plain(value) for name, value in own.items()}}
        for case, parts in result.values.items()
        for part, own in parts.items()
    ]
    facts = {name: value for name, value in (result.facts or {}).items() if name != "identity"}
    details = result.details if isinstance(result.details, dict) else None
    cell = result.cell
    stored = {"case": cell.case, "model": cell.model, "seed": cell.seed, "identity": cell.identity}
    return _write_portable(
        json.dumps({**stored, "values": values, "facts": facts, "details": details})
    )


def _write_portable(text: str) -> str:
    """JSON whose paths hold on other machines: below BANDWEAVE_DATA, or below this folder."""
    places = {os.environ.get("BANDWEAVE_DATA", ""): "${BANDWEAVE_DATA}/", os.getcwd(): ""}
    for place, name in places.items():
        if place:
            text = text.replace(json.dumps(place + os.sep)[1:-1], name)
    return text


def _make_plain(value: float | None) -> float | str | None:
    """A number as JSON has it, which knows neither NaN nor infinity."""
    if value is None or math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else str(value)
