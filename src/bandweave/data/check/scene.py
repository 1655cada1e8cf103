"""Looking a scene over before any training: what is there, and what would go wrong."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from bandweave.data.check.findings import PROBLEM, Finding
from bandweave.data.check.labels import look_at_labels
from bandweave.data.check.layers import look_at_layers
from bandweave.data.check.shift import look_at_shifts
from bandweave.data.scene import Scene
from bandweave.data.scenefile.open import open_scene
from bandweave.data.scenefile.schema import SceneFile, read_scene_file
from bandweave.errors import BandweaveError
from bandweave.raster.alignment import short_crs

__all__ = ["PROBLEM", "check_scene", "look_at_scene"]


def check_scene(
    source: str | os.PathLike[str] | Mapping | Scene,
    folder: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Findings on a scene, one line each; problems begin with 'problem: '.

    A problem that a key of the scene file answers ends with that key as YAML. Layers of more than
    2²⁷ values are seen in windows spread over them, and their line says so.

    source   what `open_scene` takes, or an open scene
    folder   where relative paths start; by default the scene file's folder, or the working folder
    """
    return [str(finding) for finding in look_at_scene(source, folder)]


def look_at_scene(
    source: str | os.PathLike[str] | Mapping | Scene,
    folder: str | os.PathLike[str] | None = None,
) -> list[Finding]:
    """The same as `check_scene`, with the edits of the scene file that answer each problem."""
    try:
        file = _read_file(source, folder)
        scene = source if isinstance(source, Scene) else open_scene(source, folder)
    except BandweaveError as error:
        return [Finding(str(error), problem=True)]
    return [
        Finding(
            f"scene '{scene.name}': {_describe_parts(scene)}, "
            f"the grid is that of '{scene.reference}'"
        ),
        *(Finding(note) for note in scene.notes),
        *look_at_layers(scene, file),
        *look_at_shifts(scene),
        *look_at_labels(scene, file),
        *_find_overlaps(scene),
    ]


def _read_file(
    source: str | os.PathLike[str] | Mapping | Scene, folder: str | os.PathLike[str] | None
) -> SceneFile | None:
    """Read the scene's file; None for an open scene and a benchmark's folder."""
    if isinstance(source, Scene):
        return None
    base = None if folder is None else Path(folder)
    if isinstance(source, Mapping):
        return read_scene_file(source, base)
    path = Path(source)
    if path.is_dir():
        path = path / "scene.yaml"
        if not path.exists():
            return None
    return read_scene_file(path, base)


def _describe_parts(scene: Scene) -> str:
    first = scene.parts[0].grid
    place = short_crs(first.crs) if first.georeferenced else "no georeference"
    if len(scene.parts) == 1:
        return f"{first}, {place}"
    heights = [part.grid.height for part in scene.parts]
    widths = [part.grid.width for part in scene.parts]
    sizes = f"{min(heights)}×{min(widths)}"
    if len({(part.grid.height, part.grid.width) for part in scene.parts}) > 1:
        sizes += f" to {max(heights)}×{max(widths)}"
    return f"{len(scene.parts)} parts of {sizes} px, {place}"


def _find_overlaps(scene: Scene) -> Iterator[Finding]:
    """Find parts that share ground: a split by parts would test on what it trained on."""
    placed = [part for part in scene.parts if part.grid.georeferenced]
    for one, other in itertools.combinations(placed, 2):
        left, bottom, right, top = one.grid.bounds
        west, south, east, north = other.grid.bounds
        width, height = min(right, east) - max(left, west), min(top, north) - max(bottom, south)
        pixel = min(one.grid.pixel_size)
        if width > pixel / 2 and height > pixel / 2:
            unit = one.grid.unit
            yield Finding(
                f"parts '{one.name}' and '{other.name}' share {width:g}×{height:g} {unit} "
                "of ground: a split by parts would test on what it trained on",
                problem=True,
            )
