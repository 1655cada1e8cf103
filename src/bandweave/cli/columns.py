"""Plain tables for stdout."""

from __future__ import annotations

from collections.abc import Sequence

from bandweave.errors import printable


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words, each column as wide as its widest word; names in files may hold any sign.

    >>> print(format_columns([("size", "128×128"), ("bands", "48")]))
    size   128×128
    bands  48
    """
    rows = [[printable(word) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
