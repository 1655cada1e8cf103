"""The classes of a drafted scene: those with pixels, once the draft is opened as a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bandweave.data.scene import IGNORED, Part, Scene
from bandweave.data.scenefile.open import open_scene
from bandweave.data.scenefile.schema import Code
from bandweave.data.splits.masks import labels_with_data
from bandweave.errors import BandweaveError
from bandweave.yaml_files import parse_yaml


@dataclass(frozen=True)
class ClassCount:
    """Labelled pixels of a class where the scene has data, and the polygons that own them.

    polygons  None where the labels are rasters
    """

    pixels: int
    polygons: int | None


def count_classes(
    text: str, folder: Path, names: Mapping[Code, str]
) -> dict[Code, ClassCount] | None:
    """Count each class of a draft; None where the draft does not open as it is.

    text    of the draft, without its `classes`
    folder  where its relative paths start
    names   of the classes, by code
    """
    try:
        scene = open_scene({**parse_yaml(text), "classes": dict(names)}, folder)
        pixels = np.zeros(len(names), np.int64)
        polygons = np.zeros(len(names), np.int64)
        for part in scene.parts:
            own = _count_part(scene, part)
            pixels += own[0]
            polygons += own[1]
    except BandweaveError:
        return None  # `scenes check` says why
    drawn = all(part.labels is None or part.labels.objects is not None for part in scene.parts)
    return {
        code: ClassCount(int(pixels[i]), int(polygons[i]) if drawn else None)
        for i, code in enumerate(names)
    }


def _count_part(scene: Scene, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Count pixels (classes,) and polygons (classes,) of one part."""
    number = len(scene.classes)
    if part.labels is None:
        return np.zeros(number, np.int64), np.zeros(number, np.int64)
    values = labels_with_data(part, scene.reference, part.labels.ratio)
    pixels = np.bincount(values[values != IGNORED], minlength=number)
    objects = replace(part.labels, values=values).count_objects(number)
    return pixels, np.zeros(number, np.int64) if objects is None else objects
