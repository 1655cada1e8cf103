"""Compare models on scenes, splits and seeds, into a folder of runs and tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.comparison.cell import Means, run_cell
from bandweave.comparison.cell_folder import finished
from bandweave.comparison.making import claim, failures_of, made_cells, threads_of_a_cell
from bandweave.comparison.page import page
from bandweave.comparison.plan import Cell, Plan
from bandweave.comparison.results import Result, read_results, results_csv, times_csv
from bandweave.comparison.tables import markdown, tex
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import ConfigError
from bandweave.landcover.metrics import Scores
from bandweave.output_files import only_writer_of_folder
from bandweave.training.atomic import write_text

GROWING = ("models", "scenes", "splits", "seeds")  # may be added to a comparison


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison."""

    folder: Path
    results: list[Result]

    @property
    def failed(self) -> list[Result]:
        """Cells that are not done."""
        return [each for each in self.results if each.scores is None]

    @property
    def scores(self) -> dict[tuple[str, str, str, int], Scores]:
        """By scene, split, model and seed."""
        return {
            (r.cell.scene, r.cell.split, r.cell.model, r.cell.seed): r.scores
            for r in self.results
            if r.scores is not None
        }

    def __str__(self) -> str:
        return markdown(self.results)


def compare(
    models: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    scenes: Sequence[str | Scene],
    splits: Sequence[str] | Mapping[str, Mapping[str, Any] | None] = ("blocks",),
    seeds: int | Sequence[int] = 10,
    out: str | os.PathLike[str] = "comparison",
    *,
    folder: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    split_options: Mapping[str, Any] | None = None,
    layers: Sequence[str] = (),
    pca: Mapping[str, int] | None = None,
    processes: int = 1,
    threads: int | None = None,
    dask: str | None = None,
    maps: bool = True,
    features: bool = True,
    command: str = "",
    quiet: bool = False,
) -> Comparison:
    """Train, map and score every model on every scene, split and seed; then write the tables.

    Args:
        models: names of presets and of classical methods; or options of each by the name that the
            table gives it, `{"wide": {"model": "m3amba_tiny", "width": 64}}`.
        scenes: as the command names them, or scenes.
        splits: names; or options by a name, `{"near": {"name": "blocks", "guard": 0}}`.
        seeds: how many, from 0; or which.
        out: the folder, which may hold the same comparison, unfinished or smaller.
        folder: where the files of benchmarks are.
        options: of every trained model, in sections: `{"train": {"steps": 100}}`.
        split_options: of every split that has a use for them.
        layers, pca: as in `train`.
        processes: cells at a time on this machine; 1 makes them in this process.
        threads: of each cell; by default the cores are shared out.
        dask: address of the scheduler of a Dask cluster that makes the cells instead.
        maps: whether scenes that are not huge are mapped.
        features: whether features of the first seed are pictured.
        command: what the run folders name as the command that made them.
        quiet: no progress.

    A cell that fails does not stop the others: `Comparison.failed`. What was finished before is not
    repeated, and what was begun is continued.

    Raises ConfigError for what does not exist, RunError where `out` holds another comparison,
    OutputError where it cannot be written or another process writes to it.
    """
    named = _named_scenes(scenes, folder)
    plan = Plan.make(
        models,
        named,
        splits,
        seeds,
        options=options,
        split_options=split_options,
        layers=layers,
        pca=pca,
    )
    threads = threads_of_a_cell(processes, threads, dask)
    root = Path(out)
    with only_writer_of_folder(root, "a comparison"):
        claim(root, plan.to_dict(), GROWING)
        cells = [cell for cell in plan.cells() if finished(root, cell) is None]
        means = Means(command, maps, plan.seeds[0] if features else None, threads)
        made = _made(root, cells, means, plan, processes, dask)
        failures = failures_of(made, len(cells), len(list(plan.cells())), quiet=quiet)
        results = read_results(root, plan, failures)
        _write(root, plan, results)
    return Comparison(root, results)


def _made(
    root: Path, cells: list[Cell], means: Means, plan: Plan, processes: int, dask: str | None
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """The cells and what comes of them."""
    if dask is None and (processes == 1 or len(cells) < 2):
        return ((cell, run_cell(root, cell, means, plan.opened.get(cell.scene))) for cell in cells)
    return made_cells(root, _openable(cells), means, run_cell, processes, dask)


def _openable(cells: Iterable[Cell]) -> list[Cell]:
    """The cells, each of a scene that another process can open."""
    for cell in cells:
        if not cell.origin:
            raise ConfigError(
                f"scene {cell.scene!r} was made in this process, and others cannot open it; "
                f"compare with processes=1, or give the scene by its file"
            )
    return list(cells)


def _named_scenes(
    scenes: Sequence[str | Scene], folder: str | None
) -> dict[str, tuple[str, Scene | None]]:
    """Each scene by a name of its own: how to open it, and the scene, open."""
    named: dict[str, tuple[str, Scene | None]] = {}
    for given in scenes:
        scene = given if isinstance(given, Scene) else scene_from(given, folder)
        if any(scene.origin and origin == scene.origin for origin, _ in named.values()):
            raise ConfigError(f"the scene {given!s} is named twice; once is enough")
        name, number = scene.name, 2
        while name in named:
            name, number = f"{scene.name}-{number}", number + 1
        named[name] = scene.origin, scene
    return named


def _write(root: Path, plan: Plan, results: list[Result]) -> None:
    texts = {
        "results.csv": results_csv(results),
        "times.csv": times_csv(results),
        "table.md": markdown(results),
        "table.tex": tex(results),
        "compare.html": page(root, plan, results),
    }
    for name, text in texts.items():
        write_text(root / name, text)
