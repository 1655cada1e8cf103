"""Memory for the results of a scan, taken over from results that are no longer in use.

The system hands out large memory page by page, at the first touch of each: one or two microseconds
for 4 KiB, more than the scan of a single state spends on them. So blocks that a freed tensor
leaves behind are kept for the next one of about their size, up to KEPT bytes in a process.
"""

import threading
import weakref
from collections import deque
from math import prod

import numpy as np
import torch
from torch import Tensor

KEPT = 256 << 20  # bytes of free blocks at most
SMALLEST = 1 << 18  # bytes; what is smaller the C library reuses by itself
ALIGNED = 16  # floats

_free: deque["_Block"] = deque()  # the block that was freed last is at the end
_lock = threading.RLock()  # a tensor may be freed while one is made, in the same thread


class _Block:
    def __init__(self, size: int) -> None:
        values = np.empty(size + ALIGNED, np.float32)
        first = -(values.ctypes.data // 4) % ALIGNED
        self.values = values[first : first + size]


def empty(*shape: int) -> Tensor:
    """A float32 tensor of that shape on the CPU, its values undefined."""
    size = prod(shape)
    if 4 * size < SMALLEST:
        return torch.empty(shape, dtype=torch.float32)
    block = _take_block(size)
    lease = block.values[:size]  # an array of its own: it dies with the tensor
    weakref.finalize(lease, _free_block, block).atexit = False
    return torch.from_numpy(lease).view(shape)


def _take_block(size: int) -> _Block:
    """The smallest free block that is large enough and not twice as large, or a new one."""
    with _lock:
        fitting = [block for block in tuple(_free) if size <= block.values.size < 2 * size]
        if fitting:
            block = min(fitting, key=lambda block: block.values.size)
            _free.remove(block)
            return block
    return _Block(size)


def _free_block(block: _Block) -> None:
    with _lock:
        _free.append(block)
        while sum(block.values.nbytes for block in tuple(_free)) > KEPT:
            _free.popleft()
