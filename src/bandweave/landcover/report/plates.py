"""The pictures of a report: for each place the image, labels, map, confidence and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from bandweave.data.scene import IGNORED, ClassInfo, Part, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, VALIDATION, Split
from bandweave.landcover.maps.files import RIGHT, read_confidence, read_map, verdict
from bandweave.landcover.report.colours import (
    add_markers,
    colour_classes,
    colour_confidence,
    colour_verdict,
)
from bandweave.landcover.report.ground import Ground, describe_ground
from bandweave.landcover.report.interval import UnitCounts, number_units
from bandweave.landcover.report.maps import MapFiles
from bandweave.landcover.report.reduced import choose_bands, read_layer, reduce_labels
from bandweave.landcover.run import Run
from bandweave.raster.writing.outputs import CACHE_BYTES
from bandweave.report.pictures import Picture, photograph, picture
from bandweave.report.words import format_count, percent
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
    """Draw the pictures of a scene; `_choose_parts` chooses among many parts."""
    plates = Plates(parts=len(scene.parts), has_map=bool(files.maps))
    plates.has_confidence = bool(files.confidences)
    plates.has_labels = any(_has_labels(part) for part in scene.parts)
    if plates.has_labels and scene.classes != run.classes:
        plates.label_classes = scene.classes
    chosen = _choose_parts(scene, split)
    units = None if split is None else number_units(scene, split)
    longest = LONGEST_OF_MANY if len(chosen) > 1 else LONGEST
    with (
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        Progress("report, parts", len(scene.parts), quiet=quiet) as bar,
    ):
        for index, part in enumerate(scene.parts):
            judged = _judge(run, scene, split, files, index)
            if judged is not None:
                plates.right += int((judged == RIGHT).sum())
                plates.tested += int((judged != IGNORED).sum())
                assert units is not None  # what is judged has a split
                plates.by_unit = plates.by_unit or UnitCounts.zeros(units)
                plates.by_unit.add(units.numbers[index], judged)
            if index in chosen:
                painter = _Painter(run, scene, part, longest)
                painter.draw_image()
                if _has_labels(part):
                    painter.draw_labels(split, None if split is None else split.roles[index])
                if files.maps:
                    painter.draw_map(files.maps[index])
                if files.baselines:
                    painter.draw_map(files.baselines[index], "map of the baseline")
                if files.confidences:
                    painter.draw_confidence(files.confidences[index])
                if judged is not None and (judged != IGNORED).any():
                    painter.draw_errors(judged)
                plates.shown.append(
                    Plate(
                        part.name, describe_ground(part.grid), painter.main, painter.draw_layers()
                    )
                )
            bar.advance()
    return plates


def _has_labels(part: Part) -> bool:
    return part.labels is not None and bool((part.labels.values != IGNORED).any())


def _choose_parts(scene: Scene, split: Split | None) -> set[int]:
    """Choose parts to show: those with test pixels, then those with labels, in their order."""

    def rank(index: int) -> tuple[int, int]:
        if split is not None and (split.roles[index] == TEST).any():
            return 0, index
        return (1 if _has_labels(scene.parts[index]) else 2), index

    return set(sorted(range(len(scene.parts)), key=rank)[:MOST_PARTS])


def _judge(
    run: Run, scene: Scene, split: Split | None, files: MapFiles, index: int
) -> np.ndarray | None:
    """Judge the map of a part on test pixels: RIGHT and WRONG; None where that cannot be told."""
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

    def draw_image(self) -> None:
        """Draw the reference layer."""
        self.main.append(self._draw_layer(self.scene.reference, self.longest))

    def draw_layers(self) -> list[Picture]:
        """Draw the other layers, small."""
        others = [name for name in self.part.layers if name != self.scene.reference]
        return [self._draw_layer(name, min(self.longest, LONGEST_OTHER)) for name in others]

    def _draw_layer(self, name: str, longest: int) -> Picture:
        layer, facts = self.part.layers[name], self.scene.layers[name]
        shown = choose_bands(facts)
        rgba, ranges = photograph(read_layer(self.part, layer, shown.bands, longest))
        words = [shown.words] if shown.words and not self.brief else []
        if len(ranges) == 1:
            low, high = (f"{value:.3g}".replace("-", "−") for value in ranges[0])
            words.append(f"{low} (black) to {high} {facts.info.units or ''}".rstrip() + " (white)")
        return picture(name, "; ".join(words), rgba, photograph=True)

    def draw_labels(self, split: Split | None, roles: np.ndarray | None) -> None:
        """Draw the labels of each side of the split, or all of them where there is none."""
        assert self.part.labels is not None
        values, classes = self.part.labels.values, self.scene.classes
        if split is None or roles is None:
            self._draw_classes(
                "labels", f"{format_count((values != IGNORED).sum())} px", values, classes
            )
            return
        own = split.hash == self.run.facts["split_hash"]
        sides = [("training labels" if own else "training side of the scored split", TRAIN)]
        if split.config.validation:
            sides.append(("validation labels", VALIDATION))
        for title, role in [*sides, ("test labels", TEST)]:
            side = np.where(roles == role, values, IGNORED)
            count = int((side != IGNORED).sum())
            if count or not self.brief:
                self._draw_classes(title, f"{format_count(count)} px", side, classes)

    def _draw_classes(
        self, title: str, caption: str, values: np.ndarray, classes: Sequence[ClassInfo]
    ) -> None:
        rgba, marked = add_markers(colour_classes(reduce_labels(values, self.longest), classes))
        self.main.append(picture(title, caption + (", as dots" if marked else ""), rgba))

    def draw_map(self, path: Path, title: str = "map") -> None:
        """Draw the map, or another's."""
        indices = read_map(path, [each.code for each in self.run.classes], self.longest)
        rgba = colour_classes(indices, self.run.classes)
        self.main.append(picture(title, "" if self.brief else path.name, rgba))

    def draw_confidence(self, path: Path) -> None:
        """Draw the largest class probability."""
        values = read_confidence(path, self.longest)
        known = values[np.isfinite(values)]
        caption = f"mean {percent(float(known.mean()), 1)}" if known.size else "no data"
        rgba = colour_confidence(values, 1 / len(self.run.classes))
        self.main.append(picture("confidence", caption, rgba))

    def draw_errors(self, judged: np.ndarray) -> None:
        """Draw where the map is right and wrong."""
        right, tested = int((judged == RIGHT).sum()), int((judged != IGNORED).sum())
        share = percent(right / tested)
        caption = f"{format_count(right)} of {format_count(tested)} test px right ({share})"
        if self.brief:
            caption = f"{share} right"
        rgba, _ = add_markers(colour_verdict(reduce_labels(judged, self.longest)))
        self.main.append(picture("right and wrong", caption, rgba))
