"""Areas of a map's classes, as a report's table shows them."""

from __future__ import annotations

import math

import numpy as np

from bandweave.landcover.areas.class_areas import ClassAreas
from bandweave.landcover.areas.estimate import Z
from bandweave.report.words import percent


def area_rows(areas: ClassAreas) -> list[list[str]]:
    """A row a class: mapped area and its share of the map.

    Where there is a sample, also the estimated area, user's and producer's accuracy, sample units.
    """
    rows = [
        [f"{mapped:,.{_digits(mapped)}f} {areas.unit}", percent(float(share), 1)]
        for mapped, share in zip(areas.mapped, areas.shares, strict=True)
    ]
    found = areas.estimate
    if found is not None:
        for k, row in enumerate(rows):
            row += [
                f"{_interval(found.area[k], found.half_interval[k])} {areas.unit}",
                _accuracy(found.users[k], found.users_error[k]),
                _accuracy(found.producers[k], found.producers_error[k]),
                str(int(found.sampled[k].sum())),
            ]
    return rows


def _digits(value: float) -> int:
    """After the point, so that three digits count, or all of a large number's.

    >>> _digits(12345.6), _digits(12.345), _digits(0.0)
    (0, 1, 0)
    """
    return max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0


def _interval(value: float, half: float) -> str:
    """Both with as many digits.

    >>> _interval(4.1018, 0.9912)
    '4.10 ± 0.99'
    """
    digits = _digits(value)
    return f"{value:,.{digits}f} ± {half:,.{digits}f}"


def _accuracy(value: float, error: float) -> str:
    return "–" if np.isnan(value) else f"{percent(value, 1)} ± {100 * Z * error:.1f}"
