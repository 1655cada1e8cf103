"""The sections of a page on scores of sharpening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bandweave.pansharp.report.pictures import FRAME_COLOURS, Plate
from bandweave.pansharp.scores.tables import list_scores, make_tables
from bandweave.pansharp.scoring import BLOCKS, SharpeningScores
from bandweave.report.section import Section, fill_section
from bandweave.report.words import format_count

PACKAGES = ("pansharp/report",)
SCORES = """
{% for table in tables %}
<h3>{{ table.title }}</h3>
<div class="scroll">
<table class="sharp">
<thead><tr><th>method</th>{% for head in table.heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for method in table.methods %}
{% set row = loop.index0 %}
<tr><th>{{ method }}</th>{% for text in table.texts[row] %}<td{{ ' class="best"' | safe if table.best[row][loop.index0] }}>{{ text }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
<p class="soft">The best of each column is set off. Values were scored in float, as each method made them, before rounding to the file's type. {{ blocks }}</p>
{% if full %}
<p class="soft">Scores without a reference reward an image that adds nothing: plain interpolation keeps every relation between bands, so it may stand first. Read them beside those at reduced resolution and the pictures.</p>
{% endif %}
"""  # noqa: E501
STYLE = ".sharp td.best { font-weight: 700; color: var(--accent); }"
PICTURES = """
{% from "plates.html.j2" import pictures %}
{{ pictures(plate, frames) }}
"""
PROTOCOL = """
{% from "plates.html.j2" import score_definitions %}
{% for name, lines in pairs %}
<h3>{{ name }}</h3>
{{ definitions(lines) }}
{% endfor %}
{{ score_definitions(formulas) }}
"""


@dataclass(frozen=True)
class Shown:
    """What the page shows: scores, and the pictures of their samples."""

    scores: SharpeningScores
    plates: Sequence[Plate]

    @property
    def protocols(self) -> list[str]:
        """The protocols that methods were scored by."""
        return list(dict.fromkeys(row.protocol for row in self.scores.rows))


def show_scores(shown: Shown) -> Section:
    """Tables of means, and of the leading score by pair."""
    return fill_section(
        "Scores",
        SCORES,
        STYLE,
        tables=make_tables(shown.scores.rows),
        blocks=BLOCKS,
        full="full" in shown.protocols,
    )


def show_plate(plate: Plate, shown: Shown) -> Section:
    """Pictures, errors and spectra of a sample."""
    title = f"{plate.sample.facts.name}, {plate.sample.protocol} resolution"
    return fill_section(title, PICTURES, packages=PACKAGES, plate=plate, frames=FRAME_COLOURS)


def show_protocol(shown: Shown) -> Section:
    """What the scores depend on, and how they are defined."""
    rows = shown.scores.rows
    return fill_section(
        "Protocol",
        PROTOCOL,
        packages=PACKAGES,
        pairs=[
            (
                facts.name,
                [*facts.lines(), *((name, _count(each)) for name, each in facts.counted.items())],
            )
            for facts in shown.scores.pairs
        ],
        formulas=[
            (score, protocol)
            for protocol in shown.protocols
            for score in list_scores(rows, protocol).values()
        ],
    )


def _count(found: dict[str, int]) -> str:
    return ", ".join(
        f"{format_count(value)} {name.replace('_', ' ')}" for name, value in found.items()
    )
