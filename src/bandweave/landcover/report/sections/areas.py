"""How much ground each class of a map covers."""

from __future__ import annotations

import math

import numpy as np

from bandweave.landcover.areas.class_areas import ClassAreas
from bandweave.landcover.areas.estimate import Z
from bandweave.landcover.report.findings import Findings
from bandweave.report.section import Section, fill_section
from bandweave.report.words import percent

TEMPLATE = """
<div class="scroll">
<table class="classes">
<thead><tr><th>class</th><th>mapped</th><th>share of map</th>{% if areas.estimate %}<th>estimated</th><th>user’s accuracy</th><th>producer’s accuracy</th><th>sample units</th>{% endif %}</tr></thead>
<tbody>
{% for cells in rows %}
<tr><th>{{ swatch(classes[loop.index0].color) }}{{ classes[loop.index0].name }}</th>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if areas.estimate %}
<p>Overall accuracy of the map by the sample: {{ areas.estimate.overall | percent }} ± {{ "%.2f" | format(196 * areas.estimate.overall_error) }}.</p>
{% endif %}
<p class="soft">{{ areas.note }}{% if areas.unit == "px" %} The grid has no place on the ground, so areas are in pixels.{% endif %} The same numbers stand in <code>areas.csv</code>.</p>
"""  # noqa: E501


def show_areas(found: Findings) -> Section | None:
    """The areas of the map's classes, in hectares, the same as in `areas.csv`.

    With standard errors where the labels are a [declared sample](areas.md).
    """
    if found.areas is None:
        return None
    rows = _write_rows(found.areas)
    return fill_section("Areas", TEMPLATE, areas=found.areas, rows=rows, classes=found.run.classes)


def _write_rows(areas: ClassAreas) -> list[list[str]]:
    """Make a row a class: mapped area and its share of the map.

    Where there is a sample, also the estimated area, user's and producer's accuracy, sample units.
    """
    rows = [
        [f"{mapped:,.{_find_digits(mapped)}f} {areas.unit}", percent(float(share), 1)]
        for mapped, share in zip(areas.mapped, areas.shares, strict=True)
    ]
    found = areas.estimate
    if found is not None:
        for k, row in enumerate(rows):
            row += [
                f"{_interval_text(found.area[k], found.half_interval[k])} {areas.unit}",
                _accuracy_text(found.users[k], found.users_error[k]),
                _accuracy_text(found.producers[k], found.producers_error[k]),
                str(int(found.sampled[k].sum())),
            ]
    return rows


def _find_digits(value: float) -> int:
    """Find how many digits stand after the point, so that three count, or all of a large number's.

    >>> _find_digits(12345.6), _find_digits(12.345), _find_digits(0.0)
    (0, 1, 0)
    """
    return max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0


def _interval_text(value: float, half: float) -> str:
    """Write a value and half its interval with as many digits.

    >>> _interval_text(4.1018, 0.9912)
    '4.10 ± 0.99'
    """
    digits = _find_digits(value)
    return f"{value:,.{digits}f} ± {half:,.{digits}f}"


def _accuracy_text(value: float, error: float) -> str:
    return "–" if np.isnan(value) else f"{percent(value, 1)} ± {100 * Z * error:.1f}"
