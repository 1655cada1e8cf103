"""The report of a run: one HTML page that needs nothing else.

Numbers come from scores.json and the run, pictures from the scene and the map, areas from the map;
they are written to areas.csv too. What is missing (labels, scores, a map) is left out, and said
where someone would look for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.data.match import with_classes
from bandweave.data.scene import ClassInfo, Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import FileError, LabelError, RunError, SceneMismatch, SplitError
from bandweave.landcover.areas.class_areas import ClassAreas, class_areas
from bandweave.landcover.map_files import check_map
from bandweave.landcover.mapping import file_names
from bandweave.landcover.metrics import PER_CLASS, Scores
from bandweave.landcover.report.areas import area_rows
from bandweave.landcover.report.baseline import Baseline, baseline_maps, find_baseline
from bandweave.landcover.report.beside import set_beside
from bandweave.landcover.report.colours import (
    RIGHT_COLOUR,
    WRONG_COLOUR,
    confidence_ramp,
)
from bandweave.landcover.report.conclusion import conclusion, interval_words
from bandweave.landcover.report.confidence import confidence_figures
from bandweave.landcover.report.experts import PREFIX, expert_shares
from bandweave.landcover.report.pictures import shown_bands
from bandweave.landcover.report.plates import MapFiles, Plates, draw_plates
from bandweave.landcover.report.text import (
    changed_options,
    commands,
    described_grid,
    described_layers,
    protocol_lines,
)
from bandweave.landcover.run import Run
from bandweave.landcover.scoring import SceneScores, own_split
from bandweave.report.curves import Curve, draw_curve, draw_shares
from bandweave.report.page import render
from bandweave.report.words import counted, percent, seconds_in_words
from bandweave.training.folder import RunFolder
from bandweave.training.history import Row, read_history
from bandweave.yaml_files import yaml_text

NOT_A_LOSS = ("step", "loss", "accuracy", "validation", "gradient_norm", "lr", "seconds")


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
    notes: list[str] = []
    if scene.classes:
        with suppress(SceneMismatch):  # said where areas are estimated
            scene = with_classes(scene, run.classes)
    if scores is None and run.folder.scores.exists():
        scores = _stored_scores(run.folder, notes)
    if scores is not None and scores.pixels.classes != tuple(each.name for each in run.classes):
        raise SceneMismatch(
            f"the scores are of the classes {', '.join(scores.pixels.classes)}, the run knows "
            f"{', '.join(each.name for each in run.classes)}; score this run again"
        )
    split = _split(run, scene, scores, split, notes)
    files = _map_files(run, scene, map_path, confidence_path, notes)
    classical, lacking = None, ""
    if baseline and scores is not None:
        classical, lacking = find_baseline(run, scene, scores.pixels, quiet)
    if classical is not None and files.maps:
        files = replace(files, baselines=baseline_maps(run.folder, scene))
    plates = draw_plates(run, scene, split, files, quiet=quiet)
    if scores is not None and plates.tested and _same_split(scores, split):
        _compare(scores.pixels, plates, notes)
    if not _same_split(scores, split):
        plates.by_unit = None
    areas = _areas(run, scene, files, split)
    page = _page(run, scene, scores, plates, areas, (classical, lacking), notes)
    if areas is not None:
        run.folder.write_areas(areas.rows())
    run.folder.write_report(page)
    return run.folder.report


def _stored_scores(folder: RunFolder, notes: list[str]) -> SceneScores | None:
    import json

    try:
        return SceneScores.from_dict(json.loads(folder.scores.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        notes.append(f"scores.json in the run's folder cannot be read ({error}); score again.")
        return None


def _split(
    run: Run, scene: Scene, scores: SceneScores | None, split: Split | None, notes: list[str]
) -> Split | None:
    """The split whose sides are shown: the one given, or the run's own where the scene has it."""
    if split is None:
        try:
            split = own_split(run, scene)
        except (SplitError, LabelError):
            return None
    elif [each.shape for each in split.roles] != [
        (part.grid.height * split.ratio, part.grid.width * split.ratio) for part in scene.parts
    ]:
        raise SplitError(
            f"the split is of other parts or sizes than scene {scene.name!r}; draw it on this scene"
        )
    if scores is not None and not _same_split(scores, split):
        notes.append(
            "The scores were measured under another split than the one whose sides are shown here."
        )
    return split


def _areas(run: Run, scene: Scene, files: MapFiles, split: Split | None) -> ClassAreas | None:
    """Of the map's classes; None without a map."""
    if not files.maps:
        return None
    own = split if split is not None and split.hash == run.facts["split_hash"] else None
    if own is None:
        with suppress(SplitError, LabelError):
            own = own_split(run, scene)
    return class_areas(scene, files.maps, run.classes, run.output_ratio, own)


def _same_split(scores: SceneScores | None, split: Split | None) -> bool:
    if scores is None or split is None:
        return False
    return scores.pixels.protocol.get("hash") == split.hash


def _map_files(
    run: Run,
    scene: Scene,
    map_path: str | os.PathLike[str] | None,
    confidence_path: str | os.PathLike[str] | None,
    notes: list[str],
) -> MapFiles:
    """The rasters of each part; a map that was not named and does not fit is left out and noted."""
    grids = [part.grid.finer(run.output_ratio) for part in scene.parts]
    names = file_names(scene)

    def files_at(place: Path) -> list[Path]:
        files = [place / name if name else place for name in names]
        for file, grid in zip(files, grids, strict=True):
            check_map(file, grid)
        return files

    place = Path(map_path) if map_path is not None else _standing(run.folder)
    if place is None:
        if confidence_path is not None:
            return MapFiles((), tuple(files_at(Path(confidence_path))))
        return MapFiles()
    try:
        maps = files_at(place)
    except (FileError, SceneMismatch) as error:
        if map_path is not None:
            raise
        notes.append(f"The map in the run's folder is not shown: {error}.")
        return MapFiles()
    if confidence_path is not None:
        return MapFiles(tuple(maps), tuple(files_at(Path(confidence_path))))
    beside = place / "confidence"
    if len(scene.parts) == 1:
        beside = place.with_name(f"{place.stem}_confidence{place.suffix}")
    if not beside.exists():
        return MapFiles(tuple(maps))
    try:
        confidences = files_at(beside)
    except (FileError, SceneMismatch) as error:
        notes.append(f"The confidence beside the map is not shown: {error}.")
        return MapFiles(tuple(maps))
    if any(_older(one, other) for one, other in zip(confidences, maps, strict=True)):
        notes.append(f"{beside} is older than the map, so it is of another one and not shown.")
        return MapFiles(tuple(maps))
    return MapFiles(tuple(maps), tuple(confidences))


def _older(confidence: Path, map_: Path) -> bool:
    """Written before the map, with which it would have been written; seconds are a copy's."""
    return confidence.stat().st_mtime < map_.stat().st_mtime - 5


def _standing(folder: RunFolder) -> Path | None:
    places = (folder.map, folder.map.with_suffix(""))  # a file, or a folder of many parts
    return next((place for place in places if place.exists()), None)


def _compare(scores: Scores, plates: Plates, notes: list[str]) -> None:
    """Say so where the map that is shown is not the one that was scored."""
    right, tested = int(np.trace(scores.confusion)), int(scores.confusion.sum())
    if (plates.right, plates.tested) != (right, tested):
        notes.append(
            f"The map shown is right on {counted(plates.right)} of {counted(plates.tested)} test "
            f"pixels, the scores count {counted(right)} of {counted(tested)}: they were made with "
            f"other settings (overlap, flips, precision) or weights."
        )


# The page -----------------------------------------------------------------------------------------


@dataclass
class ClassRow:
    """A line of the table of classes; texts as they are shown."""

    info: ClassInfo
    train: str
    test: str
    numbers: list[str]
    objects: list[str]


@dataclass
class Cell:
    """A cell of the confusion matrix: a count, its share of the row, and what it means."""

    count: int
    share: float
    right: bool
    title: str = field(repr=False)


def _page(
    run: Run,
    scene: Scene,
    scores: SceneScores | None,
    plates: Plates,
    areas: ClassAreas | None,
    baseline: tuple[Baseline | None, str],
    notes: list[str],
) -> str:
    trained = run.facts["protocol"]
    pixels = scores.pixels if scores else None
    protocol = pixels.protocol if pixels else trained
    rows, steps = _class_rows(run, scores), _history(run.folder, notes)
    experts = expert_shares(steps)
    other_split = pixels is not None and protocol.get("hash") != run.facts["split_hash"]
    interval, about = interval_words(plates.by_unit, pixels) if pixels else ("", "")
    classical, lacking = baseline
    beside = None
    if pixels is not None and classical is not None:
        by_unit = plates.by_unit if interval else None
        beside = set_beside(run.config.name, pixels, by_unit, classical)
    return render(
        "landcover/report",
        "report.html.j2",
        scene=scene,
        run=run,
        scores=pixels,
        objects=scores.objects if scores else None,
        protocol=protocol_lines(protocol),
        other_split=other_split,
        interval=interval,
        about_interval=about,
        conclusion=conclusion(pixels, interval, other_split, beside.sentence if beside else "")
        if pixels
        else "",
        beside=beside,
        lacking=lacking,
        other_scene=pixels is not None and protocol.get("scene") not in (None, scene.name),
        scored_scene=protocol.get("scene"),
        trained=protocol_lines(trained),
        dropped=protocol.get("dropped", []),
        protocol_notes=protocol.get("notes", []),
        rows=rows,
        has_train=any(row.train for row in rows),
        areas=areas,
        area_rows=area_rows(areas) if areas is not None else [],
        confusion=_confusion(pixels) if pixels else [],
        confidence=confidence_figures(scores.calibration) if scores else None,
        plates=plates,
        ramp=confidence_ramp(),
        least_confidence=percent(1 / len(run.classes), 0),
        right_colour=RIGHT_COLOUR,
        wrong_colour=WRONG_COLOUR,
        curves=[(curve, draw_curve(curve)) for curve in _curves(steps)],
        samples="crops" if run.window else "whole parts",
        experts=draw_shares(experts) if experts else None,
        reference_words=shown_bands(scene.layers[scene.reference]).words,
        grid=described_grid(scene),
        layers=described_layers(scene, run),
        run_lines=_run_lines(run),
        machine_lines=_machine_lines(run.facts),
        changed=changed_options(run.config),
        commands=commands(run, scene, protocol if pixels else None),
        config=yaml_text(run.config.to_dict()),
        notes=notes,
    )


def _class_rows(run: Run, scores: SceneScores | None) -> list[ClassRow]:
    train = run.facts["protocol"].get("pixels_per_class", {})
    pixels, objects = (scores.pixels, scores.objects) if scores else (None, None)
    columns = [getattr(pixels, name) for name in PER_CLASS] if pixels else []
    rows = []
    for index, info in enumerate(run.classes):
        rows.append(
            ClassRow(
                info,
                train=counted(train[info.name]["train"]) if info.name in train else "",
                test=counted(pixels.support[index]) if pixels else "",
                numbers=[percent(column[index]) for column in columns],
                objects=[counted(objects.support[index]), percent(objects.accuracy[index])]
                if objects
                else [],
            )
        )
    return rows


def _confusion(scores: Scores) -> list[list[Cell]]:
    """The matrix, rows are the truth."""
    rows = []
    for truth, (counts, support) in enumerate(zip(scores.confusion, scores.support, strict=True)):
        row = []
        for predicted, count in enumerate(counts):
            share = float(count / support) if support else 0.0
            title = (
                f"{counted(count)} of {counted(support)} {scores.unit}s of "
                f"{scores.classes[truth]} were given {scores.classes[predicted]}"
            )
            row.append(Cell(int(count), share, truth == predicted, title))
        rows.append(row)
    return rows


def _history(folder: RunFolder, notes: list[str]) -> list[Row]:
    if not folder.history.exists():
        return []
    try:
        return read_history(folder.history)
    except FileError as error:
        notes.append(f"The learning curves are not shown: {error}.")
        return []


def _curves(rows: list[Row]) -> list[Curve]:
    """The loss, each of its parts, and the accuracy with the validation's."""
    rows = [row for row in rows if "step" in row]
    names = list(dict.fromkeys(name for row in rows for name in row))

    def values(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(row["step"], row[name]) for row in rows if name in row]
        x, y = (np.array(axis, float) for axis in zip(*pairs, strict=True))
        return x, y

    parts = [name for name in names if name not in NOT_A_LOSS and not name.startswith(PREFIX)]
    curves = [Curve(name, *values(name)) for name in ("loss", *parts) if name in names]
    validation = values("validation") if "validation" in names else None
    if "accuracy" in names:
        curves.append(
            Curve("accuracy", *values("accuracy"), validation, "validation", percent=True)
        )
    elif validation:
        curves.append(Curve("validation", *validation, percent=True))
    return curves


def _run_lines(run: Run) -> list[tuple[str, str]]:
    facts = run.facts
    return [
        ("Folder", str(run.folder.path)),
        ("Scene", run.config.scene),
        ("Parameters", f"{counted(facts['parameters'])} that are trained"),
        ("Training", f"{counted(facts['steps'])} steps in {seconds_in_words(facts['seconds'])}"),
        ("Crops and windows", f"{run.window} px of the grid" if run.window else "whole parts"),
        ("Pixels of the map", f"{run.output_ratio} for one of the grid, along each side"),
        ("Scaled by statistics of", facts["scaling_from"]),
    ]


def _machine_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the machine and the libraries that trained."""
    machine = facts["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return [
        ("Processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"),
        ("GPU", machine["gpu"] or "none"),
        ("System", machine["platform"]),
        ("Trained with", f"Python {machine['python']}, {libraries}"),
    ]
