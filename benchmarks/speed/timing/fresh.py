"""What can only be measured in a process of its own: peak memory, and the first call.

Memory: the process makes the inputs, warms the method up on a tiny case of the same channels and
states, sets the kernel's mark of its peak back (Linux: /proc/self/clear_refs), runs the method
once, and reads the peak. Extra is that peak over the resident memory before the run: outputs and
gradients are in it, inputs are not. Where the mark cannot be set back, what is read is the rise of
the process's peak, which may be less. On a GPU torch's own counters are read.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "scan.py"
TINY = 64  # tokens
RETURNED = {  # what is freed goes back to the system, so that what is taken next is counted
    "MALLOC_MMAP_THRESHOLD_": str(1 << 16),
    "MALLOC_TRIM_THRESHOLD_": "0",
}


def in_fresh_process(step: str, **options: Any) -> dict[str, Any]:
    """What a step of this module returns; or the error that it ended with."""
    command = [sys.executable, str(SCRIPT), "--step", step, json.dumps(options)]
    environment = os.environ | (RETURNED if step == "memory" else {})
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with status {done.returncode}"]
        return {"error": last[0][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def extra_memory(case: dict[str, Any], method: str, backward: bool, threads: int) -> dict[str, Any]:
    """Bytes that one run takes on top of its inputs."""
    import torch

    from timing.inputs import Case, make_inputs, output_gradient
    from timing.methods import make

    torch.set_num_threads(threads)

    def run_of(case: Case) -> Callable[[], object]:
        made = make(method, case, make_inputs(case), output_gradient(case))
        return made.forward_backward if backward else made.forward

    full = Case(**case)
    run = run_of(full)
    run_of(replace(full, batch=1, tokens=TINY))()
    if full.device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return {"bytes": torch.cuda.max_memory_allocated() - before}
    before = _reset_peak()
    run()
    return {"bytes": _peak() - before}


def _reset_peak() -> int:
    """Set the mark of the peak to the resident memory of now, and return that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def first_call(states: int, threads: int, preload: list[str]) -> dict[str, float]:
    """Seconds of imports, of the first calls and of later ones, with the kernels on disk.

    preload   modules that are imported before the first call, which would otherwise import them
    """
    seconds = {}
    for name in ("torch", *preload, "bandweave.scan"):
        start = time.perf_counter()
        importlib.import_module(name)
        seconds[f"import_{name}"] = time.perf_counter() - start

    import torch

    from timing.inputs import Case, make_inputs, output_gradient
    from timing.methods import make

    torch.set_num_threads(threads)
    case = Case(1, 96, 1024, states)
    method = make("ours", case, make_inputs(case), output_gradient(case))
    for name, run in (
        ("first_forward", method.forward),
        ("first_forward_backward", method.forward_backward),
        ("second_forward", method.forward),
        ("second_forward_backward", method.forward_backward),
    ):
        start = time.perf_counter()
        run()
        seconds[name] = time.perf_counter() - start
    return seconds


STEPS = {"memory": extra_memory, "first_call": first_call}
