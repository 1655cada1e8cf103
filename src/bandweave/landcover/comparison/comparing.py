"""Compare models on scenes, splits and seeds, into a folder of runs and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.cluster.sharing import Sharing, share_threads
from bandweave.comparison.comparing import Comparison, make_comparison
from bandweave.comparison.plan import CellOptions, check_reference, read_seeds
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import ConfigError
from bandweave.landcover.comparison.plan import Plan, name_seed_scene
from bandweave.landcover.comparison.task import LandCoverTask
from bandweave.landcover.metrics import Scores


@dataclass(frozen=True)
class SceneComparison(Comparison):
    """A comparison of land cover that was made."""

    @property
    def scores(self) -> dict[tuple[str, str, str, int], Scores]:
        """Scores by scene, split, model and seed."""
        found = {}
        for each in self.results:
            if isinstance(each.details, Scores):
                scene, split = each.cell.case
                found[scene, split, each.cell.model, each.cell.seed or 0] = each.details
        return found


def compare(
    models: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    scenes: Sequence[str | Scene] | Mapping[str, str | Scene],
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
    against: str = "",
    rows: str | os.PathLike[str] | None = None,
    command: str = "",
    quiet: bool = False,
) -> SceneComparison:
    """Train, map and score every model on every scene, split and seed; then write the tables.

    models         names of presets and of classical methods; or options of each by the name that
                   the table gives it, `{"wide": {"model": "m3amba_tiny", "width": 64}}`
    scenes         as the command names them, or scenes; or either by the name that the tables give
                   it. One with `{seed}` in it is another scene for each seed
    splits         names; or options by a name, `{"near": {"name": "blocks", "guard": 0}}`
    seeds          how many, from 0; or which
    out            the folder, which may hold the same comparison, unfinished or smaller
    folder         where the files of benchmarks are
    options        of every trained model, in sections: `{"train": {"steps": 100}}`
    split_options  of every split that has a use for them
    layers, pca    the same as in `train`
    processes      cells at a time on this machine; 1 makes them in this process
    threads        of each cell; by default the cores are shared out
    dask           address of the scheduler of a Dask cluster that makes the cells instead
    maps           whether scenes that are not huge are mapped
    features       whether features of the first seed are pictured
    against        a model of the table, or 'classical' for the best classical method: the tables
                   say what each other model gains over it, with a 95 % interval
    rows           a file of results; what it holds is not made again, and new results are added to
                   it
    command        what the run folders name as the command that made them
    quiet          no progress

    A cell that fails does not stop the others: `SceneComparison.failed`. What was finished before
    is not repeated, and what was begun is continued.

    Raises ConfigError for what does not exist, RunError where `out` holds another comparison,
    OutputError where it cannot be written or another process writes to it.
    """
    sharing = Sharing(processes, dask)
    threads = share_threads(sharing, threads)
    plan = Plan.make(
        models,
        _name_scenes(scenes, folder, None if rows is not None else read_seeds(seeds)[0]),
        splits,
        seeds,
        {**(options or {}), "layers": layers, "pca": pca},
        split_options,
    )
    made_by = CellOptions(command, plan.seeds[0] if features else None, maps, threads)
    task = LandCoverTask(plan, check_reference(against, plan.models))
    kept = None if rows is None else Path(rows)
    made = make_comparison(task, Path(out), made_by, sharing, kept, quiet)
    return SceneComparison(made.folder, made.results, made.table)


def _name_scenes(
    scenes: Sequence[str | Scene] | Mapping[str, str | Scene], folder: str | None, seed: int | None
) -> dict[str, tuple[str, Scene | None]]:
    """Each scene by a name of its own: how to open it, and the scene, open.

    seed   the first, by which scenes of each seed are opened, to see whether they are there; None
           opens no scene that has a name: it may not be needed
    """
    named: dict[str, tuple[str, Scene | None]] = {}
    given_names = list(scenes) if isinstance(scenes, Mapping) else [None] * len(scenes)
    each_scene = scenes.values() if isinstance(scenes, Mapping) else scenes
    for given_name, given in zip(given_names, each_scene, strict=True):
        if isinstance(given, str) and seed is None and given_name:
            named[given_name] = given, None
            continue
        if isinstance(given, str) and name_seed_scene(given, seed or 0) != given:
            scene_from(name_seed_scene(given, seed or 0), folder)
            named[given_name or given] = given, None
            continue
        scene = given if isinstance(given, Scene) else scene_from(given, folder)
        if any(scene.origin and origin == scene.origin for origin, _ in named.values()):
            raise ConfigError(f"the scene {given!s} is named twice; once is enough")
        name, number = given_name or scene.name, 2
        while name in named:
            name, number = f"{scene.name}-{number}", number + 1
        named[name] = scene.origin, scene
    return named
