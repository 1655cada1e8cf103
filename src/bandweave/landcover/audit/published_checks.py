"""What does not fit in published scores: arithmetic alone, no map is made and nothing is trained.

n_c   pixels that were scored of class c (the supports); a_c  its accuracy
OA = Σ n_c a_c / Σ n_c;  AA = mean of a_c;  κ from the confusion matrix
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Literal

import numpy as np

from bandweave.landcover.audit.published import Published
from bandweave.landcover.metrics import METRICS, Scores
from bandweave.report.words import percent

ROUNDING = 1e-4  # a share printed as percent with two decimals, and rounded class accuracies
LOOSE = 5e-4  # a share that follows up to a few pixels
SPREAD = 0.03  # relative deviation of supports from a multiple of counts: borders were cut
PERMUTED = 8  # classes of which every order is tried


@dataclass(frozen=True)
class Finding:
    """What a comparison gave.

    kind  fits: it agrees; differs: it does not; unknown: it could not be compared
    """

    kind: Literal["fits", "differs", "unknown"]
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def audit_published(published: Published) -> list[Finding]:
    """Compare everything that can be compared; what differs comes first."""
    checks: list[Callable[[Published], Iterator[Finding]]] = [
        _check_masks, _check_map, _check_supports, _check_matrix, _check_average, _check_overall,
    ]  # fmt: skip
    found = [finding for check in checks for finding in check(published)]
    return sorted(found, key=lambda each: ("differs", "unknown", "fits").index(each.kind))


def _check_masks(p: Published) -> Iterator[Finding]:
    """Look for pixels in both masks."""
    if p.train_mask is None or p.test_mask is None:
        return
    both = int(((p.train_mask > 0) & (p.test_mask > 0)).sum())
    if both:
        share = both / (p.test_mask > 0).sum()
        yield Finding(
            "differs", f"{both} pixels are in both masks, {percent(share)} of the test pixels"
        )
    else:
        yield Finding("fits", "no pixel is in both masks")


def _check_map(p: Published) -> Iterator[Finding]:
    """Compare printed scores with those of the map itself, on either mask."""
    if p.predicted is None or p.test_mask is None or p.train_mask is None:
        return
    number = len(p.classes)
    missing = int(((p.test_mask > 0) & (p.predicted == 0)).sum())
    if missing:
        total = int((p.test_mask > 0).sum())
        yield Finding("differs", f"{missing} of {total} test pixels have no class in the map")
    sides = {}
    for side, mask in (("test", p.test_mask), ("training", p.train_mask)):
        known = (mask > 0) & (p.predicted > 0) & (p.predicted <= number)
        pairs = (mask[known] - 1) * number + p.predicted[known] - 1
        if known.any():
            matrix = np.bincount(pairs, minlength=number**2).reshape(number, number)
            sides[side] = Scores(matrix, tuple(str(i) for i in range(number)))
    if "test" not in sides:
        return
    for name, printed in p.printed.items():
        own = getattr(sides["test"], name)
        if abs(own - printed) <= ROUNDING:
            text = f"the map's {METRICS[name].name} on test pixels is {percent(own)}, as printed"
            yield Finding("fits", text)
            continue
        message = f"the map's {METRICS[name].name} on test pixels is {percent(own)}, printed is "
        message += percent(printed)
        if "training" in sides and abs(getattr(sides["training"], name) - printed) <= ROUNDING:
            message += ", which is its score on the training pixels"
        yield Finding("differs", message)


def _check_supports(p: Published) -> Iterator[Finding]:
    """Compare supports with the masks' counts, and with multiples of them."""
    supports = p.supports
    if supports is None and p.confusion is not None:
        supports = p.confusion.sum(axis=1)
    if supports is None or p.test is None or p.train is None:
        return
    if (supports == p.test).all():
        yield Finding("fits", f"the supports are the test mask's counts, {p.test.sum()} pixels")
        return
    wrong = int((supports != p.test).sum())
    first = int(np.flatnonzero(supports != p.test)[0])
    message = (
        f"{supports.sum()} pixels were scored, the test mask has {p.test.sum()}; {wrong} of "
        f"{len(supports)} supports differ, such as {p.classes[first]} with {supports[first]} "
        f"instead of {p.test[first]}"
    )
    sides = {"training counts": p.train, "test counts": p.test, "counts of all labels":
             p.train + p.test}  # fmt: skip
    fitting = {
        name: fit for name, counts in sides.items() if (fit := _find_multiple(supports, counts))
    }
    if fitting:
        name = min(fitting, key=lambda each: fitting[each][1])
        factor, deviation = fitting[name]
        message += f". They are {factor:.3g} times the {name}"
        message += f" (to {percent(deviation)})" if deviation > 1e-9 else ""
        if name == "training counts":
            message += ": the training labels were scored, not the test labels"
        elif factor > 1.5:
            message += ": pixels were counted more than once"
    yield Finding("differs", message)


def _find_multiple(supports: np.ndarray, counts: np.ndarray) -> tuple[float, float] | None:
    """Find the factor, and the largest relative deviation from it; None if there is none."""
    if not (counts > 0).all() or not (supports > 0).all():
        return None
    ratios = supports / counts
    factor = float(np.median(ratios))
    if abs(factor - round(factor)) < SPREAD * factor and round(factor) > 0:
        factor = float(round(factor))
    deviation = float(np.abs(ratios / factor - 1).max())
    return (factor, deviation) if deviation <= SPREAD else None


def _check_matrix(p: Published) -> Iterator[Finding]:
    """Compare printed scores with those of the confusion matrix."""
    if p.confusion is None or not p.confusion.any():
        return
    scores = Scores(p.confusion, p.classes)
    for name, printed in p.printed.items():
        own = getattr(scores, name)
        fits = abs(own - printed) <= ROUNDING
        message = f"{METRICS[name].name} of the confusion matrix is {percent(own)}"
        message += "" if fits else f", printed is {percent(printed)}"
        yield Finding("fits" if fits else "differs", message)
    if p.accuracy is not None:
        off = np.abs(scores.accuracy - p.accuracy)
        if (off <= ROUNDING).all():
            yield Finding("fits", "the accuracies per class are the matrix's")
        elif (np.abs(scores.precision - p.accuracy) <= ROUNDING).all():
            yield Finding(
                "differs", "the accuracies per class are shares of what was predicted as a class "
                "(precision), not of what is of it",
            )  # fmt: skip
        else:
            k = int(np.nanargmax(off))
            yield Finding(
                "differs",
                f"the accuracy of {p.classes[k]} in the matrix is {percent(scores.accuracy[k])}, "
                f"printed is {percent(p.accuracy[k])}",
            )


def _check_average(p: Published) -> Iterator[Finding]:
    """Compare the average accuracy with the accuracies per class."""
    printed = p.printed.get("average_accuracy")
    if printed is None or p.accuracy is None:
        return
    own = float(p.accuracy.mean())
    if abs(own - printed) <= ROUNDING:
        yield Finding("fits", f"the accuracies per class average to {percent(own)}, as printed")
    else:
        yield Finding(
            "differs",
            f"the accuracies per class average to {percent(own)}, printed is {percent(printed)}",
        )


def _check_overall(p: Published) -> Iterator[Finding]:
    """Compare the overall accuracy with the accuracies per class, by several counts and orders."""
    printed = p.printed.get("overall_accuracy")
    if printed is None or p.accuracy is None:
        return
    counts = {"the published supports": p.supports, "the test counts": p.test,
              "the training counts": p.train}  # fmt: skip
    known = {name: values for name, values in counts.items() if values is not None}
    if not known:
        yield Finding(
            "unknown", "no counts are known, from which the overall accuracy would follow"
        )
        return
    found = {name: _weigh(p.accuracy, values) for name, values in known.items()}
    right = "the test counts" if p.test is not None else next(iter(known))
    if abs(found[right] - printed) <= ROUNDING:
        text = f"the accuracies per class and {right} give {percent(found[right])}, as printed"
        yield Finding("fits", text)
        return
    message = (
        f"the accuracies per class and {right} give an overall accuracy of "
        f"{percent(found[right])}, printed is {percent(printed)}"
    )
    others = [name for name in found if name != right and abs(found[name] - printed) <= ROUNDING]
    if others:
        message += f"; it follows from {' and from '.join(others)}"
    elif abs(found[right] - printed) > LOOSE:
        message += _try_orders(p, known[right], printed)
    yield Finding("differs", message)


def _try_orders(p: Published, counts: np.ndarray, printed: float) -> str:
    """Say whether the rows give the printed figure in another order of the classes."""
    assert p.accuracy is not None
    own = np.empty_like(counts)
    own[list(p.places)] = counts  # the benchmark's own order
    names = np.empty(len(p.classes), object)
    names[list(p.places)] = p.classes
    if p.places and (own != counts).any():
        value = _weigh(p.accuracy, own)
        if abs(value - printed) <= LOOSE:
            return (
                f"; with the rows in the benchmark's own order of classes ({', '.join(names)}) "
                f"they give {percent(value)}: the names stand beside the wrong rows"
            )
    number = len(counts)
    if number > PERMUTED:
        return "; more classes than all orders of could be tried"
    orders = np.array(list(permutations(range(number))))
    overall = (p.accuracy * counts[orders]).sum(axis=1) / counts.sum()
    fitting = int((np.abs(overall - printed) <= ROUNDING).sum())
    of = f"{factorial(number)} orders of the classes"
    return f"; {fitting} of {of} would give it" if fitting else f"; none of {of} would give it"


def _weigh(accuracy: np.ndarray, counts: np.ndarray) -> float:
    return float((accuracy * counts).sum() / counts.sum())
