"""The tables of a comparison: Markdown, and LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from bandweave.comparison.results import Result
from bandweave.comparison.summary import HEADS, SCORES, Comparisons, Entry, Row, Summary, summarise
from bandweave.report.words import counted

SCORE_WORDS = "In percent: mean ± standard deviation over seeds; every test pixel counts once."


def markdown(results: Sequence[Result]) -> str:
    """table.md: for each scene and split the scores, the protocol, and the classes."""
    found = summarise(results)
    pieces = ["# Comparison", "", SCORE_WORDS + " " + found.claims, ""]
    for summary in found.panels:
        pieces += _panel(summary)
    if found.footnotes:
        pieces += [f"[{i}] {text}\n" for i, text in enumerate(found.footnotes, 1)]
    return "\n".join(pieces).rstrip() + "\n"


def _panel(summary: Summary) -> list[str]:
    heads = ["model", *HEADS.values(), "seeds", "parameters", "reach, test px within it", "runs"]
    rows = [_line(row) for row in summary.rows]
    lines = [f"## {summary.title}", "", *markdown_rows(heads, rows), ""]
    if summary.panel.classes:
        heads = ["accuracy of class", *(row.model for row in summary.rows)]
        lines += markdown_rows(heads, [
            [name, *(marked(row.classes[k]) for row in summary.rows)]
            for k, name in enumerate(summary.panel.classes)
        ])  # fmt: skip
        lines.append("")
    lines += [f"- {term}: {text}" for term, text in summary.protocol]
    lines += [f"- Note: {note}" for note in summary.notes]
    return [*lines, ""]


def _line(row: Row) -> list[str]:
    return [
        row.model,
        *(marked(row.scores[score]) for score in SCORES),
        str(row.seeds),
        "–" if row.parameters is None else counted(row.parameters),
        row.reach,
        f"`{row.runs}`",
    ]


def marked(entry: Entry) -> str:
    """An entry in Markdown."""
    if entry.footnote is not None:
        return f"– [{entry.footnote}]"
    return f"**{entry}**" if entry.holds else str(entry)


def markdown_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


# LaTeX --------------------------------------------------------------------------------------------


def tex(results: Sequence[Result]) -> str:
    """table.tex: classes by models for each scene and split, as papers print them."""
    found = summarise(results)
    pieces = ["% needs \\usepackage{booktabs}"]
    for summary in found.panels:
        pieces += ["", *_table(summary, found)]
    return "\n".join(pieces) + "\n"


def _table(summary: Summary, found: Comparisons) -> list[str]:
    rows = summary.rows
    lines = ["% " + " ".join(f"{row.model}: {row.runs}".split()) for row in rows]
    lines += [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escaped(_caption(summary, found))}}}",
        f"\\begin{{tabular}}{{l{'r' * len(rows)}}}",
        "\\toprule",
        " & ".join(["Class", *(escaped(row.model) for row in rows)]) + " \\\\",
        "\\midrule",
    ]
    for k, name in enumerate(summary.panel.classes):
        lines.append(" & ".join([escaped(name), *(tex_cell(r.classes[k]) for r in rows)]) + " \\\\")
    if summary.panel.classes:
        lines.append("\\midrule")
    for score, head in HEADS.items():
        cells = [tex_cell(row.scores[score]) for row in rows]
        lines.append(" & ".join([head.replace("κ×100", "$\\kappa \\times 100$"), *cells]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    for note in (row.scores[SCORES[0]].footnote for row in rows):
        if note is None:
            continue
        lines.append(f"\\\\[2pt] {{\\footnotesize [{note}] {escaped(found.footnotes[note - 1])}}}")
    return [*lines, "\\end{table}"]


def _caption(summary: Summary, found: Comparisons) -> str:
    lines = [f"{term}: {text}" for term, text in summary.protocol if not term.startswith("Hash")]
    hashes = [text for term, text in summary.protocol if term.startswith("Hash")]
    notes = [f"{note}." for note in summary.notes]
    parts = [f"{summary.title}.", SCORE_WORDS, found.claims, "; ".join(lines) + "."]
    parts += [f"Hash: {hashes[0]}."] if hashes else []
    return " ".join([*parts, *notes])


def tex_cell(entry: Entry) -> str:
    """An entry in LaTeX."""
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


def escaped(text: str) -> str:
    """Text for LaTeX.

    >>> escaped("m3amba_tiny & 50 %")
    'm3amba\\\\_tiny \\\\& 50 \\\\%'

    A star or bracket at the beginning of a row would be an option of the row before.

    >>> escaped("[a]*")
    '{[}a{]}{*}'
    """
    return "".join(TEX.get(sign, sign) for sign in text)
