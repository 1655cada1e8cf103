"""compare.html: the frame that the pages of all comparisons share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bandweave.comparison.panels import Summary
from bandweave.comparison.results import Result, list_facts
from bandweave.report.page import render
from bandweave.report.words import format_count, seconds_in_words


def render_comparison(
    package: str | Sequence[str],
    template: str,
    results: Sequence[Result],
    summary: Summary,
    colours: Mapping[str, str],
    **values: Any,
) -> str:
    """The HTML of a task's template, which extends `comparison.html.j2`.

    package   where the template lies, one or several
    colours   of models
    values    what the template needs besides
    """
    packages = [package] if isinstance(package, str) else [*package]
    return render(
        [*packages, "comparison"],
        template,
        summary=summary,
        colours=colours,
        seconds=seconds_in_words,
        versions=list_facts(results, "versions"),
        machines=list_facts(results, "machine"),
        commands=list_facts(results, "command"),
        **values,
    )


def count_done(results: Sequence[Result]) -> str:
    """The number of cells that are done, in words."""
    done = sum(result.done for result in results)
    return f"{format_count(done)} of {format_count(len(results))} cells are done"
