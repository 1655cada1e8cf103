"""One cell of a comparison, in its run folder: trained, scored, mapped, and what it was.

    cell.json     what it was, when all is done: configuration, seed, hash of the split, protocol,
                  versions, machine, command, seconds
    failed.json   why it is not done
    features.json the picture of its features (features.py)

and the files of a run (training/folder.py). What a cell that was killed left is continued: training
from its checkpoint, what is whole stays, the rest is made again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bandweave.comparison.cells import attempt_cell, explain_error, list_versions
from bandweave.comparison.plan import Cell, CellOptions
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.data.splits.splitting import Split, split
from bandweave.errors import RunError
from bandweave.landcover.comparison.features import (
    Features,
    compute_features,
    describe_picture,
)
from bandweave.landcover.comparison.plan import NUMBERS, read_cell_config
from bandweave.landcover.mapping import map_scene
from bandweave.landcover.run import Run
from bandweave.landcover.scoring import SceneScores, score
from bandweave.landcover.training import train
from bandweave.training.atomic import write_json
from bandweave.training.config import conflicts
from bandweave.training.folder import RunFolder, machine

log = logging.getLogger(__name__)

LARGEST_MAP = 4_000_000  # px of the labels' grid: larger scenes are scored and not mapped


def run_cell(
    root: Path, cell: Cell, options: CellOptions, scene: Scene | None = None
) -> dict[str, Any]:
    """Do what is missing of a cell and return what `cell.json` or `failed.json` then holds."""
    folder = RunFolder(root / cell.place)
    return attempt_cell(root, cell, lambda: _make(folder, cell, options, scene))


class _Loaded:
    """The scene and the split of the last cell, which the next one may have too."""

    key: tuple[str, int | None] | None = None
    split_key = ""
    scene: Scene
    split: Split

    def load(self, cell: Cell, scene: Scene | None) -> tuple[Scene, Split]:
        """Open the scene of a cell and draw its split, where they are not those of the last one."""
        key = cell.work["scene"], id(scene) if scene is not None else None
        if self.key != key:
            self.key, self.split_key = None, ""
            self.scene = scene or scene_from(cell.work["scene"])
            self.key = key
        split_key = json.dumps(cell.work["split"], sort_keys=True)
        if self.split_key != split_key:
            self.split_key = ""
            self.split = split(self.scene, **cell.work["split"])
            self.split_key = split_key
        return self.scene, self.split


_LOADED = _Loaded()


def _make(
    folder: RunFolder, cell: Cell, options: CellOptions, scene: Scene | None
) -> dict[str, Any]:
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    scene, drawn = _LOADED.load(cell, scene)
    if cell.work["config"].get("class_names") == NUMBERS:
        numbered = tuple(replace(each, name=f"class {each.code}") for each in scene.classes)
        scene = replace(scene, classes=numbered)
    seconds: dict[str, float | None] = {}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        began = time.monotonic()
        result = do()
        seconds[name] = round(time.monotonic() - began, 3)
        return result

    run = _train(folder, cell, scene, drawn)
    scores = _read_scores(folder, drawn)
    if scores is None:
        scores = timed("score", lambda: score(run, scene, drawn, quiet=True))
    mapped, place = options.maps and _map_size(scene) <= LARGEST_MAP, _map_path(folder, scene)
    if mapped and not _has_map(folder, scene):
        timed("map", lambda: map_scene(run, scene, place, overwrite=True, quiet=True))
    if options.pictured == cell.seed:
        _draw_features(folder, lambda: compute_features(run, scene, drawn))
    return {
        "identity": cell.identity,
        "scene": scene.name,
        "protocol": scores.pixels.protocol,
        "split_hash": drawn.hash,
        "seed": cell.seed,
        "command": options.command,
        "mapped": mapped,
        "parameters": run.parameters,
        "again": f"bandweave train --config {folder.config} --out OTHER",
        "versions": list_versions("scikit-learn", "scikit-image"),
        "machine": machine(),
        "seconds": {**seconds, "train": round(run.facts["seconds"], 3)},
    }


def _train(folder: RunFolder, cell: Cell, scene: Scene, drawn: Split) -> Run:
    """The run of a cell: read where it is whole, else trained from where it stands."""
    config = read_cell_config(cell)
    if folder.finished:
        run = Run.open(folder.path)
        stored, asked = (_without_data(each.to_dict()) for each in (run.config, config))
        if run.facts["split_hash"] == drawn.hash and not conflicts(stored, asked):
            return run
        raise RunError(
            f"{folder.path} holds a run of another split or configuration; compare into another "
            f"folder"
        )
    return train(scene, drawn, out=folder.path, config=config, resume=True, quiet=True)


def _without_data(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if key not in ("scene", "split")}


def _read_scores(folder: RunFolder, drawn: Split) -> SceneScores | None:
    """The scores that stand in the folder, if they are whole and of this split."""
    try:
        scores = SceneScores.from_dict(json.loads(folder.scores.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return None
    return scores if scores.pixels.protocol.get("hash") == drawn.hash else None


def _map_path(folder: RunFolder, scene: Scene) -> Path:
    """A file, or a folder for the parts of a scene that has many."""
    return folder.map if len(scene.parts) == 1 else folder.map.with_suffix("")


def _has_map(folder: RunFolder, scene: Scene) -> bool:
    """True where map and sidecars stand there; those of many parts are made anew."""
    files = folder.map, folder.map.with_suffix(".qml"), folder.path / "map.tif.aux.xml"
    return len(scene.parts) == 1 and all(file.exists() for file in files)


def _draw_features(folder: RunFolder, features: Callable[[], Features]) -> None:
    """Write features.json; where that fails, why: scores do not hang on a picture."""
    path = folder.path / "features.json"
    if path.exists():
        return
    try:
        picture = describe_picture(features())
    except Exception as error:
        log.warning("%s: no picture of features: %s", folder.path, explain_error(error))
        picture = {"what": f"not pictured: {explain_error(error)}", "x": [], "y": [], "classes": []}
    write_json(path, picture)


def _map_size(scene: Scene) -> int:
    return sum(p.grid.height * p.grid.width for p in scene.parts) * scene.label_ratio**2
