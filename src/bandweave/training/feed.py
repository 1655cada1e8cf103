"""Batches, one ahead: a thread prepares the next crops while torch computes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

BatchAt = Callable[[int, int, int], dict[str, Any]]  # (index, rank, world) -> nested NumPy arrays


def batches(
    batch_at: BatchAt, start: int, stop: int, rank: int, world: int, device: torch.device
) -> Generator[dict[str, Any]]:
    """Yield batches start, …, stop − 1 as tensors on the device.

    The order and the content are those of calling `batch_at` in turn: it depends on nothing but
    its arguments, and one thread calls it.
    """
    if start >= stop:
        return

    def prepared(index: int) -> dict[str, Any]:
        return as_tensors(batch_at(index, rank, world), pin=device.type == "cuda")

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(prepared, start)
        for index in range(start, stop):
            batch = coming.result()
            if index + 1 < stop:
                coming = thread.submit(prepared, index + 1)
            yield _moved(batch, device)


def as_tensors(value: Any, pin: bool = False) -> Any:
    """Copy the NumPy arrays in nested dicts, lists and tuples into tensors of the same dtype.

    Copied, since torch's own memory is aligned: sums in aligned blocks come out the same each time.
    """
    if isinstance(value, np.ndarray):
        tensor = torch.tensor(value)
        return tensor.pin_memory() if pin else tensor
    if isinstance(value, dict):
        return {key: as_tensors(item, pin) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_tensors(item, pin) for item in value)
    return value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value
