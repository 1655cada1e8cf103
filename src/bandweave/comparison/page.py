"""compare.html: tables, maps side by side, box plots, features, and what accuracy costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.comparison.drawings import (
    box_plots,
    cost_plot,
    feature_picture,
    has_cost,
    model_colours,
)
from bandweave.comparison.plan import Plan
from bandweave.comparison.results import Panel, Result, said_of
from bandweave.comparison.summary import HEADS, SCORES, Summary, summarise, values_of
from bandweave.data.scene import IGNORED, ClassInfo, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, split
from bandweave.landcover.map_files import read_map
from bandweave.landcover.mapping import file_names
from bandweave.landcover.report.colours import in_class_colours
from bandweave.landcover.report.pictures import commonest, read_layer, shown_bands
from bandweave.report.page import render
from bandweave.report.pictures import Picture, photograph, picture
from bandweave.report.words import counted, seconds_in_words

LONGEST = 520  # px of a picture's longer side


@dataclass
class PanelPage:
    """What the page shows of a scene and split.

    line      the protocol in a line, beneath every drawing
    pictures  image, labels and maps of one part
    costs     drawings with what they show
    features  pictures; and what stands in their place where there are none
    """

    summary: Summary
    line: str
    classes: tuple[ClassInfo, ...] = ()
    pictures: list[Picture] = field(default_factory=list)
    shown: str = ""
    boxes: str = ""
    costs: list[tuple[str, str]] = field(default_factory=list)
    features: list[Picture] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        """Whether pictures stand one below the other."""
        return bool(self.pictures) and self.pictures[0].width > 2 * self.pictures[0].height


def page(root: Path, plan: Plan, results: Sequence[Result]) -> str:
    """The page's HTML; scenes are opened already."""
    found = summarise(results)
    colours = model_colours(list(plan.models))
    done = sum(result.scores is not None for result in results)
    facts = [result.facts for result in results]
    return render(
        "comparison",
        "compare.html.j2",
        title=f"{len(plan.models)} models on {', '.join(plan.scenes)}",
        found=found,
        panels=[
            _panel(root, plan, summary, number, colours)
            for number, summary in enumerate(found.panels)
        ],
        heads=list(HEADS.values()),
        names=SCORES,
        colours=colours,
        cells=f"{counted(done)} of {counted(len(results))} cells are done",
        scenes=[(name, origin) for name, origin in plan.scenes.items()],
        seconds=seconds_in_words,
        versions=said_of(facts, "versions"),
        machines=said_of(facts, "machine"),
        commands=said_of(facts, "command"),
    )


def _panel(
    root: Path, plan: Plan, summary: Summary, number: int, colours: dict[str, str]
) -> PanelPage:
    panel, scene = summary.panel, plan.opened[summary.panel.scene]
    made = PanelPage(summary, _line(summary), scene.classes)
    if not panel.done:
        return made
    made.pictures, made.shown = _pictures(root, panel, scene)
    made.boxes = box_plots(f"boxes-{number}", panel, colours)
    for cost in ("train", "parameters"):
        if has_cost(panel, cost):
            drawing = cost_plot(f"{cost}-{number}", panel, colours, cost)
            what = {"train": "Training time", "parameters": "Parameters"}[cost]
            made.costs.append((f"{what} against overall accuracy", drawing))
    for model, results in panel.results.items():
        stored = _features(root, results)
        if stored is None:
            continue
        if stored["x"]:
            made.features.append(
                feature_picture(model, stored, [each.color for each in scene.classes])
            )
        else:
            made.missing.append(f"{model}: {stored['what']}")
    return made


def _line(summary: Summary) -> str:
    """The protocol in a line."""
    words = dict(summary.protocol)
    seeds = words.get("Seeds", "")
    hashes = {r.facts["split_hash"][:12]: None for r in summary.panel.done if r.facts is not None}
    reach = ", ".join(f"{row.model} {row.reach}" for row in summary.rows)
    parts = [f"Split {words.get('Split', summary.panel.split)}"]
    if "Guard" in words:
        parts.append(f"guard {words['Guard']}; reach, and test pixels within it: {reach}")
    if "Context" in words:
        parts.append(words["Context"].partition(":")[0])
    if seeds:
        parts.append(f"seeds {seeds}")
    if hashes:
        parts.append(f"hash {', '.join(hashes)}")
    return "; ".join(parts)


def _pictures(root: Path, panel: Panel, scene: Scene) -> tuple[list[Picture], str]:
    """Image, labels and the maps of the first seed, of the part with most test pixels."""
    first = panel.done[0]
    drawn = split(scene, **first.cell.split_config)
    tested = [int((roles == TEST).sum()) for roles in drawn.roles]
    index = int(np.argmax(tested))
    part, roles = scene.parts[index], drawn.roles[index]
    layer = scene.layers[scene.reference]
    shown = shown_bands(layer)
    values = read_layer(part, part.layers[scene.reference], shown.bands, LONGEST)
    rgba, _ = photograph(values)
    made = [picture(scene.reference, shown.words, rgba, photograph=True)]
    assert part.labels is not None
    for title, role in (("training labels", TRAIN), ("test labels", TEST)):
        side = np.where(roles == role, part.labels.values, IGNORED)
        count = f"{counted(int((side != IGNORED).sum()))} px, seed {first.cell.seed}"
        rgba = in_class_colours(commonest(side, LONGEST), scene.classes)
        made.append(picture(title, count, rgba))
    codes, name = [each.code for each in scene.classes], file_names(scene)[index]
    for model, results in panel.results.items():
        for result in results:
            folder = root / result.cell.place
            path = folder / "map" / name if name else folder / "map.tif"
            if result.scores is None or not path.exists():
                continue
            accuracy = values_of([result], "overall_accuracy")[result.cell.seed]
            caption = f"OA {accuracy:.2f} %, seed {result.cell.seed}"
            rgba = in_class_colours(read_map(path, codes, LONGEST), scene.classes)
            made.append(picture(model, caption, rgba))
            break
    where = f"Part {part.name}, the one with most test pixels. " if len(scene.parts) > 1 else ""
    return made, where


def _features(root: Path, results: Sequence[Result]) -> dict[str, Any] | None:
    """What features.json says, of the first seed that has one."""
    for result in results:
        try:
            text = (root / result.cell.place / "features.json").read_text(encoding="utf-8")
            return json.loads(text)
        except (OSError, ValueError):
            continue
    return None
