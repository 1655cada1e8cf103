"""Scores as text: aligned tables, the best of each column marked, and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.csv_text import format_csv
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
LEADING = {"reduced": "psnr", "full": "hqnr"}  # of the table by pair
PAIRS = 6  # side by side in a table
BEST = "*"


@dataclass(frozen=True)
class ScoreRow:
    """Scores of a method on a pair by a protocol; seconds are of fitting, sharpening, scoring."""

    method: str
    pair: str
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


def format_tables(rows: Sequence[ScoreRow]) -> list[str]:
    """Text tables of all protocols: means over the pairs, and the leading score by pair."""
    return [text for table in make_tables(rows) for text in _format_table(table)]


def make_tables(rows: Sequence[ScoreRow]) -> list[Table]:
    """Make for each protocol a table of means, and one by pair where there are several."""
    found = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        methods = list(dict.fromkeys(row.method for row in own))
        pairs = list(dict.fromkeys(row.pair for row in own))
        by_method = [[row.scores for row in own if row.method == method] for method in methods]
        names = list_scores(rows, protocol)
        means = [[_mean([one[name] for one in each]) for name in names] for each in by_method]
        title = TITLES[protocol] + (f", mean of {len(pairs)} pairs" if len(pairs) > 1 else "")
        heads = [score.head for score in names.values()]
        found.append(_make_table(title, methods, heads, means, list(names.values())))
        if len(pairs) > 1:
            score = SCORES[LEADING[protocol]]
            title = f"{score.head} by pair, {protocol} resolution"
            values = [[one[LEADING[protocol]] for one in each] for each in by_method]
            found.append(_make_table(title, methods, pairs, values, [score] * len(pairs)))
    return found


def list_scores(rows: Sequence[ScoreRow], protocol: str) -> dict[str, Metric]:
    """The scores of a protocol, with those that were asked for besides."""
    found = {name for row in rows if row.protocol == protocol for name in row.scores}
    more = {name: score for name, score in OPTIONAL[protocol].items() if name in found}
    return {**NAMES[protocol], **more}


def _mean(values: Sequence[float]) -> float:
    """The mean of what is a number."""
    known = np.array(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _make_table(
    title: str,
    methods: list[str],
    heads: list[str],
    values: list[list[float]],
    scores: Sequence[Metric],
) -> Table:
    array = np.array(values)
    best = np.zeros(array.shape, bool)
    for j, score in enumerate(scores):
        column = array[:, j]
        if len(methods) > 1 and not np.isnan(column).all():
            best[:, j] = column == (np.nanmax(column) if score.higher else np.nanmin(column))
    texts = [[s.table_text(value) for s, value in zip(scores, row, strict=True)] for row in values]
    return Table(title, methods, heads, texts, best, array)


def _format_table(table: Table) -> list[str]:
    """The table as text, in pieces where it has many columns."""
    pieces = []
    step = len(table.heads) if len(table.heads) <= 8 else PAIRS
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


def format_scores(rows: Sequence[ScoreRow], facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows as CSV; what a protocol does not have is empty.

    facts   columns of each pair
    """
    names = [n for n in SCORES if n not in TOOLBOX or any(n in row.scores for row in rows)]
    columns = ["method", "pair", "protocol", *names, "seconds", *next(iter(facts.values()), {})]
    return format_csv(
        columns,
        (
            {
                "method": row.method,
                "pair": row.pair,
                "protocol": row.protocol,
                **row.scores,
                "seconds": f"{row.seconds:.3f}",
                **facts[row.pair],
            }
            for row in rows
        ),
    )
