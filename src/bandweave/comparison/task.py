"""The contract of a task that is compared for: land cover, or sharpening."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.cluster.sharing import Sharing
from bandweave.comparison.panels import Panel, Summary
from bandweave.comparison.plan import Cell, CellOptions
from bandweave.comparison.results import Result


class Task(ABC):
    """A task: its cells, metrics, test of a difference, and words.

    case_names  names of a cell's case, as columns of CSV files
    growing     parts of the plan to which may be added
    title       title of the tables
    words       what the numbers are: one sentence
    against     model that the others' gains are over: its name in the table; CLASSICAL for the
                classical method that is best in a panel; "" for none
    joint       True where a metric's panels are tested as one family, not each for itself
    times       columns of times.csv
    """

    case_names: Sequence[str]
    growing: Sequence[str]
    title: str
    words: str
    against: str
    joint: bool
    times: Sequence[str]

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The columns of results.csv."""

    @property
    @abstractmethod
    def signs(self) -> Mapping[str, str]:
        """The signs of metrics as LaTeX writes them, longer ones first."""

    # Cells ---------------------------------------------------------------------------------------

    @abstractmethod
    def describe_plan(self) -> dict[str, Any]:
        """The plan as compare.yaml holds it."""

    @abstractmethod
    def cells(self) -> Iterable[Cell]:
        """Every cell, in the order of the table."""

    @abstractmethod
    def make_cells(
        self, root: Path, cells: Sequence[Cell], options: CellOptions, sharing: Sharing
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Make cells; each with what came of it, as they are done."""

    # What came of them ---------------------------------------------------------------------------

    @abstractmethod
    def read_result(self, cell: Cell, facts: dict[str, Any], scores: dict[str, Any]) -> Result:
        """The result of a cell, from what cell.json and scores.json hold."""

    @abstractmethod
    def check_same_pixels(self, root: Path, results: Sequence[Result]) -> None:
        """Raise RunError where models were scored on different pixels."""

    @abstractmethod
    def list_csv_rows(self, result: Result) -> Iterable[dict[str, Any]]:
        """The lines of results.csv of a result, by the names of columns."""

    # Summaries -----------------------------------------------------------------------------------

    @abstractmethod
    def make_panels(self, results: Sequence[Result]) -> list[Panel]:
        """Panels with results, columns and parts; without rows."""

    @abstractmethod
    def test_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> float:
        """The p of a difference between two models; NaN where nothing can be claimed.

        values   (k, n) of each model
        """

    @abstractmethod
    def estimate_difference(
        self, panel: Panel, one: str, other: str, values: Mapping[str, np.ndarray]
    ) -> tuple[float, float, float]:
        """The mean difference between two models and the ends of its 95 % interval, maybe NaN."""

    @abstractmethod
    def is_classical(self, cell: Cell) -> bool:
        """True where a cell is of a classical method."""

    @abstractmethod
    def describe_model(self, panel: Panel, results: Sequence[Result]) -> dict[str, Any]:
        """The facts of a model that its row shows besides scores, by name."""

    @abstractmethod
    def describe_panel(self, panel: Panel) -> None:
        """Write a panel's protocol, notes and line, which its rows are ready for."""

    @abstractmethod
    def describe_all(self, results: Sequence[Result], summary: Summary) -> None:
        """Write what all panels share."""

    @abstractmethod
    def claim(self, panels: Sequence[Panel], tested: int) -> str:
        """The meaning of a bold number, or why none is bold; of so many pairs of models."""

    # Tables and page -----------------------------------------------------------------------------

    @abstractmethod
    def format_panel(self, panel: Panel) -> list[str]:
        """The tables of a panel in Markdown, with protocol and notes."""

    def format_closing(self, summary: Summary) -> list[str]:
        """The lines that follow the panels in Markdown."""
        return []

    @abstractmethod
    def list_tex_groups(self, panel: Panel) -> list[list[list[str]]]:
        """The heads of a panel's table in LaTeX, then its rows in groups with a rule between."""

    @abstractmethod
    def caption(self, panel: Panel, summary: Summary) -> str:
        """The caption of a panel's table in LaTeX, not yet escaped."""

    @abstractmethod
    def write_page(self, root: Path, results: Sequence[Result], summary: Summary) -> str:
        """The page's HTML; pictures that stand beside it are written into the folder."""
