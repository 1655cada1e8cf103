"""Means over seeds, which differences hold, and what must be said beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandweave.comparison.results import Panel, Result, panels
from bandweave.data.splits.protocols import SPLITS
from bandweave.landcover.report.text import protocol_lines
from bandweave.significance import LEAST_SEEDS, LEVEL, bests_that_hold, corrected_p

SCORES = ("overall_accuracy", "average_accuracy", "kappa")
HEADS = {"overall_accuracy": "OA", "average_accuracy": "AA", "kappa": "κ×100"}


@dataclass(frozen=True)
class Entry:
    """A number of a table: percent, over the seeds; NaN where there is none.

    holds     it is the best of its column, and better than each other by a difference that holds
    footnote  number of the note that says why there is a dash; None where there is a number
    """

    mean: float
    std: float
    seeds: int
    holds: bool = False
    footnote: int | None = None

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.2f}" + (f" ± {self.std:.2f}" if self.seeds > 1 else "")


@dataclass
class Row:
    """A model in a panel.

    scores    by the names of SCORES
    classes   accuracy of each class
    reach     px of the grid, the share of test pixels with a training pixel within it
    runs      the folders of its runs, as a pattern
    """

    model: str
    scores: dict[str, Entry]
    classes: list[Entry]
    parameters: int | None
    reach: str
    runs: str
    seeds: int
    seconds: float | None


@dataclass
class Summary:
    """A panel as its tables show it.

    protocol  terms and what they are, the same for all models
    notes     what must be said: absent classes, a single seed, what the split itself notes
    """

    panel: Panel
    rows: list[Row]
    protocol: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.panel.title


@dataclass
class Comparisons:
    """All panels, the footnotes of dashes, and what the bold numbers mean."""

    panels: list[Summary]
    footnotes: list[str]
    claims: str


def summarise(results: Sequence[Result]) -> Comparisons:
    """Panels with means, tests and notes."""
    found = panels(list(results))
    tests = {score: _differences_that_hold(found, score) for score in SCORES}
    footnotes: list[str] = []
    summaries = []
    for number, panel in enumerate(found):
        rows = [
            _row(model, own, panel, {s: (number, model) in tests[s][0] for s in SCORES}, footnotes)
            for model, own in panel.results.items()
        ]
        summaries.append(Summary(panel, rows, _protocol(panel), _notes(panel)))
    return Comparisons(summaries, footnotes, _claims(found, tests["overall_accuracy"][1]))


def values_of(results: Sequence[Result], score: str) -> dict[int, float]:
    """A score in percent by seed."""
    return {
        each.cell.seed: 100 * getattr(each.scores, score)
        for each in results
        if each.scores is not None
    }


def _differences_that_hold(found: Sequence[Panel], score: str) -> tuple[set[tuple[int, str]], int]:
    """(panel, model) where the model is better than each other by a difference that holds."""
    means = [
        {
            model: float(np.mean([*values_of(own, score).values()]))
            for model, own in panel.results.items()
            if _whole(own)
        }
        for panel in found
    ]

    def p(number: int, one: str, other: str) -> float:
        return _compared(found[number].results[one], found[number].results[other], score)

    return bests_that_hold(means, p)


def _whole(results: Sequence[Result]) -> bool:
    return all(each.scores is not None for each in results)


def _compared(one: Sequence[Result], other: Sequence[Result], score: str) -> float:
    """The test's p; NaN where nothing can be claimed."""
    if not (_whole(one) and _whole(other)) or len(one) < LEAST_SEEDS:
        return math.nan
    first, second = values_of(one, score), values_of(other, score)
    ratio = float(np.mean([each.test_to_train for each in one]))
    return corrected_p([first[seed] - second[seed] for seed in first], ratio)


def _row(
    model: str,
    results: list[Result],
    panel: Panel,
    holds: dict[str, bool],
    footnotes: list[str],
) -> Row:
    note = None if _whole(results) else _footnote(results, footnotes)
    done = [each for each in results if each.scores is not None]

    def entry(values: Sequence[float], holds: bool = False) -> Entry:
        if note is not None:
            return Entry(math.nan, math.nan, len(done), footnote=note)
        known = [value for value in values if not math.isnan(value)]  # a class may be absent
        if not known:
            return Entry(math.nan, math.nan, 0)
        std = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
        return Entry(float(np.mean(known)), std, len(known), holds)

    facts = [each.facts for each in done if each.facts is not None]
    seconds = [f["seconds"]["train"] for f in facts if f["seconds"].get("train") is not None]
    return Row(
        model,
        {s: entry([*values_of(results, s).values()], holds[s]) for s in SCORES},
        [
            entry([100 * float(r.scores.accuracy[k]) for r in done if r.scores is not None])
            for k in range(len(panel.classes))
        ],
        parameters=facts[0]["parameters"] if facts else None,
        reach=_reach(facts[0]["protocol"]) if facts else "–",
        runs=(results[0].cell.place.parent / "seed-*").as_posix(),
        seeds=len(done),
        seconds=float(np.mean(seconds)) if seconds else None,
    )


def _footnote(results: list[Result], footnotes: list[str]) -> int:
    """The number of a note on why a model has no mean; equal reasons of seeds stand once."""
    done = values_of(results, "overall_accuracy")
    reasons: dict[str, list[str]] = {}
    for each in results:
        if each.failed:
            reasons.setdefault(each.failed, []).append(str(each.cell.seed))
    cell = results[0].cell
    why = "; ".join(f"seed {', '.join(seeds)}: {reason}" for reason, seeds in reasons.items())
    text = f"{cell.scene}, {cell.split}, {cell.model}: {why}"
    if done:
        finished = ", ".join(f"{value:.2f} (seed {seed})" for seed, value in done.items())
        text += f". Overall accuracy of those that are done: {finished}"
    footnotes.append(text)
    return len(footnotes)


def _reach(protocol: dict[str, Any]) -> str:
    share = protocol.get("test_share_within_reach")
    text = f"{protocol['reach_label_px']:g} px"
    return text if share is None else f"{text}, {100 * share:.0f} %"


def _protocol(panel: Panel) -> list[tuple[str, str]]:
    """What is the same for all models; hashes by seed, pixels of the first."""
    done = panel.done
    if not done or done[0].scores is None:
        return [("Split", f"{panel.split}: no cell is done")]
    first = done[0].scores.protocol
    config = done[0].cell.split_config
    shared = {key: value for key, value in first.items() if not key.startswith("reach")}
    hashes = {r.cell.seed: r.facts["split_hash"] for r in done if r.facts is not None}
    several = len(set(hashes.values())) > 1
    if several:
        shared.pop("seed", None)
    lines = [line for line in protocol_lines(shared) if not line[0].startswith("Hash")]
    lines = [(f"{t} (seed {done[0].cell.seed})" if several and t == "Labelled pixels" else t, w)
             for t, w in lines]  # fmt: skip
    seeds = ", ".join(str(seed) for seed in sorted(hashes))
    what = "of split and training" if SPLITS[config["name"]].drawn else "of training; one split"
    lines.append(("Seeds", f"{seeds} ({what})"))
    if several:
        text = ", ".join(f"{own[:12]}… (seed {seed})" for seed, own in sorted(hashes.items()))
        lines.append(("Hashes of the splits", text))
    else:
        lines.append(("Hash of the split", next(iter(hashes.values()))))
    return lines


def _notes(panel: Panel) -> list[str]:
    """What must be said of a panel."""
    notes: list[str] = []
    done = panel.done
    seeds = sorted({each.cell.seed for each in done})
    if len(seeds) == 1:
        notes.append(
            "A single seed: nothing tells how much of a difference is chance; compare over five "
            "or more"
        )
    lacking: dict[str, list[int]] = {}
    said: dict[str, list[int]] = {}
    for seed, scores in {r.cell.seed: r.scores for r in done if r.scores}.items():
        for name in scores.absent:
            lacking.setdefault(name, []).append(seed)
        for note in scores.protocol["notes"]:
            said.setdefault(note, []).append(seed)
        for name in scores.protocol.get("dropped", []):
            said.setdefault(f"class {name!r} is left out: not on both sides", []).append(seed)
    for name, where in lacking.items():
        said[f"class {name!r} has no test pixel, and takes no part in the average accuracy"] = where
    return notes + said_once(said, seeds, "seed")


def said_once(said: Mapping[str, Sequence[Any]], everywhere: Sequence[Any], what: str) -> list[str]:
    """Notes, each with where it holds unless everywhere; those alike but for numbers stand once.

    said   where each was said, such as by which seeds
    what   is named before these, such as 'seed'

    >>> said_once({"guard: 30 px": [0], "guard: 31 px": [1], "odd": [1]}, [0, 1], "seed")
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


def _claims(found: Sequence[Panel], pairs: int) -> str:
    """What a bold number says, or why none is."""
    seeds = max((len(own) for panel in found for own in panel.results.values()), default=0)
    if seeds < LEAST_SEEDS:
        return (
            f"Nothing is bold: with {seeds} seed{'s' if seeds != 1 else ''} no difference can be "
            f"claimed; compare over {LEAST_SEEDS} or more."
        )
    if not pairs:
        return "Nothing is bold: there are no two models whose cells are all done."
    return (
        f"Bold: better than each other model of its table, by a difference that holds at "
        f"{LEVEL:g} in the corrected resampled t-test (Nadeau and Bengio 2003) over seeds, "
        f"adjusted by Holm's method for the {pairs} pair{'s' if pairs != 1 else ''} of models in "
        f"all tables."
    )
