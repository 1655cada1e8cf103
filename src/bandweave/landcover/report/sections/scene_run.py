"""The scene's layers, the run, its machine, and the options that differ from the preset's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bandweave.data.scene import Scene
from bandweave.landcover.config import AnyConfig, EnsembleConfig
from bandweave.landcover.report.findings import Findings
from bandweave.landcover.run import NetRun, Run
from bandweave.report.section import Section, fill_section
from bandweave.report.words import format_count, seconds_in_words
from bandweave.schema import flatten

HEADS = ("layer", "bands", "pixel", "px per grid px", "wavelengths", "units", "")
TEMPLATE = """
{{ table(heads, layers) }}
{% for note in notes %}
<p class="soft">{{ note }}</p>
{% endfor %}
<div class="two">
<div>
<h3>Run</h3>
{{ definitions(run_lines) }}
</div>
<div>
<h3>Machine and libraries</h3>
{{ definitions(machine_lines) }}
</div>
</div>
<h3>Options that differ from {{ preset }}</h3>
{% if changed %}
<div class="scroll">
<table>
<thead><tr><th>option</th><th>{{ preset }}</th><th>this run</th></tr></thead>
<tbody>
{% for name, before, after in changed %}
<tr><th><code>{{ name }}</code></th><td>{{ before }}</td><td>{{ after }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p class="soft">None.</p>
{% endif %}
"""


def show_scene_and_run(found: Findings) -> Section:
    """Grid, layers, model, parameters, time, machine, versions.

    Also the options that differ from the preset's.
    """
    run, scene = found.run, found.scene
    return fill_section(
        "Scene and run",
        TEMPLATE,
        heads=HEADS,
        layers=_describe_layers(scene, run),
        notes=scene.notes,
        run_lines=_describe_run(run),
        machine_lines=_describe_machine(run.facts),
        preset=run.config.name,
        changed=list_changed_options(run.config),
    )


def _describe_layers(scene: Scene, run: Run) -> list[list[str]]:
    """Describe each layer of the scene in a row."""
    placed = scene.parts[0].grid.georeferenced
    rows = []
    for name, layer in scene.layers.items():
        grid = scene.parts[0].grid.finer(layer.ratio)
        roles = {"reference": name == scene.reference, "used": name in run.layers}
        rows.append(
            [
                name,
                str(layer.bands),
                f"{grid.pixel_size[0]:g} {grid.unit}".rstrip() if placed else "–",
                str(layer.ratio),
                _range_text(layer.info.wavelengths),
                layer.info.units or "–",
                ", ".join(word for word, holds in roles.items() if holds) or "not used",
            ]
        )
    return rows


def _range_text(wavelengths: tuple[float, ...] | None) -> str:
    if not wavelengths:
        return "–"
    low, high = f"{min(wavelengths):.0f}", f"{max(wavelengths):.0f}"
    return f"{low} nm" if low == high else f"{low} to {high} nm"


def _describe_run(run: Run) -> list[tuple[str, str]]:
    facts = run.facts
    lines = [("Folder", str(run.folder.path)), ("Scene", run.config.scene)]
    if isinstance(run, NetRun):
        took = seconds_in_words(facts["seconds"])
        lines += [
            ("Parameters", f"{format_count(facts['parameters'])} that are trained"),
            ("Training", f"{format_count(facts['steps'])} steps in {took}"),
            ("Crops and windows", f"{run.window} px of the grid" if run.window else "whole parts"),
        ]
    else:
        lines.append(("Training", run.summary()))
    lines.append(("Pixels of the map", f"{run.output_ratio} for one of the grid, along each side"))
    if "scaling_from" in facts:
        lines.append(("Scaled by statistics of", facts["scaling_from"]))
    return lines


def _describe_machine(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Describe the machine and the libraries that trained."""
    machine = facts["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return [
        ("Processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"),
        ("GPU", machine["gpu"] or "none"),
        ("System", machine["platform"]),
        ("Trained with", f"Python {machine['python']}, {libraries}"),
    ]


def list_changed_options(config: AnyConfig | EnsembleConfig) -> list[tuple[str, str, str]]:
    """List the options that differ from the preset's: name, the preset's value, the run's."""
    preset = flatten(type(config).read({"model": config.name}).to_dict())
    own = flatten(config.to_dict())
    names = [*preset, *(name for name in own if name not in preset)]
    return [
        (name, _option_text(preset.get(name)), _option_text(own.get(name)))
        for name in names
        if name != "scene" and preset.get(name) != own.get(name)
    ]


def _option_text(value: Any) -> str:
    """Write a value as YAML and a flag have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
