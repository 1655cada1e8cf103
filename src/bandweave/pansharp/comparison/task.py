"""The task of a sharpening comparison: scores, tests, protocol and words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.cluster.sharing import Sharing, make_cells
from bandweave.comparison.panels import Panel, Summary
from bandweave.comparison.plan import Cell, CellOptions
from bandweave.comparison.results import Result, Values, group_by_model, name_cell
from bandweave.comparison.summary import SINGLE_SEED, merge_notes
from bandweave.comparison.tables import (
    escape_tex,
    list_notes,
    mark_entry,
    markdown_rows,
    tex_entry,
)
from bandweave.comparison.task import Task
from bandweave.errors import RunError
from bandweave.pansharp.comparison.cell import run_cell
from bandweave.pansharp.comparison.page import write_page
from bandweave.pansharp.comparison.plan import Plan
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.protocols import PROTOCOLS
from bandweave.pansharp.scores.tables import LEADING, NAMES, TITLES
from bandweave.report.words import format_count, seconds_in_words
from bandweave.significance import LEAST_IMAGES, LEAST_SEEDS, LEVEL, crossed_interval, crossed_p

DEPENDS = ("sensor", "ratio", "peak", "registered", "shift_rows", "shift_cols")
SIGNS = {  # in LaTeX, longer ones first
    **{s: SCORES[name].tex for name in sorted(SCORES, key=lambda n: -len(SCORES[n].symbol))
       if SCORES[name].tex and (s := SCORES[name].symbol)},
    "°": "$^\\circ$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "′": "$'$",
}  # fmt: skip


def list_heads(panel: Panel) -> dict[str, str]:
    """The heads of scores by name, with an arrow to where the better values are."""
    return {
        name: f"{score.head} {'↑' if score.higher else '↓'}"
        for name, score in panel.columns.items()
    }


@dataclass
class SharpeningTask(Task):
    """Methods on test pairs, by scores at reduced and at full resolution.

    opened   the test pairs
    notes    that hold for all
    """

    plan: Plan
    opened: Mapping[str, Pair]
    notes: Sequence[str] = ()
    against: str = ""

    case_names = ()
    growing = ("models", "seeds")
    title = "Comparison of sharpening"
    words = "Means over the test pairs; of what is trained, mean ± standard deviation over seeds."
    joint = False
    columns = (
        *("model", "seed", "pair", "protocol", *SCORES),
        *("parameters", "pixels", *DEPENDS, "run", "failed"),
    )
    times = ("model", "seed", "train", *PROTOCOLS, "threads", "cpu", "gpu", "run")
    signs = SIGNS

    # Cells ---------------------------------------------------------------------------------------

    def describe_plan(self) -> dict[str, Any]:
        return self.plan.to_dict()

    def cells(self) -> Iterator[Cell]:
        return self.plan.cells()

    def make_cells(
        self, root: Path, cells: Sequence[Cell], options: CellOptions, sharing: Sharing
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        return make_cells(root, cells, options, run_cell, sharing)

    # What came of them ---------------------------------------------------------------------------

    def read_result(self, cell: Cell, facts: dict[str, Any], scores: dict[str, Any]) -> Result:
        stored = {pair: scores["pairs"][pair] for pair in cell.work["test"]}
        values: Values = {
            (protocol,): {
                pair: {
                    **dict.fromkeys(
                        NAMES[protocol], math.nan
                    ),  # of a protocol it was not scored by
                    **_read_numbers(each["scores"].get(protocol, {})),
                }
                for pair, each in stored.items()
            }
            for protocol in PROTOCOLS
        }
        result = Result(cell, facts, values, stored)
        _ = [*self.list_csv_rows(result)], facts["machine"], facts["seconds"]["train"]
        return result

    def check_same_pixels(self, root: Path, results: Sequence[Result]) -> None:
        """Raise RunError where methods were scored on other pixels of a pair."""
        first: dict[str, tuple[dict[str, Any], Cell]] = {}
        for result in results:
            for pair, each in (result.details or {}).items():
                found = each["facts"]
                own = {name: found[name] for name in ("size", "bands", *DEPENDS)}
                own["pixels"] = {name: count["pixels"] for name, count in found["counted"].items()}
                known, other = first.setdefault(pair, (own, result.cell))
                differing = [name for name in own if not _are_nearly_equal(own[name], known[name])]
                if differing:
                    raise RunError(
                        f"{root / result.cell.place} and {root / other.place} were scored on other "
                        f"pixels of the test pair {pair!r} ({differing[0]}: {own[differing[0]]} "
                        f"and {known[differing[0]]}): its files changed in between. Compare into "
                        f"another folder"
                    )

    def list_csv_rows(self, result: Result) -> Iterator[dict[str, Any]]:
        """A line for each test pair and protocol."""
        cell = result.cell
        head = {**name_cell(self.case_names, cell), "run": cell.place.as_posix()}
        head["failed"] = result.failed
        if result.facts is None:
            yield head
            return
        head["parameters"] = result.facts["parameters"]
        for pair, each in result.details.items():
            depends = {name: each["facts"][name] for name in DEPENDS}
            for protocol in PROTOCOLS:
                if protocol not in each["facts"]["counted"]:
                    continue
                pixels = each["facts"]["counted"][protocol]["pixels"]
                own = {"pair": pair, "protocol": protocol, "pixels": pixels, **depends}
                yield {**head, **own, **result.values[protocol,][pair]}

    # Summaries -----------------------------------------------------------------------------------

    def make_panels(self, results: Sequence[Result]) -> list[Panel]:
        """A panel for each protocol that anything was scored by."""
        done = next((each for each in results if each.done), None)
        pairs = [*done.details] if done is not None else []
        panels = []
        for protocol in PROTOCOLS:
            leading = LEADING[protocol]
            panel = Panel(
                (protocol,),
                TITLES[protocol],
                group_by_model(results),
                NAMES[protocol],
                leading=leading,
                by_part=leading,
                part_metric=SCORES[leading],
                averaged=pairs,
                parts=pairs,
            )
            panels.append(panel)
        scored = [
            panel for panel in panels
            if any(not np.isnan(panel.values(model, name, pairs)).all()
                   for model in panel.results for name in panel.columns)
        ]  # fmt: skip
        return scored or panels

    def test_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> float:
        """The p of min F′ over seeds and pairs."""
        for model in (one, other):
            trained = panel.results[model][0].cell.seed is not None
            if trained and len(values[model]) < LEAST_SEEDS:
                return math.nan
        if values[one].shape[1] < LEAST_IMAGES:
            return math.nan
        return crossed_p(values[one] - values[other])

    def estimate_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> tuple[float, float, float]:
        """The mean difference and its interval over seeds and pairs at once."""
        return crossed_interval(values[one] - values[other])

    def is_classical(self, cell: Cell) -> bool:
        return "method" in cell.work.get("config", {})

    def describe_model(self, panel: Panel, results: Sequence[Result]) -> dict[str, Any]:
        """Seconds of fitting, sharpening and scoring a pair, by protocol."""
        pairs = [pair["seconds"] for each in results if each.done for pair in each.details.values()]
        paces = {p: [seconds[p] for seconds in pairs if p in seconds] for p in PROTOCOLS}
        return {"paces": {p: float(np.mean(own)) if own else None for p, own in paces.items()}}

    def describe_panel(self, panel: Panel) -> None:
        for name, score in panel.columns.items():
            if lacking := panel.left_out(name):
                panel.notes.append(
                    f"{score.symbol}: without {', '.join(lacking)}, where a method has none"
                )

    def describe_all(self, results: Sequence[Result], summary: Summary) -> None:
        summary.protocol = _protocol(results, self.plan.training_names)
        summary.notes = [*_notes(results), *self.notes]
        for panel in summary.panels:
            panel.line = _protocol_line(panel.title, dict(summary.protocol))

    def claim(self, panels: Sequence[Panel], tested: int) -> str:
        """The meaning of a bold number, or why none is bold."""
        pairs = max((len(panel.parts) for panel in panels), default=0)
        models = panels[0].results.values()
        seeds = [len(own) for own in models if own[0].cell.seed is not None]
        if pairs < LEAST_IMAGES:
            return (
                f"Nothing is bold: {pairs} test pair{'s' if pairs != 1 else ''} cannot tell what "
                f"holds on others; compare on {LEAST_IMAGES} or more."
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
            f"{LEVEL:g} over seeds and over test pairs at once (min F′, Clark 1973; between "
            f"methods without seeds the paired t-test over pairs), adjusted by Holm's method for "
            f"the {tested} pair{'s' if tested != 1 else ''} of methods. Said of other seeds and of "
            f"other pairs like these {pairs}, if they are independent of one another; not of other "
            f"training pairs."
        )

    # Tables and page -----------------------------------------------------------------------------

    def format_panel(self, panel: Panel) -> list[str]:
        heads = ["model", *list_heads(panel).values(), *panel.gain_head]
        rows = []
        for row in panel.rows:
            gain = [panel.gain_words(row)] if panel.against else []
            rows.append([row.model, *map(mark_entry, row.scores.values()), *gain])
        lines = [*markdown_rows(heads, rows), "", *list_notes(panel.notes)]
        lines += [""] if panel.notes else []
        if len(panel.parts) > 1:
            heads = [panel.part_metric.head, *panel.parts]
            rows = [[row.model, *map(mark_entry, row.parts)] for row in panel.rows]
            lines += [*markdown_rows(heads, rows), ""]
        return lines

    def format_closing(self, summary: Summary) -> list[str]:
        """A line on each method: its kind, and what it took."""
        heads = ["model", "seeds", "parameters", "training", *(f"a pair, {p}" for p in PROTOCOLS)]
        rows = []
        for row in summary.panels[0].rows:
            took = [row.seconds, *row.facts["paces"].values()]
            rows.append([
                row.model,
                "–" if row.seeds is None else str(row.seeds),
                "–" if row.parameters is None else format_count(row.parameters),
                *("–" if each is None else seconds_in_words(each) for each in took),
                f"`{row.runs}`",
            ])  # fmt: skip
        return ["## Methods", "", *markdown_rows([*heads, "runs"], rows), ""]

    def list_tex_groups(self, panel: Panel) -> list[list[list[str]]]:
        """Methods by scores."""
        return [
            [["Method", *(escape_tex(head, self.signs) for head in list_heads(panel).values())]],
            [[escape_tex(row.model), *map(tex_entry, row.scores.values())] for row in panel.rows],
        ]

    def caption(self, panel: Panel, summary: Summary) -> str:
        lines = "; ".join(f"{term}: {text}" for term, text in summary.protocol)
        notes = [f"{note.rstrip('.')}." for note in (*summary.notes, *panel.notes)]
        return " ".join([f"{panel.title}.", self.words, summary.claims, f"{lines}.", *notes])

    def write_page(self, root: Path, results: Sequence[Result], summary: Summary) -> str:
        return write_page(
            root,
            self.plan,
            self.opened,
            results,
            summary,
            {p.case: list_heads(p) for p in summary.panels},
        )


def _read_numbers(stored: Mapping[str, float | str | None]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in stored.items()}


def _are_nearly_equal(one: Any, other: Any) -> bool:
    """True where two facts are equal, but for the last digits of numbers that were measured."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-6
    return one == other


def _pair_facts(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """The facts of each test pair that its scores depend on."""
    done = next((each for each in results if each.done), None)
    return {} if done is None else {pair: each["facts"] for pair, each in done.details.items()}


def _protocol(results: Sequence[Result], training: Sequence[str]) -> list[tuple[str, str]]:
    """The protocol that all methods share."""
    depends = _pair_facts(results)
    if not depends:
        return [("Test pairs", "no cell is done")]
    first = next(iter(depends.values()))
    lines = [
        (term, text) for term, text in map(tuple, first["lines"])
        if term in ("Sensor", "MTF at Nyquist", "Peak")
    ]  # fmt: skip
    ratios = sorted({each["ratio"] for each in depends.values()})
    lines.append(("Ratio", ", ".join(map(str, ratios))))
    registered = [pair for pair, each in depends.items() if each["registered"]]
    which = "all" if len(registered) == len(depends) else ", ".join(registered) or "none"
    lines.append(("Registered", f"{which} of the test pairs, for every method alike"))
    lines.append(("Test pairs", f"{len(depends)} ({', '.join(depends)})"))
    seeds = list(dict.fromkeys(r.cell.seed for r in results if r.cell.seed is not None))
    if seeds:
        lines.append(("Training pairs", f"{len(training)} ({', '.join(training)})"))
        lines.append(("Seeds", f"{', '.join(map(str, seeds))} (of training)"))
    return lines


def _protocol_line(title: str, words: Mapping[str, str]) -> str:
    """The protocol in a line, beneath every drawing."""
    parts = [title]
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
    """A single seed, and what the pairs note."""
    seeds = {each.cell.seed for each in results if each.cell.seed is not None}
    said: dict[str, list[str]] = {}
    depends = _pair_facts(results)
    for pair, found in depends.items():
        for note in found["notes"]:
            said.setdefault(note, []).append(pair)
    return ([SINGLE_SEED] if len(seeds) == 1 else []) + merge_notes(said, [*depends], "pair")
