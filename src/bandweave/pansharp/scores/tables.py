"""Scores as text: aligned tables, the best of each column marked, and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.csv_text import format_csv_cell
from bandweave.pansharp.scores.names import FULL, REDUCED, SCORES, TOOLBOX
from bandweave.report.metric import Metric

TITLES = {
    "reduced": "Reduced resolution (Wald: PAN and MS degraded, the observed MS is the truth)",
    "full": "Full resolution (no reference)",
}
NAMES: dict[str, dict[str, Metric]] = {
    "reduced": {name: score for name, score in REDUCED.items() if name != "sam"},
    "full": FULL,
}
OPTIONAL: dict[str, dict[str, Metric]] = {"reduced": {}, "full": TOOLBOX}  # where rows have them
LEADING = {"reduced": "psnr", "full": "hqnr"}  # of the table by scene
SCENES = 6  # side by side in a table
BEST = "*"


@dataclass(frozen=True)
class ScoreRow:
    """Scores of a method on a scene by a protocol; seconds are of fitting, sharpening, scoring."""

    method: str
    scene: str
    protocol: str
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Table:
    """Methods by columns: values (methods, columns), and which of them are the best of a column."""

    title: str
    methods: list[str]
    heads: list[str]
    texts: list[list[str]]
    best: np.ndarray
    values: np.ndarray


def tables(rows: Sequence[ScoreRow]) -> list[str]:
    """Text tables of all protocols: means over the scenes, and the leading score by scene."""
    return [text for table in all_tables(rows) for text in _texts(table)]


def all_tables(rows: Sequence[ScoreRow]) -> list[Table]:
    """For each protocol a table of means, and one by scene where there are several."""
    found = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        scenes = list(dict.fromkeys(row.scene for row in own))
        found.append(_means(own, protocol, len(scenes)))
        if len(scenes) > 1:
            found.append(_by_scene(own, protocol, scenes))
    return found


def names_of(rows: Sequence[ScoreRow], protocol: str) -> dict[str, Metric]:
    """The scores of a protocol, with those that were asked for besides."""
    found = {name for row in rows if row.protocol == protocol for name in row.scores}
    more = {name: score for name, score in OPTIONAL[protocol].items() if name in found}
    return {**NAMES[protocol], **more}


def _means(rows: Sequence[ScoreRow], protocol: str, scenes: int) -> Table:
    names = names_of(rows, protocol)
    methods = list(dict.fromkeys(row.method for row in rows))
    values = np.full((len(methods), len(names)), math.nan)
    for i, method in enumerate(methods):
        for j, name in enumerate(names):
            own = np.array([row.scores[name] for row in rows if row.method == method])
            own = own[~np.isnan(own)]
            values[i, j] = own.mean() if own.size else math.nan
    title = TITLES[protocol] + (f", mean of {scenes} scenes" if scenes > 1 else "")
    return _table(title, methods, [score.head for score in names.values()], values, list(names))


def _by_scene(rows: Sequence[ScoreRow], protocol: str, scenes: Sequence[str]) -> Table:
    name = LEADING[protocol]
    methods = list(dict.fromkeys(row.method for row in rows))
    found = {(row.method, row.scene): row.scores[name] for row in rows}
    values = np.array([[found[method, scene] for scene in scenes] for method in methods])
    title = f"{SCORES[name].head} by scene, {protocol} resolution"
    return _table(title, methods, list(scenes), values, [name] * len(scenes))


def _table(
    title: str, methods: list[str], heads: list[str], values: np.ndarray, names: Sequence[str]
) -> Table:
    best = np.zeros(values.shape, bool)
    for j, name in enumerate(names):
        column = values[:, j]
        if len(methods) > 1 and not np.isnan(column).all():
            top = np.nanmax(column) if SCORES[name].higher else np.nanmin(column)
            best[:, j] = column == top
    texts = [[shown(name, value) for name, value in zip(names, row, strict=True)] for row in values]
    return Table(title, methods, heads, texts, best, values)


def shown(name: str, value: float) -> str:
    """A score with the digits that matter.

    >>> shown("psnr", 34.0512), shown("q2n", 0.98765), shown("sam", math.nan)
    ('34.05', '0.9877', '–')
    """
    return SCORES[name].table_text(value)


def _texts(table: Table) -> list[str]:
    """The table as text, in pieces where it has many columns."""
    pieces = []
    step = len(table.heads) if len(table.heads) <= 8 else SCENES
    for start in range(0, len(table.heads), step):
        stop = start + step
        lines = [["", *table.heads[start:stop]]]
        for method, texts, best in zip(table.methods, table.texts, table.best, strict=True):
            cells = zip(texts[start:stop], best[start:stop], strict=True)
            lines.append([method, *(text + (BEST if top else " ") for text, top in cells)])
        lines[0][1:] = [f"{head} " for head in lines[0][1:]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = "\n".join(
            "  ".join(
                cell.ljust(width) if j == 0 else cell.rjust(width)
                for j, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        pieces.append(f"{table.title}; {BEST} is the best\n\n{text}")
    return pieces


def csv_text(rows: Sequence[ScoreRow], facts: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a row; what a protocol does not have is empty, NaN too.

    facts   columns of each scene
    """
    file = io.StringIO()
    columns = list(next(iter(facts.values()), {}))
    writer = csv.writer(file, lineterminator="\n")
    names = [n for n in SCORES if n not in TOOLBOX or any(n in row.scores for row in rows)]
    writer.writerow(["method", "scene", "protocol", *names, "seconds", *columns])
    for row in rows:
        values = [row.scores.get(name, math.nan) for name in names]
        writer.writerow(
            [format_csv_cell(row.method), format_csv_cell(row.scene), row.protocol]
            + ["" if math.isnan(value) else repr(float(value)) for value in values]
            + [f"{row.seconds:.3f}", *(format_csv_cell(facts[row.scene][name]) for name in columns)]
        )
    return file.getvalue()
