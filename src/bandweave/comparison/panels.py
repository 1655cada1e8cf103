"""The parts of a comparison's tables: panels of rows of entries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bandweave.comparison.results import ALL, Result, score_table
from bandweave.report.metric import Metric


@dataclass(frozen=True)
class Entry:
    """A number of a table: mean and deviation over the seeds; NaN where there is none.

    holds     it is the best of its column, and better than each other by a difference that holds
    footnote  number of the note that says why there is a dash; None where there is a number
    """

    metric: Metric
    mean: float
    std: float
    seeds: int
    holds: bool = False
    footnote: int | None = None

    def __str__(self) -> str:
        text = self.metric.table_text
        spread = self.seeds > 1 and not math.isnan(self.mean)
        return text(self.mean) + (f" ± {text(self.std)}" if spread else "")


@dataclass
class Row:
    """A model in a panel.

    scores   by metric, over all parts that the table counts
    parts    the panel's metric of parts, of each part
    seeds    that are done; None for a method that no seed changes
    seconds  of training, the mean over the seeds
    runs     the folders of its runs, as a pattern
    gain     mean difference in the leading metric to `Panel.against`, and the ends of its 95 %
             interval, NaN where there is none; None for that model itself
    facts    what the task says of it besides, by name
    """

    model: str
    scores: dict[str, Entry]
    parts: list[Entry]
    parameters: int | None
    seeds: int | None
    seconds: float | None
    runs: str
    gain: tuple[float, float, float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Panel:
    """A case as its tables show it: models by metrics, and one metric by its parts.

    results   of each model, in the order of the seeds
    columns   metrics by name, as the table has them
    leading   metric by which methods are compared first
    by_part   metric that is shown part by part, and its row
    averaged  parts over which the scores of a seed are averaged
    parts     that `by_part` is shown for
    protocol  terms and what they are, the same for all models
    notes     what must be said beside the numbers
    line      the protocol in a line, beneath every drawing
    against   the model that gains are over; "" for none
    """

    case: tuple[str, ...]
    title: str
    results: dict[str, list[Result]]
    columns: Mapping[str, Metric]
    leading: str
    by_part: str
    part_metric: Metric
    averaged: Sequence[str] = (ALL,)
    parts: Sequence[str] = ()
    protocol: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    line: str = ""
    against: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def done(self) -> list[Result]:
        """Results with scores."""
        return [each for own in self.results.values() for each in own if each.done]

    @property
    def heads(self) -> list[str]:
        """The heads of the columns of scores."""
        return [metric.head for metric in self.columns.values()]

    def values(self, model: str, metric: str, parts: Sequence[str]) -> np.ndarray:
        """(k, n): a metric of a model by seed and part, of the cells that are done."""
        return score_table(self.results[model], self.case, metric, parts)

    def left_out(self, metric: str) -> list[str]:
        """The parts that a metric is not averaged over: a model that has it elsewhere lacks it."""
        tables = [self.values(model, metric, self.averaged) for model in self.results]
        some = [np.isnan(own).any(axis=0) for own in tables if not np.isnan(own).all()]
        lacking = np.any(some, axis=0) if some else np.zeros(len(self.averaged), bool)
        return [part for part, lacks in zip(self.averaged, lacking, strict=True) if lacks]

    @property
    def gain_head(self) -> list[str]:
        """The head of the column of gains, if there is one."""
        return [f"{self.columns[self.leading].head} over {self.against} (95 %)"] * bool(
            self.against
        )

    def gain_words(self, row: Row, digits: int | None = None) -> str:
        """The gain of a row with its interval, such as '+1.55 (−3.91 to +7.02)'; – for none.

        digits   after the point of the value itself; None: those of the metric
        """
        if row.gain is None:
            return "–"
        metric = self.columns[self.leading]
        metric = metric if digits is None else replace(metric, digits=digits)
        mean, low, high = (
            f"{'−' if value < 0 else '+'}{metric.table_text(abs(value))}" for value in row.gain
        )
        return mean if math.isnan(row.gain[1]) else f"{mean} ({low} to {high})"

    def is_complete(self, model: str) -> bool:
        """True where all cells of a model are done."""
        return all(each.done for each in self.results[model])


@dataclass
class Summary:
    """All panels, the footnotes of dashes, what bold numbers mean, and what all panels share."""

    panels: list[Panel]
    footnotes: list[str]
    claims: str
    protocol: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
