"""Maps of a scene by a trained run: class codes; on request confidence, uncertainty, probabilities.

Windows of the training crop's size stream through the model (predict/windows.py) into writers
that hold no more than a strip, so that memory does not grow with the scene. All files appear
together when the last is complete, or none does.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bandweave.data.match import match_layers, with_bands
from bandweave.data.scene import ClassInfo, Part, Scene
from bandweave.errors import ConfigError, FileError, OutputError
from bandweave.landcover.run import Run
from bandweave.raster.writing.outputs import OutputSet, cannot_write
from bandweave.raster.writing.raster import MapWriter, Overviews, RasterForm
from bandweave.raster.writing.style import aux_xml, build_vrt, qml
from bandweave.training.progress import Progress

if TYPE_CHECKING:
    import torch

    from bandweave.landcover.predict.net import Strip

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


def map_scene(
    run: PathLike | Run,
    scene: Scene,
    out: PathLike,
    *,
    confidence: PathLike | bool | None = None,
    probabilities: PathLike | bool | None = None,
    uncertainty: PathLike | bool | None = None,
    match_bands: bool = False,
    overlap: int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    tta: bool = False,
    overviews: Literal["nearest", "mode"] = "nearest",
    overwrite: bool = False,
    quiet: bool = False,
) -> list[Path]:
    """Map a scene with a trained run and return the rasters written. The scene needs no labels.

    The map is a cloud-optimised GeoTIFF on the labels' grid of the training: class codes as uint8
    (uint16 where a code is above 255), nodata where the scene's reference layer has none, colours
    in the file, class names in sidecars that GDAL and QGIS read. Nodata is code 0 where no class
    uses that, else the largest that the type holds. A scene of many parts is mapped into a folder:
    a file for each part, and a VRT (one for each CRS) that shows them as one.

    run            its folder, or the run itself
    out            the file to write, or the folder where the scene has many parts; what stood
                   there is replaced when all is done
    confidence     also write the largest class probability, float32 and NaN where there is no
                   map: a file (or folder) of that name, or True for `*_confidence.tif` beside the
                   map (the folder `confidence` inside `out`)
    probabilities  likewise all class probabilities, one band a class
    uncertainty    likewise the entropy of the class probabilities over its largest: 0 where one
                   class is certain, 1 where all are alike
    match_bands    take the scene's bands of the nearest wavelength where they are not the run's
    overlap        px of the grid that neighbouring windows share; None for half a window
    batch          windows, or patches around pixels, that go through the model together; None for
                   16, or 256 patches
    device         'cpu', 'cuda', …; None for a GPU where there is one
    precision      fp32, bf16 or fp16
    tta            mean over eight flips and rotations of each window, eight times as slow
    overviews      how the map's reduced copies are made: of one pixel, or of the most frequent
    overwrite      files that stand there may be replaced
    quiet          no progress

    A part without any data gives a map of nodata and a warning. Raises FileError where no part has
    any, SceneMismatch where the scene is not of the run's kind, OutputError where a file cannot be
    written; then nothing is left behind, and what stood there stays.
    """
    if overviews not in ("nearest", "mode"):
        raise ConfigError(f"overviews '{overviews}' are neither 'nearest' nor 'mode'")
    run = run if isinstance(run, Run) else Run.open(run)
    scene = with_bands(scene, match_layers(run.layers, scene, match_bands))
    asked = {"confidence": confidence, "probabilities": probabilities, "uncertainty": uncertainty}
    kinds = _kinds(scene, Path(out), asked)
    forms = _forms(run.classes, overviews)
    written: dict[str, list[Path]] = {kind: [] for kind in kinds}
    pixels = [part.grid.height * part.grid.width * run.output_ratio**2 for part in scene.parts]
    if len(kinds) > 1 and not run.gives_probabilities:
        log.warning("the run gives each pixel a class and no probability: it has all of it, 1")
    run.use_device(device)
    predictor = run.predictor(
        scene.reference, precision=precision, overlap=overlap, tta=tta, batch=batch
    )
    mapped = 0
    with (
        _folders(kinds if len(scene.parts) > 1 else {}),
        OutputSet(overwrite=overwrite, inputs=_inputs(run, scene)) as outputs,
        Progress(f"mapping {scene.name}, px", sum(pixels), quiet=quiet) as progress,
    ):
        for name in file_names(scene):
            for path in kinds.values():
                outputs.check(path / name if name else path)
        for part, name in zip(scene.parts, file_names(scene), strict=True):
            targets = {k: path / name if name else path for k, path in kinds.items()}
            writers = _PartWriters(part, targets, forms, run, outputs)
            for strip in predictor.strips(part):
                writers.write(strip)
                progress.advance(count=strip.valid.size)
            writers.finish()
            mapped += writers.mapped
            if not writers.mapped:
                log.warning(
                    "part '%s' has no data in layer '%s': its map is all nodata",
                    part.name,
                    scene.reference,
                )
            for kind, path in targets.items():
                written[kind].append(path)
        if not mapped:
            raise FileError(
                f"layer '{scene.reference}' of scene '{scene.name}' has no valid pixel, so there "
                f"is nothing to map; check the nodata value of its files"
            )
        if len(scene.parts) > 1:
            placed = _on_the_ground(scene)
            for kind, folder in kinds.items():
                tiles = list(compress(written[kind], placed))
                names = run.classes if kind == "map" else ()
                written[kind] += build_vrt(
                    folder, tiles, name=kind, categories=names, outputs=outputs
                )
        for path in written["map"]:
            _style(path, run.classes, outputs)
    return [path for paths in written.values() for path in paths]


def _forms(classes: Sequence[ClassInfo], overviews: Overviews) -> dict[str, RasterForm]:
    dtype, nodata = _stored(classes)
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
        forms: dict[str, RasterForm],
        run: Run,
        outputs: OutputSet,
    ) -> None:
        self.nodata = int(forms["map"].nodata or 0)
        self.codes = np.array([one.code for one in run.classes], forms["map"].dtype)
        self.temperature = run.temperature
        self.mapped = 0  # pixels
        self.writers = {
            kind: MapWriter(path, part.grid.finer(run.output_ratio), forms[kind], outputs=outputs)
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

    def finish(self) -> None:
        """Complete the rasters and close them."""
        for writer in self.writers.values():
            writer.finish()


def _stored(classes: Sequence[ClassInfo]) -> tuple[np.dtype, int]:
    """The smallest type that holds the classes' codes and another for nodata, and that."""
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


def _style(path: Path, classes: Sequence[ClassInfo], outputs: OutputSet) -> None:
    """Class names and colours beside a map, for GDAL and for QGIS."""
    if path.suffix != ".vrt":  # which has the names in itself
        outputs.text(path.with_name(path.name + ".aux.xml"), aux_xml(classes), beside=True)
    outputs.text(path.with_suffix(".qml"), qml(classes), beside=True)


def _on_the_ground(scene: Scene) -> list[bool]:
    """Which parts have a place in a mosaic."""
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


def _inputs(run: Run, scene: Scene) -> list[str]:
    """The files that are read: an output never takes their place."""
    return [*scene.files, *run.files]


def _kinds(scene: Scene, out: Path, kinds: Mapping[str, PathLike | bool | None]) -> dict[str, Path]:
    """The file, or the folder of a scene of many parts, for each raster that is asked for."""
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


def file_names(scene: Scene) -> list[str]:
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


@contextmanager
def _folders(places: Mapping[str, Path]) -> Iterator[None]:
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
