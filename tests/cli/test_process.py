"""What a command sets for its own process."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
from bandweave.cli.process import set_up_process
if {set_up}:
    set_up_process()
import numpy as np
def step():
    arrays = [np.ones(1 << 18, np.float32) for _ in range(32)]  # 1 MiB each
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
before = faults()
step()
print(faults() - before)
"""


def page_faults(set_up, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run(
        [sys.executable, "-c", STEPS.format(set_up=set_up)],
        capture_output=True, text=True, check=True, env=environment | variables,
    )  # fmt: skip
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for GNU's C library")
def test_a_command_reuses_the_memory_of_the_step_before():
    pages = (32 << 20) // os.sysconf("SC_PAGESIZE")
    assert page_faults(set_up=False) > pages / 4
    assert page_faults(set_up=True) < pages / 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for GNU's C library")
def test_what_the_user_set_stays():
    assert page_faults(set_up=True, MALLOC_TRIM_THRESHOLD_="131072") > 100


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch):
    from bandweave.cli.process import set_up_process

    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # leaves the memory of this process as it is
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    set_up_process()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    set_up_process()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
