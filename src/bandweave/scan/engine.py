"""The engines that run a scan, and the choice between them.

    reference   the definition, in a loop              any device, float32 or float64 state
    torch       the chunked form in plain torch        any device, float32 or float64 state
    numba       compiled vector kernels                CPU, float32 state
    triton      compiled kernels                       CUDA, float32 state

Chosen by device and type, or forced by the environment variable BANDWEAVE_SCAN. Where a function is
traced by `torch.compile` or `torch.export`, the choice is made once, while tracing.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch

from bandweave.errors import ScanError
from bandweave.scan.chunked import chunked_scan
from bandweave.scan.reference import reference_scan

ENGINES = ("reference", "torch", "numba", "triton")
KERNELS = {"numba": "cpu", "triton": "cuda"}  # engines with kernels, and the device they are for
VARIABLE = "BANDWEAVE_SCAN"
INTERPRETER = "TRITON_INTERPRET"  # Triton's own: 1 runs its kernels on the CPU, for tests


def engine_name(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """The engine that a scan of tensors of this type on this device takes.

    Raises:
        ScanError: BANDWEAVE_SCAN names no engine, or one that cannot run there.
    """
    device = torch.device(device)
    forced = os.environ.get(VARIABLE, "").strip().lower()
    if not forced:
        for name, its_device in KERNELS.items():
            if device.type == its_device and dtype != torch.float64 and not find_import_error(name):
                return name
        return "torch"
    if forced not in ENGINES:
        raise ScanError(f"{VARIABLE}={forced}: the engines are {', '.join(ENGINES)}")
    if forced in KERNELS:
        _check_forced(forced, device, dtype)
    return forced


def _check_forced(name: str, device: torch.device, dtype: torch.dtype) -> None:
    if find_import_error(name):
        raise ScanError(
            f"{VARIABLE}={name}, but {name} cannot be imported: {find_import_error(name)}"
        )
    if dtype == torch.float64:
        raise ScanError(
            f"{VARIABLE}={name} computes in float32, the tensors are of float64; unset it or use "
            f"{VARIABLE}=torch"
        )
    interpreted = name == "triton" and os.environ.get(INTERPRETER) == "1"
    if device.type != KERNELS[name] and not (interpreted and device.type == "cpu"):
        where = "the CPU" if name == "numba" else f"CUDA (with {INTERPRETER}=1, slowly on the CPU)"
        raise ScanError(f"{VARIABLE}={name} runs on {where} alone, the tensors are on {device}")


@cache
def find_import_error(name: str) -> str:
    """Why Numba or Triton cannot be imported; empty if it can."""
    try:
        import_module(name)
    except ImportError as error:  # not installed, or not for this NumPy
        return str(error)
    return ""


def torch_engine(name: str) -> Callable:
    """The function of an engine that is written in torch."""
    return {"reference": reference_scan, "torch": chunked_scan}[name]


def choose_engine(device: torch.device, dtype: torch.dtype) -> str:
    """`engine_name`, which says once per device that the chunked form runs for want of a kernel."""
    name = engine_name(device, dtype)
    if name == "torch" and not os.environ.get(VARIABLE) and dtype != torch.float64:
        _warn_slow(device.type)
    return name


# What torch.compiler.assume_constant_result does, but that imports the compiler, which takes 2 s.
choose_engine._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _warn_slow(device_type: str) -> None:
    reason = "no kernel for this device"
    for name, its_device in KERNELS.items():
        if device_type == its_device:
            reason = f"{name} cannot be imported: {find_import_error(name)}"
    warnings.warn(
        f"the selective scan runs in plain torch on {device_type}, which is slow ({reason}); "
        f"{VARIABLE}=torch silences this",
        stacklevel=4,
    )
