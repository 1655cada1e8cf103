"""The tables as Markdown: what is printed, ours below or beside it, and every figure's protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.comparison.panels import Entry, Panel, Row
from bandweave.data.benchmarks.catalogue import describe
from bandweave.landcover.metrics import METRICS
from bandweave.report.metric import Metric
from papers.entries import Measured, Settings, average, name_of, others_of
from papers.printed import AVERAGE, ClassTable, Paper, PrintedRow, Table, flat, misfits
from papers.scenes import Scenes, in_words

HEADS = {"OA": "OA", "AA": "AA", "kappa": "κ×100", "parameters": "parameters (M)",
         "minutes": "training (min)"}  # fmt: skip
KEYS = {"OA": "overall_accuracy", "AA": "average_accuracy", "kappa": "kappa"}
DASH = "–"
ABSENT, NOT_RUN = "the scene is not here", "not run"


@dataclass(frozen=True)
class Writer:
    """What the tables of a paper are written from."""

    settings: Settings
    paper: Paper
    scenes: Scenes
    measured: Measured

    # Tables of scores -----------------------------------------------------------------------------

    def score_table(self, table: Table) -> str:
        """Rows by scene: what is printed, and ours below it, a line for each split."""
        heads = ["scene", "row", "of", *(HEADS[c] for c in table.columns), "seeds", "protocol",
                 "runs"]  # fmt: skip
        lines: list[list[str]] = []
        for scene in self._scenes_of(table):
            block = [line for row in table.rows for line in self._row(table, row, scene)]
            if table.comparison:
                for title in others_of(self.settings, self.paper):
                    block += self._ours(table, title, title, scene)
            lines += [[f"**{scene}**" if i == 0 else "", *line] for i, line in enumerate(block)]
        title = f"### {self.paper.paper}, {table.name}: {table.title}"
        return "\n".join([title, "", *markdown(heads, lines), *_bullets(table.notes)])

    def _scenes_of(self, table: Table) -> list[str]:
        printed = {scene for row in table.rows for scene in row.figures}
        known = [s for s in self.paper.scenes if table.averaged is False or s in self.scenes.here]
        return [*([AVERAGE] if AVERAGE in printed else []), *known, *self.scenes.others]

    def _row(self, table: Table, row: PrintedRow, scene: str) -> Iterator[list[str]]:
        figures = row.figures.get(scene)
        if figures is None:
            label = "not in the paper" if scene in self.scenes.others else "none at hand"
            label = "averages alone are printed" if table.averaged and scene != AVERAGE else label
            cells = [DASH] * len(table.columns)
        else:
            label = self.paper.protocols[table.protocol_of(row, scene)].label
            cells = [f"{value:.2f}" for value in figures]
        yield [row.name, "the paper", *cells, DASH, label, DASH]
        if row.ours is None:
            return
        words = flat(row.ours.options)
        text = f"`{words}`" if words else "the model"
        yield from self._ours(table, name_of(self.settings, self.paper, row.ours), text, scene)

    def _ours(self, table: Table, model: str, text: str, scene: str) -> Iterator[list[str]]:
        """Lines of a model of ours: one a split, or one of dashes and why."""
        of = f"bandweave, {model}" if text != model else "bandweave"
        nothing = [DASH] * (len(table.columns) + 1)
        if scene == AVERAGE:
            found = average(self.measured, self.paper, model)
            if found is None:
                here = [name for name in self.paper.scenes if name in self.measured.scenes]
                done = f"{', '.join(here) or 'none'} of {len(self.paper.scenes)} scenes"
                yield [text, of, *nothing, f"no average: there is {done}", DASH]
            else:
                cells = [self._averaged(found, column) for column in table.columns]
                label = "mean of the scenes below"
                yield [text, of, *cells, str(len(found["minutes"])), label, DASH]
            return
        rows = list(self.measured.of(scene, model))
        if not rows:
            yield [text, of, *nothing, ABSENT if scene in self.scenes.absent else NOT_RUN, DASH]
        for panel, row in rows:
            split = split_of(panel, model)
            cells = [_figure(row, column) for column in table.columns]
            runs = f"`{self.paper.model}/{row.runs}`"
            yield [text, of, *cells, str(row.seeds), split, runs]

    @staticmethod
    def _averaged(found: dict[str, list[float]], column: str) -> str:
        values = found.get(KEYS.get(column, column))
        if values is None:
            return DASH
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        metric = METRICS.get(KEYS.get(column, column), Metric("", digits=2))
        return str(Entry(metric, float(np.mean(values)), spread, len(values)))

    # Tables of classes ----------------------------------------------------------------------------

    def class_table(self, table: ClassTable, scene: str | None = None) -> str:
        """Classes by methods, ours at the right; of another scene, its classes and no figures."""
        printed = scene is None
        name = table.scene if scene is None else scene
        if printed:
            own = [each.name for each in describe(table.scene).classes.values()]
            title = f"### {self.paper.paper}, {table.name}: classes of {name}"
            rows = [[k, *(f"{v:.2f}" for v in row)] for k, row in table.classes.items()]
            totals = [[f"{v:.2f}" for v in row] for row in (table.OA, table.AA, table.kappa)]
            labels = [self.paper.protocols[table.protocol_of(m)].label for m in table.methods]
        else:
            own = [each.name for each in self.scenes.here[name].classes]
            title = f"### {self.paper.paper}, as {table.name}: classes of {name}"
            title += ", which the paper does not have"
            dashes = [DASH] * len(table.methods)
            rows, totals = [[each, *dashes] for each in own], [dashes] * 3
            labels = ["not in the paper"] * len(table.methods)
        columns = [*self._class_columns(table, name)]
        for i, row in enumerate(rows):
            row += [str(each.parts[i]) if each else DASH for _, each, _ in columns]
        ours = [[_figure(each, key) if each else DASH for _, each, _ in columns] for key in KEYS]
        body = [[str(i + 1), *own_name(own, i, printed), *row] for i, row in enumerate(rows)]
        blank = [""] * (2 if printed else 1)
        for head, cells, mine in zip(KEYS, totals, ours, strict=True):
            body.append([*blank, HEADS[head], *cells, *mine])
        body.append([*blank, "protocol", *labels, *(label for *_, label in columns)])
        seeds = [str(each.seeds) if each else DASH for _, each, _ in columns]
        body.append([*blank, "seeds", *[DASH] * len(table.methods), *seeds])
        heads = ["", *(["class"] if printed else []), "as printed" if printed else "class",
                 *table.methods, *(f"bandweave, {title}" for title, *_ in columns)]  # fmt: skip
        notes = [f"{m}: {line}." for m, found in misfits(table).items() for line in found]
        runs = [f"{t}, {label}: `{self.paper.model}/{r.runs}`" for t, r, label in columns if r]
        bullets = [*(table.notes if printed else ()), *(notes if printed else ())]
        return "\n".join([title, "", *markdown(heads, body), *_bullets([*bullets, *runs])])

    def _class_columns(
        self, table: ClassTable, scene: str
    ) -> Iterator[tuple[str, Row | None, str]]:
        models = [name_of(self.settings, self.paper, ours) for ours in table.ours.values()]
        for model in [*models, *others_of(self.settings, self.paper)]:
            rows = list(self.measured.of(scene, model))
            if not rows:
                yield model, None, ABSENT if scene in self.scenes.absent else NOT_RUN
            for panel, row in rows:
                yield model, row, split_of(panel, model)

    # What stands below ----------------------------------------------------------------------------

    def legend(self, tables: Sequence[Table | ClassTable]) -> str:
        """What the protocols of the paper's figures and of ours are."""
        lines = [f"### {self.paper.paper}: protocols", "", f"Source: {self.paper.source}", ""]
        used = dict.fromkeys(key for table in tables for key in _keys(table))
        for key in used:
            protocol = self.paper.protocols[key]
            lines.append(f"- {protocol.label}: {protocol.text}.")
        for panel in self.measured.summary.panels:
            split = split_of(panel, next(iter(panel.results)))
            said = "; ".join(f"{term}: {text}" for term, text in panel.protocol)
            lines.append(f"- Ours, {panel.case[0]}, {split}: every test pixel once. {said}.")
            lines += [f"    - {note}." for note in panel.notes]
        notes = self.measured.summary.footnotes
        lines += ["", *(f"[{i}] {text}\n" for i, text in enumerate(notes, 1))]
        return "\n".join(lines).rstrip()


def _keys(table: Table | ClassTable) -> Iterable[str]:
    if isinstance(table, ClassTable):
        return [table.protocol_of(method) for method in table.methods]
    return [table.protocol_of(row, scene) for row in table.rows for scene in row.figures]


def split_of(panel: Panel, model: str) -> str:
    """The split in a few words, and how many classes it leaves out."""
    results = panel.results[model]
    dropped = {len(each.facts["protocol"]["dropped"]) for each in results if each.facts} - {0}
    text = in_words(results[0].cell.work["split"])
    if dropped:
        numbers = " or ".join(str(number) for number in sorted(dropped))
        text += f", without {numbers} class{'es' if max(dropped) > 1 else ''}"
    return text


def own_name(own: Sequence[str], i: int, printed: bool) -> list[str]:
    """The benchmark's own name of a class, where the table prints another beside it."""
    return [own[i]] if printed else []


def _figure(row: Row, column: str) -> str:
    """Of ours, with its deviation over seeds."""
    if column == "parameters":
        return DASH if row.parameters is None else f"{row.parameters / 1e6:.2f}"
    if column == "minutes":
        return DASH if row.seconds is None else f"{row.seconds / 60:.2f}"
    entry = row.scores[KEYS[column]]
    return f"{DASH} [{entry.footnote}]" if entry.footnote is not None else str(entry)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


def _bullets(notes: Iterable[str]) -> list[str]:
    lines = [f"- {note}" for note in notes]
    return ["", *lines] if lines else []


def preamble(settings: Settings, papers: Sequence[Paper], scenes: Scenes) -> str:
    """What ours are, what is here, and what is not."""
    presets = ", ".join(settings.preset(paper.model) for paper in papers)
    steps = "the presets' steps" if settings.steps is None else f"{settings.steps} steps"
    number = len(settings.seeds)
    lines = [
        "# Tables of papers, and ours beside them",
        "",
        "Rows of the paper are what it prints, under the protocol that the row names; figures of "
        "different protocols cannot be compared. Rows of bandweave are its own models on this "
        f"machine: {presets}, {steps}, {number} seed{'s' if number != 1 else ''}; mean ± standard "
        "deviation over seeds, in percent, each test pixel once.",
        "",
    ]
    if settings.size != "paper":
        lines += [
            f"Ours are of the size {settings.size!r}: smaller than the papers' models, to run on a "
            "laptop. `--size paper` takes theirs.",
            "",
        ]
    lines += [f"- Here: {name}, {_size(scenes, name)}" for name in scenes.here]
    lines += [f"- Not here: {name} ({why}); its rows of ours are dashes"
              for name, why in scenes.absent.items()]  # fmt: skip
    return "\n".join(lines)


def _size(scenes: Scenes, name: str) -> str:
    scene = scenes.here[name]
    layers = ", ".join(f"{key} of {layer.bands} bands" for key, layer in scene.layers.items())
    return f"{len(scene.classes)} classes, {layers}".replace("of 1 bands", "of one band")
