"""Numbers that files write where they have no value, without saying so.

    v      a number that stands at an end of a band's values, exactly and often
    spread distance between the 1st and the 99th percentile of the other values of the band
    gap    distance from v to the nearest other value, in spreads

A number that is known as a mark of no value (−9999, the lowest float, …) is suspected from a gap of
a tenth of a spread, any other from a whole one. What lies close to the other values, as 0 under a
dark image does, is suspected by its shape alone: a border around an image, or a solid block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

KNOWN = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, -32767.0, -(2.0**31), 9999.0, 99999.0)
HUGE = 1e15  # no sensor and no unit of this field has such values
KNOWN_GAP, OTHER_GAP = 0.1, 1.0  # spreads
LEAST_DISTINCT = 8  # fewer distinct values are a mask or classes: each stands apart


def is_known(value: float) -> bool:
    """Tell whether a stored number is known as a mark of no value.

    >>> is_known(-9999), is_known(-3.4028235e38), is_known(0.25)
    (True, True, False)
    """
    return abs(value) >= HUGE or value in KNOWN


def marks(values: np.ndarray) -> list[float]:
    """Find the stored numbers in a band's values (n,) that stand apart at an end, the worst first.

    >>> marks(np.append(np.arange(100.0), [-9999.0]))
    [-9999.0]
    """
    rest = values[np.isfinite(values)].astype(np.float64)
    found: list[float] = []
    while rest.size:
        distinct, counts = np.unique(rest, return_counts=True)
        if len(distinct) <= LEAST_DISTINCT:
            break
        gaps = {end: _gap(distinct, counts, end) for end in (0, -1)}
        if not any(gaps.values()):
            break
        worst = distinct[max(gaps, key=lambda end: gaps[end])]
        found.append(float(worst))
        rest = rest[rest != worst]
    return found


def _gap(distinct: np.ndarray, counts: np.ndarray, end: int) -> float:
    """Measure the gap between the value at an end and the others, in spreads; 0 for no mark."""
    value, others, weights = distinct[end], np.delete(distinct, end), np.delete(counts, end)
    low, high = (_percentile(others, weights, share) for share in (0.01, 0.99))
    gap = abs(float(value) - float(others[end])) / max(high - low, 1e-300)
    known = is_known(float(value))
    often = counts[end] >= (1 if known else max(3, 1e-3 * counts.sum()))
    return gap if often and gap >= (KNOWN_GAP if known else OTHER_GAP) else 0.0


def _percentile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    reached = np.cumsum(weights) / weights.sum()
    return float(values[min(int(np.searchsorted(reached, share)), len(values) - 1)])


def to_stored(
    values: np.ndarray, dtype: np.dtype, scale: float = 1.0, offset: float = 0.0
) -> np.ndarray:
    """Convert values as read back to the numbers in the file, float64."""
    stored = (values.astype(np.float64) - offset) / scale
    if dtype.kind in "iub":
        return stored.round()
    with np.errstate(over="ignore"):
        return stored.astype(np.float32).astype(np.float64)


def shorten(value: float) -> float:
    """Shorten a float32's value to the float of fewest digits that gives it, a whole number as int.

    >>> shorten(float(np.float32(-3.4028235e38))), shorten(-9999.0)
    (-3.4028235e+38, -9999)
    """
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return float(str(np.float32(value)))


def find_soft_candidates(pixels: np.ndarray) -> Iterator[float]:
    """Find numbers that all bands (bands, n) share at an end, more often than their nearest.

    They may be dark or bright ground as well: only their shape can tell.
    """
    whole = pixels[:, np.isfinite(pixels).all(axis=0)]
    live = whole[whole.min(axis=1) < whole.max(axis=1)] if whole.size else whole
    if not live.size:
        return
    for extreme, sign in ((live.min(), 1), (live.max(), -1)):
        same = (live == extreme).all(axis=0)
        rest = live[:, ~same]
        if not same.any() or len(np.unique(rest[0])) <= LEAST_DISTINCT:
            continue
        spread = np.ptp(np.percentile(rest, (1, 99), axis=1), axis=0)[:, None]
        near = (sign * (rest - extreme) <= 0.01 * spread).all(axis=0).sum()
        if same.sum() >= max(3, 5 * near):
            yield float(extreme)


def is_border_or_block(mask: np.ndarray) -> bool:
    """Tell whether a mask (H, W) has the shape of missing data: a border, or solid blocks.

    Four fifths of it must lie so, and it must be an edge of the image or 64 px.
    """
    from scipy.ndimage import find_objects, label

    parts, number = label(mask)
    if not number:
        return False
    edges = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    outer = np.isin(parts, np.unique(edges[edges > 0]))
    explained = int(outer.sum()) if _is_convex(~outer) else 0
    for index, place in enumerate(find_objects(parts), 1):
        inside = parts[place] == index
        area = int(inside.sum())
        if area >= 64 and area >= 0.9 * inside.size and not (outer[place] & inside).any():
            explained += area
    return explained >= min(64, *mask.shape) and explained >= 0.8 * mask.sum()


def _is_convex(image: np.ndarray) -> bool:
    """Every row and every column of the image is one piece, but for a twentieth."""
    if not image.any():
        return False
    for lines in (image, image.T):
        lines = lines[lines.any(axis=1)]
        first = lines.argmax(axis=1)
        last = lines.shape[1] - lines[:, ::-1].argmax(axis=1)
        if lines.sum() < 0.95 * (last - first).sum():
            return False
    return True
