"""The numbers of every step: history.csv always, TensorBoard when asked."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandweave.errors import ConfigError, FileError, OutputError
from bandweave.training.atomic import write_text

log = logging.getLogger(__name__)

Row = dict[str, float]


class History:
    """Rows of numbers, appended to a CSV file and flushed one by one.

    step   of the checkpoint that training continues from; rows beyond it, which a killed run wrote
           later, are cut off. 0 begins anew
    write  false on other ranks than 0: they keep their rows in memory alone
    """

    def __init__(self, path: Path, step: int = 0, write: bool = True) -> None:
        self.path = path
        self.write = write
        self.rows: list[Row] = []
        self.columns: list[str] = []
        if write and step:
            self._cut(step)
        elif write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)

    def _cut(self, step: int) -> None:
        if self.path.exists():
            self.rows = [row for row in read_history(self.path) if row["step"] <= step]
            self.columns = _header(self.path)
            self._rewrite()
        if len(self.rows) < step:
            log.warning(
                "%s has rows of %d of the %d steps before the checkpoint; the rest are lost",
                *(self.path, len(self.rows), step),
            )

    def append(self, row: Row) -> None:
        """Add a row; a column that no earlier row had is added to the file."""
        self.rows.append(row)
        if not self.write:
            return
        new = [name for name in row if name not in self.columns]
        try:
            if new:
                self.columns += new
                self._rewrite()
            else:
                with open(self.path, "a", encoding="utf-8", newline="") as file:
                    file.write(self._line(row))
        except OSError as error:
            raise OutputError(f"{self.path} could not be written: {error.strerror}") from error

    def flush(self) -> None:
        """Make the file durable, before a checkpoint that counts on it."""
        if self.write and self.path.exists():
            with open(self.path, "ab") as file:
                os.fsync(file.fileno())

    def _rewrite(self) -> None:
        header = ",".join(self.columns) + "\n"
        write_text(self.path, header + "".join(self._line(row) for row in self.rows))

    def _line(self, row: Row) -> str:
        return ",".join(_cell(row.get(name)) for name in self.columns) + "\n"


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.7g}"


def _header(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def read_history(path: Path | str) -> list[Row]:
    """The rows of a history.csv, a dict of numbers each; empty cells are left out.

    A last line that is not whole (the run is writing, or was killed) is left out too. Raises
    FileError for a file that is missing or is no such table.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        table = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))
        rows = [{k: float(v) for k, v in row.items() if v not in ("", None)} for row in table]
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, csv.Error) as error:
        raise FileError(f"{path}: not a table of numbers: {error}") from None
    for line, row in enumerate(rows, start=2):
        if not float(row.get("step", math.nan)).is_integer():
            raise FileError(f"{path}: not a history of training: no step is named in line {line}")
    return rows


class Board:
    """TensorBoard event files of the same numbers, or nothing unless `wanted`.

    Raises ConfigError if it is wanted and tensorboard is not installed.
    """

    def __init__(self, folder: Path, wanted: bool, step: int) -> None:
        self._writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ConfigError(
                    "tensorboard=True, but TensorBoard is not installed; "
                    "`pip install bandweave[tensorboard]`, or leave it out: history.csv has it all"
                ) from None
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, row: Mapping[str, float]) -> None:
        if self._writer:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        if self._writer:
            self._writer.close()
