"""Docstrings as they read in the code, for the pages.

In the code a table is aligned by spaces and an example stands bare; Markdown would run the lines of
the one together and take the prompts of the other for quotations.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^(?P<name>\w[\w.]*(?:, \w+)*) {2,}(?P<text>\S.*)$")


class Readable(griffe.Extension):
    """Make lists of tables and code blocks of examples in every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)


def readable(text: str) -> str:
    """The docstring with tables as lists and examples fenced."""
    lines: list[str] = []
    fenced = listed = False
    for line in text.splitlines():
        prompt = line.startswith(">>> ")
        if fenced and not line.strip():
            lines.append("```")
            fenced = False
        if prompt and not fenced:
            lines += ["", "```pycon"]
            fenced = True
        if fenced:
            lines.append(line)
            continue
        entry = ENTRY.match(line)
        if entry:
            lines += [] if listed else [""]
            lines.append(f"- `{entry['name']}`: {entry['text'].strip()}")
            listed = True
        elif listed and line.startswith("  "):
            lines.append(f"    {line.strip()}")
        else:
            lines += [""] if listed and line.strip() else []
            lines.append(line)
            listed = False
    return "\n".join([*lines, *(["```"] if fenced else [])])
