"""How a report sets a baseline beside its model: a table, an explanation, a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from bandweave.landcover.metrics import Scores, map_metrics
from bandweave.landcover.report.baseline import SEED, Baseline
from bandweave.landcover.report.interval import (
    UnitCounts,
    bootstrap_difference,
    bootstrap_interval,
)
from bandweave.report.words import format_count, percent

NAMES = {"svm": "support vector machine"}
Interval = tuple[float, float]


@dataclass(frozen=True)
class Beside:
    """What a page shows of a baseline; texts as they are shown.

    heads     of the columns: the scores of a whole map, the first with its interval
    rows      cells of the model, the baseline and their difference
    about     what it is, trained on what, and why this one
    sentence  for the conclusion
    """

    heads: list[str]
    rows: list[list[str]]
    about: str
    sentence: str


def set_beside(model: str, scores: Scores, counts: UnitCounts | None, baseline: Baseline) -> Beside:
    """Compare a model with the baseline on the same test pixels.

    counts  of the model's map by unit; None where no interval is given
    """
    intervals = [bootstrap_interval(each) for each in (counts, baseline.by_unit) if counts and each]
    between = bootstrap_difference(counts, baseline.by_unit) if counts else None
    own, its = intervals if len(intervals) == 2 else (None, None)
    metrics, ours, theirs = map_metrics(), scores.overall(), baseline.scores.overall()
    differences = [row.difference_text(ours[n] - theirs[n]) for n, row in metrics.items()]
    rows = [
        [model, *(row.text(ours[name]) for name, row in metrics.items())],
        [baseline.method, *(row.text(theirs[name]) for name, row in metrics.items())],
        ["difference", *differences],
    ]
    heads = ["", *(row.name for row in metrics.values())]
    words = (
        "95 % interval",
        _interval_text(own),
        _interval_text(its),
        _interval_text(between, signed=True),
    )
    for cells, word in zip((heads, *rows), words, strict=True):
        cells.insert(2, word)
    overlap = _say_overlap(own, its)
    about, sentence = _describe_baseline(baseline, overlap), _conclude(scores, baseline, overlap)
    return Beside(heads, rows, about, sentence)


def _say_overlap(one: Interval | None, other: Interval | None) -> str:
    """Say whether two intervals overlap; '' where there are none."""
    if one is None or other is None:
        return ""
    return "overlap" if one[0] <= other[1] and other[0] <= one[1] else "do not overlap"


def _describe_baseline(baseline: Baseline, overlap: str) -> str:
    number, training = format_count(baseline.trained), format_count(baseline.training)
    pixels = f"the run's {training} training pixels"
    if baseline.trained < baseline.training:
        pixels = (
            f"{number} of the run's {training} training pixels (the same share of each class, "
            f"drawn with seed {SEED}, so that it does not take long)"
        )
    text = (
        f"The baseline is a {NAMES[baseline.method]} with a radial kernel on the bands of "
        f"{', '.join(baseline.layers)}, each pixel by itself. It was trained on {pixels}, its "
        f"options chosen among them by cross-validation, and scored on the same test pixels. In "
        f"the benchmarks of this package it is ahead of the random forest, and it trains faster; "
        f"bandweave compare runs other methods, and several splits."
    )
    if overlap:
        text += (
            f" The two intervals {overlap}. That of the difference counts both on the same draws "
            f"of units, so it tells more than whether the two overlap."
        )
    return text


def _conclude(scores: Scores, baseline: Baseline, overlap: str) -> str:
    """Say how the model stands to the baseline, for the conclusion."""
    difference = 100 * (scores.overall_accuracy - baseline.scores.overall_accuracy)
    size = f"{abs(difference):.1f}"
    stands = "as often right" if size == "0.0" else f"{size} points "
    if size != "0.0":
        stands += "above it" if difference > 0 else "below it"
    whole = baseline.trained == baseline.training
    ones = "the same training pixels" if whole else "a share of the same training pixels"
    text = (
        f"A {NAMES[baseline.method]} on single pixels, trained on {ones}, is right on "
        f"{percent(baseline.scores.overall_accuracy, 1)}: the model is {stands}"
    )
    return f"{text}, and their 95 % intervals {overlap}." if overlap else f"{text}."


def _interval_text(found: Interval | None, signed: bool = False) -> str:
    """Write an interval in per cent, or in points with signs."""
    if found is None:
        return "–"
    low, high = (100 * end for end in found)
    if signed:
        return f"{low:+.1f} to {high:+.1f} points".replace("-", "−")
    return f"{low:.1f} to {high:.1f} %"
