"""What scoring leaves in a folder: scores.csv, a page, and its strips as pictures of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bandweave.errors import OutputError
from bandweave.pansharp.report.pictures import FRAME_COLOURS, Plate, draw_plate, error_ramp
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.samples import Sample
from bandweave.pansharp.scores.tables import LEADING, ScoreRow, all_tables, names_of, shown
from bandweave.pansharp.scoring import BLOCKS, SharpeningScores
from bandweave.raster.writing.outputs import OutputSet
from bandweave.report.page import render
from bandweave.report.words import format_count

LEADERS = 4  # methods whose spectra have colours of their own


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise OutputError where nothing could be written into a folder, or it could not be made."""
    path = Path(folder)
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise OutputError(f"{path} cannot be made: {there} is a file; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission in {there}; choose another")


def write_scores(
    scores: SharpeningScores,
    folder: str | os.PathLike[str],
    trained: Sequence[str] = (),
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write scores.csv, report.html and strip-*.png, all of them or none; returns their paths.

    trained    methods that are runs, whose spectra are shown in any case
    overwrite  files that stand there may be replaced

    Raises OutputError where they cannot be written.
    """
    check_folder(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plates = [plate_of(sample, scores.rows, trained) for sample in scores.samples]
    texts = {"scores.csv": scores.csv(), "report.html": _page(scores, plates)}
    strips: dict[str, bytes] = {}
    for number, plate in enumerate(plates, 1):
        name = strip_name(plate.sample)
        strips[name if name not in strips else f"{number}-{name}"] = plate.png
    with OutputSet(overwrite=overwrite) as outputs:
        for name, text in texts.items():
            outputs.text(folder / name, text)
        for name, data in strips.items():
            outputs.path(folder / name).write_bytes(data)
    return [folder / name for name in (*texts, *strips)]


def strip_name(sample: Sample) -> str:
    """The file of its strip."""
    name = re.sub(r"[^\w.]+", "-", sample.facts.name).strip("-")
    return f"strip-{name}-{sample.protocol}.png"


def plate_of(sample: Sample, rows: Sequence[ScoreRow], trained: Sequence[str]) -> Plate:
    """The pictures of a sample, each with its method's leading score.

    rows     the scores of all methods on it
    trained  methods whose spectra are shown in any case
    """
    protocol = sample.protocol
    own = [row for row in rows if (row.scene, row.protocol) == (sample.facts.name, protocol)]
    name = LEADING[protocol]
    score = SCORES[name]
    captions = {row.method: _caption(name, row.scores[name]) for row in own}
    ranked = sorted(own, key=lambda row: row.scores[name], reverse=score.higher)
    leaders = [*trained, *(row.method for row in ranked if row.method not in trained)][:LEADERS]
    return draw_plate(sample, captions, leaders)


def _caption(name: str, value: float) -> str:
    score = SCORES[name]
    text = shown(name, value)
    return f"{text} {score.unit}" if score.unit else f"{score.symbol} {text}"


def _page(scores: SharpeningScores, plates: Sequence[Plate]) -> str:
    tables = all_tables(scores.rows)
    protocols = list(dict.fromkeys(row.protocol for row in scores.rows))
    notes = [note for facts in scores.scenes for note in facts.notes]
    methods = list(dict.fromkeys(row.method for row in scores.rows))
    number = len(scores.scenes)
    title = scores.scenes[0].name if number == 1 else f"{number} scenes"
    return render(
        "pansharp/report",
        "report.html.j2",
        title=title,
        subtitle=f"Pan-sharpening: {len(methods)} methods, {' and '.join(protocols)} resolution",
        notes=list(dict.fromkeys(notes)),
        tables=tables,
        scenes=[
            (facts, [(name, _counted(found)) for name, found in facts.counted.items()])
            for facts in scores.scenes
        ],
        blocks=BLOCKS,
        formulas=[
            (score, protocol)
            for protocol in protocols
            for score in names_of(scores.rows, protocol).values()
        ],
        plates=plates,
        frames=FRAME_COLOURS,
        ramp=error_ramp(),
        full="full" in protocols,
    )


def _counted(found: dict[str, int]) -> str:
    return ", ".join(
        f"{format_count(value)} {name.replace('_', ' ')}" for name, value in found.items()
    )
