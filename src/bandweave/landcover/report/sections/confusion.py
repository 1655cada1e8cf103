"""The confusion matrix of a run's test pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from bandweave.landcover.metrics import Scores
from bandweave.landcover.report.findings import Findings
from bandweave.report.section import Section, fill_section
from bandweave.report.words import format_count

TEMPLATE = """
<p class="soft">Test {{ unit }}s. Rows are the truth, columns the map; a cell is as strong as its share of the row.</p>
<div class="scroll">
<table class="confusion{{ ' dense' if rows | length > 12 }}">
<thead><tr><th></th>{% for info in classes %}<th><div>{{ swatch(info.color) }}{{ info.name }}</div></th>{% endfor %}</tr></thead>
<tbody>
{% for cells in rows %}
<tr><th>{{ swatch(classes[loop.index0].color) }}{{ classes[loop.index0].name }}</th>
{%- for cell in cells %}<td class="{{ 'right' if cell.right }}{{ ' strong' if cell.share > 0.62 }}{{ ' zero' if not cell.count }}" style="--share:{{ '%.3f' | format(cell.share) }}" title="{{ cell.title }}">{{ cell.count | counted if cell.count else "·" }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
"""  # noqa: E501
STYLE = """
.confusion { border-spacing: 2px; border-collapse: separate; }
.confusion th, .confusion td { border: 0; }
.confusion thead th { vertical-align: bottom; padding: .2rem 0 .4rem; text-align: center; }
.confusion thead div { writing-mode: vertical-rl; transform: rotate(180deg); margin: 0 auto; max-height: 11rem; }
.confusion thead .swatch { margin: 0 0 .5em; }
.confusion tbody th { padding: .2rem .75rem .2rem 0; font-size: .9em; position: sticky; left: 0; background: var(--paper); }
.confusion td { min-width: 2.5rem; height: 2.1rem; padding: .1rem .3rem; text-align: center; font-size: .8em; border-radius: 3px; background: rgb(var(--wrong) / calc(.07 + .93 * var(--share))); }
.confusion td.right { background: rgb(var(--right) / calc(.07 + .93 * var(--share))); }
.confusion td.zero { color: var(--rule); background: none; }
.confusion td.strong { color: var(--on-dark); }
.confusion.dense td { min-width: 1.95rem; height: 1.75rem; font-size: .68em; padding: 0 .1rem; }
.confusion.dense tbody th { font-size: .8em; }
@media print { .confusion { break-inside: avoid; } }
"""  # noqa: E501


@dataclass
class Cell:
    """A cell of the confusion matrix: a count, its share of the row, and what it means."""

    count: int
    share: float
    right: bool
    title: str = field(repr=False)


def show_confusion(found: Findings) -> Section | None:
    """The confusion matrix: rows are the truth, columns the map."""
    if found.pixels is None:
        return None
    return fill_section(
        "Confusion",
        TEMPLATE,
        STYLE,
        unit=found.pixels.unit,
        classes=found.run.classes,
        rows=_count_cells(found.pixels),
    )


def _count_cells(scores: Scores) -> list[list[Cell]]:
    rows = []
    for truth, (counts, support) in enumerate(zip(scores.confusion, scores.support, strict=True)):
        row = []
        for predicted, count in enumerate(counts):
            share = float(count / support) if support else 0.0
            title = (
                f"{format_count(count)} of {format_count(support)} {scores.unit}s of "
                f"{scores.classes[truth]} were given {scores.classes[predicted]}"
            )
            row.append(Cell(int(count), share, truth == predicted, title))
        rows.append(row)
    return rows
