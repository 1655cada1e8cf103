"""The selective scan against its peers, in one table, and against the machine's limits.

    python benchmarks/speed/scan.py                           # one table of a few sizes
    python benchmarks/speed/scan.py --marks --out scan.json   # the marks' whole sweep; resumes
    python benchmarks/speed/scan.py --device cuda --dtype float32 bfloat16
    python benchmarks/speed/scan.py --channels 96 --tokens 1024 --states 16 --methods ours chunked

What the methods are stands in timing/methods.py, how they are timed in timing/turns.py, how memory
is measured in timing/fresh.py, what is required in timing/marks.py. All compute the scan of the
same numbers over SS2D's four orders and must agree before any is timed. mambapy comes with
`pip install bandweave[bench]`.

forward        without gradients, no states kept
share          of the exponential rate: one exponential per item of the batch, order, token, channel
               and state, over the kernels' own exp2 in a cache; and of the copy: u, delta and y
               once per order, B and C once, over torch's copy
extra memory   the peak over what was there before, in a process of its own
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

CPU_METHODS = [
    *("ours", "loop", "chunked", "copies", "permuted"),
    *("sequential", "pscan", "associative"),
]
GPU_METHODS = ["ours", "copies", "mamba_ssm", "vmamba"]
KINDS = ("table", "small", "batch", "length", "error", "first call")
SIDES = (16, 32, 64, 128, 256, 512)  # L from 256 to 262,144
SMALL = (2, 4, 8, 16, 85)  # channels of experts and of MMMamba
MIB = 2**20


def main() -> None:
    options = parse()
    if options.step:
        from timing.fresh import STEPS

        name, given = options.step
        print(json.dumps(STEPS[name](**json.loads(given))))
        return
    if not options.active:  # read when torch is loaded; as the command `bandweave` sets it
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    from timing.marks import marks
    from timing.results import Results

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; leave out --device")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    methods = options.methods or (GPU_METHODS if options.device != "cpu" else CPU_METHODS)
    if options.engines:
        methods = [*options.engines, *(name for name in methods if name != "ours")]
    fixed = {"methods": methods, "rounds": options.rounds, "budget": options.budget}
    results = Results(options.out, fixed, options.fresh)
    for name, value in results.content["facts"].items():
        print(f"{name}: {value}")
    for key, measure in plan(options, methods):
        row = results.find(key) or results.add(key, measure())
        print("\n".join(lines(row)), flush=True)
    if options.marks:
        print("\nmark, required, measured (the worst decides)")
        for mark in marks(results.content["rows"]):
            print(mark.line())


def plan(
    options: argparse.Namespace, methods: list[str]
) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """The key of every row that was asked for, and what measures it."""
    from timing import measure
    from timing.inputs import Case

    first = methods[0]
    fewer = [name for name in methods if name not in ("loop", "sequential", "permuted")]
    effort = measure.Effort(options.rounds, options.budget, not options.no_memory)
    kinds = options.kinds or (KINDS if options.marks else ("table",))

    def cases(*sizes: Any) -> Iterator[Case]:
        for dtype, batch, channels, tokens, states in product(options.dtype, *sizes):
            yield Case(batch, channels, tokens, states, dtype, options.device, not options.plain)

    def key(kind: str, case: Case) -> dict[str, Any]:
        return {"kind": kind, "case": case.as_dict()}

    ends = sorted({options.states[0], options.states[-1]})
    grid = (options.channels, options.tokens, options.states)
    if "first call" in kinds and options.device == "cpu":
        for states, preload in product(ends, ([], ["numba"])):
            wanted = {"kind": "first call", "states": states, "preload": preload}
            yield wanted, lambda given=(states, preload): measure.first_call_row(*given)
    if "error" in kinds:
        for case in cases([1], *grid):
            yield key("error", case), lambda case=case: measure.error_row(case, first)
    if "batch" in kinds:
        for case in cases([max(options.batch)], *grid):
            yield key("batch", case), lambda case=case: measure.batch_row(case, first, effort)
    if "length" in kinds:
        lengths = [side**2 for side in SIDES if side**2 <= options.longest]
        for case in cases([1], [96], lengths, ends):
            yield key("length", case), lambda case=case: measure.length_row(case, first, effort)
    if "table" in kinds:
        for case in cases(options.batch, *grid):
            yield (
                key("table", case),
                lambda case=case: measure.table_row(case, methods, effort),
            )
    if "small" in kinds:
        for case in cases(options.batch, SMALL, options.tokens[:1], ends):
            yield key("small", case), lambda case=case: measure.table_row(case, fewer, effort)


def lines(row: dict[str, Any]) -> list[str]:
    """A row as the table shows it."""
    kind = row["key"]["kind"]
    if kind == "first call":
        seconds = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in _rounded(row).items())
        return [f"seconds in a new process, N {row['key']['states']}: {seconds}"]
    case = row["key"]["case"]
    title = (
        f"batch {case['batch']}, E {case['channels']}, L {case['tokens']}, N {case['states']}, "
        f"{case['dtype']}{'' if case['softplus'] else ', no softplus'}"
    )
    if kind == "error":
        errors = ", ".join(f"{name} {value:.1e}" for name, value in row["errors"].items())
        return [f"error against float64, {title}: {errors}"]
    if kind == "batch":
        return [
            f"alone, a sample takes this many times what it takes in a {title}: "
            + ", ".join(
                f"{part.replace('_', ' + ')} {row[part]['per_sample']:.2f}×"
                for part in ("forward", "forward_backward")
            )
        ]
    if kind == "length":
        extra = row.get("memory", {}).get("bytes", float("nan")) / MIB
        times = [row[part]["ms"] for part in ("forward", "forward_backward")]
        each = 1e6 * times[1] / case["tokens"]
        return [
            f"{title}: forward {times[0]:.2f} ms, forward + backward {times[1]:.2f} ms "
            f"({each:.0f} ns a token), extra memory {extra:.1f} MiB"
        ]
    return ["", *table(row, title)]


def table(row: dict[str, Any], title: str) -> list[str]:
    """The methods of a row, one a line."""
    head = f"{'forward':>22}{'forward + backward':>22}"
    head += f"{'extra memory':>22}{'of forward':>12}" if "memory" in row else ""
    shown = [f"{title:<46}{head}"]
    for name, label in row["labels"].items():
        if name in row["errors"]:
            shown.append(f"  {label:<44}  {row['errors'][name]}")
            continue
        cells = [_cell(row[part].get(name)) for part in ("forward", "forward_backward")]
        cells += _memory_cells(row, name)
        shown.append(f"  {label:<44}{''.join(cells)}")
    rates = ", ".join(
        f"{name} {rate / 1e9:.2f} G{'B' if name == 'copy' else ''}/s"
        for name, rate in row["limits"].items()
    )
    shown.append(
        f"  limits: {rates}; forward takes {100 * row['share_of_exp2']:.0f} % of exp2, "
        f"{100 * row['share_of_copy']:.0f} % of copy; "
        f"backward / forward {row['backward_over_forward']:.2f}; load {row['load']}"
    )
    return shown


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return f"{'–':>22}"
    scaled = "*" if "measured_at_batch" in entry else " "  # a smaller batch, multiplied
    return f"{entry['ms']:>10.2f} ms{entry['ratio']:>7.1f}×{scaled}"


def _memory_cells(row: dict[str, Any], name: str) -> list[str]:
    if "memory" not in row:
        return []
    cells = []
    for part, width in (("forward_backward", 22), ("forward", 12)):
        used = row["memory"][part]
        found = used.get(name, {}).get("bytes")
        first = next(iter(used.values())).get("bytes")
        if found is None:
            cells.append(f"{'–':>{width}}")
        elif part == "forward_backward" and first:
            cells.append(f"{found / MIB:>9.0f} MiB{found / first:>7.1f}× ")
        else:
            cells.append(f"{found / MIB:>8.0f} MiB")
    return cells


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--marks", action="store_true", help="the sizes and kinds that the marks are about")
    add("--kinds", nargs="+", choices=KINDS, help="what to measure; the table by default")
    add("--methods", nargs="+", help=f"of the table; on a CPU {' '.join(CPU_METHODS)}")
    add("--engines", nargs="+", help="force these engines in the place of the one chosen")
    add("--batch", nargs="+", type=int, default=[8])
    add("--channels", nargs="+", type=int, help="E; 96, with --marks 96 192")
    add("--tokens", nargs="+", type=int, help="L, squares; 1024, with --marks 1024 4096")
    add("--states", nargs="+", type=int, help="N; 1 16, with --marks 1 8 16")
    add("--longest", type=int, default=SIDES[-1] ** 2, help="L up to which lengths are measured")
    add("--dtype", nargs="+", default=["float32"], help="of u, delta, B and C")
    add("--device", default="cpu")
    add("--plain", action="store_true", help="step sizes as they are, without bias and softplus")
    add("--threads", type=int, help="of torch and of the kernels; all cores by default")
    add("--active", action="store_true", help="let torch's waiting threads spin, as torch does")
    add("--rounds", type=int, default=9, help="turns of each method")
    add("--budget", type=float, default=6.0, help="seconds after which a method has no more turns")
    add("--no-memory", action="store_true", help="leave out peak memory, which takes processes")
    add("--out", type=Path, help="JSON; a run that finds its rows there goes on after them")
    add("--fresh", action="store_true", help="replace the rows of --out")
    add("--step", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    options.channels = options.channels or ([96, 192] if options.marks else [96])
    options.tokens = options.tokens or ([1024, 4096] if options.marks else [1024])
    options.states = options.states or ([1, 8, 16] if options.marks else [1, 16])
    return options


if __name__ == "__main__":
    main()
