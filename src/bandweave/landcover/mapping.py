"""Maps of a scene by a trained run: class codes; on request confidence, uncertainty, probabilities.

Windows of the training crop's size stream through the model (predict/windows.py) into writers
that hold no more than a strip, so that memory does not grow with the scene. All files appear
together when the last is complete, or none does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bandweave.cluster.sharing import Sharing, share_threads
from bandweave.data.scene import Scene
from bandweave.errors import ConfigError, GridMismatch, OutputError
from bandweave.landcover.areas.patches import check_minimum
from bandweave.landcover.ensemble import open_run
from bandweave.landcover.maps.pieces import make_pieces, open_work, options_of
from bandweave.landcover.maps.work import prepare_work
from bandweave.landcover.maps.writing import join_tiles, write_map
from bandweave.landcover.run import Run
from bandweave.output_files import check_output
from bandweave.raster.writing.geopackage import check_geopackage

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


def map_scene(
    run: PathLike | Run | Sequence[PathLike | Run],
    scene: Scene,
    out: PathLike,
    *,
    confidence: PathLike | bool | None = None,
    probabilities: PathLike | bool | None = None,
    uncertainty: PathLike | bool | None = None,
    within: PathLike | None = None,
    minimum: int | None = None,
    polygons: PathLike | None = None,
    match_bands: bool = False,
    overlap: int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    tta: bool = False,
    overviews: Literal["nearest", "mode"] = "nearest",
    tiles: bool = False,
    workers: int = 1,
    dask: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> list[Path]:
    """Map a scene with a trained run and return the rasters written. The scene needs no labels.

    The map is a cloud-optimised GeoTIFF on the labels' grid of the training: class codes as uint8
    (uint16 where a code is above 255), nodata where the scene's reference layer has none, colours
    in the file, class names in sidecars that GDAL and QGIS read. Nodata is code 0 where no class
    uses that, else the largest that the type holds. A scene of many parts is mapped into a folder:
    a file for each part, and a VRT (one for each CRS) that shows them as one.

    run            its folder, or the run itself; of several, the mean of their probabilities is
                   mapped
    out            the file to write, or the folder where the scene has many parts; what stood
                   there is replaced when all is done
    confidence     also write the largest class probability, float32 and NaN where there is no
                   map: a file (or folder) of that name, or True for `*_confidence.tif` beside the
                   map (the folder `confidence` inside `out`)
    probabilities  likewise all class probabilities, one band a class
    uncertainty    likewise the entropy of the class probabilities over its largest: 0 where one
                   class is certain, 1 where all are alike
    within         map what lies in the polygons of this vector file alone (FILE:LAYER where it has
                   several layers): pixels whose centre is inside. The map is cropped to them, on
                   the pixels that a map of the whole scene has; parts outside get no map
    minimum        px: a patch of fewer pixels of one class, connected along sides, is merged into
                   its largest neighbour; confidence and the others stay those of each pixel
    polygons       also write the patches as polygons, a GeoPackage with code, class, pixels and
                   hectares of each, and with `confidence` its mean
    match_bands    take the scene's bands of the nearest wavelength where they are not the run's
    overlap        px of the grid that neighbouring windows share; None for that of the run, half a
                   window where it has none
    batch          windows, or patches around pixels, that go through the model together; None for
                   16, or 256 patches
    device         'cpu', 'cuda', …; None for a GPU where there is one
    precision      fp32, bf16 or fp16
    tta            mean over eight flips and rotations of each window, eight times as slow
    overviews      how the map's reduced copies are made: of one pixel, or of the most frequent
    tiles          leave the map in pieces: `out` is a folder of GeoTIFFs, a band of rows each, with
                   a VRT of each kind that opens them as one
    workers        processes of this machine that map pieces of the scene, each with its share of
                   the threads; 1 maps in this process
    dask           address of the scheduler of a Dask cluster, whose workers do so instead; they see
                   the same folders
    overwrite      files that stand there may be replaced
    quiet          no progress

    Pieces stand in the folder `OUT.pieces` until the map is whole, or with `tiles` in `OUT`: after
    an interruption, the same call makes those that are missing. A map that is put together of them
    is that of one process, byte for byte.

    A part without any data gives a map of nodata and a warning. Raises FileError where no part has
    any, GridMismatch for `within` that does not touch the scene, or a scene without a place,
    SceneMismatch where the scene is not of the run's kind, OutputError where a file cannot be
    written; then nothing is left behind, and what stood there stays.
    """
    if overviews not in ("nearest", "mode"):
        raise ConfigError(f"overviews '{overviews}' are neither 'nearest' nor 'mode'")
    asked = {"confidence": confidence, "probabilities": probabilities, "uncertainty": uncertainty}
    places = choose_places(scene, Path(out), asked)
    check_minimum(minimum)
    if polygons is not None:
        check_geopackage(polygons)
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    if tiles:
        _check_tiles(scene, {**asked, "minimum": minimum, "polygons": polygons}, overwrite)
    sharing, pieces = Sharing(workers, dask), None
    ways: dict[str, Any] = {
        "within": None if within is None else os.fspath(within),
        "match_bands": match_bands,
        "overlap": overlap,
        "batch": batch,
        "device": None if device is None else str(device),
        "precision": precision,
        "tta": tta,
    }
    if tiles or sharing != Sharing():
        threads = share_threads(sharing, None)
        runs = run if isinstance(run, Sequence) and not isinstance(run, str) else [run]
        options = options_of(runs, scene, places, overviews=overviews, threads=threads, **ways)
        work = open_work(options)
        if not tiles and len(scene.parts) == 1:
            for path in [*places.values(), *([Path(polygons)] if polygons else [])]:
                check_output(path, overwrite=overwrite, inputs=[*scene.files, *work.run.files])
        root = Path(out) if tiles else Path(out).with_name(f"{Path(out).name}.pieces")
        pieces = make_pieces(root, options, work, sharing, quiet)
    else:
        work = prepare_work(open_run(run), scene, **ways)
    if len(places) > 1 and not work.run.gives_probabilities:
        log.warning("the run gives each pixel a class and no probability: it has all of it, 1")
    if pieces is not None and tiles:
        return join_tiles(pieces, list(places), work.run)
    written = write_map(
        work.run,
        work.scene,
        work.predictor,
        places,
        extents=work.extents,
        minimum=minimum,
        polygons=None if polygons is None else Path(polygons),
        overviews=overviews,
        overwrite=overwrite,
        quiet=quiet,
        pieces=pieces,
    )
    if pieces is not None:
        pieces.remove()
    return written


def _check_tiles(scene: Scene, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Raise ConfigError for options that a map in tiles has no use for, GridMismatch for no place.

    asked  the options that say where more is written, and what of the whole map
    """
    if asked["minimum"] is not None or asked["polygons"] is not None:
        raise ConfigError("minimum and polygons need the whole map, and tiles leaves it in pieces")
    for name, path in asked.items():
        if path not in (None, False, True):
            raise ConfigError(
                f"{name} is {path}, and with tiles its files stand beside the map's; ask for it "
                "without a name"
            )
    if overwrite:
        raise ConfigError(
            "overwrite: tiles that are finished stay, and the missing ones are made; choose "
            "another folder for another map"
        )
    if not all(part.grid.georeferenced for part in scene.parts):
        raise GridMismatch(
            f"tiles are joined by their place, and a part of scene {scene.name!r} has none; "
            "georeference its files, or map it as a whole"
        )


def choose_places(
    scene: Scene, out: Path, kinds: Mapping[str, PathLike | bool | None]
) -> dict[str, Path]:
    """Choose the file of each raster that is asked for; a folder for a scene of many parts."""
    many = len(scene.parts) > 1
    if many and out.is_file():
        raise OutputError(
            f"{out} is a file, and scene '{scene.name}' has {len(scene.parts)} parts whose maps "
            f"are a folder; give the name of a folder"
        )
    places = {"map": out}
    for kind, asked in kinds.items():
        if asked is True:
            places[kind] = out / kind if many else out.with_name(f"{out.stem}_{kind}{out.suffix}")
        elif asked:
            places[kind] = Path(asked)
    return places
