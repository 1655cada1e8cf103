"""A folder is taken for a comparison, and its cells are waited for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bandweave.comparison.plan import Cell
from bandweave.errors import OutputError, RunError
from bandweave.output_files import list_contents
from bandweave.schema import join_words, list_differences
from bandweave.training.atomic import write_yaml
from bandweave.training.progress import Progress
from bandweave.yaml_files import read_yaml

log = logging.getLogger(__name__)

PLAN = "compare.yaml"
SHOWN = 5  # differences that an error names


# The folder --------------------------------------------------------------------------------------


def claim_folder(root: Path, now: Mapping[str, Any], growing: Sequence[str]) -> None:
    """Take the folder for a comparison, as compare.yaml holds it, or refuse one of another.

    growing   mappings by name, or lists, to which may be added; all else must be as it was

    Raises OutputError where it is a file, RunError where something else stands in it.
    """
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is a file; a comparison is a folder, choose another name")
    path = root / PLAN
    if path.exists():
        if differing := _list_conflicts(read_yaml(path), now, growing):
            if len(differing) > SHOWN:
                differing[SHOWN:] = [f"and {len(differing) - SHOWN} more"]
            raise RunError(
                f"{root} holds another comparison: {'; '.join(differing)}. Take the options as "
                f"they were then ({join_words(growing, 'and')} may be added), or compare into "
                f"another folder"
            )
    elif names := list_contents(root):
        there = ", ".join(names[:6])
        raise RunError(
            f"{root} is not empty and holds no comparison (there is: {there}); choose another "
            f"folder"
        )
    write_yaml(path, now)


def _list_conflicts(
    then: Mapping[str, Any], now: Mapping[str, Any], growing: Sequence[str]
) -> list[str]:
    """The differences between two plans, but for what was added."""
    lines = []
    for part in dict.fromkeys([*growing, *then]):
        old, new = then.get(part), now.get(part)
        if isinstance(old, Mapping) and part in growing:
            for name, options in old.items():
                if name not in (new or {}):
                    lines.append(f"it has {name!r} among its {part}")
                else:
                    lines += list_differences({name: options}, {name: now[part][name]})
        elif isinstance(old, list) and part in growing:
            missing = [each for each in old if each not in (new or [])]
            lines += [f"it has the {part.removesuffix('s')} {each}" for each in missing[:1]]
        elif part not in growing:
            lines += list_differences({part: old}, {part: new})
    return lines


# Its cells ---------------------------------------------------------------------------------------


def follow_cells(
    made: Iterable[tuple[Cell, dict[str, Any]]], missing: int, total: int, *, quiet: bool
) -> dict[str, str]:
    """Wait for cells, say of each that it is done, and return why some failed, by their place."""
    failures: dict[str, str] = {}
    done = total - missing
    if done:
        log.info("%d of %d cells are finished already", done, total)
    with Progress("comparing, cells", total, done, quiet=quiet) as bar:
        for cell, facts in made:
            if "failed" in facts:
                failures[str(cell.place)] = facts["failed"]
                log.warning("%s: failed: %s", cell, facts["failed"])
            elif not quiet:
                log.info("%s: done", cell)
            bar.advance()
    return failures
