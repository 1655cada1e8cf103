"""The sections of a report, in their order: a row each; the page and the guide read this table."""

from __future__ import annotations

from collections.abc import Callable

from bandweave.landcover.report.findings import Findings
from bandweave.landcover.report.sections.again import show_commands
from bandweave.landcover.report.sections.areas import show_areas
from bandweave.landcover.report.sections.classes import show_classes
from bandweave.landcover.report.sections.confidence import show_confidence
from bandweave.landcover.report.sections.confusion import show_confusion
from bandweave.landcover.report.sections.pictures import show_pictures
from bandweave.landcover.report.sections.scene_run import show_scene_and_run
from bandweave.landcover.report.sections.scores import show_scores
from bandweave.landcover.report.sections.training import show_training
from bandweave.report.section import Section

SECTIONS: dict[str, Callable[[Findings], Section | None]] = {
    "Scores": show_scores,
    "Map and truth": show_pictures,
    "Classes": show_classes,
    "Areas": show_areas,
    "Confusion": show_confusion,
    "Confidence": show_confidence,
    "Training": show_training,
    "Scene and run": show_scene_and_run,
    "Again": show_commands,
}
