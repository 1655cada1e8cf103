"""Times the engines of the selective scan, taken in turn, on SS2D's four orders.

    python benchmarks/scan.py --out scan.json
    python benchmarks/scan.py --engines numba torch --channels 96 192 --side 32 64 --states 1 16

Every round runs every engine once, so that a busy machine slows them alike; medians are reported,
and each engine's time as a multiple of the first's. Step sizes go through bias and softplus, as
in every model. Also timed: one exponential per channel, step and state in torch, which bounds
what a scan can reach without a faster exponential.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median

import torch

from bandweave.scan import cross_order, selective_scan

ORDERS = 4


def make_inputs(batch: int, side: int, channels: int, states: int) -> dict[str, torch.Tensor]:
    tokens = side * side
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rates = torch.arange(1.0, states + 1).expand(ORDERS, channels, states)
    return {
        "u": normal(batch, tokens, channels),
        "delta": normal(batch, ORDERS, tokens, channels),
        "A": -rates.contiguous(),
        "B": normal(batch, ORDERS, tokens, states),
        "C": normal(batch, ORDERS, tokens, states),
        "D": torch.ones(ORDERS, channels),
        "delta_bias": normal(ORDERS, channels) - 3,
    }


def scan_of(engine: str, side: int, inputs: dict, backward: bool) -> Callable[[], None]:
    """A function that runs one engine once, forward or forward and backward."""
    order = cross_order(side, side)
    leaves = {name: value.clone().requires_grad_(backward) for name, value in inputs.items()}
    dy = torch.randn_like(inputs["u"])

    def run() -> None:
        os.environ["BANDWEAVE_SCAN"] = engine
        y = selective_scan(**leaves, order=order, softplus=True)
        if backward:
            torch.autograd.grad(y, list(leaves.values()), dy)

    return run


def exponentials(inputs: dict) -> Callable[[], None]:
    values = -torch.rand(inputs["delta"].numel() // 4, inputs["A"].shape[2])
    out = torch.empty_like(values)

    def run() -> None:
        for _ in range(4):
            torch.exp(values, out=out)

    return run


def medians_in_turn(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Milliseconds of each, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def measure(case: dict[str, int], engines: list[str], repeats: int) -> dict:
    inputs = make_inputs(**case)
    forward = {engine: scan_of(engine, case["side"], inputs, False) for engine in engines}
    both = {engine: scan_of(engine, case["side"], inputs, True) for engine in engines}
    return {
        **case,
        "forward_ms": medians_in_turn({**forward, "torch.exp": exponentials(inputs)}, repeats),
        "forward_backward_ms": medians_in_turn(both, repeats),
    }


def line(row: dict, engines: list[str]) -> str:
    case = " ".join(f"{row[name]:>5}" for name in ("batch", "channels", "side", "states"))
    cells = []
    for kind in ("forward_ms", "forward_backward_ms"):
        first = row[kind][engines[0]]
        cells += [f"{row[kind][e]:10.2f} ({row[kind][e] / first:6.1f}×)" for e in engines]
    return f"{case} {' '.join(cells)} {row['forward_ms']['torch.exp']:8.2f}"


def machine() -> dict:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bandweave": version("bandweave"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["numba", "torch"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--channels", nargs="+", type=int, default=[96])
    parser.add_argument("--side", nargs="+", type=int, default=[32], help="tokens = side²")
    parser.add_argument("--states", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch and of the kernels")
    parser.add_argument("--out", type=Path, help="JSON with every row and the machine's facts")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    print("batch    E  side     N ", *(f"{e:^20}" for e in options.engines * 2), "torch.exp")
    rows = []
    for sizes in product(options.batch, options.channels, options.side, options.states):
        case = dict(zip(("batch", "channels", "side", "states"), sizes, strict=True))
        rows.append(measure(case, options.engines, options.repeats))
        print(line(rows[-1], options.engines), flush=True)
    if options.out:
        beside = options.out.with_name(options.out.name + ".partial")
        beside.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))
        os.replace(beside, options.out)


if __name__ == "__main__":
    main()
