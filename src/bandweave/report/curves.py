"""Drawings of a page, as SVG that stands in it.

Their colours are the page's own (CSS variables), so that they follow it into the dark. Nothing here
keeps state in matplotlib.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400  # of a curve

_PAGE = {  # colours that stand for the page's
    "#010203": "var(--soft)",
    "#010204": "var(--rule)",
    "#010205": "var(--accent)",
    "#010206": "var(--second)",
    "#010207": "var(--ink)",
}
TEXT, RULE, LINE, SECOND, INK = _PAGE


def draw(name: str, plot: Callable[[Axes], None], size: tuple[float, float] = (4.4, 2.3)) -> str:
    """Draw by `plot` into axes in the page's style, and return the SVG.

    name  name of the drawing, once on a page
    size  size in inches
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "font.size": 9,
            "text.color": TEXT,
            "xtick.color": TEXT,
            "ytick.color": TEXT,
            "axes.edgecolor": RULE,
            "axes.labelcolor": TEXT,
            "text.parse_math": False,
        }
    ):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.tick_params(length=0)
        plot(axes)
        file = io.StringIO()
        nothing: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)  # `savefig` would draw twice
    return _make_inline(file.getvalue(), re.sub(r"\W+", "-", name))


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of training: x and y, and points of a second one, if any."""

    name: str
    x: np.ndarray
    y: np.ndarray
    points: tuple[np.ndarray, np.ndarray] | None = None
    points_name: str = ""
    percent: bool = False


def draw_curve(curve: Curve) -> str:
    """The curve: faint as it is, and smoothed; points as they are."""

    def plot(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        factor = 100 if curve.percent else 1
        x, y = _thin(curve.x, factor * curve.y)
        axes.plot(x, y, color=LINE, alpha=0.3, linewidth=1, marker="o" if x.size < 3 else None)
        if x.size >= 8:
            axes.plot(x, _smooth(y), color=LINE, linewidth=1.8)
        if curve.points is not None:
            at, values = curve.points
            style: dict[str, Any] = {
                "color": SECOND,
                "linewidth": 1.4,
                "marker": "o",
                "markersize": 4,
            }
            axes.plot(at, factor * values, label=curve.points_name, **style)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("step")

    return draw(curve.name, plot)


@dataclass(frozen=True)
class Shares:
    """Parts of a whole over the steps of training: x, and for each part its share."""

    name: str
    x: np.ndarray
    parts: dict[str, np.ndarray]


def draw_shares(shares: Shares) -> str:
    """The parts on top of each other, in %, smoothed; named beside, from the uppermost."""

    def plot(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        x, low = shares.x, np.zeros(0)
        for i, (name, values) in enumerate(shares.parts.items()):
            x, y = _thin(shares.x, 100 * values)
            low = np.zeros_like(y) if low.shape != y.shape else low
            high = low + _smooth(y)
            style: dict[str, Any] = {
                "color": (LINE, SECOND)[i % 2],
                "alpha": max(0.85 - 0.4 * (i // 2), 0.15),
            }
            axes.fill_between(x, low, high, label=name, linewidth=0, **style)
            low = high
        axes.margins(0)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, reverse=True, fontsize=8
        )
        axes.set_xlabel("step")

    return draw(shares.name, plot)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite values, at most `POINTS`: each the mean of its share."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if x.size <= POINTS:
        return x, y
    starts = np.linspace(0, x.size, POINTS, endpoint=False).astype(int)
    count = np.diff([*starts, x.size])
    return np.add.reduceat(x, starts) / count, np.add.reduceat(y, starts) / count


def _smooth(y: np.ndarray) -> np.ndarray:
    """Means of a window of a tenth of the curve, shorter at its ends."""
    half = max(y.size // 20, 1)
    total = np.concatenate([[0.0], np.cumsum(y)])
    place = np.arange(y.size)
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, y.size)
    return (total[high] - total[low]) / (high - low)


def _make_inline(svg: str, name: str) -> str:
    """An SVG file as an element of a page: no prologue, names of its own, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for stand_in, colour in _PAGE.items():
        svg = svg.replace(stand_in, colour)
    return svg.strip()
