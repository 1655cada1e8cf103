"""The first sentences of a report: how good the map is, where it is weakest, what limits that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandweave.landcover.metrics import Scores
from bandweave.landcover.report.interval import FEWEST, UnitCounts, bootstrap_interval
from bandweave.report.words import format_count, percent


def describe_interval(counts: UnitCounts | None, scores: Scores) -> tuple[str, str]:
    """Say the interval on overall accuracy, '' where there is none, and how it was made or why not.

    counts  of the map that is shown; None where there is none under the scores' split
    """
    if counts is None:
        return "", "No interval: it needs the scored map of this scene beside the scores."
    right, tested = int(np.trace(scores.confusion)), int(scores.confusion.sum())
    if (int(counts.right.sum()), int(counts.tested.sum())) != (right, tested):
        return "", "No interval: the map shown is not the one that was scored."
    number = f"{format_count(counts.units)} {counts.kind}{'s' if counts.units != 1 else ''}"
    found = bootstrap_interval(counts)
    if found is None:
        return "", (
            f"No interval: the test pixels lie in {number}, and pixels of one {counts.kind} are "
            f"not independent; {FEWEST} {counts.kind}s are needed."
        )
    low, high = found
    return f"{100 * low:.1f} to {percent(high, 1)}", (
        f"95 % interval, by bootstrap over the {number} that hold test pixels: pixels of one "
        f"{counts.kind} are not independent."
    )


def write_conclusion(scores: Scores, interval: str, other_split: bool, beside: str = "") -> str:
    """Say in plain words what the scores tell.

    beside  a sentence on the baseline; '' where there is none
    """
    text = f"On {format_count(scores.support.sum())} test {scores.unit}s the map is right on "
    text += percent(scores.overall_accuracy, 1)
    if interval:
        text += f" (95 % interval {interval})"
    tested = np.flatnonzero(scores.support > 0)
    if len(tested) > 1:
        weakest = int(tested[np.argmin(np.asarray(scores.accuracy)[tested])])
        text += f"; the weakest class is {scores.classes[weakest]}, of which "
        text += f"{percent(float(scores.accuracy[weakest]), 1)} are found"
    text = f"{text}. {beside}" if beside else f"{text}."
    return f"{text} {_say_limit(scores.protocol, other_split)}"


def _say_limit(protocol: Mapping[str, Any], other_split: bool) -> str:
    """Say how far the protocol lets the number speak."""
    if other_split:
        return (
            "Pixels that the model was trained on may be among them, so the number may be too high."
        )
    share = protocol.get("test_share_within_reach")
    if share is None:
        return "How near test pixels lie to training pixels is not known."
    if share > 0:
        return (
            f"Of the test pixels {percent(share, 0)} lie so near a training pixel that the model "
            "sees both at once; on new ground expect less."
        )
    if protocol.get("unit") == "part":
        return "They lie in other parts than the training pixels; other scenes are not tested."
    return (
        "No test pixel lies within the model's sight of a training pixel, but both are of the same "
        "scene; other places are not tested."
    )
