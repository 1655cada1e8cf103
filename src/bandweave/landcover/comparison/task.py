"""The task of a land-cover comparison: metrics, tests, protocol and words."""

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
from bandweave.comparison.results import ALL, Result, group_by_model, name_cell
from bandweave.comparison.summary import SINGLE_SEED, merge_notes
from bandweave.comparison.tables import (
    escape_tex,
    list_notes,
    list_terms,
    mark_entry,
    markdown_rows,
    tex_entry,
)
from bandweave.comparison.task import Task
from bandweave.data.splits.protocols import SPLITS
from bandweave.errors import ConfigError, RunError
from bandweave.landcover.comparison.cell import run_cell
from bandweave.landcover.comparison.page import write_page
from bandweave.landcover.comparison.plan import Plan
from bandweave.landcover.metrics import METRICS, class_metrics, map_metrics
from bandweave.landcover.report.protocol import describe_protocol
from bandweave.landcover.scoring import SceneScores
from bandweave.report.words import format_count
from bandweave.significance import LEAST_SEEDS, LEVEL, corrected_interval, corrected_p

CLASS_METRIC = "accuracy"  # that classes are shown by


@dataclass
class LandCoverTask(Task):
    """Models on scenes and splits, by accuracy on test pixels."""

    plan: Plan
    against: str = ""

    case_names = ("scene", "split")
    growing = ("models", "scenes", "splits", "seeds")
    title = "Comparison"
    words = "In percent: mean ± standard deviation over seeds; every test pixel counts once."
    joint = True
    times = (
        *case_names,
        *("model", "seed", "train", "score", "map", "threads", "cpu", "gpu", "run"),
    )

    @property
    def columns(self) -> Sequence[str]:
        return (
            *(*self.case_names, "model", "seed", "row", "class", "train", "test"),
            *(*class_metrics(), *map_metrics(), "parameters", "split_hash", "run", "failed"),
        )

    @property
    def signs(self) -> Mapping[str, str]:
        return {metric.symbol: metric.tex for metric in METRICS.values() if metric.tex}

    # Cells ---------------------------------------------------------------------------------------

    def describe_plan(self) -> dict[str, Any]:
        return self.plan.to_dict()

    def cells(self) -> Iterator[Cell]:
        return self.plan.cells()

    def make_cells(
        self, root: Path, cells: Sequence[Cell], options: CellOptions, sharing: Sharing
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Make cells; in this process with the scenes that are open already."""
        if sharing.dask is None and (sharing.processes == 1 or len(cells) < 2):
            opened = self.plan.opened
            return (
                (cell, run_cell(root, cell, options, opened.get(cell.case[0]))) for cell in cells
            )
        for cell in cells:
            if not cell.work["scene"]:
                raise ConfigError(
                    f"scene {cell.case[0]!r} was made in this process, and others cannot open it; "
                    f"compare with processes=1, or give the scene by its file"
                )
        return make_cells(root, cells, options, run_cell, sharing)

    # What came of them ---------------------------------------------------------------------------

    def read_result(self, cell: Cell, facts: dict[str, Any], scores: dict[str, Any]) -> Result:
        found = SceneScores.from_dict(scores).pixels
        train, by_class = found.protocol.get("pixels_per_class", {}), found.by_class()
        total = {
            "train": found.protocol["pixels"]["train"],
            "test": int(found.support.sum()),
            **found.overall(),
        }
        classes = {
            name: {
                "train": train.get(name, {}).get("train"),
                "test": int(found.support[index]),
                **{name: values[index] for name, values in by_class.items()},
            }
            for index, name in enumerate(found.classes)
        }
        facts = {**facts, "protocol": found.protocol}
        result = Result(cell, facts, {cell.case: {ALL: total, **classes}}, found)
        _ = facts["split_hash"], facts["parameters"], facts["machine"], facts["seconds"]["train"]
        return result

    def check_same_pixels(self, root: Path, results: Sequence[Result]) -> None:
        """Raise RunError where models of one scene, split and seed were scored on other pixels."""
        hashes: dict[tuple[Any, ...], tuple[str, Cell]] = {}
        for result in results:
            if result.facts is None:
                continue
            cell, own = result.cell, result.facts["split_hash"]
            first, other = hashes.setdefault((cell.case, cell.seed), (own, cell))
            if own != first:
                raise RunError(
                    f"{root / cell.place} and {root / other.place} are of one scene, split and "
                    f"seed, but of other pixels (hashes {own[:12]}… and {first[:12]}…): the scene "
                    f"or its labels changed in between. Compare into another folder"
                )

    def list_csv_rows(self, result: Result) -> Iterator[dict[str, Any]]:
        """A line for each class, then one of all test pixels."""
        cell = result.cell
        head = {
            **name_cell(self.case_names, cell),
            "run": cell.place.as_posix(),
            "failed": result.failed,
        }
        if result.facts is None:
            yield {**head, "row": "total"}
            return
        head["split_hash"] = result.facts["split_hash"]
        values = result.values[cell.case]
        for name in _classes(result):
            yield {**head, "row": "class", "class": name, **values[name]}
        parameters = result.facts["parameters"]
        yield {**head, "row": "total", **values[ALL], "parameters": parameters}

    # Summaries -----------------------------------------------------------------------------------

    def make_panels(self, results: Sequence[Result]) -> list[Panel]:
        """A panel for each scene and split."""
        panels = []
        for case in dict.fromkeys(each.cell.case for each in results):
            own = [each for each in results if each.cell.case == case]
            done = next((each for each in own if each.done), None)
            panel = Panel(
                case,
                ", ".join(case),
                group_by_model(own),
                map_metrics(),
                leading=next(iter(map_metrics())),
                by_part=CLASS_METRIC,
                part_metric=METRICS[CLASS_METRIC],
            )
            panel.parts = _classes(done) if done is not None else ()
            panels.append(panel)
        return panels

    def test_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> float:
        """The p of the corrected resampled t-test over seeds."""
        first, second = values[one], values[other]
        if len(first) < LEAST_SEEDS:
            return math.nan
        return corrected_p(first[:, 0] - second[:, 0], self._test_to_train(panel, one))

    def estimate_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> tuple[float, float, float]:
        """The mean difference and its interval by the corrected resampled t-test over seeds."""
        differences = values[one][:, 0] - values[other][:, 0]
        return corrected_interval(differences, self._test_to_train(panel, one))

    def _test_to_train(self, panel: Panel, model: str) -> float:
        """Test pixels over training pixels, the mean over seeds; 0 where each has its own scene."""
        apart = "{seed}" in self.plan.scenes.get(panel.case[0], "")
        done = [each for each in panel.results[model] if each.done]
        return float(np.mean([0.0 if apart else _test_to_train(each) for each in done]))

    def is_classical(self, cell: Cell) -> bool:
        return "baseline" in cell.work.get("config", {})

    def describe_model(self, panel: Panel, results: Sequence[Result]) -> dict[str, Any]:
        """The reach of a model, and how many test pixels have a training pixel within it."""
        done = next((each for each in results if each.facts is not None), None)
        return {"reach": "–" if done is None else _reach_words((done.facts or {})["protocol"])}

    def describe_panel(self, panel: Panel) -> None:
        panel.protocol = _protocol(panel)
        panel.notes = _notes(panel)
        panel.line = _protocol_line(panel)

    def describe_all(self, results: Sequence[Result], summary: Summary) -> None:
        """Leave the summary as it is: scenes and splits share nothing."""

    def claim(self, panels: Sequence[Panel], tested: int) -> str:
        """The meaning of a bold number, or why none is bold."""
        seeds = max((len(own) for panel in panels for own in panel.results.values()), default=0)
        if seeds < LEAST_SEEDS:
            return (
                f"Nothing is bold: with {seeds} seed{'s' if seeds != 1 else ''} no difference can "
                f"be claimed; compare over {LEAST_SEEDS} or more."
            )
        if not tested:
            return "Nothing is bold: there are no two models whose cells are all done."
        return (
            f"Bold: better than each other model of its table, by a difference that holds at "
            f"{LEVEL:g} in the corrected resampled t-test (Nadeau and Bengio 2003) over seeds, "
            f"adjusted by Holm's method for the {tested} pair{'s' if tested != 1 else ''} of "
            f"models in all tables."
        )

    # Tables and page -----------------------------------------------------------------------------

    def format_panel(self, panel: Panel) -> list[str]:
        heads = ["model", *panel.heads, *panel.gain_head]
        heads += ["seeds", "parameters", "reach, test px within it", "runs"]
        lines = markdown_rows(heads, [
            [
                row.model,
                *map(mark_entry, row.scores.values()),
                *([panel.gain_words(row)] if panel.against else []),
                str(row.seeds),
                "–" if row.parameters is None else format_count(row.parameters),
                row.facts["reach"],
                f"`{row.runs}`",
            ]
            for row in panel.rows
        ])  # fmt: skip
        if panel.parts:
            heads = ["accuracy of class", *(row.model for row in panel.rows)]
            rows = [
                [name, *(mark_entry(row.parts[k]) for row in panel.rows)]
                for k, name in enumerate(panel.parts)
            ]
            lines += ["", *markdown_rows(heads, rows)]
        return [*lines, "", *list_terms(panel.protocol), *list_notes(panel.notes), ""]

    def list_tex_groups(self, panel: Panel) -> list[list[list[str]]]:
        """Classes, then scores, by models."""
        return [
            [["Class", *(escape_tex(row.model) for row in panel.rows)]],
            [
                [escape_tex(name), *(tex_entry(row.parts[k]) for row in panel.rows)]
                for k, name in enumerate(panel.parts)
            ],
            [
                [
                    metric.tex or escape_tex(metric.head),
                    *(tex_entry(row.scores[name]) for row in panel.rows),
                ]
                for name, metric in panel.columns.items()
            ],
        ]

    def caption(self, panel: Panel, summary: Summary) -> str:
        lines = [f"{term}: {text}" for term, text in panel.protocol if not term.startswith("Hash")]
        hashes = [text for term, text in panel.protocol if term.startswith("Hash")]
        notes = [f"{note}." for note in panel.notes]
        parts = [f"{panel.title}.", self.words, summary.claims, "; ".join(lines) + "."]
        parts += [f"Hash: {hashes[0]}."] if hashes else []
        return " ".join([*parts, *notes])

    def write_page(self, root: Path, results: Sequence[Result], summary: Summary) -> str:
        return write_page(root, self.plan, results, summary)


def _classes(result: Result) -> list[str]:
    return [part for part in result.values[result.cell.case] if part != ALL]


def _test_to_train(result: Result) -> float:
    """Test pixels over training pixels."""
    pixels = (result.facts or {})["protocol"].get("pixels", {})
    return pixels["test"] / pixels["train"] if pixels.get("train") else math.nan


def _reach_words(protocol: Mapping[str, Any]) -> str:
    if "reach_label_px" not in protocol:
        return "–"
    share = protocol.get("test_share_within_reach")
    text = f"{protocol['reach_label_px']:g} px"
    return text if share is None else f"{text}, {100 * share:.0f} %"


def _protocol(panel: Panel) -> list[tuple[str, str]]:
    """The protocol that all models share; hashes by seed, pixels of the first."""
    done = panel.done
    if not done:
        return [("Split", f"{panel.case[1]}: no cell is done")]
    first = (done[0].facts or {})["protocol"]
    shared = {key: value for key, value in first.items() if not key.startswith("reach")}
    hashes = {each.cell.seed or 0: (each.facts or {})["split_hash"] for each in done}
    several = len(set(hashes.values())) > 1
    if several:
        shared.pop("seed", None)
    lines = []
    for term, text in describe_protocol(shared):
        if several and term == "Labelled pixels":
            term = f"{term} (seed {done[0].cell.seed})"
        if not term.startswith("Hash"):
            lines.append((term, text))
    seeds = ", ".join(str(seed) for seed in sorted(hashes))
    drawn = SPLITS[done[0].cell.work["split"]["name"]].drawn
    lines.append(("Seeds", f"{seeds} ({'of split and' if drawn else 'of'} training"
                           f"{'' if drawn else '; one split'})"))  # fmt: skip
    if several:
        text = ", ".join(f"{own[:12]}… (seed {seed})" for seed, own in sorted(hashes.items()))
        lines.append(("Hashes of the splits", text))
    else:
        lines.append(("Hash of the split", next(iter(hashes.values()))))
    return lines


def _notes(panel: Panel) -> list[str]:
    """Notes on a panel: a single seed, absent classes, what the split itself notes."""
    done = panel.done
    seeds = sorted({each.cell.seed or 0 for each in done})
    notes = [SINGLE_SEED] if len(seeds) == 1 else []
    lacking: dict[str, list[Any]] = {}
    said: dict[str, list[Any]] = {}
    for seed, each in {each.cell.seed or 0: each for each in done}.items():
        protocol, values = (each.facts or {})["protocol"], each.values[panel.case]
        for name in _classes(each):
            if not values[name]["test"]:
                lacking.setdefault(name, []).append(seed)
        for note in protocol["notes"]:
            said.setdefault(note, []).append(seed)
        for name in protocol.get("dropped", []):
            said.setdefault(f"class {name!r} is left out: not on both sides", []).append(seed)
    for name, where in lacking.items():
        said[f"class {name!r} has no test pixel, and takes no part in the average accuracy"] = where
    return notes + merge_notes(said, seeds, "seed")


def _protocol_line(panel: Panel) -> str:
    """The protocol in a line."""
    words = dict(panel.protocol)
    hashes = {(each.facts or {})["split_hash"][:12]: None for each in panel.done}
    reach = ", ".join(f"{row.model} {row.facts['reach']}" for row in panel.rows)
    parts = [f"Split {words.get('Split', panel.case[1])}"]
    if "Guard" in words:
        parts.append(f"guard {words['Guard']}; reach, and test pixels within it: {reach}")
    if "Context" in words:
        parts.append(words["Context"].partition(":")[0])
    if "Seeds" in words:
        parts.append(f"seeds {words['Seeds']}")
    if hashes:
        parts.append(f"hash {', '.join(hashes)}")
    return "; ".join(parts)
