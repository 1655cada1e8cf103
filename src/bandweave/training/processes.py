"""How many processes train, on what, and in which precision: Lightning Fabric, set up once."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from bandweave.errors import ConfigError, RunError
from bandweave.training.config import Accelerator, Precision

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


def is_main() -> bool:
    """Whether this process is rank 0: the one that writes, prints, maps and scores.

    True also before the processes are started. From the variables that Fabric, torchrun and SLURM
    set, so that a relaunched command knows it from its first line.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ and (name != "SLURM_PROCID" or "SLURM_NTASKS" in os.environ):
            return int(os.environ[name]) == 0
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(node) == 0


def start(
    precision: Precision = "auto",
    accelerator: Accelerator = "auto",
    devices: int = 1,
    nodes: int = 1,
    unused_parameters: bool = False,
) -> Fabric:
    """Start `devices` processes on each of `nodes` machines and return the Fabric of this one.

    With more than one process the running command is started again for each further one, unless
    torchrun or SLURM did so; the function then returns in all of them. Under torchrun, `devices`
    and `nodes` are torchrun's. Raises ConfigError for devices that are not there.
    """
    _quieten()
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    accelerator = check_devices(precision, accelerator, devices, nodes)
    strategy = DDPStrategy(find_unused_parameters=unused_parameters)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy if devices * nodes > 1 else "auto",
        precision=_resolved(precision, accelerator),
    )
    fabric.launch()
    return fabric


def check_devices(
    precision: Precision = "auto",
    accelerator: Accelerator = "auto",
    devices: int = 1,
    nodes: int = 1,
) -> Accelerator:
    """What `start` would train on. Raises ConfigError for what is not there, and starts nothing."""
    import torch

    accelerator = _available(accelerator)
    _resolved(precision, accelerator)
    if devices < 1 or nodes < 1:
        raise ConfigError(f"devices={devices}, nodes={nodes}: there must be at least one of each")
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices={devices}, but this machine shows {torch.cuda.device_count()} GPU(s); "
            f"ask for as many, or for `accelerator: cpu`"
        )
    if accelerator == "mps" and devices * nodes > 1:
        raise ConfigError(f"devices={devices}, nodes={nodes}: mps trains in one process only")
    return accelerator


def best_device() -> Literal["cpu", "cuda", "mps"]:
    """Where one process computes unless it is told: on a GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _available(accelerator: Accelerator) -> Accelerator:
    import torch

    if accelerator == "auto":
        return best_device()
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there.get(accelerator, False):
        shown = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError(f"accelerator={accelerator!r} is not on this machine; there is: {shown}")
    return accelerator


def _resolved(
    precision: Precision, accelerator: Accelerator
) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    import torch

    if precision == "auto":
        modern = accelerator == "cuda" and torch.cuda.get_device_capability()[0] >= 8  # Ampere
        return "bf16-mixed" if modern else "32-true"
    if precision == "fp16" and accelerator == "cpu":
        raise ConfigError("precision='fp16' needs a GPU; on a CPU take fp32, or bf16 with AMX")
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[precision]  # type: ignore


def _quieten() -> None:
    """Fabric's remarks about cores, tips and precision are not for a user of this program."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning_fabric\..*")
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # depthwise kernels


def wait_for_all() -> None:
    """Wait until all processes of the run are here; of one alone, nothing."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


@contextmanager
def together() -> Iterator[None]:
    """Say in one line that another process of the run ended, where torch says it in forty."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL")):
            raise
        raise RunError(
            "another process of this run ended before its time; what it said stands beside this. "
            "Start the run again with `--resume`"
        ) from error


def reseed(*numbers: int) -> None:
    """Seed torch with a hash of the numbers, as (seed, step, rank): near ones give unlike streams.

    Everything random in a module (dropout, drop path) then follows from them, whatever came
    before: a continued run draws what an uninterrupted one would.
    """
    import torch

    digest = hashlib.sha256(repr(numbers).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, sums in the same order every time; elsewhere nothing, since kernels would slow."""
    import torch

    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
