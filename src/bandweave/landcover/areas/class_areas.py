"""How much ground each class covers on a map, with standard errors where a sample tells them.

Pixel counts carry the map's confusions. Where the scene's labels are declared a probability sample
(`sampling:` in its scene file) and none of it was trained on, areas are estimated by
landcover/areas/estimate.py; else the counts stand alone, and why is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandweave.data.match import with_classes
from bandweave.data.scene import IGNORED, ClassInfo, Part, Scene
from bandweave.data.splits.roles import TEST, TRAIN, VALIDATION
from bandweave.data.splits.splitting import Split
from bandweave.errors import GridMismatch, LabelError, SceneMismatch
from bandweave.landcover.areas.estimate import AreaEstimate, estimate_areas
from bandweave.landcover.maps.files import map_rows
from bandweave.landcover.metrics import confusion_matrix, score_objects
from bandweave.raster.area import GroundArea
from bandweave.raster.grid import Window

COUNTED = (
    "Areas are counts of the map's pixels: they carry its confusions, and have no standard error. "
    "For one, draw places at random within each class of the map (bandweave sample), label them, "
    "and declare their design in a scene file (sampling: stratified by map class)."
)


@dataclass(frozen=True, eq=False)
class ClassAreas:
    """Areas of a map's classes.

    unit      ha, or px where the grid has no place on the ground
    mapped    (K,) float64, in `unit`, as counted
    estimate  from a sample; None without one
    note      why there is no estimate, or what it rests on
    """

    classes: tuple[str, ...]
    unit: str
    mapped: np.ndarray
    estimate: AreaEstimate | None
    note: str

    @property
    def shares(self) -> np.ndarray:
        """Share of the mapped area of each class, (K,)."""
        return self.mapped / max(float(self.mapped.sum()), 1e-300)

    def rows(self) -> list[dict[str, object]]:
        """Rows of areas.csv, one a class."""
        if self.estimate is not None:
            return self.estimate.rows()
        return [
            {"class": name, f"mapped_{self.unit}": area}
            for name, area in zip(self.classes, self.mapped, strict=True)
        ]


def measure_areas(
    scene: Scene, maps: Sequence[Path], classes: Sequence[ClassInfo], ratio: int, own: Split | None
) -> ClassAreas:
    """Measure the areas of classes on the map of each part.

    maps     of the scene's parts, in their order
    classes  of the map
    ratio    how many times finer than the grid the map is
    own      the split that the map's model was trained with, where it is of this scene
    """
    names = tuple(each.name for each in classes)
    codes = [each.code for each in classes]
    unit = "ha"
    try:
        grounds = [GroundArea(part.grid.finer(ratio)) for part in scene.parts]
    except GridMismatch:
        unit, grounds = "px", []
    other = ""
    if scene.sampling:
        try:
            scene = with_classes(scene, classes)
        except SceneMismatch as error:
            other = str(error)
    lacking = _explain_no_sample(scene, other, ratio, own)
    mapped = np.zeros(len(names))
    sampled = np.zeros((len(names), len(names)), np.int64)
    polygons = 0
    for index, (part, path) in enumerate(zip(scene.parts, maps, strict=True)):
        places = None if lacking else _mark_sample(part)
        found = []
        for row, indices in map_rows(path, codes):
            if grounds:
                window = Window(row, 0, *indices.shape)
                mapped += grounds[index].sum_by_class(indices, window, len(names))
            else:
                mapped += np.bincount(indices[indices >= 0], minlength=len(names))
            if places is not None:
                found.append(indices[places[row : row + len(indices)]])
        if places is not None and places.any():
            units, larger = _count_units(part, places, np.concatenate(found), names)
            sampled += units
            polygons += larger
    estimate: AreaEstimate | None = None
    note = lacking
    if not lacking:
        try:
            estimate = estimate_areas(sampled, mapped, names, unit)
            note = _describe_sample(scene, sampled, polygons)
        except LabelError as error:
            note = f"The sample gives no standard errors: {error}. {COUNTED}"
    return ClassAreas(names, unit, mapped, estimate, note)


def _explain_no_sample(scene: Scene, other: str, ratio: int, own: Split | None) -> str:
    """Say why no areas can be estimated from the labels; '' where they are a sample.

    other  what the scene's classes have that the map's have not
    """
    if not scene.sampling:
        return COUNTED
    refused = f"The labels are declared a sample ({scene.sampling}), and no areas are estimated: "
    if other:
        return (
            f"{refused}they have other classes than the map ({other}). Give the sample's scene "
            f"file the classes of the one that was trained on."
        )
    if scene.label_ratio != ratio:
        return (
            f"{refused}they are {scene.label_ratio} times finer than the grid, the map {ratio} "
            f"times; give them ratio: {ratio}."
        )
    trained = 0
    if own is not None:
        for part, roles in zip(scene.parts, own.roles, strict=True):
            if part.labels is not None:
                trained += int((_mark_sample(part) & np.isin(roles, (TRAIN, VALIDATION))).sum())
    if trained:
        return (
            f"{refused}the map's model was trained on {trained} of their pixels. Draw them after "
            f"mapping, and keep them in labels.test or in a scene of their own."
        )
    return ""


def _mark_sample(part: Part) -> np.ndarray:
    """Mark the pixels of the sample, (H, W) bool."""
    if part.labels is None:
        return np.zeros((part.grid.height, part.grid.width), bool)
    known = part.labels.values != IGNORED
    return known if part.labels.given is None else known & (part.labels.given == TEST)


def _count_units(
    part: Part, places: np.ndarray, mapped: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, int]:
    """Count sample units (K, K), rows are the map's classes; and those larger than a pixel.

    mapped  class indices on the map of `places`; units where it has none count for no class
    """
    assert part.labels is not None
    truth = np.where(mapped == IGNORED, IGNORED, part.labels.values[places])
    objects = part.labels.objects
    if objects is None:
        return confusion_matrix(truth, mapped, len(names)).T, 0
    votes = score_objects(objects[places], truth, mapped, names)
    _, sizes = np.unique(objects[places], return_counts=True)
    return votes.confusion.T, int((sizes > 1).sum())


def _describe_sample(scene: Scene, sampled: np.ndarray, polygons: int) -> str:
    design = scene.sampling
    if scene.sampling == "simple random":
        design += ", stratified afterwards by the map's classes"
    note = (
        f"Estimated from {sampled.sum()} sample units ({design}) by the stratified estimator of "
        f"Olofsson et al. (2014); ± is half a 95 % interval, and 0 where the sample found no "
        f"confusion, which a small one may miss."
    )
    if polygons:
        note += (
            f" {polygons} units are polygons of several pixels; each counts once, with the class "
            f"of most of its pixels."
        )
    return note
