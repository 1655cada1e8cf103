"""Which engine runs a scan.

    reference   the definition, in a loop                    any device, any floating type
    torch       the chunked form in plain torch              any device, any floating type
    numba       compiled vector kernels                      CPU, float32 state

Chosen by device and type, or forced by the environment variable BANDWEAVE_SCAN.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from bandweave.errors import ScanError
from bandweave.scan.chunked import chunked_scan
from bandweave.scan.reference import reference_scan

ENGINES = ("reference", "torch", "numba")
VARIABLE = "BANDWEAVE_SCAN"


def engine_name(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """The engine that a scan of tensors of this type on this device takes.

    Raises:
        ScanError: BANDWEAVE_SCAN names no engine, or one that cannot run there.
    """
    device = torch.device(device)
    forced = os.environ.get(VARIABLE, "").strip().lower()
    if not forced:
        suits = device.type == "cpu" and dtype != torch.float64 and not numba_missing()
        return "numba" if suits else "torch"
    if forced not in ENGINES:
        raise ScanError(f"{VARIABLE}={forced}: the engines are {', '.join(ENGINES)}")
    if forced == "numba" and numba_missing():
        raise ScanError(f"{VARIABLE}=numba, but Numba cannot be imported: {numba_missing()}")
    if forced == "numba" and device.type != "cpu":
        raise ScanError(f"{VARIABLE}=numba runs on the CPU alone, the tensors are on {device}")
    return forced


@cache
def numba_missing() -> str:
    """Why Numba cannot be used; empty if it can."""
    try:
        import numba  # noqa: F401
    except ImportError as error:  # not installed, or not for this NumPy
        return str(error)
    return ""


def torch_engine(name: str) -> Callable[..., Tensor]:
    """The function of an engine that is written in torch."""
    return {"reference": reference_scan, "torch": chunked_scan}[name]


def warn_if_slow(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Say once per device that the chunked form runs because nothing faster does."""
    if name == "torch" and not os.environ.get(VARIABLE) and dtype != torch.float64:
        _warn_slow(device.type)


@cache
def _warn_slow(device_type: str) -> None:
    reason = "no kernel for this device"
    if device_type == "cpu":
        reason = f"Numba cannot be imported: {numba_missing()}"
    warnings.warn(
        f"the selective scan runs in plain torch on {device_type}, which is slow ({reason}); "
        f"{VARIABLE}=torch silences this",
        stacklevel=4,
    )
