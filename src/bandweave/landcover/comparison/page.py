"""compare.html: tables, maps side by side, box plots, features, and what accuracy costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.comparison.drawings import draw_boxes, draw_points, model_colours, scatter
from bandweave.comparison.page import count_done, render_comparison
from bandweave.comparison.panels import Panel, Summary
from bandweave.comparison.results import ALL, Result
from bandweave.data.scene import IGNORED, ClassInfo, Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.data.splits.splitting import TEST, TRAIN, split
from bandweave.landcover.comparison.plan import Plan
from bandweave.landcover.maps.files import read_map
from bandweave.landcover.maps.writing import name_files
from bandweave.landcover.report.colours import colour_classes
from bandweave.landcover.report.reduced import choose_bands, read_layer, reduce_labels
from bandweave.report.pictures import Picture, photograph, picture
from bandweave.report.words import format_count

LONGEST = 520  # px of a picture's longer side
COSTS = {  # of a model: head of a drawing, label of its axis
    "train": ("Training time", "seconds of training"),
    "parameters": ("Parameters", "parameters"),
}


@dataclass
class PanelPage:
    """The page's block on a scene and split.

    pictures  image, labels and maps of one part
    costs     drawings with what they show
    features  pictures; and what stands in their place where there are none
    """

    panel: Panel
    classes: tuple[ClassInfo, ...] = ()
    pictures: list[Picture] = field(default_factory=list)
    place: str = ""
    boxes: str = ""
    costs: list[tuple[str, str]] = field(default_factory=list)
    features: list[Picture] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        """True where pictures stand one below the other."""
        return bool(self.pictures) and self.pictures[0].width > 2 * self.pictures[0].height


def write_page(root: Path, plan: Plan, results: Sequence[Result], summary: Summary) -> str:
    """The page's HTML."""
    colours = model_colours(list(plan.models))
    return render_comparison(
        "landcover/comparison",
        "scenes.html.j2",
        results,
        summary,
        colours,
        title=f"{len(plan.models)} models on {', '.join(plan.scenes)}",
        kind="comparison",
        called="models",
        cells=f"{count_done(results)}; every test pixel counts once",
        panels=[
            _show_panel(root, plan, panel, number, colours)
            for number, panel in enumerate(summary.panels)
        ],
        origins=[(f"Scene {name}", how or "made in Python") for name, how in plan.scenes.items()],
    )


def _show_panel(
    root: Path, plan: Plan, panel: Panel, number: int, colours: Mapping[str, str]
) -> PanelPage:
    made = PanelPage(panel)
    if not panel.done:
        return made
    made.boxes = _draw_boxes(panel, f"boxes-{number}", colours)
    made.costs = _draw_costs(panel, number, colours)
    if not any((root / each.cell.place).exists() for each in panel.done):
        return made
    scene = plan.opened.get(panel.case[0]) or scene_from(panel.done[0].cell.work["scene"])
    made.classes = scene.classes
    made.pictures, made.place = _show_maps(root, panel, scene)
    for model, results in panel.results.items():
        stored = _read_features(root, results)
        if stored is None:
            continue
        if stored["x"]:
            made.features.append(draw_points(model, stored, [each.color for each in scene.classes]))
        else:
            made.missing.append(f"{model}: {stored['what']}")
    return made


def _draw_boxes(panel: Panel, name: str, colours: Mapping[str, str]) -> str:
    """Accuracy of each class over the seeds; nothing where no class is known."""
    if not panel.parts:
        return ""
    accuracies = {
        model: 100 * panel.values(model, panel.by_part, panel.parts)
        for model in panel.results
        if any(each.done for each in panel.results[model])
    }
    return draw_boxes(name, panel.parts, accuracies, colours, "accuracy, %")


def _draw_costs(panel: Panel, number: int, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    """Drawings of overall accuracy over what it costs, and what they show."""
    drawings = []
    for cost, (words, axis) in COSTS.items():
        points = {model: _find_points(panel, model, cost) for model in panel.results}
        if any(not np.isnan(x) for own in points.values() for x, _ in own):
            labels = axis, "overall accuracy, %"
            drawing = scatter(f"{cost}-{number}", points, colours, labels)
            drawings.append((f"{words} against overall accuracy", drawing))
    return drawings


def _find_points(panel: Panel, model: str, cost: str) -> list[tuple[float, float]]:
    """A cost and the accuracy of each run of a model; NaN where it has no such cost."""
    done = [each for each in panel.results[model] if each.done]
    costs = [
        (each.facts or {})["parameters"] if cost == "parameters" else each.seconds.get(cost)
        for each in done
    ]
    accuracies = 100 * panel.values(model, panel.leading, panel.averaged).mean(axis=1)
    return [(x or np.nan, float(y)) for x, y in zip(costs, accuracies, strict=True)]


def _show_maps(root: Path, panel: Panel, scene: Scene) -> tuple[list[Picture], str]:
    """Image, labels and the maps of the first seed, of the part with most test pixels."""
    first = panel.done[0]
    drawn = split(scene, **first.cell.work["split"])
    tested = [int((roles == TEST).sum()) for roles in drawn.roles]
    index = int(np.argmax(tested))
    part, roles = scene.parts[index], drawn.roles[index]
    layer = scene.layers[scene.reference]
    shown = choose_bands(layer)
    values = read_layer(part, part.layers[scene.reference], shown.bands, LONGEST)
    rgba, _ = photograph(values)
    made = [picture(scene.reference, shown.words, rgba, photograph=True)]
    assert part.labels is not None
    for title, role in (("training labels", TRAIN), ("test labels", TEST)):
        side = np.where(roles == role, part.labels.values, IGNORED)
        count = f"{format_count(int((side != IGNORED).sum()))} px, seed {first.cell.seed}"
        rgba = colour_classes(reduce_labels(side, LONGEST), scene.classes)
        made.append(picture(title, count, rgba))
    codes, name = [each.code for each in scene.classes], name_files(scene)[index]
    for model, results in panel.results.items():
        for result in results:
            folder = root / result.cell.place
            path = folder / "map" / name if name else folder / "map.tif"
            if not result.done or not path.exists():
                continue
            accuracy = 100 * result.values[panel.case][ALL]["overall_accuracy"]
            caption = f"OA {accuracy:.2f} %, seed {result.cell.seed}"
            rgba = colour_classes(read_map(path, codes, LONGEST), scene.classes)
            made.append(picture(model, caption, rgba))
            break
    where = f"Part {part.name}, the one with most test pixels. " if len(scene.parts) > 1 else ""
    return made, where


def _read_features(root: Path, results: Sequence[Result]) -> dict[str, Any] | None:
    """The content of features.json of the first seed that has one."""
    for result in results:
        try:
            text = (root / result.cell.place / "features.json").read_text(encoding="utf-8")
            return json.loads(text)
        except (OSError, ValueError):
            continue
    return None
