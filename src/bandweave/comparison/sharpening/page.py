"""compare.html of sharpening: tables, what scores cost, and picture strips side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandweave.comparison.drawings import model_colours, scatter
from bandweave.comparison.results import said_of
from bandweave.comparison.sharpening.cell import image_file
from bandweave.comparison.sharpening.plan import Plan
from bandweave.comparison.sharpening.results import Result, by_model, values_of
from bandweave.comparison.sharpening.summary import Comparisons, Panel
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.report.page import plate_of
from bandweave.pansharp.report.pictures import FRAME_COLOURS, Plate, error_ramp
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.pairs import peak_of, prepared
from bandweave.pansharp.scores.protocols import PROTOCOLS, STAGES, WINDOW
from bandweave.pansharp.scores.samples import take_sample
from bandweave.pansharp.scores.tables import NAMES, ScoreRow
from bandweave.pansharp.scoring import BLOCKS, SAMPLES
from bandweave.pansharp.sensors import sensor_of
from bandweave.report.page import render
from bandweave.report.words import counted, seconds_in_words

PACKAGES = ("comparison/sharpening", "comparison", "pansharp/report")


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
        sample = self.plate.sample
        return f"{sample.facts.name}, {sample.protocol} resolution"


def page(
    plan: Plan,
    results: Sequence[Result],
    found: Comparisons,
    pictures: Sequence[Pictures],
) -> str:
    """The page's HTML."""
    colours = model_colours(list(plan.models))
    done = sum(result.done for result in results)
    facts = [result.facts for result in results]
    pairs = counted(len(plan.test))
    return render(
        PACKAGES,
        "sharpeners.html.j2",
        title=f"{len(plan.models)} methods on {pairs} pair{'s' if len(plan.test) > 1 else ''}",
        cells=f"Pan-sharpening: {counted(done)} of {counted(len(results))} cells are done",
        found=found,
        costs={panel.protocol: _costs(panel, results, colours) for panel in found.panels},
        colours=colours,
        pictures=pictures,
        unpictured=len(plan.test) - len({each.plate.sample.facts.name for each in pictures}),
        frames=FRAME_COLOURS,
        ramp=error_ramp(),
        blocks=BLOCKS,
        formulas=[(s, protocol) for protocol in PROTOCOLS for s in NAMES[protocol].values()],
        seconds=seconds_in_words,
        depends=next((list(r.depends.items()) for r in results if r.done), []),
        files=list(plan.test.items()),
        versions=said_of(facts, "versions"),
        machines=said_of(facts, "machine"),
        commands=said_of(facts, "command"),
    )


def _costs(
    panel: Panel, results: Sequence[Result], colours: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Drawings of the leading score over what it costs, and what they show."""
    leading = SCORES[panel.leading]
    what = f"{leading.symbol} {leading.unit}".rstrip()
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for model, own in by_model(list(results)).items():
        done = [each for each in own if each.done]
        means = [float(row.mean()) for row in values_of(own, panel.protocol, panel.leading)]
        costs: dict[str, list[float]] = {"parameters": [], "seconds of training": []}
        costs["seconds a pair"] = []
        for each in done:
            assert each.facts is not None
            costs["parameters"].append(each.facts["parameters"] or np.nan)
            costs["seconds of training"].append(each.facts["seconds"]["train"] or np.nan)
            paces = [pair[panel.protocol] for pair in each.seconds.values()]
            costs["seconds a pair"].append(float(np.mean(paces)))
        for cost, values in costs.items():
            points.setdefault(cost, {})[model] = [
                (x, y) for x, y in zip(values, means, strict=True) if np.isfinite(y)
            ]
    return [
        (
            f"{what} against {cost}",
            scatter(f"{panel.protocol} {cost}", found, colours, (cost, what), lines=True),
        )
        for cost, found in points.items()
        if any(not np.isnan(x) for own in found.values() for x, _ in own)
    ]


def pictures_of(
    root: Path,
    plan: Plan,
    opened: Mapping[str, Pair],
    results: Sequence[Result],
    found: Comparisons,
) -> list[Pictures]:
    """The first test pairs as every method made them, where cells have kept it.

    opened   the test pairs
    """
    made = []
    for name in list(plan.test)[:SAMPLES]:
        pair = opened[name]
        sensor = sensor_of(plan.options.sensor, pair.names)
        peak = peak_of(name, pair, sensor, plan.options.peak)
        shown = {p: _shown(root, results, name, p) for p in PROTOCOLS}
        if not any(shown.values()):
            continue
        pair, facts = prepared(name, pair, sensor, peak, plan.options.register)
        for panel in found.panels:
            protocol, own = panel.protocol, shown[panel.protocol]
            if not own:
                continue
            stage = STAGES[protocol](pair, sensor, peak, WINDOW)
            sample = take_sample(stage.scene, stage.shape, facts)
            rows = []
            for result, path in own:
                image = np.load(path, allow_pickle=False)
                sample.images[result.cell.model] = image
                scores, seconds = result.scores[name][protocol], result.seconds[name][protocol]
                rows.append(ScoreRow(result.cell.model, name, protocol, scores, seconds))
            seeds = [r.cell.seed for r, _ in own if r.cell.seed is not None]
            trained = [r.cell.model for r, _ in own if r.cell.seed is not None]
            plate = plate_of(sample, rows, trained)
            made.append(Pictures(plate, panel.line, seeds[0] if seeds else None))
    return made


def _shown(
    root: Path, results: Sequence[Result], pair: str, protocol: str
) -> list[tuple[Result, Path]]:
    """Of each method the first cell that kept a picture."""
    found: dict[str, tuple[Result, Path]] = {}
    for result in results:
        path = image_file(root / result.cell.place, pair, protocol)
        if result.done and result.cell.model not in found and path.exists():
            found[result.cell.model] = result, path
    return list(found.values())
