"""The report of a run: one HTML page that needs nothing else.

Numbers come from scores.json and the run, pictures from the scene and the map, areas from the map;
they are written to areas.csv too. What is missing (labels, scores, a map) is left out, and said
where someone would look for it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from bandweave.data.match import with_classes
from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import FileError, LabelError, RunError, SceneMismatch, SplitError
from bandweave.landcover.areas.class_areas import ClassAreas, measure_areas
from bandweave.landcover.metrics import Scores
from bandweave.landcover.report.baseline import find_baseline, find_baseline_maps
from bandweave.landcover.report.findings import Findings
from bandweave.landcover.report.maps import MapFiles, find_maps
from bandweave.landcover.report.plates import Plates, draw_plates
from bandweave.landcover.report.sections import SECTIONS
from bandweave.landcover.run import Run
from bandweave.landcover.scoring import SceneScores, redraw_split
from bandweave.report.page import render
from bandweave.report.section import make_sections
from bandweave.report.words import format_count
from bandweave.training.folder import RunFolder
from bandweave.training.history import Row, read_history


def write_report(
    run: Run | str | os.PathLike[str],
    scene: Scene,
    *,
    map_path: str | os.PathLike[str] | None = None,
    confidence_path: str | os.PathLike[str] | None = None,
    scores: SceneScores | None = None,
    split: Split | None = None,
    baseline: bool = True,
    quiet: bool = False,
) -> Path:
    """Write report.html into the run's folder, whole or not at all, and return its path.

    Where there is a map, areas.csv beside it says how much ground each class covers.

    run              its folder, or the run itself
    scene            what the map shows; large ones are read reduced, so that memory stays small
    map_path         file, or folder where the scene has many parts; None for the one that stands
                     in the run's folder, if it is of this scene
    confidence_path  likewise; None for the one beside the map, if there is one
    scores           None for those in the run's folder, if there are any
    split            that the scores were measured under; None for the run's own
    baseline         show a classical method beside the model, if the scores are of the run's split:
                     trained on the run's own training pixels, and kept in baseline.json
    quiet            no progress

    Raises RunError where the folder is no run, FileError or SceneMismatch where a map that was
    named cannot be read or is not of this scene, OutputError where the page cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if not run.has_folder:
        raise RunError(
            "a report goes into a run's folder, and an ensemble in memory has none; save it with "
            "`bandweave ensemble RUN RUN --out DIR`, or `join_runs(runs, out)`"
        )
    notes: list[str] = []
    if scene.classes:
        with suppress(SceneMismatch):  # said where areas are estimated
            scene = with_classes(scene, run.classes)
    if scores is None and run.folder.scores.exists():
        scores = _read_scores(run.folder, notes)
    if scores is not None and scores.pixels.classes != tuple(each.name for each in run.classes):
        raise SceneMismatch(
            f"the scores are of the classes {', '.join(scores.pixels.classes)}, the run knows "
            f"{', '.join(each.name for each in run.classes)}; score this run again"
        )
    split = _find_split(run, scene, scores, split, notes)
    files = find_maps(run, scene, map_path, confidence_path, notes)
    classical, lacking = None, ""
    if baseline and scores is not None:
        classical, lacking = find_baseline(run, scene, scores.pixels, quiet)
    if classical is not None and files.maps:
        files = replace(files, baselines=find_baseline_maps(run.folder, scene))
    plates = draw_plates(run, scene, split, files, quiet=quiet)
    if scores is not None and plates.tested and _is_same_split(scores, split):
        _note_other_map(scores.pixels, plates, notes)
    if not _is_same_split(scores, split):
        plates.by_unit = None
    areas = _find_areas(run, scene, files, split)
    history = _read_history(run.folder, notes)
    found = Findings(run, scene, scores, plates, areas, classical, lacking, history, notes)
    page = render(
        "landcover/report",
        "report.html.j2",
        found=found,
        grid=_describe_grid(scene),
        sections=make_sections(SECTIONS.values(), found),
    )
    if areas is not None:
        run.folder.write_areas(areas.rows())
    run.folder.write_report(page)
    return run.folder.report


def _read_scores(folder: RunFolder, notes: list[str]) -> SceneScores | None:
    try:
        return SceneScores.from_dict(json.loads(folder.scores.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        notes.append(f"scores.json in the run's folder cannot be read ({error}); score again.")
        return None


def _find_split(
    run: Run, scene: Scene, scores: SceneScores | None, split: Split | None, notes: list[str]
) -> Split | None:
    """Take the split whose sides are shown: the given one, or the run's own on this scene."""
    if split is None:
        try:
            split = redraw_split(run, scene)
        except (SplitError, LabelError):
            return None
    elif [each.shape for each in split.roles] != [
        (part.grid.height * split.ratio, part.grid.width * split.ratio) for part in scene.parts
    ]:
        raise SplitError(
            f"the split is of other parts or sizes than scene {scene.name!r}; draw it on this scene"
        )
    if scores is not None and not _is_same_split(scores, split):
        notes.append(
            "The scores were measured under another split than the one whose sides are shown here."
        )
    return split


def _find_areas(run: Run, scene: Scene, files: MapFiles, split: Split | None) -> ClassAreas | None:
    """Measure the areas of the map's classes; None without a map."""
    if not files.maps:
        return None
    own = split if split is not None and split.hash == run.facts["split_hash"] else None
    if own is None:
        with suppress(SplitError, LabelError):
            own = redraw_split(run, scene)
    return measure_areas(scene, files.maps, run.classes, run.output_ratio, own)


def _is_same_split(scores: SceneScores | None, split: Split | None) -> bool:
    if scores is None or split is None:
        return False
    return scores.pixels.protocol.get("hash") == split.hash


def _note_other_map(scores: Scores, plates: Plates, notes: list[str]) -> None:
    """Say so where the map that is shown is not the one that was scored."""
    right, tested = int(np.trace(scores.confusion)), int(scores.confusion.sum())
    if (plates.right, plates.tested) != (right, tested):
        notes.append(
            f"The map shown is right on {format_count(plates.right)} of "
            f"{format_count(plates.tested)} test pixels, the scores count {format_count(right)} of "
            f"{format_count(tested)}: they were made with other settings (overlap, flips, "
            f"precision) or weights."
        )


def _read_history(folder: RunFolder, notes: list[str]) -> list[Row]:
    if not folder.history.exists():
        return []
    try:
        return read_history(folder.history)
    except FileError as error:
        notes.append(f"The learning curves are not shown: {error}.")
        return []


def _describe_grid(scene: Scene) -> str:
    """Say parts, size and CRS in a line."""
    first, number = scene.parts[0].grid, len(scene.parts)
    text = str(first) if number == 1 else f"{number} parts, the first {first}"
    return f"{text}, {first.crs}" if first.crs is not None else text
