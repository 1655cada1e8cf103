"""Results in turn, on threads that BLAS adds none to."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info

from bandweave.pansharp.threads import map_ordered


def blas_threads(_: object = None) -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_results_come_in_turn_and_errors_come_through():
    assert list(map_ordered(lambda x: x * x, range(20))) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(map_ordered(lambda x: 1 // x, [1, 0, 2]))


def test_blas_has_one_thread_until_the_last_is_done():
    before = blas_threads()
    first, second = map_ordered(blas_threads, range(9)), map_ordered(blas_threads, range(9))
    assert next(first) == next(second) == {1}
    first.close()
    assert set.union(*second) == {1}
    assert blas_threads() == before
