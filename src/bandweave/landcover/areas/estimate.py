"""Areas of classes, corrected for the map's errors, with standard errors.

A map's pixel counts are biased: what is confused one way more often than the other is too large or
too small. A probability sample of reference labels tells by how much.

Source: Olofsson et al. 2014, "Good practices for estimating area and assessing accuracy of land
change", Remote Sensing of Environment 148, eq. 4-11; Card 1982. Of a sample that is stratified by
the map's classes:

    n_ij   sample units of map class (stratum) i whose reference class is j; n_i = Σ_j n_ij
    W_i    share of the mapped area that class i has
    p_ij   W_i n_ij / n_i, the share of the area that is mapped i and truly j
    area of class j    p_j = Σ_i p_ij;  S(p_j)² = Σ_i W_i² (n_ij/n_i)(1 − n_ij/n_i) / (n_i − 1)
    user's accuracy    U_i = n_ii / n_i;  V(U_i) = U_i (1 − U_i) / (n_i − 1)
    producer's         P_j = p_jj / p_j
    overall            O = Σ_i p_ii;  V(O) = Σ_i W_i² V(U_i)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandweave.errors import LabelError

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, eq=False)
class AreaEstimate:
    """What a sample says of a map's areas. Arrays are (K,) float64, NaN where nothing is known.

    classes          names
    mapped           area of each class on the map, in `unit`
    area, area_error             estimated area and its standard error, in `unit`
    users, users_error           accuracy of what is mapped as a class, and its standard error
    producers, producers_error   accuracy of what truly is of a class
    overall, overall_error       accuracy of the whole map
    sampled          (K, K) int64 sample units: rows are the map's classes, columns the reference's
    """

    classes: tuple[str, ...]
    unit: str
    mapped: np.ndarray
    area: np.ndarray
    area_error: np.ndarray
    users: np.ndarray
    users_error: np.ndarray
    producers: np.ndarray
    producers_error: np.ndarray
    overall: float
    overall_error: float
    sampled: np.ndarray

    @property
    def half_interval(self) -> np.ndarray:
        """Half the width of each area's 95 % interval."""
        return Z * self.area_error

    def rows(self) -> list[dict[str, object]]:
        """Rows of areas.csv, one a class."""
        return [
            {
                "class": name,
                f"mapped_{self.unit}": self.mapped[k],
                f"estimated_{self.unit}": self.area[k],
                f"standard_error_{self.unit}": self.area_error[k],
                f"interval95_low_{self.unit}": max(self.area[k] - self.half_interval[k], 0.0),
                f"interval95_high_{self.unit}": self.area[k] + self.half_interval[k],
                "users_accuracy": self.users[k],
                "users_standard_error": self.users_error[k],
                "producers_accuracy": self.producers[k],
                "producers_standard_error": self.producers_error[k],
                "sample_units": int(self.sampled[k].sum()),
            }
            for k, name in enumerate(self.classes)
        ]


def estimate_areas(
    sampled: np.ndarray, mapped: np.ndarray, classes: tuple[str, ...], unit: str = "ha"
) -> AreaEstimate:
    """Estimate areas and accuracies by the stratified estimator.

    sampled  (K, K): units of a simple random sample within each mapped class; rows are the map's
             classes, columns the reference's
    mapped   (K,): area of each class on the map

    Raises LabelError where a mapped class has fewer than two units: nothing is known of its error.

    >>> sampled = np.array([[97, 3], [10, 90]])
    >>> found = estimate_areas(sampled, np.array([200.0, 800.0]), ("change", "none"))
    >>> found.area.round(2), found.area_error.round(2)
    (array([274., 726.]), array([24.36, 24.36]))
    """
    n = sampled.sum(axis=1).astype(np.float64)  # (K,)
    present = mapped > 0
    if lacking := np.flatnonzero(present & (n < 2)).tolist():
        k = lacking[0]
        raise LabelError(
            f"class {classes[k]!r} covers {mapped[k]:.4g} {unit} of the map and has {int(n[k])} "
            f"sample units; each mapped class needs at least 2 (better 50), drawn at random in it"
        )
    if stray := np.flatnonzero(~present & (n > 0)).tolist():
        raise LabelError(
            f"{int(n[stray[0]])} sample units lie in map class {classes[stray[0]]!r}, which covers "
            f"nothing of the map; the sample is of another map"
        )
    total = mapped.sum()
    weights = mapped / total
    share = np.divide(sampled, n[:, None], out=np.zeros(sampled.shape), where=n[:, None] > 0)
    spread = np.zeros(sampled.shape)  # variance of each share
    np.divide(share * (1 - share), n[:, None] - 1, out=spread, where=n[:, None] > 1)
    p = weights[:, None] * share  # (K, K)
    true = p.sum(axis=0)
    right, users_variance = np.diagonal(share), np.diagonal(spread)
    producers = np.divide(np.diagonal(p), true, out=np.full(true.shape, np.nan), where=true > 0)
    known = np.where(present, right, np.nan)
    return AreaEstimate(
        classes=classes,
        unit=unit,
        mapped=mapped.astype(np.float64),
        area=total * true,
        area_error=total * np.sqrt((weights[:, None] ** 2 * spread).sum(axis=0)),
        users=known,
        users_error=np.where(present, np.sqrt(users_variance), np.nan),
        producers=producers,
        producers_error=_estimate_producers_error(weights, spread, producers, true),
        overall=float(np.trace(p)),
        overall_error=float(np.sqrt((weights**2 * users_variance).sum())),
        sampled=sampled,
    )


def _estimate_producers_error(
    weights: np.ndarray, spread: np.ndarray, producers: np.ndarray, true: np.ndarray
) -> np.ndarray:
    """Standard error of the producer's accuracy, eq. 7, whose two terms are:

    own     the units of class j that are mapped as j
    others  those that are mapped as another class
    """
    own = weights**2 * (1 - producers) ** 2 * np.diagonal(spread)
    others = weights[:, None] ** 2 * spread
    np.fill_diagonal(others, 0)
    variance = own + producers**2 * others.sum(axis=0)
    return np.divide(np.sqrt(variance), true, out=np.full(true.shape, np.nan), where=true > 0)
