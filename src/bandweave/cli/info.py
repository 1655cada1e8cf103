"""bandweave info: facts on this installation, a file, or a run."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bandweave.cli.arguments import Parser, add_common
from bandweave.cli.columns import format_columns

EXTRAS = {
    "rs-fusion-datasets": "bandweave[download]",
    "tensorboard": "bandweave[tensorboard]",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `info`."""
    parser = Parser(
        "info",
        "Without FILE or RUN: versions, scan engine, threads, GPU, extras.\n"
        "FILE: size, bands, type, CRS, wavelengths; of a .mat its keys and their shapes.\n"
        "RUN: model, parameters, scores, protocol, configuration.",
    )
    parser.add_argument("path", metavar="FILE|RUN", nargs="?", help="a file, or a run's folder")
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Print the facts."""
    if args.path is None:
        print(format_columns(describe_installation()))
    elif Path(args.path).is_dir():
        from bandweave.cli.run_facts import run_facts

        print(run_facts(Path(args.path)))
    else:
        from bandweave.cli.file_facts import file_facts

        print(format_columns(file_facts(args.path)))
    return 0


def describe_installation() -> list[tuple[str, str]]:
    """The facts of this machine that a bug report or a table of times should state."""
    import rasterio
    import torch

    from bandweave.training.folder import machine

    facts = machine()
    rows = [
        ("bandweave", version("bandweave")),
        ("python", f"{platform.python_version()} on {facts['platform']}"),
        ("torch", facts["torch"]),
        *_list_scan_engines(),
        ("processor", f"{facts['cpu']}, {facts['cores']} cores"),
        ("threads", f"{facts['threads']} (torch; OMP_NUM_THREADS={_set('OMP_NUM_THREADS')})"),
    ]
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        rows.append(("GPU", f"{facts['gpu']}, {memory:.0f} GiB, CUDA {torch.version.cuda}"))
    else:
        rows.append(("GPU", "mps" if torch.backends.mps.is_available() else "none"))
    rows += [
        ("GDAL", f"{rasterio.__gdal_version__} (rasterio {rasterio.__version__})"),
        ("transformers", version("transformers")),
    ]
    return rows + [(name, _describe_installed(name, extra)) for name, extra in EXTRAS.items()]


def _list_scan_engines() -> list[tuple[str, str]]:
    """The engine of a scan on each device, and for each with kernels its version or lack."""
    from bandweave.errors import ScanError
    from bandweave.scan.engine import KERNELS, VARIABLE, engine_name, find_import_error

    forced = f" ({VARIABLE}={os.environ[VARIABLE]})" if os.environ.get(VARIABLE) else ""
    rows: list[tuple[str, str]] = []
    for device, where in (("cpu", "the CPU"), ("cuda", "a CUDA GPU")):
        try:
            engine = f"{engine_name(device)} on {where}{forced}"
        except ScanError as error:
            engine = f"none on {where}: {error}"
        rows.append(("" if rows else "scan engine", engine))
    for name in KERNELS:
        lack = find_import_error(name)
        rows.append((name, f"missing: {lack}" if lack else version(name)))
    return rows


def _describe_installed(name: str, extra: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return f"not installed; pip install '{extra}'"


def _set(variable: str) -> str:
    return os.environ.get(variable, "unset")
