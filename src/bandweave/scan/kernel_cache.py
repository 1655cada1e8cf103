"""Compiled kernels on disk, thrown away when any kernel source changes.

Numba's own cache looks at the file of the function alone: after a change in `simd.py` the old
machine code would run on. Here the hash of all kernel sources is part of the key.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

SOURCES = ("simd.py", "kernel_cache.py", "kernel_forward.py", "kernel_backward.py")


@cache
def source_hash() -> str:
    """Of every file that machine code is made from."""
    folder = Path(__file__).parent
    return sha256(b"\0".join((folder / name).read_bytes() for name in SOURCES)).hexdigest()


class _SourceKeyedCache(FunctionCache):
    def _index_key(self, signature: Any, codegen: Any) -> tuple:
        return (*super()._index_key(signature, codegen), source_hash())


def kernel(function: Callable) -> Any:
    """Compile without the interpreter's lock, and keep the result where a folder can be written."""
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = _SourceKeyedCache(function)
    except RuntimeError:  # no folder for it: compile in every process
        pass
    return dispatcher
