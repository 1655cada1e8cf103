"""Means over seeds and parts, which differences hold, and what must be said beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bandweave.comparison.panels import Entry, Panel, Row, Summary
from bandweave.comparison.plan import CLASSICAL
from bandweave.comparison.results import Result
from bandweave.comparison.task import Task
from bandweave.report.metric import Metric
from bandweave.significance import LEAST_SEEDS, find_bests

SINGLE_SEED = (
    "A single seed: nothing tells how much of a difference is chance; compare over five or more"
)


def summarise(task: Task, results: Sequence[Result]) -> Summary:
    """Panels with means, tests, notes and footnotes."""
    panels = task.make_panels(results)
    counted = [_find_counted_parts(panel) for panel in panels]
    holds: set[tuple[int, str, str]] = set()
    tested = 0
    for numbers in [[*range(len(panels))]] if task.joint else [[i] for i in range(len(panels))]:
        for metric in panels[numbers[0]].columns if numbers else ():
            best, pairs = _find_best(task, panels, numbers, metric, counted)
            holds |= {(number, metric, model) for number, model in best}
            tested = max(tested, pairs)
    footnotes: dict[tuple[str, ...], str] = {}
    for number, panel in enumerate(panels):
        for model, own in panel.results.items():
            if not panel.is_complete(model):
                footnotes.setdefault((*own[0].cell.case, model), explain_dash(panel, model))
        for model in panel.results:
            metrics = {m for (i, m, name) in holds if (i, name) == (number, model)}
            panel.rows.append(_make_row(task, panel, model, counted[number], metrics, [*footnotes]))
        panel.against = _find_reference(task, panel, counted[number])
        if panel.against:
            for row in panel.rows:
                row.gain = _find_gain(task, panel, row.model, counted[number])
        task.describe_panel(panel)
    summary = Summary(panels, list(footnotes.values()), task.claim(panels, tested))
    task.describe_all(results, summary)
    return summary


def _find_counted_parts(panel: Panel) -> dict[str, list[str]]:
    """The parts over which each metric is averaged: those for which no model lacks it."""
    return {
        metric: [part for part in panel.averaged if part not in panel.left_out(metric)]
        for metric in panel.columns
    }


def _find_best(
    task: Task,
    panels: Sequence[Panel],
    numbers: Sequence[int],
    metric: str,
    counted: Sequence[Mapping[str, Sequence[str]]],
) -> tuple[set[tuple[int, str]], int]:
    """(panel, model) where a model is better than each other by a difference that holds."""
    tables = [
        {
            model: panels[number].values(model, metric, counted[number][metric])
            for model in panels[number].results
            if panels[number].is_complete(model) and counted[number][metric]
        }
        for number in numbers
    ]

    def p(place: int, one: str, other: str) -> float:
        return task.test_difference(panels[numbers[place]], one, other, tables[place])

    means = [
        {model: float(own.mean()) for model, own in table.items() if not np.isnan(own).any()}
        for table in tables
    ]
    best, tested = find_bests(means, p, panels[numbers[0]].columns[metric].higher)
    return {(numbers[place], model) for place, model in best}, tested


def _make_row(
    task: Task,
    panel: Panel,
    model: str,
    counted: Mapping[str, Sequence[str]],
    best: set[str],
    footnotes: Sequence[tuple[str, ...]],
) -> Row:
    results = panel.results[model]
    cell = results[0].cell
    key = (*cell.case, model)
    note = None if panel.is_complete(model) else footnotes.index(key) + 1

    def entry(metric: Metric, values: np.ndarray, holds: bool = False) -> Entry:
        """values: (seeds,)"""
        known = values[~np.isnan(values)]
        if note is not None or not known.size:
            done = sum(each.done for each in results)
            return Entry(metric, math.nan, math.nan, done, footnote=note)
        spread = known.size > 1 and bool(np.isfinite(known).all())
        std = float(known.std(ddof=1)) if spread else 0.0
        return Entry(metric, float(known.mean()), std, known.size, holds)

    scores = {}
    for name, metric in panel.columns.items():
        table = panel.values(model, name, counted[name])
        means = table.mean(axis=1) if table.size else np.empty(0)
        scores[name] = entry(metric, means, name in best)
    parts = panel.values(model, panel.by_part, panel.parts)
    facts = [each.facts for each in results if each.facts is not None]
    trained = [s for each in results if (s := each.seconds.get("train")) is not None]
    runs = cell.place if cell.seed is None else cell.place.parent / "seed-*"
    return Row(
        model,
        scores,
        [entry(panel.part_metric, column) for column in parts.T],
        parameters=facts[0]["parameters"] if facts else None,
        seeds=None if cell.seed is None else len(facts),
        seconds=float(np.mean(trained)) if trained else None,
        runs="kept" if facts and all(each.get("kept") for each in facts) else runs.as_posix(),
        facts=task.describe_model(panel, results),
    )


def _find_reference(task: Task, panel: Panel, counted: Mapping[str, Sequence[str]]) -> str:
    """The model that gains of a panel are over; "" where there is none that is done."""
    done = [model for model in panel.results if any(each.done for each in panel.results[model])]
    if task.against != CLASSICAL:
        return task.against if task.against in done else ""
    classical = [m for m in done if task.is_classical(panel.results[m][0].cell)]
    if not classical:
        return ""
    sign = 1 if panel.columns[panel.leading].higher else -1
    parts = counted[panel.leading]
    return max(classical, key=lambda m: sign * panel.values(m, panel.leading, parts).mean())


def _find_gain(
    task: Task, panel: Panel, model: str, counted: Mapping[str, Sequence[str]]
) -> tuple[float, float, float] | None:
    """The mean difference to the panel's reference over the seeds that both have, and interval."""
    if model == panel.against:
        return None
    parts, both = counted[panel.leading], {}
    for name in (model, panel.against):
        seeds = [each.cell.seed for each in panel.results[name] if each.done]
        both[name] = dict(zip(seeds, panel.values(name, panel.leading, parts), strict=True))
    shared = [seed for seed in both[model] if seed in both[panel.against]]
    if None in both[panel.against] or None in both[model]:  # one of them has no seeds
        values = {name: np.array([*own.values()]) for name, own in both.items()}
    else:
        values = {name: np.array([own[seed] for seed in shared]) for name, own in both.items()}
    if not all(own.size for own in values.values()):
        return None
    return task.estimate_difference(panel, model, panel.against, values)


def explain_dash(panel: Panel, model: str) -> str:
    """Why a model has no mean; equal reasons of seeds stand once."""
    reasons: dict[str, list[str]] = {}
    results = panel.results[model]
    for each in results:
        if each.failed:
            seed = "" if each.cell.seed is None else str(each.cell.seed)
            reasons.setdefault(each.failed, []).append(seed)
    why = "; ".join(
        f"seed {', '.join(seeds)}: {reason}" if seeds[0] else reason
        for reason, seeds in reasons.items()
    )
    text = f"{', '.join((*results[0].cell.case, model))}: {why}"
    metric = panel.columns[panel.leading]
    values = panel.values(model, panel.leading, panel.averaged)
    if values.size:
        seeds = [each.cell.seed for each in results if each.done]
        means = zip(values.mean(axis=1), seeds, strict=True)
        unit = f" {metric.unit}" if metric.unit not in ("", "%") else ""
        finished = ", ".join(
            f"{metric.table_text(value)}{unit} (seed {seed})" for value, seed in means
        )
        words = metric.name.capitalize() or metric.symbol
        text += f". {words} of those that are done: {finished}"
    return text


def too_few_seeds(panels: Sequence[Panel]) -> int | None:
    """The smallest number of seeds, where it is too small to claim anything."""
    seeds = [len(own) for p in panels for own in p.results.values() if own[0].cell.seed is not None]
    return min(seeds) if seeds and min(seeds) < LEAST_SEEDS else None


def merge_notes(
    said: Mapping[str, Sequence[Any]], everywhere: Sequence[Any], what: str
) -> list[str]:
    """Notes, each with where it holds unless everywhere; those alike but for numbers stand once.

    said   where each was said, such as by which seeds
    what   is named before these, such as 'seed'

    >>> merge_notes({"guard: 30 px": [0], "guard: 31 px": [1], "odd": [1]}, [0, 1], "seed")
    ['Guard: 30 px (seed 0; alike with 1)', 'Odd (seed 1)']
    """
    alike: dict[str, tuple[str, list[Any]]] = {}
    for note, where in said.items():
        alike.setdefault(re.sub(r"\d+", "0", note), (note, []))[1].extend(where)
    notes = []
    for note, where in alike.values():
        which = "" if set(where) == set(everywhere) else f" ({what} {', '.join(map(str, where))})"
        if list(said[note]) != where:
            others = ", ".join(map(str, where[1:]))
            which = f" ({what} {said[note][0]}; alike with {others})"
        notes.append(f"{note[:1].upper()}{note[1:]}{which}")
    return notes
