"""Windows on a few threads, each of which computes alone.

Threads that NumPy's BLAS starts by itself, beside those that have a window each, only wait for one
another; on a machine that others use too they wait long.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
U = TypeVar("U")

_lock = threading.Lock()
_users: list[object] = []
_limited: list[Any] = []  # what gives the threads back, while there are users


def map_ordered(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Yield function(item) of every item in their order, computed on a few threads.

    No more items than threads are taken ahead.
    """
    threads = min(os.cpu_count() or 1, 4)
    with _one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[U]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS of one thread until the last of those who are in here leaves."""
    user = object()
    with _lock:
        if not _users:
            _limited.append(_blas().limit(limits=1))
        _users.append(user)
    try:
        yield
    finally:
        with _lock:
            _users.remove(user)
            if not _users:
                _limited.pop().restore_original_limits()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
