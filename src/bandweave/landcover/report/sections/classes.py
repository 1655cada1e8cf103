"""A table of classes: pixels on each side, and every score of single classes."""

from __future__ import annotations

from bandweave.landcover.metrics import Scores, class_metrics
from bandweave.landcover.report.findings import Findings
from bandweave.report.section import Section, fill_section
from bandweave.report.words import format_count, percent

TEMPLATE = """
<div class="scroll">
<table class="classes">
<thead><tr><th>class</th>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for info, cells in rows %}
<tr><th>{{ swatch(info.color) }}{{ info.name }}</th>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if absent %}
<p class="soft">Without test pixels, and not in the average accuracy: {{ absent | join(", ") }}.</p>
{% endif %}
{% if dropped %}
<p class="soft">Left out of the split: {{ dropped | join(", ") }}.</p>
{% endif %}
{% for note in notes %}
<p class="soft">{{ note }}</p>
{% endfor %}
"""  # noqa: E501


def show_classes(found: Findings) -> Section:
    """Training and test pixels of each class, and its accuracy, precision, F1 and IoU."""
    train = found.run.facts["protocol"].get("pixels_per_class", {})
    names = [info.name for info in found.run.classes]
    columns: dict[str, list[str]] = {}
    if any(name in train for name in names):
        columns["training px"] = [
            format_count(train[name]["train"]) if name in train else "–" for name in names
        ]
    if found.pixels:
        columns |= {
            "test px": list(map(format_count, found.pixels.support)),
            **_write_columns(found.pixels),
        }
    if found.objects:
        columns["test objects"] = list(map(format_count, found.objects.support))
        columns["accuracy by object"] = list(map(percent, found.objects.accuracy))
    return fill_section(
        "Classes",
        TEMPLATE,
        heads=list(columns),
        rows=[
            (info, [column[index] for column in columns.values()])
            for index, info in enumerate(found.run.classes)
        ],
        absent=found.pixels.absent if found.pixels else (),
        dropped=found.protocol.get("dropped", []),
        notes=found.protocol.get("notes", []),
    )


def _write_columns(scores: Scores) -> dict[str, list[str]]:
    """Write every score of single classes, by its name in words."""
    rows = class_metrics()
    return {
        rows[name].name: [rows[name].text(value) for value in values]
        for name, values in scores.by_class().items()
    }
