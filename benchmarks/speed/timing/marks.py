"""The marks that the CPU engine is held to, and what the rows of a results' file say of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Mark:
    """A requirement, and the measured values it is about, by the case they were measured on."""

    name: str
    required: float
    unit: str
    values: dict[str, float]
    at_most: bool = False

    @property
    def worst(self) -> tuple[str, float]:
        pick = max if self.at_most else min
        return pick(self.values.items(), key=lambda item: item[1])

    @property
    def met(self) -> bool:
        value = self.worst[1]
        return value <= self.required if self.at_most else value >= self.required

    def line(self) -> str:
        sign = "≤" if self.at_most else "≥"
        required = f"{sign} {_number(self.required)}{self.unit}"
        if not self.values:
            return f"{self.name:<54}{required:>12}{'not measured':>14}"
        where, value = self.worst
        count = sum(
            (v <= self.required) if self.at_most else (v >= self.required)
            for v in self.values.values()
        )
        return (
            f"{self.name:<54}{required:>12}{_number(value) + self.unit:>14}  "
            f"{'met' if self.met else 'NOT MET'} ({count} of {len(self.values)}; worst: {where})"
        )


def marks(rows: Rows) -> list[Mark]:
    """Every mark with what was measured for it; the worst value decides."""
    table = [row for row in rows if row["key"]["kind"] == "table"]
    alone = [row for row in table if _case(row)["states"] == 1]
    many = [row for row in table if _case(row)["states"] >= 8]
    most = [row for row in table if _case(row)["states"] == 16]
    long = [row for row in alone if _case(row)["tokens"] == 4096]
    errors = [row for row in rows if row["key"]["kind"] == "error"]
    batch = [row for row in rows if row["key"]["kind"] == "batch"]
    both = "forward_backward"
    return [
        *(
            Mark(f"forward, {what} over ours, {where}", least, "×", _ratios(some, "forward", loop))
            for loop, what in (("loop", "loop reference"), ("sequential", "the peers' loop"))
            for some, where, least in ((many, "N ≥ 8", 150), (alone, "N = 1", 60))
        ),
        Mark("forward + backward, pscan over ours, N ≥ 8", 60, "×", _ratios(many, both, "pscan")),
        Mark("forward + backward, pscan over ours, N = 1", 10, "×", _ratios(alone, both, "pscan")),
        Mark("forward + backward, 1-D copies over ours", 1.5, "×", _ratios(table, both, "copies")),
        Mark("the same, N = 1, L = 4096", 4, "×", _ratios(long, both, "copies")),
        Mark("backward / forward", 2.5, "", _values(table, "backward_over_forward"), True),
        Mark("forward, share of the exponential rate, N = 16", 40, " %", _shares(most)),
        Mark("batch 1 against batch 8, per sample", 1.3, "×", _per_sample(batch), True),
        Mark("extra memory, pscan over ours", 20, "×", _memory_ratios(table)),
        Mark("error of outputs", 1e-6, "", {_name(r): r["errors"]["y"] for r in errors}, True),
        Mark("error of gradients", 2e-6, "", _values(errors, "worst_gradient"), True),
        *_linear([row for row in rows if row["key"]["kind"] == "length"]),
        *_first_calls([row for row in rows if row["key"]["kind"] == "first call"]),
    ]


def _first_calls(rows: Rows) -> Iterable[Mark]:
    """With Numba imported before, and with its import as part of the call."""
    for title, preload in (("Numba's import in it", []), ("Numba imported before", ["numba"])):
        seconds = {
            f"N {row['key']['states']}, {part.replace('_', ' + ')}": row[f"first_{part}"]
            for row in rows
            for part in ("forward", "forward_backward")
            if row["key"]["preload"] == preload and f"first_{part}" in row
        }
        yield Mark(f"first call, kernels cached, {title}", 0.5, " s", seconds, True)


def _linear(rows: Rows) -> Iterable[Mark]:
    """Growth with L: the exponent of a straight line through the logarithms; 1 is linear.

    Memory below 8 MiB is left out: pages and buffers of the process show in it.
    """
    for what, least, measured in (
        ("time, forward + backward", 0.0, lambda row: row["forward_backward"]["ms"]),
        ("extra memory", 8 * 2**20, lambda row: row.get("memory", {}).get("bytes", 0.0)),
    ):
        exponents = {}
        for states in sorted({_case(row)["states"] for row in rows}):
            points = [
                (math.log(_case(row)["tokens"]), math.log(measured(row)))
                for row in rows
                if _case(row)["states"] == states and measured(row) > least
            ]
            if len(points) > 1:
                exponents[f"N {states}, {len(points)} lengths"] = _slope(points)
        yield Mark(f"growth of {what} with L, exponent", 1.1, "", exponents, True)


def _slope(points: list[tuple[float, float]]) -> float:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def _case(row: dict[str, Any]) -> dict[str, Any]:
    return row["key"]["case"]


def _name(row: dict[str, Any]) -> str:
    case = _case(row)
    return ", ".join(
        f"{sign} {case[name]}"
        for sign, name in (("B", "batch"), ("E", "channels"), ("L", "tokens"), ("N", "states"))
    )


def _ratios(rows: Rows, part: str, method: str) -> dict[str, float]:
    return {_name(row): row[part][method]["ratio"] for row in rows if method in row[part]}


def _values(rows: Rows, key: str) -> dict[str, float]:
    return {_name(row): row[key] for row in rows}


def _shares(rows: Rows) -> dict[str, float]:
    return {_name(row): 100 * row["share_of_exp2"] for row in rows}


def _per_sample(rows: Rows) -> dict[str, float]:
    return {_name(row): row["forward_backward"]["per_sample"] for row in rows}


def _memory_ratios(rows: Rows) -> dict[str, float]:
    ratios = {}
    for row in rows:
        used = row.get("memory", {}).get("forward_backward", {})
        ours = next(iter(used.values()), {})
        if "bytes" in used.get("pscan", {}) and "bytes" in ours:
            ratios[_name(row)] = used["pscan"]["bytes"] / ours["bytes"]
    return ratios


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.1e}"
    return f"{value:.3g}"
