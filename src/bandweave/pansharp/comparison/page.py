"""compare.html of sharpening: tables, what scores cost, and picture strips side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bandweave.comparison.drawings import model_colours, scatter
from bandweave.comparison.page import count_done, render_comparison
from bandweave.comparison.panels import Panel, Summary
from bandweave.comparison.results import Result
from bandweave.pansharp.comparison.cell import image_file
from bandweave.pansharp.comparison.plan import Plan
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.report.page import draw_sample, strip_name
from bandweave.pansharp.report.pictures import FRAME_COLOURS, Plate, error_ramp
from bandweave.pansharp.scores.pairs import find_peak, prepare_pair
from bandweave.pansharp.scores.protocols import PROTOCOLS, WINDOW
from bandweave.pansharp.scores.samples import take_sample
from bandweave.pansharp.scores.tables import NAMES, ScoreRow
from bandweave.pansharp.scoring import BLOCKS, SAMPLES
from bandweave.pansharp.sensors import find_sensor
from bandweave.report.words import format_count
from bandweave.training.atomic import whole


@dataclass
class PanelPage:
    """The page's block on a protocol.

    heads   heads of the scores, by name
    costs   drawings of the leading score over what it costs, and what they show
    """

    panel: Panel
    heads: Mapping[str, str]
    costs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Pictures:
    """A test pair at one resolution, as all methods made it.

    seed   whose trained models are shown; None where there are none
    """

    plate: Plate
    line: str
    seed: int | None

    @property
    def title(self) -> str:
        """The pair and the resolution."""
        sample = self.plate.sample
        return f"{sample.facts.name}, {sample.protocol} resolution"


def write_page(
    root: Path,
    plan: Plan,
    opened: Mapping[str, Pair],
    results: Sequence[Result],
    summary: Summary,
    heads: Mapping[tuple[str, ...], Mapping[str, str]],
) -> str:
    """The page's HTML; its picture strips are written beside it.

    opened   the test pairs
    heads    of the scores by name, of each panel's case
    """
    colours = model_colours(list(plan.models))
    pictures = _draw_pictures(root, plan, opened, results, summary)
    for each in pictures:
        with whole(root / strip_name(each.plate.sample)) as beside:
            beside.write_bytes(each.plate.png)
    number = format_count(len(plan.test))
    done = next((each for each in results if each.done), None)
    return render_comparison(
        ("pansharp/comparison", "pansharp/report"),
        "pairs.html.j2",
        results,
        summary,
        colours,
        title=f"{len(plan.models)} methods on {number} pair{'s' if len(plan.test) > 1 else ''}",
        kind="comparison of sharpening",
        called="methods",
        cells=f"Pan-sharpening: {count_done(results)}",
        panels=[
            PanelPage(panel, heads[panel.case], _draw_costs(panel, colours))
            for panel in summary.panels
        ],
        pictures=pictures,
        unpictured=len(plan.test) - len({each.plate.sample.facts.name for each in pictures}),
        frames=FRAME_COLOURS,
        ramp=error_ramp(),
        blocks=BLOCKS,
        formulas=[(s, protocol) for protocol in PROTOCOLS for s in NAMES[protocol].values()],
        depends=[(name, each["facts"]) for name, each in done.details.items()] if done else [],
        origins=[
            (f"Test pair {name}", f"{each.pan}, {', '.join(each.ms)}")
            for name, each in plan.test.items()
        ],
    )


def _draw_costs(panel: Panel, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    """Drawings of the leading score over what it costs, and what they show."""
    what = panel.part_metric.head
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for model, own in panel.results.items():
        done = [each for each in own if each.done]
        means = panel.values(model, panel.leading, panel.averaged).mean(axis=1)
        costs: dict[str, list[float]] = {"parameters": [], "seconds of training": []}
        costs["seconds a pair"] = []
        for each in done:
            costs["parameters"].append((each.facts or {})["parameters"] or np.nan)
            costs["seconds of training"].append(each.seconds["train"] or np.nan)
            seconds = [pair["seconds"] for pair in each.details.values()]
            paces = [own[panel.case[0]] for own in seconds if panel.case[0] in own]
            costs["seconds a pair"].append(float(np.mean(paces)) if paces else np.nan)
        for cost, values in costs.items():
            points.setdefault(cost, {})[model] = [
                (x, float(y)) for x, y in zip(values, means, strict=True) if np.isfinite(y)
            ]
    return [
        (
            f"{what} against {cost}",
            scatter(f"{panel.case[0]} {cost}", found, colours, (cost, what), lines=True),
        )
        for cost, found in points.items()
        if any(not np.isnan(x) for own in found.values() for x, _ in own)
    ]


def _draw_pictures(
    root: Path,
    plan: Plan,
    opened: Mapping[str, Pair],
    results: Sequence[Result],
    summary: Summary,
) -> list[Pictures]:
    """The first test pairs as every method made them, where cells have kept it."""
    made = []
    for name in list(opened)[:SAMPLES]:
        pair = opened[name]
        sensor = find_sensor(plan.options.sensor, pair.names, pair.ratio)
        peak = find_peak(name, pair, sensor, plan.options.peak)
        shown = {p: _find_images(root, results, name, p) for p in PROTOCOLS}
        if not any(shown.values()):
            continue
        pair, facts = prepare_pair(name, pair, sensor, peak, plan.options.register)
        for panel in summary.panels:
            (protocol,) = panel.case
            own = shown[protocol]
            if not own:
                continue
            scored = PROTOCOLS[protocol](pair, sensor, peak, WINDOW)
            sample = take_sample(scored.pair, facts)
            rows = []
            for result, path in own:
                image = np.load(path, allow_pickle=False)
                sample.images[result.cell.model] = image
                scores = result.values[panel.case][name]
                seconds = result.details[name]["seconds"][protocol]
                rows.append(ScoreRow(result.cell.model, name, protocol, scores, seconds))
            seeds = [r.cell.seed for r, _ in own if r.cell.seed is not None]
            trained = [r.cell.model for r, _ in own if r.cell.seed is not None]
            plate = draw_sample(sample, rows, trained)
            made.append(Pictures(plate, panel.line, seeds[0] if seeds else None))
    return made


def _find_images(
    root: Path, results: Sequence[Result], pair: str, protocol: str
) -> list[tuple[Result, Path]]:
    """The first cell of each method that kept a picture."""
    found: dict[str, tuple[Result, Path]] = {}
    for result in results:
        path = image_file(root / result.cell.place, pair, protocol)
        if result.done and result.cell.model not in found and path.exists():
            found[result.cell.model] = result, path
    return list(found.values())
