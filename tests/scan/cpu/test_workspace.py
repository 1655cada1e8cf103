"""Memory is taken over from freed tensors, and never from living ones."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.scan.cpu import workspace
from bandweave.scan.cpu.workspace import SMALLEST, empty

LARGE = SMALLEST // 4  # floats


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch):
    gc.collect()
    monkeypatch.setattr(workspace, "_free", type(workspace._free)())


def free_bytes():
    return sum(block.values.nbytes for block in workspace._free)


def test_a_freed_tensor_leaves_its_memory_to_the_next():
    first = empty(2, LARGE)
    place = first.data_ptr()
    assert place % 64 == 0
    del first
    assert free_bytes() == 8 * LARGE
    second = empty(LARGE, 2)
    assert second.data_ptr() == place
    assert free_bytes() == 0


def test_a_view_keeps_the_memory():
    first = empty(4, LARGE)
    row = first[1].fill_(7)
    del first
    second = empty(4, LARGE).fill_(0)
    assert (row == 7).all()
    del second, row
    assert free_bytes() == 2 * 16 * LARGE


def test_what_autograd_saved_is_not_taken():
    x = torch.zeros(LARGE, requires_grad=True)
    factor = empty(LARGE).fill_(2)
    y = x * factor
    del factor
    other = empty(LARGE).fill_(0)
    y.sum().backward()
    assert (x.grad == 2).all()
    assert (other == 0).all()


def test_much_larger_blocks_are_left_alone():
    large = empty(8 * LARGE)
    del large
    small = empty(LARGE)
    assert free_bytes() == 32 * LARGE
    assert small.untyped_storage().nbytes() == 4 * LARGE


def test_free_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(workspace, "KEPT", 12 * LARGE)
    tensors = [empty(LARGE) for _ in range(5)]
    tensors.clear()
    assert free_bytes() == 12 * LARGE


def test_small_tensors_are_torchs():
    value = empty(3, 5)
    assert value.shape == (3, 5)
    del value
    assert free_bytes() == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=30))
def test_living_tensors_never_share_memory(steps):
    living = {}
    for name, size in steps:
        living[name] = empty(size, LARGE).fill_(name)
        assert all((value == key).all() for key, value in living.items())


def test_threads_do_not_share_memory():
    def work(name):
        for _ in range(50):
            value = empty(LARGE).fill_(name)
            assert (value == name).all()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
