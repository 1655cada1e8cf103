"""Nestings: which PAN and MS pixels show the same ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandweave.pansharp.pair.nesting import Nesting, common_area

corners = st.integers(-40, 40).map(lambda value: value / 8)


@given(st.integers(2, 5), corners, corners, st.tuples(*[st.integers(1, 60)] * 4))
def test_common_area_is_whole_ms_pixels_on_the_pan_image(ratio, row, col, sizes):
    nesting = Nesting(ratio, row, col)
    area = common_area(nesting, sizes[:2], sizes[2:])
    whole = [  # MS pixels that lie on the PAN image, one by one
        [i for i in range(coarse) if corner + ratio * i >= 0 and corner + ratio * (i + 1) <= fine]
        for corner, fine, coarse in zip((row, col), sizes[:2], sizes[2:], strict=True)
    ]
    if not all(whole):
        assert area is None
        return
    pan, ms, inner, note = area
    assert (note == "") == (pan[2:] == sizes[:2] and ms[2:] == sizes[2:])
    assert [ms.row, ms.col] == [rows[0] for rows in whole]
    assert [ms.height, ms.width] == [len(rows) for rows in whole]
    assert (pan.height, pan.width) == (ms.height * ratio, ms.width * ratio)
    assert pan.clip(*sizes[:2]) == pan
    assert max(abs(inner.row), abs(inner.col)) <= 0.5
    # the same corner of ground, through the crops and through the images
    assert pan.row + inner.row == row + ratio * ms.row
    assert pan.col + inner.col == col + ratio * ms.col
    for first, inner_corner in ((0, inner.row), (pan.height - 1, inner.row)):
        assert inner_corner <= first + 0.5 <= inner_corner + pan.height


@given(st.integers(2, 5), st.integers(-4, 4).map(lambda value: value / 8), st.integers(1, 30))
def test_cover_of_an_aligned_crop_is_its_size(ratio, corner, count):
    assert Nesting(ratio, corner, corner).cover(count * ratio, ratio) == (count, 1)


def test_crops_keep_the_ground():
    assert Nesting(4, 1.25, -2).crop((10, 3), (5, 2)) == Nesting(4, 11.25, 3)
    assert Nesting(4, 1.25, -2).move(-0.25, 1) == Nesting(4, 1.0, -1)


def test_noise_of_a_transform_is_dropped():
    area = common_area(Nesting(2, 1e-9, -1e-9), (8, 8), (4, 4))
    assert area is not None
    assert (area.ms.height, area.ms.width, area.nesting) == (4, 4, Nesting(2))


@pytest.mark.parametrize("corner", [-200, 200])
def test_nothing_in_common(corner):
    assert common_area(Nesting(4, corner, 0), (100, 100), (25, 25)) is None


def test_area_is_as_large_as_numpy_counts():
    """Landsat 8: the MS corner is half a PAN pixel above and right of the PAN corner."""
    area = common_area(Nesting(2, -0.5, 0.5), (82, 82), (41, 41))
    assert area is not None
    assert np.array(area.ms).tolist() == [1, 0, 40, 40]
    assert area.pan.row == 1
    assert area.nesting == Nesting(2, 0.5, 0.5)
