"""Campaigns against bandweave's own promises: damaged inputs, and kills at random moments.

    python -m tests.campaigns [--minutes 10]             both, half of the time each
    python -m tests.campaigns fuzz --kind vec,st:meta    damaged inputs of the kinds that begin so
    python -m tests.campaigns fuzz --kind vec:shp --seed 1043          one input again
    python -m tests.campaigns kill --command train --seed 7            one kill again

Counts go to benchmarks/results/campaign.json, from where the next call goes on; a finding is
printed with what repeats it. Exits with 1 where something was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import fuzzing, killing
from .commands import COMMANDS, write_inputs
from .record import RESULTS, Record
from .verdict import make, try_input


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.campaigns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("campaign", nargs="?", choices=("both", "fuzz", "kill"), default="both")
    add("--minutes", type=float, default=10, help="to spend (10)")
    add("--most", type=int, default=0, help="inputs or kills to stop at, those before counted")
    add("--kind", default="", help="of damaged inputs: names or their beginnings, between commas")
    add("--command", default="", help="to kill: names or their beginnings, between commas")
    add("--seed", type=int, help="one input, or one kill, again")
    add("--results", type=Path, default=RESULTS, help="the file of counts")
    add("--fresh", action="store_true", help="forget earlier counts of these kinds and commands")
    arguments = parser.parse_args()
    fuzzing.prepare()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    folder, owner = Path(tempfile.mkdtemp(prefix="campaign-")), os.getpid()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)  # where killed processes leave theirs
    try:
        return _run(arguments, folder)
    finally:
        if os.getpid() == owner:  # not in a forked process that a signal met early
            shutil.rmtree(folder, ignore_errors=True)


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    if arguments.seed is not None and arguments.campaign == "fuzz":
        return _again(arguments, folder)
    record = Record(arguments.results)
    chosen = [arguments.campaign] if arguments.campaign != "both" else ["fuzz", "kill"]
    arguments.minutes /= len(chosen)
    campaigns = {"fuzz": _fuzz, "kill": _kill}
    return max([campaigns[name](arguments, folder, record) for name in chosen])


def _again(arguments: argparse.Namespace, folder: Path) -> int:
    """One input, in this process."""
    (name,) = fuzzing.names(arguments.kind)
    verdict = try_input(name, arguments.seed, make(name, folder))
    print("\n".join(verdict.findings) or ("refused" if verdict.refused else "read"))
    return int(bool(verdict.findings))


def _fuzz(arguments: argparse.Namespace, folder: Path, record: Record) -> int:
    """Batches of every kind in turn, until the time is over."""
    until = time.monotonic() + 60 * arguments.minutes
    found = 0
    chosen = fuzzing.names(arguments.kind)
    whole: dict[str, Path] = {}
    if arguments.fresh:
        for name in chosen:
            record.content["inputs"].pop(name, None)
    for name in chosen:
        if record.of("inputs", name).get("findings"):
            whole[name] = fuzzing.made(name, folder)
            found += _repeat_findings(name, whole[name], record)
    while time.monotonic() < until:
        name = min(chosen, key=lambda each: record.of("inputs", each).get("inputs", 0))
        row = record.of("inputs", name)
        first = row.get("inputs", 0)
        if arguments.most and record.total("inputs", "inputs") >= arguments.most:
            break
        if name not in whole:
            whole[name] = fuzzing.made(name, folder)
        batch = fuzzing.run_batch(name, range(first, first + fuzzing.BATCH), whole[name])
        row["inputs"] = first + batch.inputs
        row["refused"] = row.get("refused", 0) + batch.refused
        row["slowest_s"] = max(row.get("slowest_s", 0), batch.slowest)
        row["memory_mib"] = max(row.get("memory_mib", 0), batch.memory >> 20)
        row.setdefault("findings", []).extend(batch.findings)
        record.stamp("inputs", name)
        for finding in batch.findings:
            print(f"--kind {name} --seed {finding['seed']}: {finding['what']}", flush=True)
        found += len(batch.findings)
        if not batch.findings:
            print(f"{name}: {row['inputs']} inputs", flush=True)
    print(f"{record.total('inputs', 'inputs')} inputs in all")
    return int(bool(found))


def _kill(arguments: argparse.Namespace, folder: Path, record: Record) -> int:
    """Disturbed runs of every command in turn, until the time is over; or one of them."""
    until = time.monotonic() + 60 * arguments.minutes
    starts = tuple(arguments.command.split(","))
    chosen = [name for name in COMMANDS if name.startswith(starts)]
    given = folder / "given"
    fuzzing.in_child(lambda: write_inputs(given), folder)
    known: dict[str, killing.Undisturbed] = {}
    found = 0
    for name in chosen if arguments.fresh else ():
        record.content["kills"].pop(name, None)
    while time.monotonic() < until:
        name = min(chosen, key=lambda each: record.of("kills", each).get("seconds", 0))
        row = record.of("kills", name)
        if arguments.most and record.total("kills", "kills") >= arguments.most:
            break
        place = folder / name.replace(", ", "_").replace(" ", "_")
        if name not in known:
            known[name] = killing.undisturbed(COMMANDS[name], given, place / "whole")
        seed = row.get("trials", 0) if arguments.seed is None else arguments.seed
        began = time.monotonic()
        trial = killing.try_kills(name, seed, given, place / "disturbed", known[name])
        for finding in trial.findings:
            print(f"--command {name!r} --seed {seed}: {finding}", flush=True)
        found += bool(trial.findings)
        if arguments.seed is not None:
            print(f"{trial.kills} kills, {len(trial.findings)} findings")
            break
        row["seconds"] = round(row.get("seconds", 0) + time.monotonic() - began, 1)
        row["trials"] = seed + 1
        row["kills"] = row.get("kills", 0) + trial.kills
        for sent, number in trial.signals.items():
            row[sent] = row.get(sent, 0) + number
        findings = [{"seed": seed, "what": what[:2000]} for what in trial.findings]
        row.setdefault("findings", []).extend(findings)
        record.stamp("kills", name)
    print(f"{record.total('kills', 'kills')} kills in all")
    return int(bool(found))


def _repeat_findings(name: str, whole: Path, record: Record) -> int:
    """Try what was found before again: what is right by now is counted as mended."""
    row = record.of("inputs", name)
    before = row.get("findings", [])
    seeds = sorted({finding["seed"] for finding in before})
    still = [
        finding
        for seed in seeds
        for finding in fuzzing.run_batch(name, range(seed, seed + 1), whole).findings
    ]
    row["findings"] = still
    right = len(seeds) - len({finding["seed"] for finding in still})
    row["mended"] = row.get("mended", 0) + right
    if seeds:
        record.stamp("inputs", name)
        print(f"{name}: {right} of {len(seeds)} findings are mended", flush=True)
    return len(still)


if __name__ == "__main__":
    sys.exit(main())
