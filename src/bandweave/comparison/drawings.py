"""Drawings of a page: box plots, what scores cost, and features in two dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bandweave.report.curves import INK, draw
from bandweave.report.pictures import Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (  # of models: apart for any eye, on light and dark paper
    *("#3b7ea6", "#e4572e", "#4c9f70", "#b583c9", "#d9a441", "#7a8b99", "#c2557a", "#5fb7b5"),
    *("#8d6b4f", "#6f78d1"),
)
SIDE = 420  # px of a picture of features


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """A colour for each model; they begin anew after ten."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(models)}


def draw_boxes(
    name: str,
    parts: Sequence[str],
    values: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
    label: str,
) -> str:
    """A metric of each part over the seeds: a box a model, its seeds as points.

    values   (seeds, parts) of each model
    label    of the metric's axis
    """
    share = 0.8 / max(len(values), 1)

    def plot(axes: Axes) -> None:
        for number, (model, table) in enumerate(values.items()):
            places = np.arange(table.shape[1]) - 0.4 + share * (number + 0.5)
            columns = [column[~np.isnan(column)] for column in table.T]
            line: dict[str, Any] = {"color": colours[model], "linewidth": 1.1}
            if len(table) > 1:
                axes.boxplot(
                    columns,
                    positions=places,
                    widths=0.75 * share,
                    showfliers=False,
                    manage_ticks=False,
                    boxprops=line,
                    whiskerprops=line,
                    capprops=line,
                    medianprops={"color": INK, "linewidth": 1.4},
                )
            for place, column in zip(places, columns, strict=True):
                axes.plot(
                    np.full(column.size, place),
                    column,
                    linestyle="",
                    marker="o",
                    markersize=2.6,
                    color=colours[model],
                    alpha=0.7,
                )
        axes.set_xticks(range(len(parts)), parts, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(parts) - 0.5)
        axes.set_ylabel(label)

    width = max(11.0, 0.12 * len(parts) * (len(values) + 2))
    return draw(name, plot, (min(width, 30.0), 3.4))


def scatter(
    name: str,
    points: Mapping[str, Sequence[tuple[float, float]]],
    colours: Mapping[str, str],
    labels: tuple[str, str],
    lines: bool = False,
) -> str:
    """Costs and scores of each model's runs, and larger their mean.

    lines   those without a cost, NaN, are drawn too, as lines at their scores
    """

    def plot(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        axes.set_xscale("log")
        for model, own in points.items():
            known = [(x, y) for x, y in own if not math.isnan(x)]
            if not known:
                for _, y in own if lines else []:
                    axes.axhline(y, color=colours[model], linewidth=1, linestyle="--", alpha=0.7)
                continue
            x, y = np.array(known).T
            axes.plot(x, y, linestyle="", marker="o", markersize=3, color=colours[model], alpha=0.5)
            axes.plot(x.mean(), y.mean(), marker="o", markersize=7.5, color=colours[model])
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda x, _: _short(x))
        axes.xaxis.set_minor_locator(NullLocator())

    return draw(name, plot, (4.6, 2.8))


def _short(value: float) -> str:
    """
    >>> _short(0.5), _short(20000), _short(5e6)
    ('0.5', '20k', '5M')
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def draw_points(title: str, stored: Mapping[str, Any], colours: Sequence[str]) -> Picture:
    """Points of features.json in the colours of their classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100)
    figure.patch.set_alpha(0)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    shown = [colours[index] for index in stored["classes"]]
    size = 40 if len(shown) < 300 else 14
    axes.scatter(stored["x"], stored["y"], s=size, c=shown, linewidths=0)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba()).copy()
    return picture(title, f"{len(shown)} test px; {stored['what']}", rgba)
