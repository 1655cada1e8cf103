"""Ours: which models are trained for which rows, and what came of them.

Every training, scoring included, is a cell of a comparison (bandweave.comparison) in a run folder
of its own: OUT/PAPER/runs/SCENE/SPLIT/MODEL/seed-N. What is finished is not repeated, and rows of
different tables that are of the same configuration share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bandweave.cluster.sharing import Sharing
from bandweave.comparison.making import follow_cells
from bandweave.comparison.panels import Panel, Row, Summary
from bandweave.comparison.plan import CellOptions
from bandweave.comparison.results import ALL, Result, read_results
from bandweave.comparison.summary import summarise
from bandweave.data.scene import Scene
from bandweave.landcover.baselines.methods import METHODS
from bandweave.landcover.comparison.plan import Plan
from bandweave.landcover.comparison.task import LandCoverTask
from bandweave.landcover.metrics import map_metrics
from bandweave.training.sections import merged
from papers.printed import ClassTable, Ours, Paper, Table
from papers.scenes import Scenes, layers_of, place_of, splits_of

FULL = Ours("full")
NOT_DONE = "not done yet"
AnyTable = Table | ClassTable


@dataclass(frozen=True)
class Settings:
    """What is asked of ours.

    size       tiny, small or paper: the presets
    models     the paper's own (`own`), other models and classical methods
    steps      of training; None for the preset's
    clip       which CLIP; None for the embedded one, of the size 'paper' for the presets' own
    download   it may be fetched
    protocols  published, blocks (scenes.splits_of)
    block, guard   px of the labels
    """

    out: Path
    size: str = "small"
    models: tuple[str, ...] = ("own", "random_forest")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int | None = None
    clip: str | None = None
    download: bool = False
    protocols: tuple[str, ...] = ("published", "blocks")
    block: int = 64
    guard: int = 8
    processes: int = 1
    threads: int | None = None
    command: str = ""

    def preset(self, model: str) -> str:
        """Of a paper's model, in this size."""
        return model if self.size == "paper" else f"{model}_{self.size}"


@dataclass
class Measured:
    """What came of a paper's rows.

    failed     how many cells failed
    """

    results: list[Result] = field(default_factory=list)
    summary: Summary = field(default_factory=lambda: Summary([], [], ""))
    failed: int = 0

    def of(self, scene: str, model: str) -> Iterator[tuple[Panel, Row]]:
        """The rows of a model on a scene, one for each split."""
        for panel in self.summary.panels:
            if panel.case[0] == scene:
                yield from ((panel, row) for row in panel.rows if row.model == model)

    @property
    def scenes(self) -> set[str]:
        return {panel.case[0] for panel in self.summary.panels}


def name_of(settings: Settings, paper: Paper, ours: Ours) -> str:
    """The name of a configuration of the paper's model, as folders and tables have it."""
    preset = settings.preset(paper.model)
    return preset if ours.id == FULL.id else f"{preset}-{ours.id}"


def others_of(settings: Settings, paper: Paper) -> dict[str, str]:
    """Models that stand beside the paper's own, by the names that tables give them."""
    wanted = [name for name in settings.models if name not in ("own", paper.model)]
    return {name if name in METHODS else settings.preset(name): name for name in wanted}


def runs_own(settings: Settings, paper: Paper) -> bool:
    """Whether rows of the paper's own model are run."""
    return "own" in settings.models or paper.model in settings.models


def wanted_of(tables: Sequence[AnyTable], scene: str, known: bool) -> tuple[list[Ours], bool]:
    """Configurations of the paper's model that tables have for a scene; whether others compare.

    known  the paper has the scene; others stand in for any of its scenes
    """
    found: dict[str, Ours] = {}
    compared = False
    for table in tables:
        if isinstance(table, ClassTable):
            if known and table.scene != scene:
                continue
            rows: Iterable[Ours | None] = table.ours.values()
            compared = True
        else:
            rows = (row.ours for row in table.rows)
            compared = compared or table.comparison
        found |= {each.id: each for each in rows if each is not None}
    return list(found.values()), compared


def plan_of(
    settings: Settings, paper: Paper, tables: Sequence[AnyTable], name: str, scene: Scene
) -> Plan | None:
    """The cells of a scene; None where no row is wanted of it.

    Raises ConfigError for options that no model has.
    """
    own, compared = wanted_of(tables, name, name in paper.scenes)
    models: dict[str, dict[str, Any] | None] = {}
    for ours in own if runs_own(settings, paper) else []:
        layers = layers_of(paper, name, scene, ours.layers)
        if layers:
            models[name_of(settings, paper, ours)] = {
                "model": settings.preset(paper.model),
                "layers": layers,
                "pca": _pca(paper.pca, scene, layers),
                **_options(settings, paper, name, ours),
            }
    layers = layers_of(paper, name, scene, "all")
    for title, model in others_of(settings, paper).items() if compared else ():
        if model in METHODS:
            models[title] = None
        else:
            models[title] = {
                "model": title, "pca": _pca(30 if model == "cf_ipt" else 0, scene, layers),
                **_clip(settings, model, {"mode": "adapters"} if model == "m3amba" else {}),
            }  # fmt: skip
    if not models:
        return None
    return Plan.make(
        models,
        {name: (scene.origin, scene)},
        splits_of(paper, name, scene, settings.protocols, settings.block, settings.guard),
        settings.seeds,
        {
            **({"train": {"steps": settings.steps}} if settings.steps else {}),
            "layers": layers,
        },
    )


def _options(settings: Settings, paper: Paper, scene: str, ours: Ours) -> dict[str, Any]:
    """Of the model; what the paper sets for one scene holds for its own size alone."""
    place = place_of(paper, scene)
    options = merged(paper.base, ours.options)
    if place is not None and settings.size == "paper":
        options = merged(place.options, options)
    return {**options, **_clip(settings, paper.model, options.get("clip", {}))}


def _clip(settings: Settings, model: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options of CLIP, where the model has one."""
    if model == "mambamoe":
        return {}
    options = dict(given)
    if options.get("mode") != "none":
        weights = settings.clip or ("embedded" if settings.size != "paper" else None)
        options |= {"weights": weights} if weights else {}
        options |= {"download": True} if settings.download else {}
    return {"clip": options} if options else {}


def _pca(components: int, scene: Scene, layers: Sequence[str]) -> dict[str, int]:
    """Of the first layer, where it has more bands than that."""
    first = layers[0]
    return {first: components} if 0 < components < scene.layers[first].bands else {}


def measure(
    settings: Settings,
    paper: Paper,
    tables: Sequence[AnyTable],
    scenes: Scenes,
    run: bool = True,
) -> Measured:
    """Make what is missing of a paper's cells, unless `run` is false, and read all.

    Raises ConfigError for options that do not exist, RunError where a finished cell was made with
    others.
    """
    root, results = settings.out / paper.model, []
    names = [*(name for name in paper.scenes if name in scenes.here), *scenes.others]
    options = CellOptions(settings.command, None, maps=False, threads=settings.threads)
    task = LandCoverTask(Plan({}, {}, {}, ()))
    for name in names:
        plan = plan_of(settings, paper, tables, name, scenes.here[name])
        if plan is None:
            continue
        failures: dict[str, str] = {}
        task, cells = LandCoverTask(plan), [*plan.cells()]
        if run:
            todo = [each.cell for each in read_results(root, cells, task.read_result)
                    if not each.done]  # fmt: skip
            made = task.make_cells(root, todo, options, Sharing(settings.processes))
            failures = follow_cells(made, len(todo), len(cells), quiet=False)
        found = read_results(root, cells, task.read_result, failures)
        task.check_same_pixels(root, found)
        results += found
    begun = [each for each in results if each.failed != NOT_DONE]
    return Measured(results, summarise(task, begun), sum(not each.done for each in begun))


def average(measured: Measured, paper: Paper, model: str) -> dict[str, list[float]] | None:
    """Means over the paper's scenes under its own protocol, by seed; None unless all are done."""
    by_scene: list[dict[int, Result]] = []
    for scene, place in paper.scenes.items():
        done = {
            each.cell.seed or 0: each
            for each in measured.results
            if each.cell.case[0] == scene
            and each.cell.model == model
            and each.done
            and all(each.cell.work["split"].get(k) == v for k, v in place.split.items())
        }
        by_scene.append(done)
    seeds = sorted(set.intersection(*(set(done) for done in by_scene)))
    if not seeds:
        return None

    def means(value: Callable[[Result], float]) -> list[float]:
        return [sum(value(done[s]) for done in by_scene) / len(by_scene) for s in seeds]

    def value_of(metric: str) -> Callable[[Result], float]:
        return lambda each: each.values[each.cell.case][ALL].get(metric, math.nan)

    found = {metric: means(value_of(metric)) for metric in map_metrics()}
    return {**found, "minutes": means(lambda each: (each.seconds["train"] or 0) / 60)}
