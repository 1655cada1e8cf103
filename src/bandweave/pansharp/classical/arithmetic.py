"""Arithmetic on images in place, a few pixels at a time, so that all bands stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK = 1 << 14  # pixels that stay in the cache while all bands are computed
DARK = 1e-3  # of the mean: an intensity below it says nothing of ratios
LEAST = 1e-30  # of what divides, where the mean is not positive
STEEPEST = 10.0  # a band is multiplied by no more


def chunks(image: np.ndarray, pan: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views (C, n) of an image and (n,) of PAN, of as many pixels as the cache holds."""
    bands, flat = image.reshape(len(image), -1), pan.reshape(-1)
    if not np.shares_memory(bands, image):
        raise ValueError("the image must be contiguous to be changed in place")
    for start in range(0, flat.size, CHUNK):
        piece = slice(start, start + CHUNK)
        yield bands[:, piece], flat[piece]


def add(target: np.ndarray, values: np.ndarray, factor: np.float32) -> None:
    """target += factor · values, in place."""
    if factor == 1:
        target += values
    elif factor:
        target += values * factor


def bounded_ratio(numerator: np.ndarray, denominator: np.ndarray, floor: np.float32) -> np.ndarray:
    """Their ratio between 0 and STEEPEST, in place of the numerator; 1 below the floor."""
    dark = denominator < floor
    np.divide(numerator, denominator, out=numerator, where=~dark)
    numerator[dark] = 1
    return np.clip(numerator, 0, STEEPEST, out=numerator)
