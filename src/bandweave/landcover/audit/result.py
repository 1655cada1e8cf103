"""What an audit found: differences of protocols with intervals, in words and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bandweave.landcover.metrics import Scores, map_metrics
from bandweave.report.curves import INK, LINE, SECOND, TEXT, draw
from bandweave.report.page import render
from bandweave.significance import LEAST_SEEDS, corrected_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HONEST = "inductive"
PROTOCOLS = {
    HONEST: "honest: guard at the reach, test images hidden",
    "transductive": "the same, test images seen",
    "random": "random pixels of each class",
    "crops": "overlapping crops, pixels counted repeatedly",
    "training": "scored on the training labels",
}


@dataclass(frozen=True, eq=False)
class Audit:
    """Scores of each protocol, one a seed, and what the honest one was.

    split   name, and guard in px of the label grid, of the honest split; reach of the model there
    """

    model: str
    scene: str
    split: str
    guard: int
    reach: int
    scores: dict[str, list[Scores]]

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(self.scores[HONEST])

    def accuracies(self, protocol: str) -> np.ndarray:
        """Overall accuracy of each seed, 0 to 1."""
        return np.array([each.overall_accuracy for each in self.scores[protocol]])

    def inflation(self, protocol: str) -> tuple[float, float, float]:
        """Points of overall accuracy above the honest one: mean, and its 95 % interval over seeds.

        The interval is of differences taken seed by seed, by the corrected resampled t-test; its
        ends are NaN for fewer than five seeds.
        """
        points = 100 * (self.accuracies(protocol) - self.accuracies(HONEST))
        return corrected_interval(points, self._test_to_train())

    def _test_to_train(self) -> float:
        """Test pixels over training pixels of the honest split, the mean over seeds."""
        pixels = [each.protocol["pixels"] for each in self.scores[HONEST]]
        return float(np.mean([each["test"] / each["train"] for each in pixels]))

    def paragraph(self) -> str:
        """What the audit found, in words."""
        honest = 100 * self.accuracies(HONEST).mean()
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        text = (
            f"On {self.scene}, {self.model} reaches {honest:.1f} % overall accuracy under the "
            f"split '{self.split}' with a guard of {self.guard} label px, where it looks "
            f"{self.reach} px far, and with the images of test pixels hidden from training (mean "
            f"of {seeds})."
        )
        words = {
            "transductive": "Seeing those images",
            "random": "Drawing single pixels at random instead",
            "crops": "Overlapping crops whose pixels count repeatedly",
            "training": "Scoring its own training labels",
        }
        for name, begin in words.items():
            mean, low, high = self.inflation(name)
            verb = "adds" if mean >= 0 else "takes away"
            text += f" {begin} {verb} {abs(mean):.1f} points"
            text += "." if np.isnan(low) else f" (95 % interval {low:+.1f} to {high:+.1f})."
        if self.seeds < LEAST_SEEDS:
            few = "A single seed gives" if self.seeds == 1 else f"{self.seeds} seeds give"
            text += f" {few} no interval: nothing of this is more than an indication."
        return text

    def table(self) -> str:
        """The protocols as text, a line for each."""
        width = max(map(len, PROTOCOLS.values()))
        lines = [f"{'protocol':<{width}}  overall accuracy   points above the honest one"]
        for name, title in PROTOCOLS.items():
            values = 100 * self.accuracies(name)
            text = f"{title:<{width}}  {values.mean():6.2f} %"
            if name != HONEST:
                mean, low, high = self.inflation(name)
                text += f"{mean:+18.2f}"
                text += "" if np.isnan(low) else f"   ({low:+.2f} to {high:+.2f})"
            lines.append(text)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What audit.json holds: the scores that are shares, and differences in points."""
        facts = {
            name: getattr(self, name) for name in ("model", "scene", "split", "guard", "reach")
        }
        shares = [name for name, metric in map_metrics().items() if metric.unit == "%"]
        found = {}
        for name, title in PROTOCOLS.items():
            mean, low, high = self.inflation(name)
            scores = [each.overall() for each in self.scores[name]]
            found[name] = {
                "protocol": title,
                **{m: [each[m] for each in scores] for m in shares},
                "pixels_counted": [int(each.support.sum()) for each in self.scores[name]],
                "inflation_points": mean,
                "interval95": None if np.isnan(low) else [low, high],
            }
        return {
            **facts,
            "seeds": self.seeds,
            "test_to_train": self._test_to_train(),
            "protocols": found,
            "paragraph": self.paragraph(),
        }


def write_page(found: Audit) -> str:
    """Write the page: a bar a protocol, the differences with their intervals, the paragraph."""
    rows = []
    for name, title in PROTOCOLS.items():
        values = 100 * found.accuracies(name)
        mean, low, high = found.inflation(name)
        rows.append(
            {
                "title": title,
                "accuracy": f"{values.mean():.1f}",
                "spread": f"{values.std(ddof=1):.1f}" if values.size > 1 else "–",
                "points": "–" if name == HONEST else f"{mean:+.1f}",
                "interval": "–" if name == HONEST or np.isnan(low) else f"{low:+.1f} … {high:+.1f}",
                "pixels": int(np.mean([each.support.sum() for each in found.scores[name]])),
            }
        )
    return render(
        "landcover/audit",
        "audit.html.j2",
        found=found,
        rows=rows,
        drawing=draw("protocols", _plot_bars(found)),
    )


def _plot_bars(found: Audit) -> Any:
    def plot(axes: Axes) -> None:
        names = list(PROTOCOLS)
        for place, name in enumerate(names):
            values = 100 * found.accuracies(name)
            colour = LINE if name == HONEST else SECOND
            axes.barh(place, values.mean(), color=colour, height=0.62, alpha=0.85)
            axes.plot(values, np.full(values.size, place), ".", color=INK, markersize=4)
            axes.text(
                max(values.max(), values.mean()) + 1, place, f"{values.mean():.1f}", va="center",
                color=TEXT,
            )  # fmt: skip
        honest = 100 * found.accuracies(HONEST).mean()
        axes.axvline(honest, color=LINE, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xlabel("overall accuracy, %")
        axes.grid(visible=False)

    return plot
