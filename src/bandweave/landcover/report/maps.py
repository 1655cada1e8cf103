"""Which maps a report shows: those that were named, or those that stand in the run's folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bandweave.data.scene import Scene
from bandweave.errors import FileError, SceneMismatch
from bandweave.landcover.maps.files import check_map, is_older, name_confidence
from bandweave.landcover.maps.writing import name_files
from bandweave.landcover.run import Run
from bandweave.training.folder import RunFolder


@dataclass(frozen=True)
class MapFiles:
    """The map and the confidence of each part, and a baseline's map; empty where there is none."""

    maps: tuple[Path, ...] = ()
    confidences: tuple[Path, ...] = ()
    baselines: tuple[Path, ...] = ()


def find_maps(
    run: Run,
    scene: Scene,
    map_path: str | os.PathLike[str] | None,
    confidence_path: str | os.PathLike[str] | None,
    notes: list[str],
) -> MapFiles:
    """Find the rasters of each part; one that was not named and does not fit is noted instead."""
    grids = [part.grid.finer(run.output_ratio) for part in scene.parts]
    names = name_files(scene)

    def files_at(place: Path) -> list[Path]:
        files = [place / name if name else place for name in names]
        for file, grid in zip(files, grids, strict=True):
            check_map(file, grid)
        return files

    place = Path(map_path) if map_path is not None else _find_kept_map(run.folder)
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
    beside = place / "confidence" if len(scene.parts) > 1 else name_confidence(place)
    if not beside.exists():
        return MapFiles(tuple(maps))
    try:
        confidences = files_at(beside)
    except (FileError, SceneMismatch) as error:
        notes.append(f"The confidence beside the map is not shown: {error}.")
        return MapFiles(tuple(maps))
    if any(is_older(one, other) for one, other in zip(confidences, maps, strict=True)):
        notes.append(f"{beside} is older than the map, so it is of another one and not shown.")
        return MapFiles(tuple(maps))
    return MapFiles(tuple(maps), tuple(confidences))


def _find_kept_map(folder: RunFolder) -> Path | None:
    places = (folder.map, folder.map.with_suffix(""))  # a file, or a folder of many parts
    return next((place for place in places if place.exists()), None)
