"""The tables of a comparison of sharpening: Markdown, and LaTeX with booktabs."""

from __future__ import annotations

from bandweave.comparison.sharpening.summary import Comparisons, Method, Panel
from bandweave.comparison.tables import escaped, markdown_rows, marked, tex_cell
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.protocols import PROTOCOLS
from bandweave.report.words import counted, seconds_in_words

SCORE_WORDS = "Means over the test pairs; of what is trained, mean ± standard deviation over seeds."
SIGNS = {
    "D_λᴷ": "$D_\\lambda^K$",
    "D_λ": "$D_\\lambda$",
    "D_s": "$D_s$",
    "Q2ⁿ": "Q2$^n$",
    "°": "$^\\circ$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
}


def markdown(found: Comparisons) -> str:
    """table.md: what all share, and for each protocol the scores, and the leading one by pair."""
    pieces = ["# Comparison of sharpening", "", f"{SCORE_WORDS} {found.claims}", ""]
    pieces += [f"- {term}: {text}" for term, text in found.protocol]
    pieces += [*(f"- Note: {note}" for note in found.notes), ""]
    for panel in found.panels:
        pieces += _panel(panel)
    heads = ["model", "seeds", "parameters", "training", *(f"a pair, {p}" for p in PROTOCOLS)]
    rows = [[*_facts(each), f"`{each.runs}`"] for each in found.methods]
    pieces += ["## Methods", "", *markdown_rows([*heads, "runs"], rows), ""]
    pieces += [f"[{i}] {text}\n" for i, text in enumerate(found.footnotes, 1)]
    return "\n".join(pieces).rstrip() + "\n"


def _panel(panel: Panel) -> list[str]:
    rows = [[row.model, *(marked(row.scores[name]) for name in panel.names)] for row in panel.rows]
    lines = [f"## {panel.title}", "", *markdown_rows(["model", *panel.heads], rows), ""]
    lines += [f"- Note: {note}" for note in panel.notes]
    lines += [""] if panel.notes else []
    if len(panel.pairs) > 1:
        leading = SCORES[panel.leading]
        heads = [f"{leading.symbol} {leading.unit}".rstrip(), *panel.pairs]
        rows = [[row.model, *map(marked, row.pairs)] for row in panel.rows]
        lines += [*markdown_rows(heads, rows), ""]
    return lines


def _facts(method: Method) -> list[str]:
    took = [method.seconds, *(method.paces[protocol] for protocol in PROTOCOLS)]
    return [
        method.model,
        "–" if method.seeds is None else str(method.seeds),
        "–" if method.parameters is None else counted(method.parameters),
        *("–" if each is None else seconds_in_words(each) for each in took),
    ]


def tex(found: Comparisons) -> str:
    """table.tex: methods by scores for each protocol, as papers print them."""
    pieces = ["% needs \\usepackage{booktabs}"]
    for panel in found.panels:
        pieces += ["", *_table(panel, found)]
    return "\n".join(pieces) + "\n"


def _table(panel: Panel, found: Comparisons) -> list[str]:
    lines = [f"% {each.model}: {each.runs}" for each in found.methods]
    lines += [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_text(_caption(panel, found))}}}",
        f"\\begin{{tabular}}{{l{'r' * len(panel.names)}}}",
        "\\toprule",
        " & ".join(["Method", *map(_text, panel.heads)]) + " \\\\",
        "\\midrule",
    ]
    for row in panel.rows:
        cells = [tex_cell(row.scores[name]) for name in panel.names]
        lines.append(" & ".join([escaped(row.model), *cells]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    for note in (row.scores[panel.leading].footnote for row in panel.rows):
        if note is not None:
            text = _text(found.footnotes[note - 1])
            lines.append(f"\\\\[2pt] {{\\footnotesize [{note}] {text}}}")
    return [*lines, "\\end{table}"]


def _caption(panel: Panel, found: Comparisons) -> str:
    lines = "; ".join(f"{term}: {text}" for term, text in found.protocol)
    notes = [f"{note.rstrip('.')}." for note in (*found.notes, *panel.notes)]
    return " ".join([f"{panel.title}.", SCORE_WORDS, found.claims, f"{lines}.", *notes])


def _text(text: str) -> str:
    """For LaTeX, with the signs of scores."""
    marks = {sign: f"\x00{number}\x00" for number, sign in enumerate(SIGNS)}
    for sign, mark in marks.items():
        text = text.replace(sign, mark)
    text = escaped(text).replace("′", "$'$")
    for sign, mark in marks.items():
        text = text.replace(mark, SIGNS[sign])
    return text
