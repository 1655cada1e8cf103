"""The rasters of a map, written strip by strip: class codes, probabilities, a mosaic, styles.

All files appear together when the last is complete, or none does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bandweave.data.scene import ClassInfo, Part, Scene
from bandweave.errors import FileError, OutputError
from bandweave.landcover.areas.outlines import write_outlines
from bandweave.landcover.areas.patches import merge_small_patches
from bandweave.raster.writing.geopackage import GeoPackageWriter
from bandweave.raster.writing.outputs import OutputSet, cannot_write
from bandweave.raster.writing.raster import MapWriter, Overviews, RasterForm
from bandweave.raster.writing.style import build_vrt, write_styles
from bandweave.training.progress import Progress

if TYPE_CHECKING:
    from bandweave.landcover.areas.within import Extent
    from bandweave.landcover.maps.pieces import Pieces
    from bandweave.landcover.predict.net import Predictor, Strip
    from bandweave.landcover.run import Run
    from bandweave.raster.grid import Window

log = logging.getLogger(__name__)


def write_map(
    run: Run,
    scene: Scene,
    predictor: Predictor,
    places: Mapping[str, Path],
    *,
    extents: Sequence[Extent | None] = (),
    minimum: int | None = None,
    polygons: Path | None = None,
    overviews: Overviews,
    overwrite: bool,
    quiet: bool,
    whole: bool = True,
    pieces: Pieces | None = None,
) -> list[Path]:
    """Map every part into the rasters that are asked for, and return what was written.

    places    the file, or the folder of a scene of many parts, of each kind of raster
    extents   where each part is mapped, and None for one that is not; without any, all is mapped
    minimum   px: smaller patches of the map are merged into their neighbours
    polygons  a GeoPackage of the map's patches
    whole     False for a piece of a map, which may be without data and needs no style
    pieces    what was mapped already, in place of the predictor
    """
    many, within = len(scene.parts) > 1, bool(extents)
    names, all_parts = name_files(scene), scene.parts
    numbers = [n for n in range(len(all_parts)) if not within or extents[n] is not None]
    if within:
        names = [name for name, extent in zip(names, extents, strict=True) if extent]
        scene = replace(scene, parts=tuple(compress(all_parts, extents)))
    extents = [extent for extent in extents if extent] or [None] * len(scene.parts)
    files = {
        kind: [path / name if name else path for name in names] for kind, path in places.items()
    }
    pixels = [part.grid.height * part.grid.width * run.output_ratio**2 for part in scene.parts]
    mapped = 0
    with (
        _make_folders(places if many else {}),
        OutputSet(overwrite=overwrite, inputs=[*scene.files, *run.files]) as outputs,
    ):
        for path in [path for paths in files.values() for path in paths]:
            outputs.check(path)
        if polygons is not None:
            outputs.check(polygons)
        with Progress(f"mapping {scene.name}, px", sum(pixels), quiet=quiet) as progress:
            for index, part in enumerate(scene.parts):
                targets = {kind: paths[index] for kind, paths in files.items()}
                extent = extents[index]
                writers = _PartWriters(part, targets, run, overviews, outputs, extent)
                if pieces is None:
                    for strip in predictor.strips(part, None if extent is None else extent.inside):
                        progress.advance(count=strip.valid.size)
                        kept = strip if extent is None else extent.cut(strip)
                        if kept is not None:
                            writers.write(kept)
                else:
                    for kind, place, values in pieces.rasters(numbers[index], list(targets)):
                        writers.copy(kind, place, values)
                        progress.advance(count=values.size if kind == "map" else 0)
                writers.finish(minimum)
                mapped += writers.mapped
                if whole and not writers.mapped:
                    log.warning(
                        "part '%s' has no data in layer '%s'%s: its map is all nodata",
                        part.name,
                        scene.reference,
                        " within the polygons" if within else "",
                    )
        if whole and not mapped:
            raise FileError(
                f"layer '{scene.reference}' of scene '{scene.name}' has no valid pixel"
                f"{' within the polygons' if within else ''}, so there is nothing to map; check "
                f"the nodata value of its files"
            )
        if polygons is not None:
            written = _write_polygons(polygons, files, scene.parts, run.classes, outputs, many)
            log.info("%s polygons in %s", f"{written:,}", polygons)
        if many:
            placed = _find_placed(scene)
            for kind, folder in places.items():
                tiles = list(compress(files[kind], placed))
                classes = run.classes if kind == "map" else ()
                files[kind] += build_vrt(
                    folder, tiles, name=kind, categories=classes, outputs=outputs
                )
        for path in files["map"] if whole else ():
            write_styles(path, run.classes, outputs)
    return [
        *(path for paths in files.values() for path in paths),
        *([polygons] if polygons else []),
    ]


def join_tiles(pieces: Pieces, kinds: Sequence[str], run: Run) -> list[Path]:
    """Write a VRT of the rasters of each kind, by which they are opened as one; return all files.

    Raises GridMismatch where the rasters have no place, or are not north-up.
    """
    written = []
    with OutputSet() as outputs:
        for kind in kinds:
            tiles, classes = pieces.files(kind), run.classes if kind == "map" else ()
            mosaics = build_vrt(pieces.root, tiles, name=kind, categories=classes, outputs=outputs)
            for path in mosaics if kind == "map" else ():
                write_styles(path, run.classes, outputs)
            written += [*mosaics, *tiles]
    return written


def _write_polygons(
    target: Path,
    files: Mapping[str, Sequence[Path]],
    parts: Sequence[Part],
    classes: Sequence[ClassInfo],
    outputs: OutputSet,
    many: bool,
) -> int:
    """Write the patches of finished maps into one file, and return how many."""
    writer, written = GeoPackageWriter(target, outputs), 0
    for index, part in enumerate(parts):
        found = {kind: outputs.unfinished(paths[index]) for kind, paths in files.items()}
        assert found["map"] is not None
        written += write_outlines(
            writer,
            found["map"],
            classes,
            confidence=found.get("confidence"),
            part=part.name if many else None,
        )
    return written


def name_files(scene: Scene) -> list[str]:
    """The name of each part's map in its folder; '' where there is only one part.

    It is the part's name without what a file's name may not hold.
    Parts whose names come out alike, also where a system takes A for a, are numbered.
    """
    if len(scene.parts) == 1:
        return [""]
    names: list[str] = []
    for part in scene.parts:
        plain = re.sub(r"[^\w.-]+", "_", part.name).lstrip(".") or "part"
        name, number = plain, 1
        while f"{name}.tif".casefold() in {other.casefold() for other in names}:
            number += 1
            name = f"{plain}-{number}"
        names.append(f"{name}.tif")
    return names


def _make_forms(classes: Sequence[ClassInfo], overviews: Overviews) -> dict[str, RasterForm]:
    dtype, nodata = _choose_type(classes)
    colors = {one.code: one.color for one in classes}
    share = RasterForm(dtype="float32", nodata=np.nan, overviews="average")
    names = [one.name for one in classes]
    return {
        "map": RasterForm(1, dtype, nodata, colors, overviews, ["class"]),
        "confidence": replace(share, names=["confidence"]),
        "uncertainty": replace(share, names=["uncertainty"]),
        "probabilities": replace(share, bands=len(names), names=names),
    }


class _PartWriters:
    """The rasters of one part, fed with strips."""

    def __init__(
        self,
        part: Part,
        targets: dict[str, Path],
        run: Run,
        overviews: Overviews,
        outputs: OutputSet,
        extent: Extent | None,
    ) -> None:
        grid = part.grid.finer(run.output_ratio)
        forms = _make_forms(run.classes, overviews)
        self.nodata = int(forms["map"].nodata or 0)
        self.codes = np.array([one.code for one in run.classes], forms["map"].dtype)
        self.temperature = run.temperature
        self.mapped = 0  # pixels
        self.writers = {
            kind: MapWriter(
                path,
                grid if extent is None else grid.crop(extent.window),
                forms[kind],
                outputs=outputs,
            )
            for kind, path in targets.items()
        }

    def write(self, strip: Strip) -> None:
        """Write what a strip gives to each raster."""
        valid, logits = strip.valid, strip.logits
        self.mapped += int(valid.sum())
        codes = np.where(valid, self.codes[logits.argmax(axis=0)], self.nodata)
        self.writers["map"].write(strip.window, codes.astype(self.codes.dtype))
        if len(self.writers) == 1:
            return
        logits -= logits.max(axis=0)
        logits /= self.temperature
        odds = np.exp(logits, out=logits)
        odds[:, ~valid] = np.nan
        total = odds.sum(axis=0)
        if "confidence" in self.writers:
            self.writers["confidence"].write(strip.window, 1 / total)
        if "probabilities" in self.writers or "uncertainty" in self.writers:
            odds /= total
        if "probabilities" in self.writers:
            self.writers["probabilities"].write(strip.window, odds)
        if "uncertainty" in self.writers:
            entropy = -(odds * np.log(np.where(odds > 0, odds, 1))).sum(axis=0)
            self.writers["uncertainty"].write(strip.window, entropy / np.log(max(len(odds), 2)))

    def copy(self, kind: str, place: Window, values: np.ndarray) -> None:
        """Write values (bands, h, w) of a finished piece to the raster of a kind."""
        self.writers[kind].write(place, values)
        if kind == "map":
            self.mapped += int((values != self.nodata).sum())

    def finish(self, minimum: int | None) -> None:
        """Complete the rasters and close them; patches of less than `minimum` px are merged."""
        if minimum is not None:
            writer = self.writers["map"]
            merge_small_patches(writer.map_values()[0], self.nodata, minimum, writer.scratch)
        for writer in self.writers.values():
            writer.finish()


def _choose_type(classes: Sequence[ClassInfo]) -> tuple[np.dtype, int]:
    """Choose the smallest type that holds the classes' codes and one for nodata, and that one."""
    codes = [one.code for one in classes]
    if min(codes) < 0 or max(codes) > np.iinfo(np.uint16).max:
        raise OutputError(
            f"class codes from {min(codes)} to {max(codes)} do not fit a map, which holds 0 to "
            f"65535; give the classes other codes and train again"
        )
    for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        largest = int(np.iinfo(dtype).max)
        unused = [value for value in (0, largest) if value not in codes]
        if max(codes) <= largest and unused:
            return dtype, unused[0]
    raise OutputError("classes have both the codes 0 and 65535, which leaves none for nodata")


def _find_placed(scene: Scene) -> list[bool]:
    """Whether each part has a place in a mosaic."""
    placed = []
    for part in scene.parts:
        transform = part.grid.transform
        north_up = transform.a > 0 > transform.e and not (transform.b or transform.d)
        placed.append(part.grid.georeferenced and north_up)
    if not all(placed):
        log.warning(
            "%d of %d parts are in no mosaic: their grids have no transform or are not north-up",
            placed.count(False),
            len(placed),
        )
    return placed


@contextmanager
def _make_folders(places: Mapping[str, Path]) -> Iterator[None]:
    """Make the folders that are missing, and remove those should the body fail."""
    made: list[Path] = []
    try:
        for folder in places.values():
            if not folder.is_dir():
                try:
                    folder.mkdir()
                except OSError as error:
                    raise cannot_write(folder, error) from error
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise
