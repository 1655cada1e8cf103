"""What the campaigns have counted so far, in one file: the next run goes on where one stopped."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "campaign.json"


class Record:
    """Counts by kind of input and by command, with the commit of the last ones beside them."""

    def __init__(self, path: Path = RESULTS) -> None:
        self.path = path
        self.content: dict[str, Any] = {"inputs": {}, "kills": {}}
        if path.exists():
            self.content |= json.loads(path.read_text(encoding="utf-8"))

    def of(self, campaign: str, name: str) -> dict[str, Any]:
        """The counts of one row, new where there are none."""
        return self.content[campaign].setdefault(name, {})

    def total(self, campaign: str, number: str) -> int:
        """The sum of one number over the rows of a campaign."""
        return sum(row.get(number, 0) for row in self.content[campaign].values())

    def stamp(self, campaign: str, name: str) -> None:
        """Say of a row when and of which commit it was counted last, and write the file."""
        row = self.of(campaign, name)
        row["date"] = time.strftime("%Y-%m-%d")
        commits = row.setdefault("commits", [])
        if (now := commit()) not in commits:
            commits.append(now)
        text = json.dumps(self.content, indent=1, sort_keys=True) + "\n"
        beside = self.path.with_name(f".{self.path.name}.part")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self.path)


def commit() -> str:
    """The short name of what is checked out, with a plus where files differ from it."""
    words = ["git", "-C", str(Path(__file__).parent)]
    found = subprocess.run([*words, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    dirty = subprocess.run([*words, "status", "--porcelain", "-uno", "--", "../../src"],
                           capture_output=True, text=True)  # fmt: skip
    return found.stdout.strip() + ("+" if dirty.stdout.strip() else "")
