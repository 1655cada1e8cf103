"""The help of options, from where it is written already: docstrings and comments of dataclasses."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import fields, is_dataclass
from functools import cache


@cache
def read_option_texts(config: type) -> dict[str, str]:
    """The text of each field of a dataclass, by its name; fields without one are left out.

    It is read from a table in the docstring (`name  text`, continued on deeper lines) or, for the
    others, from the comments that begin on the field's own lines.

    >>> from bandweave.training.config import TrainConfig
    >>> read_option_texts(TrainConfig)["accumulate"]
    'batches a step, one after another'
    """
    names = {field.name for field in fields(config)}
    texts: dict[str, str] = {}
    for own in filter(is_dataclass, reversed(config.__mro__)):
        texts |= _read_comments(own, names) | _read_docstring(own, names)
    return texts


def _read_docstring(config: type, names: set[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    current = None
    for line in (inspect.getdoc(config) or "").splitlines():
        entry = re.match(r"(\w+)\s{2,}(\S.*)", line)
        if entry and entry[1] in names:
            current = entry[1]
            texts[current] = entry[2]
        elif current and line.startswith("  "):
            texts[current] += f" {line.strip()}"
        else:
            current = None
    return texts


def _read_comments(config: type, names: set[str]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(config))
    except OSError:  # installed without its source
        return {}
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    ends = [statement.lineno for statement in body[1:]] + [len(source.splitlines()) + 1]
    texts = {}
    for statement, end in zip(body, ends, strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            words = [comments[line] for line in range(statement.lineno, end) if line in comments]
            if words and statement.target.id in names:
                texts[statement.target.id] = " ".join(words)
    return texts
