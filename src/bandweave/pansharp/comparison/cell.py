"""One cell of a comparison of sharpening, in its run folder: trained, and scored on all test pairs.

    scores.json   scores of each test pair, what they depend on, and seconds; grows pair by pair
    images/       what the method made of the region of a pair that the page shows, float32
    cell.json     what the cell was, when all is done

and the files of a run (training/folder.py). What a cell that was killed left is continued: training
from its checkpoint, scoring with the next pair.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.comparison.cells import attempt_cell, list_versions
from bandweave.comparison.plan import Cell, CellOptions, file_name
from bandweave.errors import RunError
from bandweave.pansharp.config import SharpenConfig
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.run import SharpenRun
from bandweave.pansharp.scores.names import plain
from bandweave.pansharp.scores.protocols import PROTOCOLS
from bandweave.pansharp.scoring import SAMPLES, SharpeningScores, score_sharpeners, trained
from bandweave.pansharp.training import train_sharpener
from bandweave.training.atomic import whole, write_yaml
from bandweave.training.config import conflicts
from bandweave.training.folder import RunFolder, machine


def run_cell(root: Path, cell: Cell, options: CellOptions) -> dict[str, Any]:
    """Do what is missing of a cell and return what `cell.json` or `failed.json` then holds."""
    folder = RunFolder(root / cell.place)
    with _quiet(options.quiet):
        return attempt_cell(root, cell, lambda: _make(folder, cell, options))


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    logger = logging.getLogger("bandweave")
    level = logger.level
    if quiet:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def image_file(folder: Path, pair: str, protocol: str) -> Path:
    """The file where a cell keeps what it made of a test pair."""
    return folder / "images" / f"{file_name(pair)}-{protocol}.npy"


def open_test_pair(files: Mapping[str, Any], options: Mapping[str, Any]) -> Pair:
    """A test pair as the plan has it, open."""
    given = {name: options[name] for name in ("ratio", "crs", "nodata")}
    return open_pair(files["pan"], list(files["ms"]), **given)


def _make(folder: RunFolder, cell: Cell, options: CellOptions) -> dict[str, Any]:
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    run, method, asked = None, cell.work["config"].get("method"), cell.work["options"]
    if method is None:
        run = _train(folder, cell)
    else:
        write_yaml(folder.config, {**cell.work["config"], **asked})
    pairs, way = _read_scores(folder, cell), cell.work.get("zero_shot")
    pictured = options.pictured is not None and cell.seed in (None, options.pictured)
    for number, (name, files) in enumerate(cell.work["test"].items()):
        shown = pictured and number < SAMPLES
        if name in pairs and not (shown and _lacks_images(folder, name)):
            continue
        scores = score_sharpeners(
            {name: open_test_pair(files, asked)},
            [] if method is None else [method],
            runs={} if run is None else {cell.model: trained(run, zero_shot=way)},
            sensor=asked["sensor"],
            register=asked["register"],
            peak=asked["peak"],
            protocols=("reduced",) if way else PROTOCOLS,
            samples=int(shown),
            quiet=True,
        )
        _keep_images(folder, name, scores)
        pairs[name] = _plain_scores(scores)
        folder.write_scores({"identity": cell.identity, "pairs": pairs})
    facts = {
        "identity": cell.identity,
        "seed": cell.seed,
        "command": options.command,
        "parameters": None if run is None else run.parameters,
        "versions": list_versions(),
        "machine": machine(),
        "seconds": {
            "train": None if run is None else round(run.facts["seconds"], 3),
            **{p: round(sum(e["seconds"].get(p, 0) for e in pairs.values()), 3) for p in PROTOCOLS},
        },
    }
    if run is not None:
        facts["again"] = f"bandweave sharpen-train --config {folder.config} --out OTHER"
    return facts


def _train(folder: RunFolder, cell: Cell) -> SharpenRun:
    """The run of a model: read where it is whole, else trained from where it stands."""
    if folder.finished:
        run = SharpenRun.open(folder.path)
        if not conflicts(run.config.to_dict(), cell.work["config"]):
            return run
        raise RunError(
            f"{folder.path} holds a run of another configuration; compare into another folder"
        )
    config = SharpenConfig.read(cell.work["config"])
    return train_sharpener(out=folder.path, config=config, resume=True, quiet=True)


def _read_scores(folder: RunFolder, cell: Cell) -> dict[str, Any]:
    """The scores that stand in the folder, if they are whole and this cell's."""
    try:
        stored = json.loads(folder.scores.read_text(encoding="utf-8"))
        same = not conflicts(stored["identity"], json.loads(json.dumps(cell.identity)))
        return stored["pairs"] if same else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _plain_scores(scores: SharpeningScores) -> dict[str, Any]:
    """Scores of one method on one pair as JSON holds them."""
    (facts,) = scores.pairs
    return {
        "facts": {
            **facts.columns(),
            "size": list(facts.size),
            "bands": list(facts.bands),
            "lines": [list(line) for line in facts.lines()],
            "notes": list(facts.notes),
            "counted": facts.counted,
        },
        "scores": {row.protocol: plain(row.scores) for row in scores.rows},
        "seconds": {row.protocol: row.seconds for row in scores.rows},
    }


def _lacks_images(folder: RunFolder, pair: str) -> bool:
    return not all(image_file(folder.path, pair, protocol).exists() for protocol in PROTOCOLS)


def _keep_images(folder: RunFolder, pair: str, scores: SharpeningScores) -> None:
    for sample in scores.samples:
        (image,) = sample.images.values()
        with (
            whole(image_file(folder.path, pair, sample.protocol)) as beside,
            open(beside, "wb") as file,
        ):
            np.save(file, image.astype(np.float32), allow_pickle=False)
