"""What scoring leaves in a folder: scores.csv, a page, and its strips as pictures of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bandweave.errors import OutputError
from bandweave.pansharp.report.pictures import Plate, draw_plate, error_ramp
from bandweave.pansharp.report.sections import Shown, show_plate, show_protocol, show_scores
from bandweave.pansharp.scores.names import SCORES
from bandweave.pansharp.scores.samples import Sample
from bandweave.pansharp.scores.tables import LEADING, ScoreRow
from bandweave.pansharp.scoring import SharpeningScores
from bandweave.raster.writing.outputs import OutputSet
from bandweave.report.page import render
from bandweave.report.section import make_sections

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
    plates = [draw_sample(sample, scores.rows, trained) for sample in scores.samples]
    texts = {"scores.csv": scores.csv(), "report.html": _fill_page(scores, plates)}
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
    """The name of the file that holds the strips of a sample."""
    name = re.sub(r"[^\w.]+", "-", sample.facts.name).strip("-")
    return f"strip-{name}-{sample.protocol}.png"


def draw_sample(sample: Sample, rows: Sequence[ScoreRow], trained: Sequence[str]) -> Plate:
    """Draw a sample, the picture of each method with its leading score.

    rows     the scores of all methods on it
    trained  methods whose spectra are shown in any case
    """
    protocol = sample.protocol
    name = LEADING[protocol]
    score = SCORES[name]
    found = {
        row.method: row.scores[name]
        for row in rows
        if (row.pair, row.protocol) == (sample.facts.name, protocol)
    }
    captions = {
        method: f"{score.table_text(value)} {score.unit}"
        if score.unit
        else f"{score.symbol} {score.table_text(value)}"
        for method, value in found.items()
    }
    ranked = sorted(found, key=lambda method: found[method], reverse=score.higher)
    leaders = [*trained, *(method for method in ranked if method not in trained)][:LEADERS]
    return draw_plate(sample, captions, leaders)


def _fill_page(scores: SharpeningScores, plates: Sequence[Plate]) -> str:
    shown = Shown(scores, plates)
    methods = list(dict.fromkeys(row.method for row in scores.rows))
    notes = [note for facts in scores.pairs for note in facts.notes]
    return render(
        "pansharp/report",
        "report.html.j2",
        title=scores.pairs[0].name if len(scores.pairs) == 1 else f"{len(scores.pairs)} pairs",
        subtitle=f"Pan-sharpening: {len(methods)} methods, "
        f"{' and '.join(shown.protocols)} resolution",
        notes=list(dict.fromkeys(notes)),
        sections=make_sections(
            (show_scores, *(partial(show_plate, plate) for plate in plates), show_protocol), shown
        ),
        ramp=error_ramp(),
    )
