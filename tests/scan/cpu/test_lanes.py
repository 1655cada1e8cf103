"""The vector type: every operation against NumPy."""

import numpy as np
import pytest
from numba import njit

from bandweave.scan.cpu.lane_math import exp2, exp2_anywhere, softplus, softplus_slope
from bandweave.scan.cpu.lanes import (
    WIDTH,
    copy,
    dot,
    fma,
    load,
    load_some,
    spread,
    store,
    store_some,
    sum_rows,
    take_next,
    zeros,
)

ONE, FOUR = (0,), (0, 0, 0, 0)


@njit
def map_exp2(x, y):
    for i in range(0, x.size, WIDTH):
        store(y, (i,), exp2(load(x, (i,), ONE)))


@njit
def map_exp2_anywhere(x, y):
    for i in range(0, x.size, WIDTH):
        store(y, (i,), exp2_anywhere(load(x, (i,), ONE)))


@njit
def map_softplus(x, y):
    for i in range(0, x.size, WIDTH):
        store(y, (i,), softplus(load(x, (i,), ONE)))


@njit
def map_slope(x, y):
    for i in range(0, x.size, WIDTH):
        store(y, (i,), softplus_slope(softplus(load(x, (i,), ONE))))


both_exp2 = pytest.mark.parametrize("map_exp2", [map_exp2, map_exp2_anywhere])


def applied(function, values):
    x = np.resize(np.asarray(values, np.float32), -(-len(values) // WIDTH) * WIDTH)
    y = np.empty_like(x)
    function(x, y)
    return x[: len(values)], y[: len(values)]


@both_exp2
def test_exp2_is_accurate(map_exp2):
    x, y = applied(map_exp2, np.linspace(-126, 127, 100_000))
    np.testing.assert_allclose(y, np.exp2(x.astype(np.float64)), rtol=2e-7)
    assert applied(map_exp2, np.arange(-126, 128))[1].tolist() == [2.0**i for i in range(-126, 128)]


@both_exp2
def test_exp2_saturates_and_keeps_nan(map_exp2):
    _, y = applied(map_exp2, [-160, -1e3, -1e30, -np.inf, 128, 1e3, 1e30, np.inf, np.nan, -0.0])
    np.testing.assert_array_equal(y[[0, 1, 2, 3, 8, 9]], [0, 0, 0, 0, np.nan, 1])
    np.testing.assert_allclose(y[4:8], 2**127.5, rtol=1e-5)
    _, tiny = applied(map_exp2, np.linspace(-150, -126.6, 50))
    assert ((tiny >= 0) & (tiny < 1e-37)).all()


@both_exp2
def test_exp2_keeps_every_kind_of_nan(map_exp2):
    bits = np.array([0x7FC00001, 0x7F800001, 0xFFC001FF, 0x7FFFFFFF], np.uint32)
    assert np.isnan(applied(map_exp2, bits.view(np.float32))[1]).all()


def test_softplus_is_accurate():
    x, y = applied(map_softplus, np.linspace(-15, 80, 100_000))
    np.testing.assert_allclose(y, np.logaddexp(0, x.astype(np.float64)), rtol=1e-6)
    tiny = applied(map_softplus, [0.0, 1e-20, -1e-20, 1e-3])[1]
    np.testing.assert_allclose(tiny[:3], np.log(2), rtol=2e-7)
    edge = applied(map_softplus, [np.nan, -np.inf, np.inf, -200, 200, 1e30])[1]
    np.testing.assert_array_equal(edge, [np.nan, 0, np.inf, 0, 200, np.float32(1e30)])


def test_the_slope_of_softplus_is_accurate_where_it_is_tiny_too():
    x, y = applied(map_slope, np.linspace(-15, 80, 100_000))
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=2e-6)
    edge = applied(map_slope, [np.nan, -np.inf, np.inf, -200, 200])[1]
    np.testing.assert_array_equal(edge, [np.nan, 0, 1, 0, 1])


@njit
def grouped(a, scalars, out):
    one, four = load(a, (0, 0), ONE), load(a, (1, 0), FOUR)
    numbers = spread(scalars, (1,), FOUR)
    store(out, (0, 0), one * four + numbers)
    store(out, (4, 0), fma(four, numbers, one) - 2.0)
    store(out, (8, 0), dot(four, numbers, one))
    store(out, (9, 0), zeros(ONE) + one)


def test_groups_meet_vectors_and_numbers():
    random = np.random.default_rng(0)
    a = random.standard_normal((5, WIDTH)).astype(np.float32)
    scalars = random.standard_normal(5).astype(np.float32)
    out = np.empty((10, WIDTH), np.float32)
    grouped(a, scalars, out)
    numbers = scalars[1:, None]
    expected = [
        *(a[0] * a[1:] + numbers),
        *(a[1:] * numbers + a[0] - 2),
        (a[1:] * numbers).sum(0) + a[0],
        a[0],
    ]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@njit
def masked(a, out, count):
    store_some(out, (0,), load_some(a, (a.size - count,), count), count)


@pytest.mark.parametrize("count", [1, 7, 15, 16])
def test_masks_read_and_write_the_first_lanes_alone(count):
    a, out = np.arange(20, dtype=np.float32), np.full(WIDTH, -1, np.float32)
    masked(a, out, count)
    assert out.tolist() == [*range(20 - count, 20), *[-1] * (WIDTH - count)]


@njit
def summed(rows, sums, parts):
    sum_rows(rows, 2, sums, 1)
    copy(parts, (1,), sums, (1,), FOUR)


def test_rows_are_summed_in_their_order():
    rows = np.random.default_rng(0).integers(-99, 99, (18, WIDTH)).astype(np.float32)
    sums, parts = np.zeros(18, np.float32), np.zeros(6, np.float32)
    summed(rows, sums, parts)
    assert sums.tolist() == [0, *rows[2:].sum(1), 0]
    assert parts.tolist() == [0, *rows[2:6].sum(1), 0]


@njit
def counted(counter):
    return take_next(counter) * 10 + take_next(counter)


def test_numbers_are_taken_once():
    counter = np.array([3], np.int64)
    assert counted(counter) == 34
    assert counter[0] == 5
