"""A comparison from its plan to its tables: cells are made, read, summarised and written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bandweave.cluster.sharing import Sharing
from bandweave.comparison.cells import read_finished
from bandweave.comparison.kept import explain_kept, find_kept, keep_results, read_kept
from bandweave.comparison.making import claim_folder, follow_cells
from bandweave.comparison.plan import CellOptions
from bandweave.comparison.results import Result, read_results
from bandweave.comparison.summary import summarise
from bandweave.comparison.tables import format_markdown, format_results, format_tex, format_times
from bandweave.comparison.task import Task
from bandweave.output_files import only_writer_of_folder
from bandweave.training.atomic import write_text


@dataclass(frozen=True)
class Comparison:
    """A comparison that was made.

    folder   with runs, tables and page
    table    table.md
    """

    folder: Path
    results: list[Result]
    table: str

    @property
    def failed(self) -> list[Result]:
        """Cells that are not done."""
        return [each for each in self.results if not each.done]

    def __str__(self) -> str:
        return self.table


def make_comparison(
    task: Task,
    root: Path,
    options: CellOptions,
    sharing: Sharing,
    rows: Path | None,
    quiet: bool,
) -> Comparison:
    """Make what is missing of a comparison, and write its tables and page.

    rows    a file of results (kept.py): they are not made again, and new ones are added to it
    quiet   no progress

    Raises RunError where the folder holds another comparison, OutputError where it cannot be
    written or another process writes to it.
    """
    with only_writer_of_folder(root, "a comparison"):
        claim_folder(root, task.describe_plan(), task.growing)
        cells = [*task.cells()]
        kept = read_kept(rows, cells) if rows is not None else {}
        todo = [
            cell
            for cell in cells
            if read_finished(root, cell) is None and not find_kept(kept, cell)
        ]
        made = task.make_cells(root, todo, options, sharing)
        failures = follow_cells(made, len(todo), len(cells), quiet=quiet)
        results = [
            find_kept(kept, each.cell) or each if not each.done else each
            for each in read_results(root, cells, task.read_result, failures)
        ]
        task.check_same_pixels(root, results)
        if rows is not None:
            keep_results(rows, results, kept)
        summary = summarise(task, results)
        summary.notes += explain_kept([each for each in results if each in kept.values()])
        table = format_markdown(task, summary)
        texts = {
            "results.csv": format_results(task, results),
            "times.csv": format_times(task, results),
            "table.md": table,
            "table.tex": format_tex(task, summary),
            "compare.html": task.write_page(root, results, summary),
        }
        for name, text in texts.items():
            write_text(root / name, text)
    return Comparison(root, results, table)
