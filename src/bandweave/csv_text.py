"""Tables as CSV, whose cells no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = re.compile(r"\s*[=+@\-＝＋－＠]|[\t\r\n]")  # full-width signs are computed as well
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV; what is None or NaN is empty, and floats have all their digits.

    Texts are those of `format_csv_cell`, in the heads too.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([format_csv_cell(column) for column in columns])
    for row in rows:
        writer.writerow([format_csv_cell(row.get(column)) for column in columns])
    return file.getvalue()


def format_csv_cell(value: Any) -> str:
    """A value as the text of a cell.

    A text that a spreadsheet would compute, which begins with = + - @ or a control character, has
    an apostrophe before it. Numbers stay numbers.

    >>> [format_csv_cell(value) for value in ("=1+1", "-2.5", -2.5, None)]
    ["'=1+1", '-2.5', '-2.5', '']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(float(value))
    text = str(value)
    if FORMULA.match(text) and not NUMBER.fullmatch(text):
        text = f"'{text}"
    return text.replace("\r", " ")  # Python's writer leaves it bare, which ends a row
