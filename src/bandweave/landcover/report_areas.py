"""Areas of a map's classes, as a report's table shows them."""

from __future__ import annotations

import math

import numpy as np

from bandweave.landcover.area import Z
from bandweave.landcover.class_areas import ClassAreas
from bandweave.report.words import percent


def area_rows(areas: ClassAreas) -> list[list[str]]:
    """A row a class: mapped area and its share of the map.

    Where there is a sample, also the estimated area, user's and producer's accuracy, sample units.
    """
    rows = [
        [_amount(mapped, areas.unit), percent(float(share), 1)]
        for mapped, share in zip(areas.mapped, areas.shares, strict=True)
    ]
    found = areas.estimate
    if found is not None:
        for k, row in enumerate(rows):
            row += [
                f"{_amount(found.area[k], areas.unit)} ± {_amount(found.half_interval[k])}",
                _accuracy(found.users[k], found.users_error[k]),
                _accuracy(found.producers[k], found.producers_error[k]),
                str(int(found.sampled[k].sum())),
            ]
    return rows


def _amount(value: float, unit: str = "") -> str:
    """With three digits that count, or all of a large one's.

    >>> _amount(12345.6, "ha"), _amount(12.345), _amount(0.0)
    ('12,346 ha', '12.3', '0')
    """
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f} {unit}".rstrip()


def _accuracy(value: float, error: float) -> str:
    return "–" if np.isnan(value) else f"{percent(value, 1)} ± {100 * Z * error:.1f}"
