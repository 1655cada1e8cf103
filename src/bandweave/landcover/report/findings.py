"""What a report has to show, read once: each section takes what it needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bandweave.data.scene import Scene
from bandweave.landcover.areas.class_areas import ClassAreas
from bandweave.landcover.metrics import Scores
from bandweave.landcover.report.baseline import Baseline
from bandweave.landcover.report.beside import Beside, set_beside
from bandweave.landcover.report.conclusion import describe_interval, write_conclusion
from bandweave.landcover.report.plates import Plates
from bandweave.landcover.run import Run
from bandweave.landcover.scoring import SceneScores
from bandweave.training.history import Row


@dataclass
class Findings:
    """Everything that the page of a run is made of.

    scores    None where the run has none
    plates    pictures, and what was counted on them
    areas     of the map's classes; None without a map
    baseline  a classical method under the same split; None where there is none
    lacking   why there is no baseline; '' where nobody would look for one
    history   the rows of history.csv
    notes     what must be said at the top
    """

    run: Run
    scene: Scene
    scores: SceneScores | None
    plates: Plates
    areas: ClassAreas | None
    baseline: Baseline | None
    lacking: str
    history: list[Row]
    notes: list[str]

    @property
    def pixels(self) -> Scores | None:
        """The scores over test pixels."""
        return self.scores.pixels if self.scores else None

    @property
    def objects(self) -> Scores | None:
        """The scores over test objects, where labels are polygons."""
        return self.scores.objects if self.scores else None

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What the scores were measured under; without scores, what the run was trained under."""
        return self.pixels.protocol if self.pixels else self.run.facts["protocol"]

    @property
    def other_split(self) -> bool:
        """Whether the scores are of another split than the run was trained with."""
        return self.pixels is not None and (
            self.protocol.get("hash") != self.run.facts["split_hash"]
        )

    @cached_property
    def interval(self) -> tuple[str, str]:
        """The interval on overall accuracy, and how it was made or why there is none; in words."""
        return describe_interval(self.plates.by_unit, self.pixels) if self.pixels else ("", "")

    @cached_property
    def beside(self) -> Beside | None:
        """The model beside the baseline; None without scores or baseline."""
        if self.pixels is None or self.baseline is None:
            return None
        counts = self.plates.by_unit if self.interval[0] else None
        return set_beside(self.run.config.name, self.pixels, counts, self.baseline)

    @property
    def conclusion(self) -> str:
        """The first sentences of the page; '' without scores."""
        if self.pixels is None:
            return ""
        beside = self.beside.sentence if self.beside else ""
        return write_conclusion(self.pixels, self.interval[0], self.other_split, beside)
