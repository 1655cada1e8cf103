"""The tables of a comparison: Markdown, LaTeX with booktabs, and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bandweave.comparison.results import Result, time_row
from bandweave.comparison.summary import Entry, Panel, Summary, Task
from bandweave.csv_text import format_csv

# CSV ---------------------------------------------------------------------------------------------


def format_results(task: Task, results: Sequence[Result]) -> str:
    """results.csv: scores of every cell, and nothing that depends on when it was made."""
    return format_csv(
        task.columns, (row for result in results for row in task.list_csv_rows(result))
    )


def format_times(task: Task, results: Sequence[Result]) -> str:
    """times.csv: seconds of every cell, and what they depend on."""
    return format_csv(
        task.times, (time_row(task.case_names, each) for each in results if each.done)
    )


# Markdown ----------------------------------------------------------------------------------------


def format_markdown(task: Task, summary: Summary) -> str:
    """table.md: what all panels share, their tables, and footnotes."""
    pieces = [f"# {task.title}", "", f"{task.words} {summary.claims}", ""]
    shared = [*list_terms(summary.protocol), *list_notes(summary.notes)]
    pieces += [*shared, ""] if shared else []
    for panel in summary.panels:
        pieces += [f"## {panel.title}", "", *task.format_panel(panel)]
    pieces += task.format_closing(summary)
    pieces += [f"[{i}] {text}\n" for i, text in enumerate(summary.footnotes, 1)]
    return "\n".join(pieces).rstrip() + "\n"


def list_terms(terms: Iterable[tuple[str, str]]) -> list[str]:
    """Terms and what they are, as a list in Markdown."""
    return [f"- {term}: {text}" for term, text in terms]


def list_notes(notes: Iterable[str]) -> list[str]:
    """Notes as a list in Markdown."""
    return [f"- Note: {note}" for note in notes]


def mark_entry(entry: Entry) -> str:
    """An entry in Markdown: bold where it holds."""
    if entry.footnote is not None:
        return f"– [{entry.footnote}]"
    return f"**{entry}**" if entry.holds else str(entry)


def markdown_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


# LaTeX -------------------------------------------------------------------------------------------


def format_tex(task: Task, summary: Summary) -> str:
    """table.tex: a table for each panel, as papers print them."""
    pieces = ["% needs \\usepackage{booktabs}"]
    for panel in summary.panels:
        pieces += ["", *_format_tex_table(task, panel, summary)]
    return "\n".join(pieces) + "\n"


def _format_tex_table(task: Task, panel: Panel, summary: Summary) -> list[str]:
    (heads, *groups) = task.list_tex_groups(panel)
    lines = ["% " + " ".join(f"{row.model}: {row.runs}".split()) for row in panel.rows]
    lines += [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape_tex(task.caption(panel, summary), task.signs)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(heads[0]) - 1)}}}",
        "\\toprule",
    ]
    for number, group in enumerate([heads, *filter(None, groups)]):
        lines += ["\\midrule"] if number else []
        lines += [" & ".join(cells) + " \\\\" for cells in group]
    lines += ["\\bottomrule", "\\end{tabular}"]
    for row in panel.rows:
        note = row.scores[panel.leading].footnote
        if note is not None:
            text = escape_tex(summary.footnotes[note - 1], task.signs)
            lines.append(f"\\\\[2pt] {{\\footnotesize [{note}] {text}}}")
    return [*lines, "\\end{table}"]


def tex_entry(entry: Entry) -> str:
    """An entry in LaTeX: bold where it holds."""
    if entry.footnote is not None:
        return f"-- [{entry.footnote}]"
    text = str(entry).replace("–", "--").replace("±", "$\\pm$")
    return f"\\textbf{{{text}}}" if entry.holds else text


TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "κ": "$\\kappa$",
    "²": "$^2$",
    "…": "\\dots{}",
    "–": "--",
    "\n": " ",
    "\r": " ",
}


def escape_tex(text: str, signs: Mapping[str, str] | None = None) -> str:
    """Text for LaTeX.

    signs   how signs of metrics are written, such as κ×100; longer ones first

    >>> escape_tex("m3amba_tiny & 50 %")
    'm3amba\\\\_tiny \\\\& 50 \\\\%'

    A star or bracket at the beginning of a row would be an option of the row before.

    >>> escape_tex("[a]*")
    '{[}a{]}{*}'
    """
    if not signs:
        return "".join(TEX.get(sign, sign) for sign in text)
    pieces = re.split(f"({'|'.join(map(re.escape, signs))})", text)
    return "".join(signs.get(piece) or escape_tex(piece) for piece in pieces)
