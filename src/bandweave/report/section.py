"""A section of a page: an object that one file makes, from a template that stands in the same file.

A page's sections are an ordered table of functions. Each takes what there is to show and gives a
Section, or None where there is nothing; a row that is added is shown like the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bandweave.report.page import compile_text

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    html    whole elements
    style   CSS that nothing else on the page needs
    """

    title: str
    html: str
    style: str = ""


def fill_section(
    title: str, template: str, style: str = "", packages: Sequence[str] = (), **values: Any
) -> Section:
    """Fill a template, and the style if there is one.

    Both are in Jinja; the macros of `blocks.html.j2` are there, and texts are escaped.

    packages   parts of bandweave in which templates are looked for, as in `page.render`

    >>> fill_section("Sizes", "<p>{{ size | counted }} px & {{ word }}</p>", size=1200, word="<b>")
    Section(title='Sizes', html='<p>1,200 px & &lt;b&gt;</p>', style='')
    """
    html, css = (compile_text(text, *packages).render(values).strip() for text in (template, style))
    return Section(title, html, css)


def make_sections(
    makers: Iterable[Callable[[Shown], Section | None]], shown: Shown
) -> list[Section]:
    """The sections that have something to show, in their order."""
    return [section for make in makers if (section := make(shown)) is not None]
