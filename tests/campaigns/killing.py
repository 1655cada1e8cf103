"""Kills at random moments of every command that writes, and what is left afterwards.

A command runs in a process of its own: most often forked from this one, which has imported
everything; one in ten from a cold start, imports included. It is sent a signal at a moment between
its begin and its end, once to three times; then it is called again and runs to its end. What it
leaves has to be what an undisturbed run leaves: every file, the same content, and nothing more.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .commands import COMMANDS, Command
from .same import differing, other

SIGNALS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
PATIENCE = 20.0  # seconds from a signal to the end
COLD = 0.1  # share of processes that begin with their imports
LASTS = 600.0  # seconds, for a whole run


@dataclass
class Undisturbed:
    """What a command leaves, and how long it takes: forked, and from a cold start."""

    folder: Path
    seconds: float
    cold_seconds: float


@dataclass
class Trial:
    """One disturbed run.

    kills      signals that met a running process
    findings   what should not have happened, a line each
    """

    kills: int = 0
    signals: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def undisturbed(command: Command, given: Path, out: Path) -> Undisturbed:
    """Run a command to its end, twice: the second time tells how long it takes."""
    seconds = []
    for cold in (False, False, True):
        command.begin(given, out)
        began = time.monotonic()
        process = start(command.line(given, out), out.with_suffix(".log"), cold)
        status = process.wait(LASTS)
        seconds.append(time.monotonic() - began)
        if status:
            raise SystemExit(f"it ends with {status}: {out.with_suffix('.log').read_text()}")
    return Undisturbed(out, *seconds[1:])


def try_kills(name: str, seed: int, given: Path, out: Path, known: Undisturbed) -> Trial:
    """One disturbed run, the same for the same seed but for what the machine's load makes of it."""
    command, rng, trial = COMMANDS[name], random.Random(f"{name} {seed}"), Trial()
    log = out.with_suffix(".log")
    command.begin(given, out)
    for attempt in range(rng.choice((1, 1, 1, 2, 3))):
        cold = rng.random() < COLD
        moment = rng.random() * 1.05 * (known.cold_seconds if cold else known.seconds)
        sent = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        process = start(command.line(given, out, attempt > 0), log, cold)
        where = f"{sent.name} after {moment:.2f} s{', cold' if cold else ''}"
        status = process.wait(moment)
        if status is None:
            trial.kills += 1
            trial.signals[sent.name] = trial.signals.get(sent.name, 0) + 1
            process.send(sent)
            status = process.wait(PATIENCE)
        findings = _after(process, status, sent, log)
        findings += other(out, known.folder, growing=True)
        trial.findings += [f"{where}: {finding}" for finding in findings]
        if status == 0:
            break
    process = start(command.line(given, out, again=True), log, cold=False)
    status = process.wait(LASTS)
    if status:
        trial.findings.append(f"called again it ends with {status}: {_told(log)}")
    trial.findings += differing(out, known.folder)
    return trial


def _after(process: Process, status: int | None, sent: signal.Signals, log: Path) -> list[str]:
    """What is wrong with the end of a process that was sent a signal, or was faster."""
    found = []
    if status is None:
        process.send(signal.SIGUSR1)  # it tells where it is
        process.wait(1)
        process.send(signal.SIGKILL)
        process.wait(PATIENCE)
        found.append(f"HANG of {PATIENCE:.0f} s: {_told(log, 2000)}")
    elif status not in (0, *SIGNALS[sent]):
        found.append(f"STATUS {status}: {_told(log)}")
    elif "Traceback" in _told(log) or "not foreseen" in _told(log):
        found.append(f"TRACEBACK: {_told(log)}")
    until = time.monotonic() + 5
    while process.alive() and time.monotonic() < until:
        time.sleep(0.02)
    if alive := process.alive():
        found.append(f"ALIVE: {', '.join(map(str, alive))}")
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
    return found


def _told(log: Path, longest: int = 300) -> str:
    """The end of what a process wrote, on one line."""
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    return " ".join(told.split())[-longest:]


# Processes ----------------------------------------------------------------------------------------


@dataclass
class Process:
    """A command in a session of its own, so that its children are found."""

    pid: int
    status: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None where it still runs after `seconds`."""
        until = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif (left := until - time.monotonic()) <= 0:
                return None
            else:
                time.sleep(min(0.002, left))
        return self.status

    def send(self, sent: signal.Signals) -> None:
        """Send a signal: Ctrl-C reaches all processes of a terminal, others the first one."""
        with contextlib.suppress(ProcessLookupError):  # it was faster
            (os.killpg if sent == signal.SIGINT else os.kill)(self.pid, sent)

    def alive(self) -> list[int]:
        """Processes of its session that still run."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == self.pid and words[0] not in "ZX":
                found.append(int(stat.parent.name))
        return found


def start(line: list[str], log: Path, cold: bool) -> Process:
    """Begin a command, its output to a file."""
    if cold:
        with log.open("wb") as file:
            words = [sys.executable, "-m", "bandweave", *line]
            begun = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        begun.returncode = 0  # it is waited for by its pid
        return Process(begun.pid)
    child = os.fork()
    if not child:
        _serve(line, log)
    return Process(child)


def _serve(line: list[str], log: Path) -> None:
    """The forked process: never returns."""
    status = 1
    try:
        try:
            os.setsid()
            target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(target, stream)
            faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
            from bandweave.cli.main import main

            sys.argv = ["bandweave", *line]  # as from a shell: at its end signals are unheeded
            status = main()
            atexit._run_exitfuncs()
        except KeyboardInterrupt:  # before `main` had begun
            status = 130
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
