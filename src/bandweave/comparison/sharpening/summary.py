"""Means over pairs and seeds, which differences hold, and what must be said beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bandweave.comparison.sharpening.results import Result, by_model, values_of
from bandweave.comparison.summary import Entry, said_once
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.protocols import PROTOCOLS
from bandweave.pansharp.scores.tables import LEADING, NAMES, TITLES, shown
from bandweave.significance import (
    LEAST_IMAGES,
    LEAST_SEEDS,
    LEVEL,
    bests_that_hold,
    crossed_p,
)


@dataclass(frozen=True)
class ScoreEntry(Entry):
    """A score of a table: its mean over pairs, then mean and deviation over the seeds, if any."""

    name: str = ""

    def __str__(self) -> str:
        text = shown(self.name, self.mean)
        return text + (f" ± {shown(self.name, self.std)}" if self.seeds > 1 else "")


@dataclass
class Row:
    """A method in a table.

    scores   by name, over all pairs that the table counts
    pairs    the leading score of each pair
    """

    model: str
    scores: dict[str, ScoreEntry]
    pairs: list[ScoreEntry]


@dataclass
class Method:
    """What a method was, and what it took.

    seeds    that are done; None of a classical method
    seconds  of training, the mean of the seeds
    paces    by protocol, seconds a pair: of fitting, sharpening and scoring
    runs     the folders of its runs, as a pattern
    """

    model: str
    seeds: int | None
    parameters: int | None
    seconds: float | None
    paces: dict[str, float | None]
    runs: str


@dataclass
class Panel:
    """A protocol as its tables show it.

    pairs  all test pairs that were scored
    line   the protocol in a line
    """

    protocol: str
    rows: list[Row]
    pairs: list[str]
    line: str
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return TITLES[self.protocol]

    @property
    def names(self) -> list[str]:
        """Of the scores."""
        return list(NAMES[self.protocol])

    @property
    def heads(self) -> list[str]:
        """Of the scores' columns, with an arrow to where the better values are."""
        return [head_of(name) for name in self.names]

    @property
    def leading(self) -> str:
        """The score by which pairs are shown one by one."""
        return LEADING[self.protocol]


@dataclass
class Comparisons:
    """Both protocols, the footnotes of dashes, what the bold numbers mean, what all share."""

    panels: list[Panel]
    methods: list[Method]
    footnotes: list[str]
    claims: str
    protocol: list[tuple[str, str]]
    notes: list[str]


def head_of(name: str) -> str:
    """
    >>> head_of("psnr"), head_of("ergas")
    ('PSNR dB ↑', 'ERGAS ↓')
    """
    score = SCORES[name]
    return f"{score.symbol} {score.unit}".rstrip() + (" ↑" if score.higher else " ↓")


def summarise(
    results: Sequence[Result], training: Sequence[str] = (), notes: Sequence[str] = ()
) -> Comparisons:
    """Means, tests and notes.

    training  names of the training pairs
    notes     that hold for all
    """
    models = by_model(list(results))
    footnotes: list[str] = []
    dashes = {
        model: _footnote(model, own, footnotes)
        for model, own in models.items()
        if any(not each.done for each in own)
    }
    shared = _protocol(results, training)
    pairs = max((len(each.scores) for each in results), default=0)
    panels, tested = [], 0
    for protocol in PROTOCOLS:
        panel, number = _panel(protocol, models, dashes, shared)
        panels.append(panel)
        tested = max(tested, number)
    claims = _claims(models, pairs, tested)
    methods = [_method(model, own) for model, own in models.items()]
    return Comparisons(panels, methods, footnotes, claims, shared, [*_notes(results), *notes])


# A panel -----------------------------------------------------------------------------------------


def _panel(
    protocol: str,
    models: dict[str, list[Result]],
    dashes: dict[str, int],
    shared: list[tuple[str, str]],
) -> tuple[Panel, int]:
    """The tables of a protocol, and how many pairs of methods were compared by a score at most."""
    done = [each for own in models.values() for each in own if each.done]
    pairs = list(done[0].scores) if done else []
    panel = Panel(protocol, [], pairs, _line(protocol, shared))
    holds: set[tuple[str, str]] = set()
    values: dict[str, dict[str, np.ndarray]] = {}
    tested = 0
    for name in panel.names:
        found = {model: values_of(own, protocol, name) for model, own in models.items()}
        found = {model: own for model, own in found.items() if own.size}
        lacking = [
            pair for j, pair in enumerate(pairs)
            if any(np.isnan(own[:, j]).any() for own in found.values())
        ]  # fmt: skip
        kept = [j for j, pair in enumerate(pairs) if pair not in lacking]
        values[name] = {model: own[:, kept] for model, own in found.items()}
        if lacking:
            panel.notes.append(
                f"{SCORES[name].symbol}: without {', '.join(lacking)}, where a method has none"
            )
        whole = {m: own for m, own in values[name].items() if m not in dashes and kept}
        best, number = _best(whole, models, SCORES[name].higher)
        holds |= {(model, name) for model in best}
        tested = max(tested, number)
    for model, own in models.items():
        panel.rows.append(_row(model, own, panel, values, holds, dashes.get(model)))
    return panel, tested


def _best(
    values: dict[str, np.ndarray], models: dict[str, list[Result]], higher: bool
) -> tuple[set[str], int]:
    """The method that is better than each other by a difference that holds, if there is one."""

    def p(_: int, one: str, other: str) -> float:
        for model in (one, other):
            if models[model][0].cell.seed is not None and len(values[model]) < LEAST_SEEDS:
                return math.nan
        if values[one].shape[1] < LEAST_IMAGES:
            return math.nan
        return crossed_p(values[one] - values[other])

    best, number = bests_that_hold([{m: float(own.mean()) for m, own in values.items()}], p, higher)
    return {model for _, model in best}, number


def _row(
    model: str,
    results: list[Result],
    panel: Panel,
    values: dict[str, dict[str, np.ndarray]],
    holds: set[tuple[str, str]],
    note: int | None,
) -> Row:
    classical = results[0].cell.seed is None

    def entry(name: str, own: np.ndarray, holds: bool = False) -> ScoreEntry:
        """own: (seeds,)"""
        if note is not None or not own.size:
            return ScoreEntry(math.nan, math.nan, 0, footnote=note, name=name)
        std = float(own.std(ddof=1)) if own.size > 1 and np.isfinite(own).all() else 0.0
        seeds = 0 if classical else own.size
        return ScoreEntry(float(own.mean()), std, seeds, holds, name=name)

    scores = {}
    for name in panel.names:
        own = values[name].get(model, np.empty((0, 0)))
        means = own.mean(axis=1) if own.size else np.empty(0)
        scores[name] = entry(name, means, (model, name) in holds)
    leading = values_of(results, panel.protocol, panel.leading)
    each_pair = [
        entry(panel.leading, leading[:, j] if leading.size else np.empty(0))
        for j in range(len(panel.pairs))
    ]
    return Row(model, scores, each_pair)


def _method(model: str, results: list[Result]) -> Method:
    done = [each for each in results if each.facts is not None]
    classical = results[0].cell.seed is None
    facts = [each.facts for each in done if each.facts is not None]
    trained = [f["seconds"]["train"] for f in facts if f["seconds"]["train"] is not None]
    paces = {p: [pair[p] for r in done for pair in r.seconds.values()] for p in PROTOCOLS}
    place = results[0].cell.place
    return Method(
        model,
        seeds=None if classical else len(done),
        parameters=facts[0]["parameters"] if facts else None,
        seconds=float(np.mean(trained)) if trained else None,
        paces={p: float(np.mean(own)) if own else None for p, own in paces.items()},
        runs=(place if classical else place.parent / "seed-*").as_posix(),
    )


def _footnote(model: str, results: list[Result], footnotes: list[str]) -> int:
    """The number of a note on why a method has no mean; equal reasons of seeds stand once."""
    reasons: dict[str, list[str]] = {}
    for each in results:
        if each.failed:
            seed = "" if each.cell.seed is None else str(each.cell.seed)
            reasons.setdefault(each.failed, []).append(seed)
    why = "; ".join(
        f"seed {', '.join(seeds)}: {reason}" if seeds[0] else reason
        for reason, seeds in reasons.items()
    )
    text = f"{model}: {why}"
    psnr = values_of(results, "reduced", "psnr")
    if psnr.size:
        seeds = [each.cell.seed for each in results if each.done]
        means = zip(psnr.mean(axis=1), seeds, strict=True)
        text += ". PSNR of those that are done: " + ", ".join(
            f"{shown('psnr', value)} dB (seed {seed})" for value, seed in means
        )
    footnotes.append(text)
    return len(footnotes)


# What is said beside them ------------------------------------------------------------------------


def _protocol(results: Sequence[Result], training: Sequence[str]) -> list[tuple[str, str]]:
    """What is the same for all methods."""
    done = next((each for each in results if each.done), None)
    if done is None:
        return [("Test pairs", "no cell is done")]
    first = next(iter(done.depends.values()))
    lines = [
        (term, text) for term, text in map(tuple, first["lines"])
        if term in ("Sensor", "MTF at Nyquist", "Peak")
    ]  # fmt: skip
    ratios = sorted({each["ratio"] for each in done.depends.values()})
    lines.append(("Ratio", ", ".join(map(str, ratios))))
    registered = [pair for pair, each in done.depends.items() if each["registered"]]
    which = "all" if len(registered) == len(done.depends) else ", ".join(registered) or "none"
    lines.append(("Registered", f"{which} of the test pairs, for every method alike"))
    lines.append(("Test pairs", f"{len(done.scores)} ({', '.join(done.scores)})"))
    seeds = list(dict.fromkeys(r.cell.seed for r in results if r.cell.seed is not None))
    if seeds:
        lines.append(("Training pairs", f"{len(training)} ({', '.join(training)})"))
        lines.append(("Seeds", f"{', '.join(map(str, seeds))} (of training)"))
    return lines


def _line(protocol: str, shared: list[tuple[str, str]]) -> str:
    """The protocol in a line, beneath every drawing."""
    words = dict(shared)
    parts = [TITLES[protocol]]
    if "Sensor" in words:
        parts.append(f"sensor {words['Sensor'].partition(' (')[0]}, peak {words['Peak']}")
        which = words["Registered"].partition(" of the test")[0]
        parts.append(f"ratio {words['Ratio']}; registered: {which}")
    parts.append(f"test pairs: {words['Test pairs']}")
    if "Seeds" in words:
        parts.append(f"training pairs: {words['Training pairs'].partition(' (')[0]}")
        parts.append(f"seeds {words['Seeds']}")
    return "; ".join(parts)


def _notes(results: Sequence[Result]) -> list[str]:
    seeds = {each.cell.seed for each in results if each.cell.seed is not None}
    notes = []
    if len(seeds) == 1:
        notes.append(
            "A single seed: nothing tells how much of a difference is chance; compare over five "
            "or more"
        )
    said: dict[str, list[str]] = {}
    for pair, found in next((r.depends for r in results if r.done), {}).items():
        for note in found["notes"]:
            said.setdefault(note, []).append(pair)
    pairs = next((list(r.depends) for r in results if r.done), [])
    return notes + said_once(said, pairs, "pair")


def _claims(models: dict[str, list[Result]], pairs: int, tested: int) -> str:
    """What a bold number says, or why none is."""
    seeds = [len(own) for own in models.values() if own[0].cell.seed is not None]
    if pairs < LEAST_IMAGES:
        return (
            f"Nothing is bold: {pairs} test pair{'s' if pairs != 1 else ''} cannot tell what holds "
            f"on others; compare on {LEAST_IMAGES} or more."
        )
    if seeds and min(seeds) < LEAST_SEEDS:
        return (
            f"Nothing is bold: with {min(seeds)} seed{'s' if min(seeds) != 1 else ''} no "
            f"difference can be claimed of what is trained; compare over {LEAST_SEEDS} or more."
        )
    if not tested:
        return "Nothing is bold: there are no two methods whose cells are all done."
    return (
        f"Bold: better than each other method of its column, by a difference that holds at "
        f"{LEVEL:g} over seeds and over test pairs at once (min F′, Clark 1973; between methods "
        f"without seeds the paired t-test over pairs), adjusted by Holm's method for the {tested} "
        f"pair{'s' if tested != 1 else ''} of methods. Said of other seeds and of other pairs like "
        f"these {pairs}, if they are independent of one another; not of other training pairs."
    )
