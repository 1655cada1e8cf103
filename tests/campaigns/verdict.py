"""What is right of a damaged input, and what is a finding."""

from __future__ import annotations

import shutil
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from bandweave.cli.failures import explain
from bandweave.errors import BandweaveError, printable

from .kinds import KINDS, Kind, WrongResult, changed

LONGEST = 2100  # signs of a message


@dataclass
class Verdict:
    """What came of one input.

    findings  what should not have happened, a line each
    refused   some reading ended with a BandweaveError
    """

    findings: list[str] = field(default_factory=list)
    refused: bool = False


def make(name: str, folder: Path) -> Path:
    """Write a kind's whole input into a folder of its own inside `folder`, and return that."""
    whole = folder / name.replace(":", "_") / "whole"
    whole.mkdir(parents=True)
    KINDS[name].write(whole)
    return whole


def try_input(name: str, seed: int, whole: Path) -> Verdict:
    """Damage a copy of the whole input by the seed, read it, and remove it."""
    folder = whole.with_name(str(seed))
    shutil.rmtree(folder, ignore_errors=True)  # what a worker that was killed left
    shutil.copytree(whole, folder)
    try:
        kind = KINDS[name]
        changed(folder, kind, seed, name)
        return read_all(kind, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_all(kind: Kind, folder: Path) -> Verdict:
    """Read an input in each of the ways of its kind."""
    verdict = Verdict()
    for read in kind.reads:
        try:
            read(folder)
        except BandweaveError as error:
            verdict.refused = True
            if wrong := _wrong_message(error):
                verdict.findings.append(
                    f"{wrong} {type(error).__name__} @ {_place(error)}: {error}"
                )
        except WrongResult as error:
            verdict.findings.append(f"WRONG RESULT: {error}")
        except (Exception, SystemExit) as error:
            verdict.findings.append(f"{type(error).__name__} @ {_place(error)}: {error}")
    verdict.findings = [" ".join(ascii(line)[1:-1].split())[:400] for line in verdict.findings]
    return verdict


def _wrong_message(error: BandweaveError) -> str:
    """What is wrong with the line that a user reads; '' where nothing is."""
    line, _ = explain(error)
    if "\n" in line or printable(line) != line:
        return "CONTROL SIGNS IN"
    if len(line) > LONGEST:
        return f"{len(line)} SIGNS IN"
    return "" if line.removeprefix("bandweave: error:").strip() else "NO WORDS IN"


def _place(error: BaseException) -> str:
    """The last line of bandweave that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/bandweave/" in frame.filename] or frames
    last = own[-1]
    return f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno} {last.name}"
