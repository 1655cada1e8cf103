"""A training step and a mapped megapixel of every preset, and how much of each is the scan's.

    python benchmarks/speed/model.py --out model.json
    python benchmarks/speed/model.py --presets m3amba_small --profile --compile
    python benchmarks/speed/model.py --out after.json --against model.json

    training step   forward, backward, clipping and AdamW, on the preset's batch and crop
    megapixel       windows of the preset's crop, half overlapping, in batches of eight, without
                    gradients: the time of a few batches, multiplied up to what a million pixels
                    of the grid take (4·10⁶/crop² windows; of PAN for a sharpener); reading, scaling
                    and blending are not in it
    scan            what the scans take of it, by clocks around them (timing/in_model.py), in runs
                    of their own, so that the clocks are not in the times
    operators       the ten that take longest themselves, by torch's profiler, in one more run

What the models are given stands in timing/subjects.py; values are random numbers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

MAP_BATCH = 8  # windows that go through the model together
TOP = 10


def measure(subject: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of one subject."""
    from timing.subjects import Bench

    bench = Bench(subject, options.crop, options.batch, MAP_BATCH, options.device)
    found: dict[str, Any] = {
        "crop": bench.crop,
        "batch": bench.batch,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
    }
    parts = {"step": (bench.step, 1.0), "megapixel": (bench.map, bench.map_batches)}
    for name, (run, times) in parts.items():
        seconds = timed(run, options.repeats, options.budget)
        found[name] = {
            "seconds": times * median(seconds),
            "runs": len(seconds),
            "spread": [times * min(seconds), times * max(seconds)],
            **scan_share(run, bench.device.type, times),
        }
        if not options.no_operators:
            found[name]["operators"] = operators(run, options.profile)
    if options.compile:
        found["compiled"] = compiled(bench, parts, options)
    if options.bf16:
        found["bf16"] = in_bfloat16(bench, parts, options)
    return found


def timed(run: Callable[[], None], repeats: int, budget: float) -> list[float]:
    """Seconds of each run; no more of them once the budget is spent; the first does not count."""
    run()
    seconds: list[float] = []
    while len(seconds) < repeats and (not seconds or sum(seconds) < budget):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def scan_share(run: Callable[[], None], device: str, times: float) -> dict[str, Any]:
    """What the scans take of a run; on a GPU clocks on the CPU would not tell."""
    if device == "cuda":
        return {}
    from timing.in_model import timed_scans

    shares, scans = [], []
    for _ in range(2):
        with timed_scans() as taken:
            start = time.perf_counter()
            run()
            whole = time.perf_counter() - start
        shares.append(taken.seconds / whole)
        scans.append(taken)
    return {
        "scan_share": median(shares),
        "scan_calls": scans[0].calls,
        "scan_forward_seconds": times * median(scan.forward for scan in scans),
        "scan_backward_seconds": times * median(scan.backward for scan in scans),
    }


def operators(run: Callable[[], None], print_table: bool) -> list[dict[str, Any]]:
    """Those that take longest themselves, in one run."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled:
        run()
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = profiled.key_averages()
    if print_table:
        print(events.table(sort_by=key, row_limit=2 * TOP, max_name_column_width=60))
    whole = sum(getattr(event, key) for event in events)
    longest = sorted(events, key=lambda event: getattr(event, key), reverse=True)
    return [
        {
            "name": event.key,
            "calls": event.count,
            "ms": getattr(event, key) / 1e3,
            "share": getattr(event, key) / whole,
        }
        for event in longest[:TOP]
    ]


def compiled(bench: Any, parts: dict, options: argparse.Namespace) -> dict[str, Any]:
    """The same times of the model through torch.compile, or why there are none."""
    import torch

    found: dict[str, Any] = {}
    for name, (run, times) in parts.items():
        torch._dynamo.reset()
        bench.called = torch.compile(bench.model)
        try:
            start = time.perf_counter()
            run()
            first = time.perf_counter() - start
            seconds = timed(run, options.repeats, options.budget)
            found[name] = {"seconds": times * median(seconds), "first_run_seconds": first}
        except Exception as error:  # the compiler's own, of many kinds; it is what is reported
            found[name] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    bench.called = bench.model
    return found


def in_bfloat16(bench: Any, parts: dict, options: argparse.Namespace) -> dict[str, Any]:
    """The same times under autocast, in turn with runs in float32."""
    import torch

    found: dict[str, Any] = {}
    for name, (run, times) in parts.items():
        pairs: list[tuple[float, float]] = []
        while len(pairs) < options.repeats + 1:  # the first does not count
            taken = []
            for low in (False, True):
                start = time.perf_counter()
                with torch.autocast(bench.device.type, torch.bfloat16, enabled=low):
                    run()
                taken.append(time.perf_counter() - start)
            pairs.append((taken[0], taken[1]))
            if sum(map(sum, pairs[1:])) > options.budget:
                break
        pairs = pairs[1:]
        found[name] = {
            "seconds": times * median(low for _, low in pairs),
            "gain": median(full / low for full, low in pairs),
            "runs": len(pairs),
        }
    return found


def lines(row: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    """A row as it is shown, with how many times faster it is than an earlier one."""
    key = row["key"]
    shown = [
        f"\n{key['preset']} on {key['scene']}, {row['parameters'] / 1e6:.1f} M parameters, "
        f"crop {row['crop']}, batch {row['batch']}, load {row['load']}"
    ]
    for part, title in (("step", "training step"), ("megapixel", "mapped megapixel, extrapolated")):
        entry = row[part]
        low, high = entry["spread"]
        text = (
            f"  {title}: {entry['seconds']:.3g} s ({low:.3g} to {high:.3g}, {entry['runs']} runs)"
        )
        if "scan_share" in entry:
            text += f", {100 * entry['scan_share']:.0f} % in {entry['scan_calls']} scans"
        if before:
            text += f"; before {before[part]['seconds']:.3g} s, "
            text += f"{before[part]['seconds'] / entry['seconds']:.2f}× as fast now"
            if "scan_share" in before[part]:
                text += f", {100 * before[part]['scan_share']:.0f} % in scans then"
        shown.append(text)
        for operator in entry.get("operators", []):
            shown.append(
                f"    {100 * operator['share']:5.1f} %{operator['ms']:10.2f} ms "
                f"{operator['calls']:>6} × {operator['name'][:70]}"
            )
    for part, entry in row.get("bf16", {}).items():
        shown.append(
            f"  {part} in bfloat16: {entry['seconds']:.3g} s, {entry['gain']:.2f}× as fast, median "
            f"of {entry['runs']} in turn"
        )
    for part, entry in row.get("compiled", {}).items():
        if "error" in entry:
            shown.append(f"  {part} through torch.compile: {entry['error']}")
            continue
        gain = row[part]["seconds"] / entry["seconds"]
        shown.append(
            f"  {part} through torch.compile: {entry['seconds']:.3g} s, {gain:.2f}× as fast, "
            f"after {entry['first_run_seconds']:.0f} s of the first run"
        )
    return shown


def main() -> None:
    options = parse()
    if not options.active:  # before torch is loaded, as the command `bandweave` does
        from bandweave.cli.process import set_up_process

        set_up_process()

    import torch

    from timing.results import Results, read
    from timing.subjects import subjects

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; leave out --device")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    names = ("repeats", "budget", "compile", "bf16", "crop", "batch", "device")
    results = Results(options.out, {n: getattr(options, n) for n in names}, options.fresh)
    before = read(options.against) if options.against else []
    for name, value in results.content["facts"].items():
        print(f"{name}: {value}")
    for subject in subjects(options.presets):
        key = {"preset": subject.preset, "scene": subject.scene}
        row = results.find(key) or results.add(key, measure(subject, options))
        same = [old for old in before if old["key"] == key]
        sizes = [(old["crop"], old["batch"]) == (row["crop"], row["batch"]) for old in same]
        print("\n".join(lines(row, same[0] if all(sizes) and same else None)), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--presets", nargs="+", help="all by default")
    add("--repeats", type=int, default=7)
    add("--budget", type=float, default=60.0, help="seconds after which nothing is repeated")
    add("--threads", type=int, help="of torch and of the kernels; all cores by default")
    add("--active", action="store_true", help="leave waiting and freed memory as torch has them")
    add("--device", default="cpu")
    add("--crop", type=int, help="px, in the place of the preset's")
    add("--batch", type=int, help="crops of a training step, in the place of the preset's")
    add("--compile", action="store_true", help="also time the model through torch.compile")
    add("--bf16", action="store_true", help="also time the model in bfloat16, in turn with float32")
    add("--profile", action="store_true", help="print the profiler's table")
    add("--no-operators", action="store_true", help="leave out the profiler's run")
    add("--out", type=Path, help="JSON; a run that finds its rows there goes on after them")
    add("--fresh", action="store_true", help="replace the rows of --out")
    add("--against", type=Path, metavar="FILE", help="an earlier --out to compare with")
    return parser.parse_args()


if __name__ == "__main__":
    main()
