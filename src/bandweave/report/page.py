"""A page that needs nothing else: a template of a package, on the frame that all pages share.

A template extends `page.html.j2` (blocks title, style, header, main), which lies beside this file
and shows the page's sections where they are given. The macros of `blocks.html.j2` are there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bandweave.report.words import format_count, percent

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def render(package: str | Sequence[str], template: str, **values: Any) -> str:
    """HTML of a template in a part of bandweave, such as 'landcover'.

    package   one, or several in which templates are looked for
    """
    packages = [package] if isinstance(package, str) else package
    return (
        template_environment(*packages)
        .get_template(template)
        .render(written=date.today().isoformat(), version=version("bandweave"), **values)
    )


@cache
def template_environment(*packages: str) -> Environment:
    """The environment that fills templates: it escapes texts, and refuses a name without a value.

    packages   parts of bandweave in which templates are looked for, besides this one
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("bandweave", name) for name in (*packages, "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "counted": format_count}
    blocks = environment.get_template("blocks.html.j2").module
    environment.globals |= {
        name: macro for name, macro in vars(blocks).items() if not name.startswith("_")
    }
    return environment


@cache
def compile_text(text: str, *packages: str) -> Template:
    """The template that a text is, in the environment of these packages; compiled once."""
    return template_environment(*packages).from_string(text)
