"""Compiled kernels on disk, thrown away when any kernel source changes.

Numba's own cache looks at the file of the function alone: after a change in `lanes.py` the old
machine code would run on. Here the hash of all kernel sources is part of the key.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime.nrt import rtsys

jit: Any = numba.njit  # its types leave out the options without which compiling takes longer

SOURCES = (
    "lanes.py",
    "lane_math.py",
    "cache.py",
    "forward.py",
    "backward.py",
    "single_state.py",
    "lifted.py",
)


@cache
def source_hash() -> str:
    """The hash of every file that machine code is made from."""
    folder = Path(__file__).parent
    return sha256(b"\0".join((folder / name).read_bytes() for name in SOURCES)).hexdigest()


class _NamedByKey(IndexDataCacheFile):
    """Each kernel in a file named by its key.

    Numba numbers the files: two processes that compile unlike kernels of one function at the same
    time may both take the same number, and one kernel then runs in the place of the other.
    """

    def save(self, key: Any, data: Any) -> None:
        digest = sha256(repr(key).encode()).hexdigest()
        name = f"{self._index_name.removesuffix('nbi')}{digest[:16]}.nbc"
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _SourceKeyedCache(FunctionCache):
    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _NamedByKey(self._cache_path, self._impl.filename_base, stamp)

    def _index_key(self, signature: Any, codegen: Any) -> tuple:
        return (*super()._index_key(signature, codegen), source_hash())

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Load finished code without all that Numba would compile with, which takes 0.3 s."""
        rtsys.initialize(target)  # what finished code takes memory from
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, target)


def kernel(function: Callable) -> Any:
    """Compile without the interpreter's lock, and keep the result where a folder can be written."""
    dispatcher = jit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    with suppress(RuntimeError):  # no folder can be written: compile in every process
        dispatcher._cache = _SourceKeyedCache(function)
    return dispatcher


def inner(function: Callable) -> Any:
    """Compile a part of a kernel, which Python itself cannot call."""
    return jit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
