"""Whether the map's confidence can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandweave.landcover.calibration import BINS, Calibration
from bandweave.landcover.report.findings import Findings
from bandweave.report.curves import LINE, SECOND, TEXT, draw
from bandweave.report.section import Section, fill_section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (3.6, 2.9)
LEAST = 0.01  # share of the pixels whose accuracy says something
TEMPLATE = """
<div class="curves">
<figure>
<figcaption><b>reliability</b> <span>accuracy in %, over confidence; bars: share of the test pixels</span></figcaption>
{{ reliability | safe }}
</figure>
<figure>
<figcaption><b>accuracy against coverage</b> <span>accuracy in % of the surest test pixels</span></figcaption>
{{ coverage | safe }}
</figure>
</div>
<p class="soft">Expected calibration error {{ error | percent }}: the mean distance of the points from the dotted line, weighted by pixels. {% if temperature != 1 %}Logits were divided by the temperature {{ "%.3g" | format(temperature) }}.{% else %}No temperature was fitted.{% endif %}</p>
"""  # noqa: E501


def show_confidence(found: Findings) -> Section | None:
    """Reliability with the expected calibration error, and accuracy against coverage."""
    calibration = found.scores.calibration if found.scores else None
    if calibration is None or not calibration.pixels.any():
        return None
    return fill_section(
        "Confidence",
        TEMPLATE,
        reliability=draw("reliability", lambda axes: _plot_reliability(axes, calibration), SIZE),
        coverage=draw("coverage", lambda axes: _plot_coverage(axes, calibration), SIZE),
        error=calibration.expected_error,
        temperature=found.run.temperature,
    )


def _plot_reliability(axes: Axes, calibration: Calibration) -> None:
    """Plot the accuracy of each bin over its confidence; bars tell the share of pixels in it."""
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


def _plot_coverage(axes: Axes, calibration: Calibration) -> None:
    """Plot the accuracy of what is kept when the unsure is left out."""
    kept, accuracy = calibration.coverage()
    many = kept >= LEAST
    kept, accuracy = kept[many], accuracy[many]
    axes.plot(100 * kept, 100 * accuracy, color=SECOND, linewidth=1.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the pixels kept, the surest first, %")
