"""A map made in pieces by several processes or machines, and put together once.

A piece is a band of rows of a part, or a whole part where a model takes those at once. Its rasters
are written into a folder beside the map, whole or not at all, with the pixels that a map in one go
would have. So a worker that is lost takes its piece with it and no more, and a command that was
interrupted makes what is missing. When all are there, they are copied into the map and the folder
is removed.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from bandweave.cluster.sharing import Sharing, make_cells
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import BandweaveError, ConfigError, RunError
from bandweave.landcover.areas.within import Extent
from bandweave.landcover.ensemble import open_run
from bandweave.landcover.maps.files import read_rows
from bandweave.landcover.maps.work import MapWork, prepare_work
from bandweave.landcover.maps.writing import write_map
from bandweave.landcover.run import Run
from bandweave.raster.grid import Window
from bandweave.raster.writing.raster import Overviews
from bandweave.training.folder import claim_folder
from bandweave.training.progress import Progress

log = logging.getLogger(__name__)

ASKED = "map.yaml"  # what the pieces are of
LEAST, MOST = 256, 512  # px of the grid: rows of a band; windows across its border run twice
BANDS = 16  # of a part, if they are not too low or too high


@dataclass(frozen=True)
class Piece:
    """Rows of a part's grid.

    part         its number in the scene
    first, last  the rows, the last one not among them
    """

    part: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"part {self.part + 1}, rows {self.first} to {self.last - 1}"

    def files(self, root: Path, kinds: Sequence[str]) -> dict[str, Path]:
        """Its rasters by their kind."""
        return {kind: root / f"{kind}-{self.part}-{self.first:07}.tif" for kind in kinds}


@dataclass(frozen=True)
class PieceOptions:
    """How pieces are made: all that another process needs to know.

    call     a name for this call of `map_scene`, so that a process that lives longer opens anew
             what has changed since
    runs     folders of the runs, whose mean is mapped
    scene    as `scene_from` opens it
    kinds    of rasters
    threads  that a process may compute with; None for what it has

    The others are those of `map_scene`.
    """

    call: str
    runs: tuple[str, ...]
    scene: str
    kinds: tuple[str, ...]
    within: str | None = None
    match_bands: bool = False
    overlap: int | None = None
    batch: int | None = None
    device: str | None = None
    precision: str = "fp32"
    tta: bool = False
    overviews: Overviews = "nearest"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("runs", "kinds"):  # lists, where JSON brought them here
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def asked(self) -> dict[str, Any]:
        """What the pieces of two calls must have in common, as YAML can hold it."""
        own = {**asdict(self), "runs": list(self.runs), "kinds": list(self.kinds)}
        return {key: value for key, value in own.items() if key not in ("call", "threads")}


Cell, CellOptions = Piece, PieceOptions  # as cluster/worker.py calls them


def options_of(
    runs: Sequence[Any], scene: Scene, kinds: Iterable[str], **options: Any
) -> PieceOptions:
    """What other processes need to make the pieces.

    runs  folders, or runs that have one

    Raises ConfigError where other processes could not open the scene.
    """
    if not scene.origin:
        raise ConfigError(
            f"scene {scene.name!r} was made in memory, and other processes cannot open it; write a "
            "scene file, or map in this process"
        )
    folders = []
    for run in runs:
        for one in [run] if not isinstance(run, Run) or run.has_folder else run.members:
            folders.append(str(Path(one.folder.path if isinstance(one, Run) else one).resolve()))
    if options.get("within") is not None:
        options["within"] = os.path.realpath(options["within"])
    return PieceOptions(uuid4().hex, tuple(folders), scene.origin, tuple(kinds), **options)


def run_cell(root: Path, piece: Piece, options: PieceOptions) -> dict[str, Any]:
    """Make the rasters of a piece that are missing; why it failed, if it did."""
    try:
        make_piece(root, piece, options)
    except BandweaveError as error:
        return {"failed": str(error)}
    return {}


def make_piece(root: Path, piece: Piece, options: PieceOptions) -> None:
    """Map the rows of a piece into its rasters, where these are missing."""
    files = piece.files(root, options.kinds)
    if all(path.exists() for path in files.values()):
        return
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    work = open_work(options)
    write_map(
        work.run,
        replace(work.scene, parts=(work.scene.parts[piece.part],)),
        work.predictor,
        files,
        extents=[cut_extent(work, piece)],
        overviews=options.overviews,
        overwrite=True,
        quiet=True,
        whole=False,
    )


@lru_cache(maxsize=1)
def open_work(options: PieceOptions) -> MapWork:
    """Open run and scene as the options say; the last ones are kept for the next piece."""
    return prepare_work(
        open_run(list(options.runs)),
        scene_from(options.scene),
        within=options.within,
        match_bands=options.match_bands,
        overlap=options.overlap,
        batch=options.batch,
        device=options.device,
        precision=options.precision,
        tta=options.tta,
    )


def find_rows(work: MapWork, piece: Piece) -> Window | None:
    """The rows of a piece in what is mapped of its part, on the map's pixels; None for none."""
    window, ratio = work.window(piece.part), work.run.output_ratio
    if window is None:
        return None
    top = max(window.row, piece.first * ratio)
    below = min(window.row + window.height, piece.last * ratio)
    return window._replace(row=top, height=below - top) if top < below else None


def cut_extent(work: MapWork, piece: Piece) -> Extent | None:
    """Where a piece is mapped; None for nowhere."""
    window = find_rows(work, piece)
    if window is None:
        return None
    extent = work.extents[piece.part] if work.extents else None
    grid = work.scene.parts[piece.part].grid.finer(work.run.output_ratio)
    inside = np.zeros((grid.height, grid.width), bool)
    rows = slice(window.row, window.row + window.height)
    inside[rows] = True if extent is None else extent.inside[rows]
    return Extent(window, inside)


def divide(work: MapWork) -> list[Piece]:
    """Divide what is mapped into pieces, which follow from scene and run alone."""
    pieces = []
    for number, part in enumerate(work.scene.parts):
        height = part.grid.height
        rows = max(LEAST, min(MOST, -(-height // BANDS)))
        if not work.predictor.can_divide(part):
            rows = height
        for first in range(0, height, rows):
            piece = Piece(number, first, min(first + rows, height))
            if find_rows(work, piece) is not None:
                pieces.append(piece)
    return pieces


def make_pieces(
    root: Path, options: PieceOptions, work: MapWork, sharing: Sharing, quiet: bool
) -> Pieces:
    """Make all pieces of a map that are missing in a folder, and return all.

    work  as `open_work` gives it for the options

    Raises RunError for a folder that holds the pieces of another map, and where pieces failed; what
    is finished stays. ConfigError for a cluster that does not answer or cannot do it.
    """
    import torch

    pieces, threads = divide(work), torch.get_num_threads()
    trained = [
        f"{one.config.name}, split {one.facts['split_hash']}, {one.facts['seconds']} s"
        for one in work.run.members
    ]
    claim_folder(root, ASKED, {**options.asked, "trained": trained}, "pieces of a map")
    missing = [
        piece
        for piece in pieces
        if not all(path.exists() for path in piece.files(root, options.kinds).values())
    ]
    done, failures = len(pieces) - len(missing), []
    if done:
        log.info("%d of %d pieces are finished already", done, len(pieces))
    try:
        with Progress("mapping, pieces", len(pieces), done, quiet=quiet) as bar:
            for piece, facts in make_cells(root, missing, options, run_cell, sharing):
                if "failed" in facts:
                    failures.append(f"{piece}: {facts['failed']}")
                bar.advance()
    finally:
        torch.set_num_threads(threads)  # a single piece is made in this process
        open_work.cache_clear()
        if not list(root.glob("*.tif")):  # nothing that is worth going on with
            (root / ASKED).unlink(missing_ok=True)
            with suppress(OSError):
                root.rmdir()
    if failures:
        raise RunError(
            f"{len(failures)} of {len(pieces)} pieces failed ({failures[0]}); the others stay in "
            f"{root}, and the same command goes on with what is missing"
        )
    return Pieces(root, pieces, work)


@dataclass(frozen=True, eq=False)
class Pieces:
    """The finished pieces of a map, in place of a predictor: what stands where in each part.

    root   their folder
    """

    root: Path
    pieces: Sequence[Piece]
    work: MapWork

    def rasters(self, part: int, kinds: Sequence[str]) -> Iterator[tuple[str, Window, np.ndarray]]:
        """Kind, place in the part's map and values of all that was written of a part."""
        for piece in self.pieces:
            whole, own = self.work.window(piece.part), find_rows(self.work, piece)
            if piece.part != part or whole is None or own is None:
                continue
            for kind, path in piece.files(self.root, kinds).items():
                for row, values, _ in read_rows(path):
                    height, width = values.shape[1:]
                    yield kind, Window(own.row - whole.row + row, 0, height, width), values

    def files(self, kind: str) -> list[Path]:
        """The rasters of a kind."""
        return [piece.files(self.root, [kind])[kind] for piece in self.pieces]

    def remove(self) -> None:
        """Remove their folder."""
        shutil.rmtree(self.root, ignore_errors=True)
