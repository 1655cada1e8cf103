"""Whether the map's confidence can be believed, as a report draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bandweave.landcover.calibration import BINS, Calibration
from bandweave.report.curves import LINE, SECOND, TEXT, draw
from bandweave.report.words import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (3.6, 2.9)
LEAST = 0.01  # share of the pixels whose accuracy says something


@dataclass(frozen=True)
class ConfidenceFigures:
    """Two drawings (SVG), and the expected calibration error in words."""

    reliability: str
    coverage: str
    error: str


def confidence_figures(calibration: Calibration | None) -> ConfidenceFigures | None:
    """None where nothing was counted."""
    if calibration is None or not calibration.pixels.any():
        return None
    return ConfidenceFigures(
        draw("reliability", lambda axes: _reliability(axes, calibration), SIZE),
        draw("coverage", lambda axes: _coverage(axes, calibration), SIZE),
        percent(calibration.expected_error),
    )


def _reliability(axes: Axes, calibration: Calibration) -> None:
    """Accuracy of each bin over its confidence; bars tell the share of the pixels in it."""
    confidence, accuracy, pixels = calibration.reliability()
    some = pixels > 0
    places = (some.nonzero()[0] + 0.5) / BINS
    axes.bar(100 * places, 100 * pixels[some] / pixels.sum(), 90 / BINS, color=LINE, alpha=0.2)
    axes.plot([0, 100], [0, 100], color=TEXT, linewidth=0.9, linestyle=":")
    axes.plot(
        100 * confidence[some], 100 * accuracy[some], color=SECOND, marker="o", markersize=3.5
    )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    axes.set_xlabel("confidence, %")


def _coverage(axes: Axes, calibration: Calibration) -> None:
    """Accuracy of what is kept when the unsure is left out."""
    kept, accuracy = calibration.coverage()
    many = kept >= LEAST
    kept, accuracy = kept[many], accuracy[many]
    axes.plot(100 * kept, 100 * accuracy, color=SECOND, linewidth=1.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the pixels kept, the surest first, %")
