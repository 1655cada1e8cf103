"""The pictures of a report: for each place the image, labels, map, confidence and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from bandweave.data.scene import IGNORED, ClassInfo, Part, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, VALIDATION, Split
from bandweave.landcover.map_files import RIGHT, read_confidence, read_map, verdict
from bandweave.landcover.report.colours import (
    in_class_colours,
    in_confidence_colours,
    in_verdict_colours,
    with_markers,
)
from bandweave.landcover.report.ground import Ground, describe_ground
from bandweave.landcover.report.interval import UnitCounts, number_units
from bandweave.landcover.report.maps import MapFiles
from bandweave.landcover.report.pictures import commonest, read_layer, shown_bands
from bandweave.landcover.run import Run
from bandweave.raster.writing.outputs import CACHE_BYTES
from bandweave.report.pictures import Picture, photograph, picture
from bandweave.report.words import counted, percent
from bandweave.training.progress import Progress

LONGEST = 1200  # px of a picture's longer side
LONGEST_OTHER = 480  # of layers other than the reference
LONGEST_OF_MANY = 320  # where there are several parts
MOST_PARTS = 12


@dataclass(frozen=True)
class Plate:
    """Pictures of one part, all of the same ground."""

    name: str
    ground: Ground
    main: list[Picture]
    layers: list[Picture]


@dataclass
class Plates:
    """All pictures of a scene, and what was counted on the way.

    parts          of the scene; not all may be shown
    right, tested  test pixels on which the map is right, and all that were tested
    label_classes  of the labels, where they are not the run's
    by_unit        right and tested by object, block or part; None where nothing was tested
    """

    shown: list[Plate] = field(default_factory=list)
    parts: int = 0
    right: int = 0
    tested: int = 0
    has_map: bool = False
    has_confidence: bool = False
    has_labels: bool = False
    label_classes: tuple[ClassInfo, ...] = ()
    by_unit: UnitCounts | None = None

    @property
    def shape(self) -> str:
        """'wide', 'tall' or '': how the pictures are best laid out."""
        first = self.shown[0].main[0]
        proportion = first.width / first.height
        return "wide" if proportion > 2 else "tall" if proportion < 0.5 else ""


def draw_plates(
    run: Run, scene: Scene, split: Split | None, files: MapFiles, quiet: bool = False
) -> Plates:
    """Read and draw; parts of a scene that has many are chosen by `_chosen`."""
    plates = Plates(parts=len(scene.parts), has_map=bool(files.maps))
    plates.has_confidence = bool(files.confidences)
    plates.has_labels = any(_labelled(part) for part in scene.parts)
    if plates.has_labels and scene.classes != run.classes:
        plates.label_classes = scene.classes
    chosen = _chosen(scene, split)
    units = None if split is None else number_units(scene, split)
    longest = LONGEST_OF_MANY if len(chosen) > 1 else LONGEST
    with (
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        Progress("report, parts", len(scene.parts), quiet=quiet) as bar,
    ):
        for index, part in enumerate(scene.parts):
            judged = _judged(run, scene, split, files, index)
            if judged is not None:
                plates.right += int((judged == RIGHT).sum())
                plates.tested += int((judged != IGNORED).sum())
                assert units is not None  # what is judged has a split
                plates.by_unit = plates.by_unit or UnitCounts.of(units)
                plates.by_unit.add(units.numbers[index], judged)
            if index in chosen:
                painter = _Painter(run, scene, part, longest)
                painter.image()
                if _labelled(part):
                    painter.labels(split, None if split is None else split.roles[index])
                if files.maps:
                    painter.map(files.maps[index])
                if files.baselines:
                    painter.map(files.baselines[index], "map of the baseline")
                if files.confidences:
                    painter.confidence(files.confidences[index])
                if judged is not None and (judged != IGNORED).any():
                    painter.errors(judged)
                plates.shown.append(
                    Plate(part.name, describe_ground(part.grid), painter.main, painter.layers())
                )
            bar.advance()
    return plates


def _labelled(part: Part) -> bool:
    return part.labels is not None and bool((part.labels.values != IGNORED).any())


def _chosen(scene: Scene, split: Split | None) -> set[int]:
    """Which parts to show: those with test pixels first, then those with labels, in their order."""

    def rank(index: int) -> tuple[int, int]:
        if split is not None and (split.roles[index] == TEST).any():
            return 0, index
        return (1 if _labelled(scene.parts[index]) else 2), index

    return set(sorted(range(len(scene.parts)), key=rank)[:MOST_PARTS])


def _judged(
    run: Run, scene: Scene, split: Split | None, files: MapFiles, index: int
) -> np.ndarray | None:
    """Where the map of a part is right on test pixels; None where that cannot be told."""
    labels = scene.parts[index].labels
    if split is None or labels is None or not files.maps or scene.classes != run.classes:
        return None
    if labels.ratio != run.output_ratio:
        return None
    codes = [each.code for each in run.classes]
    return verdict(files.maps[index], labels.values, split.roles[index] == TEST, codes)


class _Painter:
    """Pictures of one part, one after another; briefly described where there are several parts."""

    def __init__(self, run: Run, scene: Scene, part: Part, longest: int) -> None:
        self.run, self.scene, self.part, self.longest = run, scene, part, longest
        self.brief = longest == LONGEST_OF_MANY
        self.main: list[Picture] = []

    def image(self) -> None:
        """The reference layer."""
        self.main.append(self._layer(self.scene.reference, self.longest))

    def layers(self) -> list[Picture]:
        """The other layers, small."""
        others = [name for name in self.part.layers if name != self.scene.reference]
        return [self._layer(name, min(self.longest, LONGEST_OTHER)) for name in others]

    def _layer(self, name: str, longest: int) -> Picture:
        layer, facts = self.part.layers[name], self.scene.layers[name]
        shown = shown_bands(facts)
        rgba, ranges = photograph(read_layer(self.part, layer, shown.bands, longest))
        words = [shown.words] if shown.words and not self.brief else []
        if len(ranges) == 1:
            low, high = (f"{value:.3g}".replace("-", "−") for value in ranges[0])
            words.append(f"{low} (black) to {high} {facts.info.units or ''}".rstrip() + " (white)")
        return picture(name, "; ".join(words), rgba, photograph=True)

    def labels(self, split: Split | None, roles: np.ndarray | None) -> None:
        """Labels of each side of the split, or all of them where there is none."""
        assert self.part.labels is not None
        values, classes = self.part.labels.values, self.scene.classes
        if split is None or roles is None:
            self._classes("labels", f"{counted((values != IGNORED).sum())} px", values, classes)
            return
        own = split.hash == self.run.facts["split_hash"]
        sides = [("training labels" if own else "training side of the scored split", TRAIN)]
        if split.config.validation:
            sides.append(("validation labels", VALIDATION))
        for title, role in [*sides, ("test labels", TEST)]:
            side = np.where(roles == role, values, IGNORED)
            count = int((side != IGNORED).sum())
            if count or not self.brief:
                self._classes(title, f"{counted(count)} px", side, classes)

    def _classes(
        self, title: str, caption: str, values: np.ndarray, classes: Sequence[ClassInfo]
    ) -> None:
        rgba, marked = with_markers(in_class_colours(commonest(values, self.longest), classes))
        self.main.append(picture(title, caption + (", as dots" if marked else ""), rgba))

    def map(self, path: Path, title: str = "map") -> None:
        """The map, or another's."""
        indices = read_map(path, [each.code for each in self.run.classes], self.longest)
        rgba = in_class_colours(indices, self.run.classes)
        self.main.append(picture(title, "" if self.brief else path.name, rgba))

    def confidence(self, path: Path) -> None:
        """The largest class probability."""
        values = read_confidence(path, self.longest)
        known = values[np.isfinite(values)]
        caption = f"mean {percent(float(known.mean()), 1)}" if known.size else "no data"
        rgba = in_confidence_colours(values, 1 / len(self.run.classes))
        self.main.append(picture("confidence", caption, rgba))

    def errors(self, judged: np.ndarray) -> None:
        """Where the map is right and wrong."""
        right, tested = int((judged == RIGHT).sum()), int((judged != IGNORED).sum())
        share = percent(right / tested)
        caption = f"{counted(right)} of {counted(tested)} test px right ({share})"
        if self.brief:
            caption = f"{share} right"
        rgba, _ = with_markers(in_verdict_colours(commonest(judged, self.longest)))
        self.main.append(picture("right and wrong", caption, rgba))
