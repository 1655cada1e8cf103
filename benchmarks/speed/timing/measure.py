"""One row of each kind of measurement, as plain numbers for the results' file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bandweave.scan import selective_scan
from timing.fresh import in_fresh_process
from timing.inputs import BATCHED, Case, first_of_batch, make_inputs, output_gradient
from timing.limits import limits
from timing.methods import FORWARD_ONLY, Method, affordable_batch, label, make
from timing.turns import Times, clock_of, in_turn

PARTS = ("forward", "forward_backward")
AGREE = {"float32": 1e-3, "float64": 1e-9}  # of the largest value; a half type: 5e-2
FIRST_CALLS = 3  # processes


@dataclass(frozen=True)
class Effort:
    """How often and how long a method runs."""

    rounds: int
    budget: float  # seconds that a method may spend on its turns, at least one
    memory: bool = True  # measure peak memory too


def table_row(case: Case, names: list[str], effort: Effort) -> dict[str, Any]:
    """Every method on one case; times relative to the first one's."""
    methods, batches, errors, seconds = _ready(case, names)
    row: dict[str, Any] = {"labels": {name: label(name, case) for name in names}, "errors": errors}
    bounds = limits(case.device)
    for part in PARTS:
        runs = {
            name: getattr(method, part)
            for name, method in methods.items()
            if part == "forward" or name not in FORWARD_ONLY
        }
        if part == "forward":
            runs |= {name: limit.run for name, limit in bounds.items()}
        times = in_turn(runs, clock_of(case.device), effort.rounds, effort.budget, seconds)
        row[part] = {
            name: _entry(times[name], times[names[0]], case.batch, batches[name])
            for name in names
            if name in times
        }
        if part == "forward":
            rates = {name: limit.amount / times[name].seconds for name, limit in bounds.items()}
            row["limits"] = rates
    first = {part: row[part][names[0]]["ms"] / 1e3 for part in PARTS}
    row["backward_over_forward"] = first["forward_backward"] / first["forward"] - 1
    row["share_of_exp2"] = case.exponentials / first["forward"] / rates["exp2"]
    row["share_of_copy"] = case.bytes_moved / first["forward"] / rates["copy"]
    del methods
    if effort.memory:
        row["memory"] = {
            part: {
                name: _memory(case, name, part, batches[name])
                for name in names
                if name in row[part]
            }
            for part in PARTS
        }
    return row


def _ready(case: Case, names: list[str]) -> tuple[dict[str, Method], dict, dict, dict]:
    """The methods that run here, once they were found to give the same; why others do not."""
    inputs, dy = make_inputs(case), output_gradient(case)
    methods, batches, errors, seconds = {}, {}, {}, {}
    truth: dict[str, Tensor] = {}
    clock = clock_of(case.device)
    for name in names:
        batch = affordable_batch(name, case, _half_of_memory(case.device))
        few = first_of_batch(inputs, batch)
        results: dict[str, Tensor] = {}

        def run(method: Method, name: str = name, results: dict = results) -> None:
            if name in FORWARD_ONLY:
                results["y"] = method.natural("y", [method.forward()])
            else:
                results |= method.results(*method.forward_backward())

        try:
            method = make(name, case.with_batch(batch), few, dy[:batch])
            seconds[name] = clock(lambda method=method, run=run: run(method), 1)
        except (ImportError, RuntimeError, NotImplementedError) as error:
            if name == names[0]:
                raise
            errors[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            continue
        truth = truth or results
        _check_agreement(name, results, truth, batch, case)
        methods[name], batches[name] = method, batch
    return methods, batches, errors, seconds


def _check_agreement(
    name: str, results: dict[str, Tensor], truth: dict[str, Tensor], batch: int, case: Case
) -> None:
    """So that no method is timed on other work. Sums over a smaller batch cannot be compared."""
    for key, value in results.items():
        true = truth[key]
        if key in BATCHED or key == "y":
            true = true[:batch]
        elif batch < case.batch:
            continue
        error = relative_error(value, true)
        bound = AGREE.get(case.dtype, 5e-2)
        if not error <= bound:
            raise SystemExit(f"{name} is not the same scan: {key} differs by {error:.1e} ({case})")


def relative_error(value: Tensor, true: Tensor) -> float:
    """Largest difference over the largest true value."""
    return float((value.double() - true.double()).abs().max() / true.double().abs().max())


def _entry(times: Times, first: Times, whole: int, batch: int) -> dict[str, Any]:
    entry = {
        "ms": 1e3 * times.seconds * whole / batch,
        "ratio": times.ratio(first) * whole / batch,
        "turns": len(times.rounds),
    }
    return entry if batch == whole else {**entry, "measured_at_batch": batch}


def _memory(case: Case, name: str, part: str, batch: int) -> dict[str, Any]:
    found = in_fresh_process(
        "memory",
        case=case.with_batch(batch).as_dict(),
        method=name,
        backward=part == "forward_backward",
        threads=torch.get_num_threads(),
    )
    if "bytes" in found and batch < case.batch:
        return {"bytes": found["bytes"] * case.batch / batch, "measured_at_batch": batch}
    return found


def _half_of_memory(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def batch_row(case: Case, name: str, effort: Effort) -> dict[str, Any]:
    """One item against a batch, taken in turn: how many times longer a sample takes alone."""
    row: dict[str, Any] = {}
    for part in PARTS:
        runs = {}
        for batch in (case.batch, 1):
            sizes = case.with_batch(batch)
            method = make(name, sizes, make_inputs(sizes), output_gradient(sizes))
            runs[str(batch)] = getattr(method, part)
        times = in_turn(runs, clock_of(case.device), effort.rounds, effort.budget)
        row[part] = {
            "alone_ms": 1e3 * times["1"].seconds,
            "batch_ms": 1e3 * times[str(case.batch)].seconds,
            "per_sample": times["1"].ratio(times[str(case.batch)]) * case.batch,
        }
    return row


def length_row(case: Case, name: str, effort: Effort) -> dict[str, Any]:
    """Time and memory of ours at one length."""
    method = make(name, case, make_inputs(case), output_gradient(case))
    row: dict[str, Any] = {}
    for part in PARTS:
        run = {name: getattr(method, part)}
        times = in_turn(run, clock_of(case.device), effort.rounds, effort.budget)
        row[part] = {"ms": 1e3 * times[name].seconds}
    if effort.memory:
        row["memory"] = _memory(case, name, "forward_backward", case.batch)
    return row


def error_row(case: Case, name: str) -> dict[str, Any]:
    """Largest error of the output and of each gradient, relative to its largest true value.

    What is true is the definition in float64, on the same numbers.
    """
    inputs, dy = make_inputs(case), output_gradient(case)
    method = make(name, case, inputs, dy)
    found = method.results(*method.forward_backward())
    os.environ["BANDWEAVE_SCAN"] = "reference"
    leaves = {key: value.double().requires_grad_() for key, value in inputs.items()}
    y = selective_scan(**leaves, order=case.order, softplus=case.softplus)
    true = dict(
        zip(leaves, torch.autograd.grad(y, list(leaves.values()), dy.double()), strict=True)
    )
    true["y"] = y.detach()
    errors = {key: relative_error(value, true[key]) for key, value in found.items()}
    return {"errors": errors, "worst_gradient": max(v for k, v in errors.items() if k != "y")}


def first_call_row(states: int, preload: list[str]) -> dict[str, Any]:
    """Medians over new processes, after one that compiles the kernels where none are kept."""
    threads = torch.get_num_threads()
    found = [
        in_fresh_process("first_call", states=states, threads=threads, preload=preload)
        for _ in range(1 + FIRST_CALLS)
    ][1:]
    if errors := [each for each in found if "error" in each]:
        return errors[0]
    return {name: median(each[name] for each in found) for name in found[0]}
