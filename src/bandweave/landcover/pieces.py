"""A map made in pieces by several processes or machines, and put together once.

A piece is a band of rows of a part, or a whole part where a model takes those at once. Its rasters
are written into a folder beside the map, whole or not at all, with the pixels that a map in one go
would have. So a worker that is lost takes its piece with it and no more, and a command that was
interrupted makes what is missing. When all are there, they are copied into the map and the folder
is removed.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from bandweave.cluster.memory import keep_freed_memory
from bandweave.cluster.sharing import Sharing, make_cells
from bandweave.data.match import match_layers, with_bands
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import BandweaveError, ConfigError, RunError
from bandweave.landcover.areas.within import Extent, find_extents
from bandweave.landcover.ensemble import open_run
from bandweave.landcover.map_writing import write_map
from bandweave.landcover.predict.net import Predictor
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

    runs     folders of the runs, whose mean is mapped
    scene    as `scene_from` opens it
    kinds    of rasters
    within   polygons, outside of which nothing is mapped
    overviews  how reduced copies of the classes are made
    threads  that a process may compute with; None for what it has
    """

    runs: list[str]
    scene: str
    kinds: list[str]
    within: str | None = None
    match_bands: bool = False
    overlap: int | None = None
    batch: int | None = None
    device: str | None = None
    precision: str = "fp32"
    tta: bool = False
    overviews: Overviews = "nearest"
    threads: int | None = None


Cell, CellOptions = Piece, PieceOptions  # as cluster/worker.py calls them


@dataclass(frozen=True, eq=False)
class Work:
    """What a process opens once for all its pieces."""

    run: Run
    scene: Scene
    predictor: Predictor
    extents: list[Extent | None]


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
        keep_freed_memory()
    work = open_work(_as_key(options))
    extent = cut_extent(work, piece)
    if extent is None:  # nothing is wanted here
        return
    part = work.scene.parts[piece.part]
    write_map(
        work.run,
        replace(work.scene, parts=(part,)),
        work.predictor,
        files,
        extents=[extent],
        overviews=options.overviews,
        overwrite=True,
        quiet=True,
        whole=False,
    )


def _as_key(options: PieceOptions) -> tuple[tuple[str, Any], ...]:
    own = asdict(options)
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in own.items())


@lru_cache(maxsize=1)
def open_work(key: tuple[tuple[str, Any], ...]) -> Work:
    """Open run and scene as the options say; the last ones are kept."""
    options = PieceOptions(**dict(key))
    run, scene = open_run(list(options.runs)), scene_from(options.scene)
    extents = find_wanted(scene, options.within, run.output_ratio)
    run.use_device(options.device)
    predictor = run.predictor(
        scene.reference,
        precision=options.precision,
        overlap=options.overlap,
        tta=options.tta,
        batch=options.batch,
    )
    scene = with_bands(scene, match_layers(run.layers, scene, options.match_bands))
    return Work(run, scene, predictor, extents)


def find_wanted(scene: Scene, within: str | None, ratio: int) -> list[Extent | None]:
    """Where each part is mapped: within the polygons, or all of it."""
    if within is not None:
        return find_extents(scene, within, ratio)
    found: list[Extent | None] = []
    for part in scene.parts:
        grid = part.grid.finer(ratio)
        found.append(Extent(grid.window, np.ones((grid.height, grid.width), bool)))
    return found


def cut_extent(work: Work, piece: Piece) -> Extent | None:
    """The rows of a piece in what is mapped of its part; None for none."""
    extent, ratio = work.extents[piece.part], work.run.output_ratio
    if extent is None:
        return None
    top = max(extent.window.row, piece.first * ratio)
    below = min(extent.window.row + extent.window.height, piece.last * ratio)
    if top >= below:
        return None
    inside = np.zeros_like(extent.inside)
    inside[top:below] = extent.inside[top:below]
    return Extent(extent.window._replace(row=top, height=below - top), inside)


def divide(work: Work) -> list[Piece]:
    """Divide what is mapped into pieces, which follow from scene and run alone."""
    pieces = []
    for number, part in enumerate(work.scene.parts):
        height = part.grid.height
        rows = max(LEAST, min(MOST, -(-height // BANDS)))
        if not work.predictor.can_divide(part):
            rows = height
        for first in range(0, height, rows):
            piece = Piece(number, first, min(first + rows, height))
            if cut_extent(work, piece) is not None:
                pieces.append(piece)
    return pieces


def make_pieces(root: Path, options: PieceOptions, sharing: Sharing, quiet: bool) -> Pieces:
    """Make all pieces of a map that are missing in a folder, and return all.

    Raises RunError for a folder that holds the pieces of another map, and where pieces failed; what
    is finished stays. ConfigError for a cluster that does not answer or cannot do it.
    """
    work = open_work(_as_key(options))
    pieces = divide(work)
    asked = {key: value for key, value in asdict(options).items() if key != "threads"}
    asked["trained"] = [
        f"{one.config.name}, split {one.facts['split_hash']}, {one.facts['seconds']} s"
        for one in work.run.members
    ]
    claim_folder(root, ASKED, asked, "pieces of a map")
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


def read_piece(path: Path, rows: int = 256) -> Iterator[tuple[Window, np.ndarray]]:
    """Places and values (bands, h, w) of a finished raster, some rows at a time."""
    with rasterio.open(path) as raster:
        for top in range(0, raster.height, rows):
            height = min(rows, raster.height - top)
            place = RasterioWindow(0, top, raster.width, height)
            yield Window(top, 0, height, raster.width), raster.read(window=place)


@dataclass(frozen=True, eq=False)
class Pieces:
    """The finished pieces of a map, in place of a predictor: what stands where in each part.

    root   their folder
    """

    root: Path
    pieces: Sequence[Piece]
    work: Work

    def rasters(self, part: int, kinds: Sequence[str]) -> Iterator[tuple[str, Window, np.ndarray]]:
        """Kind, place in the part's map and values of all that was written of a part."""
        extent = self.work.extents[part]
        assert extent is not None
        for piece in self.pieces:
            if piece.part != part:
                continue
            own = cut_extent(self.work, piece)
            assert own is not None
            down = own.window.row - extent.window.row
            for kind, path in piece.files(self.root, kinds).items():
                for place, values in read_piece(path):
                    yield kind, place._replace(row=place.row + down), values

    def files(self, kind: str) -> list[Path]:
        """The rasters of a kind."""
        return [piece.files(self.root, [kind])[kind] for piece in self.pieces]

    def remove(self) -> None:
        """Remove their folder."""
        shutil.rmtree(self.root, ignore_errors=True)


def options_of(
    runs: Sequence[Any], scene: Scene, places: Mapping[str, Path], **options: Any
) -> PieceOptions:
    """What other processes need to make the pieces.

    Raises ConfigError where they could not open the scene or a run anew.
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
    return PieceOptions(folders, scene.origin, list(places), **options)
