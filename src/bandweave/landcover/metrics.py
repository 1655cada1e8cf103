"""Scores of a land-cover map, from one confusion matrix in exact integers and float64.

    M      (K, K): M[t, p] test pixels (or objects) of class t that were given class p
    n_t    = Σ_p M[t, p], the support; m_p = Σ_t M[t, p]; n = Σ M

METRICS is the table of scores; whatever prints, draws or offers one reads it. A row that is added
to it is computed, stored and shown like the others. A ratio without a denominator is NaN in Python
and null in JSON, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from bandweave.data.scene import IGNORED
from bandweave.data.splits.splitting import TEST, Split
from bandweave.errors import LabelError, RunError, SplitError
from bandweave.report.metric import Metric

NOT_A_LINE = ("pixels_per_class", "notes")  # of a protocol: these have their own place


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores with the protocol they were measured under.

    confusion  (K, K) int64, rows are the truth
    classes    K names
    protocol   what Split.protocol() says, and whatever else must stand beside the numbers
    unit       what was counted: "pixel" or "object"
    """

    confusion: np.ndarray
    classes: tuple[str, ...]
    protocol: dict[str, Any] = field(default_factory=dict)
    unit: str = "pixel"

    def __post_init__(self) -> None:
        number = len(self.classes)
        if self.confusion.shape != (number, number):
            raise ValueError(
                f"a confusion matrix of shape {self.confusion.shape} does not fit {number} classes"
            )
        if not self.confusion.any():
            raise LabelError(
                f"there is no test {self.unit} to score; use a split with a test side "
                "(the split 'all' has none)"
            )

    @property
    def support(self) -> np.ndarray:
        """Test pixels of each class, (K,) int64."""
        return self.confusion.sum(axis=1)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes without a test pixel: they take no part in the average accuracy."""
        return tuple(n for n, s in zip(self.classes, self.support, strict=True) if not s)

    @property
    def overall_accuracy(self) -> float:
        """Share of the test pixels that were given their class."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def average_accuracy(self) -> float:
        """Mean accuracy of the classes that have test pixels."""
        return float(self.accuracy[self.support > 0].mean())

    @property
    def kappa(self) -> float:
        """Cohen's kappa; NaN where truth and map are one and the same single class."""
        matrix = self.confusion.astype(np.float64)
        total = matrix.sum()
        expected = float(matrix.sum(axis=0) @ matrix.sum(axis=1)) / total**2
        if expected == 1:
            return float("nan")
        return (self.overall_accuracy - expected) / (1 - expected)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of each class's test pixels that were found, (K,): recall, producer's accuracy."""
        return _divide(np.diagonal(self.confusion), self.support)

    @property
    def precision(self) -> np.ndarray:
        """Share of the pixels given a class that are of it, (K,): user's accuracy."""
        return _divide(np.diagonal(self.confusion), self.confusion.sum(axis=0))

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of accuracy and precision of each class, (K,)."""
        both = self.support + self.confusion.sum(axis=0)
        return _divide(2 * np.diagonal(self.confusion), both)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, (K,)."""
        right = np.diagonal(self.confusion)
        return _divide(right, self.support + self.confusion.sum(axis=0) - right)

    def overall(self) -> dict[str, float]:
        """Every score of the whole map, by the names of METRICS and in their order."""
        return {name: float(row.compute(self)) for name, row in map_metrics().items()}

    def by_class(self) -> dict[str, np.ndarray]:
        """Every score of single classes, (K,) each, by the names of METRICS and in their order."""
        return {name: np.asarray(row.compute(self)) for name, row in class_metrics().items()}

    def to_dict(self) -> dict[str, Any]:
        """What scores.json holds: the numbers, and the matrix that `from_dict` reads."""
        columns = self.by_class()
        return {
            "unit": self.unit,
            **{name: _plain(value) for name, value in self.overall().items()},
            "per_class": {
                name: {
                    **{column: _plain(values[index]) for column, values in columns.items()},
                    "support": int(self.support[index]),
                }
                for index, name in enumerate(self.classes)
            },
            "absent": list(self.absent),
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "protocol": self.protocol,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Scores:
        """Read what `to_dict` gave; raises RunError for anything else."""
        try:
            confusion = np.asarray(stored["confusion"])
            if confusion.dtype.kind != "i" or (confusion < 0).any():
                raise ValueError("the confusion matrix does not hold counts")
            classes, protocol, unit = stored["classes"], stored["protocol"], stored["unit"]
            _check_words(classes, protocol, unit)
            return cls(confusion.astype(np.int64), tuple(classes), dict(protocol), unit)
        except (KeyError, TypeError, ValueError, OverflowError, LabelError) as error:
            raise RunError(
                f"the stored scores cannot be read ({error!s:.200}); score the run again"
            ) from error

    def __str__(self) -> str:
        """The scores of the map, a line for each class, and the protocol."""
        lines = [
            f"{self.headline()}   ({self.confusion.sum()} test {self.unit}s)",
            "",
            *self._table_lines(),
        ]
        if self.absent:
            lines.append(
                f"without test {self.unit}s, not in the average accuracy: {', '.join(self.absent)}"
            )
        facts = [
            f"{key.replace('_', ' ')}: {_fact_text(value)}"
            for key, value in self.protocol.items()
            if key not in NOT_A_LINE and value is not None and value != []
        ]
        facts += [f"note: {note}" for note in self.protocol.get("notes") or []]
        return "\n".join([*lines, *(["", *facts] if facts else [])])

    def headline(self, units: bool = True) -> str:
        """The scores of the whole map in a line.

        units   write them after the numbers
        """
        rows = map_metrics()
        return "   ".join(
            f"{rows[name].name} {rows[name].text(value, units)}"
            for name, value in self.overall().items()
        )

    def _table_lines(self) -> list[str]:
        width = max(5, *(len(name) for name in self.classes))
        train = self.protocol.get("pixels_per_class") or {}
        rows, columns = class_metrics(), self.by_class()
        heads = [row.name for row in rows.values()] + ["test", *(["train"] if train else [])]
        lines = [f"{'class':<{width}}" + "".join(f"{head:>11}" for head in heads)]
        for index, name in enumerate(self.classes):
            cells = [rows[column].text(values[index]) for column, values in columns.items()]
            cells.append(str(self.support[index]))
            if train:
                cells.append(str(train.get(name, {}).get("train", "–")))
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
        return lines


@dataclass(frozen=True, kw_only=True)
class MapMetric(Metric):
    """A score of a land-cover map.

    compute    the value from Scores: a number, or (K,) where it is of single classes; shares are
               0 to 1, and NaN is what has no denominator
    per_class  it is of single classes, not of the whole map
    """

    unit: str = "%"
    scale: int = 100
    compute: Callable[[Scores], Any]
    per_class: bool = False


METRICS: dict[str, MapMetric] = {  # in the order of tables; the first is the leading one
    "overall_accuracy": MapMetric(
        name="overall accuracy",
        symbol="OA",
        formula="share of the test pixels that are right, Σ_k M[k, k] / n",
        source="Congalton, RSE 37(1), 1991",
        compute=attrgetter("overall_accuracy"),
    ),
    "average_accuracy": MapMetric(
        name="average accuracy",
        symbol="AA",
        formula="mean accuracy of the classes that have test pixels",
        source="Congalton, RSE 37(1), 1991",
        compute=attrgetter("average_accuracy"),
    ),
    "kappa": MapMetric(
        name="kappa",
        symbol="κ×100",
        unit="",
        tex="$\\kappa \\times 100$",
        formula="(p_o − p_e) / (1 − p_e), p_o the overall accuracy, p_e = Σ_k n_k m_k / n²",
        source="Cohen, Educational and Psychological Measurement 20(1), 1960",
        compute=attrgetter("kappa"),
    ),
    "accuracy": MapMetric(
        name="accuracy",
        symbol="accuracy",
        formula="share of a class that is found, M[k, k] / n_k: recall, producer’s accuracy",
        source="Congalton, RSE 37(1), 1991",
        compute=attrgetter("accuracy"),
        per_class=True,
    ),
    "precision": MapMetric(
        name="precision",
        symbol="precision",
        formula="share of what is given a class that is of it, M[k, k] / m_k: user’s accuracy",
        source="Congalton, RSE 37(1), 1991",
        compute=attrgetter("precision"),
        per_class=True,
    ),
    "f1": MapMetric(
        name="F1",
        symbol="F1",
        formula="2 M[k, k] / (n_k + m_k)",
        source="van Rijsbergen, Information Retrieval, 1979",
        compute=attrgetter("f1"),
        per_class=True,
    ),
    "iou": MapMetric(
        name="IoU",
        symbol="IoU",
        formula="M[k, k] / (n_k + m_k − M[k, k])",
        source="Jaccard, New Phytologist 11(2), 1912",
        compute=attrgetter("iou"),
        per_class=True,
    ),
}


def map_metrics() -> dict[str, MapMetric]:
    """The rows of METRICS that are of a whole map: headlines of reports and comparisons."""
    return {name: row for name, row in METRICS.items() if not row.per_class}


def class_metrics() -> dict[str, MapMetric]:
    """The rows of METRICS that are of single classes."""
    return {name: row for name, row in METRICS.items() if row.per_class}


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pairs of class indices: (K, K) int64, rows are the truth; IGNORED truth is left out.

    Matrices of several pieces may be added. Raises LabelError where a labelled pixel has no
    predicted class, ValueError where arrays or indices do not fit.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth {truth.shape} and map {predicted.shape} differ in shape")
    known = truth != IGNORED
    truth, predicted = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    if (predicted == IGNORED).any():
        raise LabelError(
            f"{(predicted == IGNORED).sum()} of {predicted.size} test pixels have no predicted "
            "class: the map has no data there; map the whole scene before scoring"
        )
    for name, values in (("truth", truth), ("map", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"the {name} holds class indices {values.min()} to {values.max()}, there are "
                f"{classes} classes"
            )
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def score_objects(
    objects: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    protocol: dict[str, Any] | None = None,
) -> Scores:
    """Score objects: each has the class of most of its pixels, in the truth and in the map.

    objects    number of each pixel's object, 0 for none; unlike in different parts of a scene
    truth      class index, IGNORED where not a test pixel; those do not vote
    predicted  class index

    Where two classes have as many pixels of an object, the first of them has it.
    """
    voting = (objects > 0) & (truth != IGNORED)
    number = len(classes)
    _, place = np.unique(objects[voting], return_inverse=True)
    pairs = confusion_matrix(truth[voting], predicted[voting], number)  # checks the indices
    count = int(place.max()) + 1 if pairs.any() else 0
    majority = []
    for values in (truth[voting], predicted[voting]):
        votes = np.bincount(place * number + values.astype(np.int64), minlength=count * number)
        majority.append(votes.reshape(count, number).argmax(axis=1))
    confusion = confusion_matrix(majority[0], majority[1], number)
    return Scores(confusion, tuple(classes), protocol or {}, "object")


def assert_supports(scores: Scores, split: Split) -> None:
    """Raise SplitError unless every test pixel of the split was scored exactly once."""
    expected = split.counts[TEST]
    wrong = np.flatnonzero(scores.support != expected)
    if wrong.size:
        name = scores.classes[wrong[0]]
        raise SplitError(
            f"{scores.support.sum()} test pixels were scored, the split has {expected.sum()}; "
            f"class {name!r}: {scores.support[wrong[0]]} instead of {expected[wrong[0]]}; "
            "score a map of the whole scene under the split it was trained with"
        )


def _check_words(classes: Any, protocol: Any, unit: Any) -> None:
    """Raise TypeError unless a stored table can be printed."""
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TypeError("'classes' is no list of names")
    if not isinstance(unit, str) or not isinstance(protocol, dict):
        raise TypeError("'unit' is no name, or 'protocol' no mapping")
    sides = protocol.get("pixels_per_class") or {}
    if not isinstance(sides, dict) or not all(isinstance(s, dict) for s in sides.values()):
        raise TypeError("'pixels_per_class' does not hold counts")
    if not isinstance(protocol.get("notes") or [], list):
        raise TypeError("'notes' is no list")


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = part.astype(np.float64), whole.astype(np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact_text(entry) for entry in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
