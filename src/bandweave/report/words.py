"""Numbers in words for a page."""

from __future__ import annotations

import math


def percent(value: float | None, digits: int = 2) -> str:
    """A share as per cent; – where there is none.

    >>> percent(0.69224), percent(float("nan"))
    ('69.22 %', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def format_count(value: int) -> str:
    """A count for people.

    >>> format_count(12197)
    '12,197'
    """
    return f"{int(value):,}"


def seconds_in_words(seconds: float) -> str:
    """A duration for people.

    >>> seconds_in_words(39.9), seconds_in_words(754), seconds_in_words(7322)
    ('40 s', '12 min 34 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 1 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
