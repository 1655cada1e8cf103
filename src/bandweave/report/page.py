"""A page that needs nothing else: a template of a package, on the frame that all pages share.

A template extends `page.html.j2` (blocks title, style, header, main) and imports the macros of
`blocks.html.j2`; both lie beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

from bandweave.report.words import counted, percent


def render(package: str | Sequence[str], template: str, **values: Any) -> str:
    """HTML of a template in a part of bandweave, such as 'landcover'.

    package   one, or several in which templates are looked for
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    packages = [package] if isinstance(package, str) else package
    parts = [PackageLoader("bandweave", folder) for folder in (*packages, "report")]
    environment = Environment(
        loader=ChoiceLoader(parts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "counted": counted}
    return environment.get_template(template).render(
        written=date.today().isoformat(), version=version("bandweave"), **values
    )
