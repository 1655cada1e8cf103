"""A score is one row of a table, for land cover and for sharpening.

Whatever prints, draws or offers a score reads its row: texts, pages, tables, CSV, documentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A score and how it is printed.

    symbol   heading of a column
    unit     "%" for a share that texts give in percent, "" for a pure number
    best     value of a perfect answer
    higher   a greater value is a better one
    formula  in one line, with what was chosen
    source   of the formula
    name     in words, where a text or a page says it
    digits   after the point, of the value itself
    scale    a table of a comparison prints the value times this: 1 or 100
    tex      the symbol in LaTeX, where it differs
    """

    symbol: str
    unit: str = ""
    best: float = 1.0
    higher: bool = True
    formula: str = ""
    source: str = ""
    name: str = ""
    digits: int = 4
    scale: int = 1
    tex: str = ""

    def text(self, value: float, unit: bool = True) -> str:
        """A value as a text says it, in percent where that is the unit; – where there is none.

        unit   write it after the number

        >>> Metric("OA", "%").text(0.93204), Metric("κ").text(0.93204), Metric("Q").text(math.nan)
        ('93.20 %', '0.9320', '–')
        """
        factor = 100 if self.unit == "%" else 1
        return self._print(value, factor, unit=f" {self.unit}" if unit and self.unit else "")

    def table_text(self, value: float) -> str:
        """A value as a table of a comparison prints it, below `head`.

        >>> Metric("κ×100", scale=100).table_text(0.93204), Metric("PSNR", "dB").table_text(34)
        ('93.20', '34.0000')
        """
        return self._print(value, self.scale)

    def difference_text(self, value: float) -> str:
        """The difference of two values, with its sign; in points where the unit is percent.

        >>> Metric("OA", "%").difference_text(-0.0123), Metric("κ").difference_text(0.0123)
        ('−1.23 points', '+0.0123')
        """
        if self.unit == "%":
            return self._print(value, 100, sign="+", unit=" points")
        return self._print(value, 1, sign="+")

    @property
    def head(self) -> str:
        """The symbol with its unit; percent is said once, beside the table."""
        return f"{self.symbol} {self.unit}" if self.unit not in ("", "%") else self.symbol

    def _print(self, value: float, factor: int, sign: str = "", unit: str = "") -> str:
        if math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞"
        digits = self.digits - round(math.log10(factor))
        number = f"{factor * value:{sign}.{digits}f}"
        return (number.replace("-", "−") if sign else number) + unit
