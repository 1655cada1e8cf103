"""Whether a map's confidence can be believed, and what is left where only the sure is kept.

A pixel's confidence is the probability of the class that it was given. Sources: expected
calibration error and temperature, Guo et al. 2017, "On calibration of modern neural networks";
accuracy against coverage, Geifman and El-Yaniv 2017, "Selective classification".

    ECE       Σ_b n_b/n · |accuracy of bin b − mean confidence of bin b|, 15 bins of equal width
    coverage  share of the pixels that are as sure as a threshold or surer; with their accuracy

What is kept are counts in fine bins of confidence, so that pixels may come in any number of pieces
and the memory does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.errors import LabelError, RunError

FINE, BINS = 1500, 15  # bins that are kept, and those of the error: each of 100 fine ones
HOTTEST = 100.0  # temperatures that are tried: from 1 / HOTTEST to HOTTEST


@dataclass(frozen=True, eq=False)
class Calibration:
    """Counts over pixels of known class, in FINE bins of their confidence.

    pixels, right  (FINE,) int64: how many, and how many of them were given their class
    confidence     (FINE,) float64: their confidences' sum
    """

    pixels: np.ndarray
    right: np.ndarray
    confidence: np.ndarray

    @classmethod
    def count(cls, confidence: np.ndarray, right: np.ndarray) -> Calibration:
        """Count pixels: their confidences, and whether they were given their class."""
        confidence = np.asarray(confidence, np.float64).ravel()
        if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
            raise ValueError(
                f"confidences of {confidence.min():g} to {confidence.max():g} are no probabilities"
            )
        place = np.minimum((confidence * FINE).astype(np.int64), FINE - 1)
        return cls(
            np.bincount(place, minlength=FINE),
            np.bincount(place[np.ravel(right)], minlength=FINE),
            np.bincount(place, confidence, minlength=FINE),
        )

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            self.pixels + other.pixels,
            self.right + other.right,
            self.confidence + other.confidence,
        )

    def _sum_bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pixels, right, confidence = (
            values.reshape(BINS, -1).sum(axis=1)
            for values in (self.pixels, self.right, self.confidence)
        )
        return pixels, right, confidence

    @property
    def expected_error(self) -> float:
        """Expected calibration error, 0 to 1."""
        pixels, right, confidence = self._sum_bins()
        return float(np.abs(right - confidence).sum() / pixels.sum())

    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean confidence, accuracy (NaN without pixels) and pixels of each bin, (BINS,) each."""
        pixels, right, confidence = self._sum_bins()
        some = pixels > 0
        mean, accuracy = (
            np.divide(sums, pixels, out=np.full(BINS, np.nan), where=some)
            for sums in (confidence, right)
        )
        return mean, accuracy, pixels

    def coverage(self) -> tuple[np.ndarray, np.ndarray]:
        """Rising shares of the pixels, the surest first, and the accuracy of each share."""
        pixels, right = self.pixels[::-1], self.right[::-1]
        some = pixels > 0
        kept, correct = pixels[some].cumsum(), right[some].cumsum()
        return kept / kept[-1], correct / kept

    def accuracy_at(self, share: float) -> float:
        """Accuracy over the surest `share` of the pixels, or the next larger one that bins tell."""
        kept, accuracy = self.coverage()
        return float(accuracy[np.searchsorted(kept, share - 1e-12)])

    def to_dict(self) -> dict[str, Any]:
        """What scores.json holds: the numbers, and the counts that `from_dict` reads."""
        some = np.flatnonzero(self.pixels).tolist()
        return {
            "expected_calibration_error": self.expected_error,
            "accuracy_at_coverage": {f"{s:g}": self.accuracy_at(s) for s in (0.5, 0.8, 0.9, 1.0)},
            "bins": FINE,
            "counts": [
                [b, int(self.pixels[b]), int(self.right[b]), float(self.confidence[b])]
                for b in some
            ],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """Read what `to_dict` gave; raises RunError for anything else."""
        try:
            if stored["bins"] != FINE:
                raise ValueError(f"{stored['bins']} bins instead of {FINE}")
            pixels, right = np.zeros((2, FINE), np.int64)
            confidence = np.zeros(FINE)
            for place, count, correct, total in stored["counts"]:
                _check_bin(place, count, correct, total)
                pixels[place], right[place], confidence[place] = count, correct, total
            if not pixels.any():
                raise ValueError("it counts no pixel")
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise RunError(
                f"the stored calibration cannot be read ({error!s:.200}); score the run again"
            ) from error
        return cls(pixels, right, confidence)


def _check_bin(place: int, count: int, correct: int, total: float) -> None:
    """Raise TypeError or ValueError unless the numbers can be those of one bin."""
    for number in (place, count, correct):
        if type(number) is not int:
            raise TypeError(f"{number!r} is no count")
    if not 0 <= place < FINE or not 0 <= correct <= count or not 0 <= total <= count * (1 + 1e-6):
        raise ValueError(f"bin {place}: {correct} of {count} pixels, confidences of {total:g}")


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature T for which softmax(logits / T) gives the labels the highest likelihood.

    logits  (P, K), of held-out pixels; labels (P,) class indices

    The class of a pixel does not change. Raises LabelError without pixels.

    >>> sure = np.array([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    >>> round(fit_temperature(sure, np.array([0, 0, 1, 1])), 1)  # right three times in four
    7.3
    """
    from scipy.optimize import minimize_scalar

    if not labels.size:
        raise LabelError(
            "a temperature is fitted to held-out pixels, and there is none; draw a validation part "
            "with the split, as in --split.validation 0.2"
        )
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)[:, 0]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(logits * scale).sum(axis=1)) - chosen * scale))

    found = minimize_scalar(loss, bounds=(-np.log(HOTTEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))
