"""Pictures and curves of a report: colours for arrays, PNG or JPEG as data URIs, SVG for curves.

Curves are SVG whose colours are the page's own (CSS variables), so that they follow it into the
dark. Nothing here keeps state in matplotlib.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.data.scene import ClassInfo
from bandweave.landcover.report_pictures import RIGHT, WRONG
from bandweave.raster.write import rgb

NO_DATA = (148, 148, 148)  # in photographs, where every colour may stand
RIGHT_COLOUR, WRONG_COLOUR = "#3b7ea6", "#e4572e"  # apart for any eye
THINNEST = 40  # a picture that is longer in proportion to its width is widened
PIXELATED = 320  # px: pictures that are smaller show their pixels when enlarged
PHOTOGRAPH = 300_000  # px from which on a photograph is a JPEG
POINTS = 400  # of a curve

_PAGE = {  # colours that stand for the page's
    "#010203": "var(--soft)",
    "#010204": "var(--rule)",
    "#010205": "var(--accent)",
    "#010206": "var(--second)",
}
_TEXT, _RULE, _LINE, _SECOND = _PAGE


@dataclass(frozen=True)
class Picture:
    """An image of the page, with what stands under it."""

    title: str
    caption: str
    uri: str
    width: int
    height: int
    widened: bool = False

    @property
    def crisp(self) -> bool:
        """It has so few pixels that they are shown as squares."""
        return max(self.width, self.height) <= PIXELATED


def picture(title: str, caption: str, rgba: np.ndarray, photograph: bool = False) -> Picture:
    """A picture from (h, w, 4) uint8; a large photograph becomes a JPEG.

    A scene of one row or column is widened, so that it can be seen.
    """
    from matplotlib.image import imsave

    height, width = rgba.shape[:2]
    times = max(max(height, width) // (THINNEST * min(height, width)), 1)
    if times > 1:
        rgba = rgba.repeat(times, axis=0 if height < width else 1)
    file = io.BytesIO()
    if photograph and rgba[..., 0].size >= PHOTOGRAPH:
        kind = "jpeg"
        imsave(file, rgba, format="jpg", pil_kwargs={"quality": 85})
    else:
        kind = "png"
        nothing: Any = {"Software": None}  # so that one picture is always the same bytes
        imsave(file, rgba, format="png", metadata=nothing)
    uri = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(title, caption, uri, rgba.shape[1], rgba.shape[0], times > 1)


def photograph(values: np.ndarray) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Bands (1 or 3, h, w), NaN for none, stretched from their 2nd to their 98th percentile.

    Returns (h, w, 4) uint8 and the two values of each band. A band without contrast is mid-grey.
    """
    channels, ranges = [], []
    for band in values:
        known = band[np.isfinite(band)]
        low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 0.0)
        if high > low:
            scaled = np.clip((band - low) / (high - low), 0, 1)
        else:
            scaled = np.full(band.shape, 0.5, np.float32)
        channels.append(np.round(255 * np.nan_to_num(scaled)).astype(np.uint8))
        ranges.append((float(low), float(high)))
    rgba = np.full((*values.shape[1:], 4), 255, np.uint8)
    rgba[..., :3] = np.stack(channels * (3 // len(channels)), axis=-1)
    rgba[~np.isfinite(values).any(axis=0), :3] = NO_DATA
    return rgba, ranges


def in_colours(indices: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """(h, w, 4) uint8 of indices into '#rrggbb' colours; transparent where an index is negative."""
    table = np.zeros((len(colours) + 1, 4), np.uint8)  # the last, reached by -1, is transparent
    for index, colour in enumerate(colours):
        table[index] = (*rgb(colour), 255)
    return table[np.where(indices < 0, len(colours), indices)]


def in_class_colours(indices: np.ndarray, classes: Sequence[ClassInfo]) -> np.ndarray:
    """(h, w, 4) uint8 of class indices; transparent where there is none."""
    return in_colours(indices, [each.color for each in classes])


def in_verdict_colours(verdict: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 of RIGHT and WRONG; transparent elsewhere."""
    return in_colours(verdict, [{RIGHT: RIGHT_COLOUR, WRONG: WRONG_COLOUR}[i] for i in range(2)])


def in_confidence_colours(values: np.ndarray, lowest: float) -> np.ndarray:
    """(h, w, 4) uint8 of confidence from `lowest` to 1; transparent where NaN."""
    scaled = (values - lowest) / max(1 - lowest, 1e-6)
    rgba = _confidence_map()(np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)
    rgba[np.isnan(values)] = 0
    return rgba


def confidence_ramp(steps: int = 9) -> list[str]:
    """Colours of `in_confidence_colours`, '#rrggbb', from its lowest value to 1."""
    table = _confidence_map()(np.linspace(0, 1, steps), bytes=True)
    return ["#" + "".join(f"{int(value):02x}" for value in row[:3]) for row in table]


def _confidence_map() -> Any:
    from matplotlib import colormaps

    return colormaps["cividis"]


# Curves -------------------------------------------------------------------------------------------


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
    """The curve as SVG to stand in a page: faint as it is, and smoothed; points as they are."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    factor = 100 if curve.percent else 1
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": curve.name,
            "font.size": 9,
            "text.color": _TEXT,
            "xtick.color": _TEXT,
            "ytick.color": _TEXT,
            "axes.edgecolor": _RULE,
            "axes.labelcolor": _TEXT,
            "text.parse_math": False,
        }
    ):
        figure = Figure(figsize=(4.4, 2.3), layout="constrained")
        axes = figure.add_subplot()
        x, y = _thinned(curve.x, factor * curve.y)
        axes.plot(x, y, color=_LINE, alpha=0.3, linewidth=1, marker="o" if x.size < 3 else None)
        if x.size >= 8:
            axes.plot(x, _smoothed(y), color=_LINE, linewidth=1.8)
        if curve.points is not None:
            at, values = curve.points
            style: dict[str, Any] = {
                "color": _SECOND,
                "linewidth": 1.4,
                "marker": "o",
                "markersize": 4,
            }
            axes.plot(at, factor * values, label=curve.points_name, **style)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("step")
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _inline(file.getvalue(), re.sub(r"\W+", "-", curve.name))


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite values, at most `POINTS`: each the mean of its share."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if x.size <= POINTS:
        return x, y
    starts = np.linspace(0, x.size, POINTS, endpoint=False).astype(int)
    count = np.diff([*starts, x.size])
    return np.add.reduceat(x, starts) / count, np.add.reduceat(y, starts) / count


def _smoothed(y: np.ndarray) -> np.ndarray:
    """Means of a window of a tenth of the curve, shorter at its ends."""
    half = max(y.size // 20, 1)
    total = np.concatenate([[0.0], np.cumsum(y)])
    place = np.arange(y.size)
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, y.size)
    return (total[high] - total[low]) / (high - low)


def _inline(svg: str, name: str) -> str:
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
