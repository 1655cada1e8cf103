"""Opening a scene: from a scene file to layers on one grid, with labels and classes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from bandweave.data.scene import Layer, Part, Scene
from bandweave.data.scenefile.derive import derive_layers
from bandweave.data.scenefile.label_codes import find_label_shape
from bandweave.data.scenefile.labels import label_scene
from bandweave.data.scenefile.parts import PATTERN, choose_part, find_parts
from bandweave.data.scenefile.schema import LayerFile, SceneFile, label_files, read_scene_file
from bandweave.data.scenefile.stac import Asset, describe_by_assets, find_assets
from bandweave.errors import BandweaveError, ConfigError, FileError, GridMismatch, SceneMismatch
from bandweave.raster.alignment import Finer, Same, fit, relation, same_crs, short_crs
from bandweave.raster.bands import override_bands
from bandweave.raster.deriving.source import Rescaled
from bandweave.raster.formats.arrays import StackedSource
from bandweave.raster.formats.gdal.elsewhere import is_address
from bandweave.raster.formats.gdal.source import GEOLOCATION, GdalSource
from bandweave.raster.grid import Grid
from bandweave.raster.open import assign_crs, open_source
from bandweave.raster.source import WindowSource
from bandweave.raster.warp import WarpedSource

log = logging.getLogger(__name__)

_OTHER_GRID = ", or choose another layer as `grid:` and add `warp: bilinear` to this one"


def open_scene(
    source: str | os.PathLike[str] | Mapping, folder: str | os.PathLike[str] | None = None
) -> Scene:
    """Open a scene from its file, its folder, or a dict of the same content as a scene file.

    A folder holds `scene.yaml`, or the files of a known benchmark.

    Layers stay on disk and are read by window; labels are read at once. What was decided on the way
    (warps, joins, overlaps, classes without a pixel) stands in the scene's notes and in the log.

    folder   where relative paths start; by default the scene file's folder, or the working folder

    Raises ConfigError for a key, type or value that the scene file may not have; FileError for a
    file that is missing, damaged or of another kind; GridMismatch for layers that do not fit the
    grid; LabelError for labels that do not fit the classes.

    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/cube.npy", np.ones((5, 6, 8), np.float32))
    >>> scene = open_scene({"layers": {"hsi": "cube.npy"}}, folder)
    >>> str(scene.parts[0].grid), scene.layers["hsi"].bands
    ('6×8 px', 5)
    """
    path = None if isinstance(source, Mapping) else Path(source)
    if path is not None and path.is_dir():
        if not (path / "scene.yaml").exists():
            return _open_benchmark(path)
        path = path / "scene.yaml"
    file = read_scene_file(source if path is None else path, folder)  # type: ignore[arg-type]
    notes: list[str] = []
    names = find_parts(file)
    name = file.name or (path.stem if path else "scene")
    assets: list[str] = []
    parts = [
        _open_part(choose_part(file, part), part or name, len(names) > 1, notes, assets)
        for part in names
    ]
    for part in parts[1:]:
        _check_part(part, parts[0])
    found = label_scene(file, parts, notes)
    if found.labels:
        parts = [replace(part, labels=own) for part, own in zip(parts, found.labels, strict=True)]
    notes = list(dict.fromkeys(notes))
    for note in notes:
        log.info("scene %s: %s", name, note)
    return Scene(
        name=name,
        parts=tuple(parts),
        reference=file.grid,
        classes=found.classes,
        numbered=found.numbered,
        doubt=found.doubt,
        sampling=next((each.sampling for each in label_files(file).values() if each.sampling), ""),
        origin=str(path.resolve()) if path else "",
        notes=notes,
        files=tuple(dict.fromkeys([*_list_files(file, path, names), *assets])),
    )


def _list_files(file: SceneFile, path: Path | None, parts: Sequence[str]) -> tuple[str, ...]:
    """List the scene file, and all files that it names, in every part."""
    named = [one for layer in file.layers.values() for one in layer.path]
    for entry in label_files(file).values():
        named += [*entry.path, *([entry.join.csv] if entry.join else [])]
    files = [one.replace(PATTERN, part) for part in parts for one in named]
    return tuple(dict.fromkeys([*([str(path)] if path else []), *files]))


def _open_benchmark(folder: Path) -> Scene:
    """Open the benchmark whose files a folder holds."""
    from bandweave.data.benchmarks.catalogue import benchmark_names, describe
    from bandweave.data.benchmarks.files import find_files
    from bandweave.data.benchmarks.scenes import benchmark_scene

    present = find_files(folder).keys()
    whole = [
        name
        for name in benchmark_names()
        if any(
            {entry.file.lower() for entry in copy.files} <= present
            for copy in describe(name).variants.values()
        )
    ]
    if len(whole) == 1:
        return benchmark_scene(whole[0], folder)
    if whole:
        raise FileError(f"{folder} holds several benchmarks ({', '.join(whole)}); open one by name")
    raise FileError(
        f"{folder} holds neither scene.yaml nor all files of a known benchmark; "
        "`bandweave scenes make FILES` drafts a scene file, `scenes check NAME FOLDER` says what "
        "misses of a benchmark"
    )


def _open_part(
    file: SceneFile, name: str, several: bool, notes: list[str], assets: list[str]
) -> Part:
    """Open a part; where the assets of STAC items lie is added to `assets`."""
    try:
        return _open_layers(file, name, notes, assets)
    except BandweaveError as error:
        if several:
            raise type(error)(f"part '{name}': {error}") from error
        raise


def _open_layers(file: SceneFile, name: str, notes: list[str], assets: list[str]) -> Part:
    reference = _open_layer(file.grid, file.layers[file.grid], find_label_shape(file, name), assets)
    if reference.control:
        raise GridMismatch(
            f"layer '{file.grid}' is the grid and has no transform but {reference.control}: its "
            "rows and columns are no grid on the ground; write it to one first (gdalwarp)"
            + ("" if reference.control == GEOLOCATION else _OTHER_GRID)
        )
    sources = {file.grid: reference}
    shape = (reference.grid.height, reference.grid.width)
    for layer_name, layer in file.layers.items():
        if layer_name != file.grid:
            sources[layer_name] = _open_layer(layer_name, layer, shape, assets)
    for layer_name, source in sources.items():
        notes += [f"layer '{layer_name}': {note}" for note in source.notes]
        placeable = source.grid.georeferenced or source.control
        if source.grid.crs is None and file.crs is not None and placeable:
            path = file.layers[layer_name].path[0]
            source.grid = assign_crs(source.grid, file.crs, path)
            if not source.control:  # control points may have one of their own
                crs = short_crs(source.grid.crs)
                notes.append(f"layer '{layer_name}' has no CRS: {crs} assigned")
    grid = _place_grid(file, sources, notes)
    layers = {
        layer_name: _fit_layer(layer_name, layer, sources[layer_name], file.grid, grid, notes)
        for layer_name, layer in file.layers.items()
    }
    layers |= derive_layers(file, grid, layers, notes)
    return Part(name=name, grid=grid, layers=layers)


def _open_layer(
    name: str, layer: LayerFile, shape: tuple[int, int] | None, assets: list[str]
) -> WindowSource:
    if layer.asset is None and not any(map(is_address, layer.path)):
        return _open_files(layer, layer.path, shape)
    try:
        if layer.asset is None:
            return _open_files(layer, layer.path, shape)
        found = find_assets(layer.path[0], layer.asset)
        assets += [asset.path for asset in found]
        return _open_files(layer, [asset.path for asset in found], shape, found)
    except (FileError, ConfigError) as error:
        raise type(error)(f"layer '{name}': {error}") from error


def _open_files(
    layer: LayerFile,
    paths: Sequence[str],
    shape: tuple[int, int] | None,
    assets: Sequence[Asset] = (),
) -> WindowSource:
    source: WindowSource = open_source(
        paths[0] if len(paths) == 1 else paths,
        key=layer.key,
        bands=layer.bands,
        crs=layer.crs,
        nodata=layer.nodata,
        axis=layer.axis,
        shape=shape,
        control_points=True,
    )
    if assets:
        source = describe_by_assets(source, assets)
    source.info = override_bands(source.info, source.bands, layer.wavelengths, layer.units)
    if (layer.scale, layer.offset) != (1.0, 0.0):
        source = Rescaled(source, layer.scale, layer.offset)
    return source


def _place_grid(file: SceneFile, sources: dict[str, WindowSource], notes: list[str]) -> Grid:
    """Place the reference grid by another layer of the same extent where it has no place itself.

    A MATLAB cube beside a GeoTIFF of the same extent is a common case: its map shall be placed too.
    """
    grid = sources[file.grid].grid
    if not grid.georeferenced:
        for name, source in sources.items():
            if not source.grid.georeferenced or file.layers[name].warp:
                continue
            found = relation(source.grid, grid)
            if isinstance(found, Same | Finer):
                ratio = found.ratio if isinstance(found, Finer) else 1
                transform = source.grid.transform * source.grid.transform.scale(ratio)
                grid = Grid(grid.height, grid.width, transform, grid.crs or source.grid.crs)
                notes.append(
                    f"the grid '{file.grid}' has no place of its own; took that of '{name}'"
                )
                break
    if grid.crs is None:
        for name, source in sources.items():
            if source.grid.crs and source.grid.georeferenced and not file.layers[name].warp:
                grid = replace(grid, crs=source.grid.crs)
                notes.append(f"the grid '{file.grid}' has no CRS; took that of '{name}'")
                break
    return grid


def _fit_layer(
    name: str, layer: LayerFile, source: WindowSource, reference: str, grid: Grid, notes: list[str]
) -> Layer:
    """Fit a layer to the grid: as it is, finer by its ratio, or warped."""
    if name == reference:
        return Layer(source)
    if source.control:
        source = _rectify(name, layer, source, notes)
    _count_longitudes_alike(name, source, grid, notes)
    if _lie_apart(source.grid, grid):
        raise GridMismatch(
            f"layer '{name}' covers {_say_extent(source.grid)} and the grid '{reference}' "
            f"{_say_extent(grid)} ({short_crs(grid.crs)}): they do not overlap; are they of one "
            "place?"
        )
    if layer.warp is None:
        return Layer(source, fit(name, source.grid, reference, grid, layer.ratio))
    if not (source.grid.georeferenced and grid.georeferenced):
        raise GridMismatch(
            f"layer '{name}' cannot be warped: {'it' if grid.georeferenced else 'the grid'} has no "
            "transform; leave out `warp` if both cover the same extent, or georeference the files"
        )
    if source.grid.crs is None:
        source.grid = replace(source.grid, crs=grid.crs)
    target = grid.finer(layer.ratio)
    try:
        warped = WarpedSource(source, target, layer.warp)
    except GridMismatch as error:
        raise GridMismatch(f"layer '{name}': {error}") from error
    notes.append(
        f"layer '{name}' warped from {source.grid} ({short_crs(source.grid.crs)}) "
        f"to {target} ({short_crs(target.crs)}), {layer.warp}"
    )
    return Layer(warped, layer.ratio)


def _rectify(name: str, layer: LayerFile, source: WindowSource, notes: list[str]) -> WindowSource:
    """Bring an image that only control points place onto a grid, as the scene file asks."""
    followed = source.control != GEOLOCATION
    if layer.warp is None:
        way = "add `warp: bilinear` to place it by them, or " if followed else ""
        raise GridMismatch(
            f"layer '{name}' has no transform but {source.control}, so its pixels are not those of "
            f"the grid whatever its size; {way}write it to a grid first (gdalwarp)"
        )
    if not followed:
        raise GridMismatch(
            f"layer '{name}' is placed by {source.control}, which `warp` does not follow here; "
            "write it to a grid first (gdalwarp)"
        )
    try:
        placed = _bring_to_ground(source, layer.warp, source.grid.crs)
    except GridMismatch as error:
        raise GridMismatch(f"layer '{name}': {error}") from error
    notes.append(
        f"layer '{name}' placed by its {source.control} on {placed.grid} "
        f"({short_crs(placed.grid.crs)})"
    )
    return placed


def _bring_to_ground(source: WindowSource, resampling: str, crs: CRS | None) -> WindowSource:
    """Bring a source onto a north-up grid by its control points, files of a stack by their own."""
    if isinstance(source, Rescaled):
        return source.apply_to(_bring_to_ground(cast(WindowSource, source.source), resampling, crs))
    if isinstance(source, StackedSource):
        placed = [_bring_to_ground(file, resampling, crs) for file in source.sources]
        if any(file.grid != placed[0].grid for file in placed):
            raise GridMismatch(
                f"its files are placed by {source.control} that differ; make layers of them"
            )
        stacked = StackedSource(placed)
        stacked.info = source.info
        return stacked
    if not isinstance(source, GdalSource) or not source.control:
        raise GridMismatch(
            "some of its files have control points and others none; write all to one grid first "
            "(gdalwarp)"
        )
    return source.rectify(resampling, crs)


def _count_longitudes_alike(name: str, source: WindowSource, grid: Grid, notes: list[str]) -> None:
    """Move a layer in degrees by whole turns to where the grid lies: 350° is -10°."""
    own = source.grid
    if not (own.crs and grid.crs and own.georeferenced and own.crs.is_geographic):
        return
    x, y = grid.xy(grid.height / 2, grid.width / 2)
    middle = warp_points(grid.crs, own.crs, [x], [y])[0][0]
    left, _, right, _ = own.bounds
    turns = round(((left + right) / 2 - middle) / 360) if math.isfinite(middle) else 0
    if turns:
        t = own.transform
        moved = Affine(t.a, t.b, t.c - 360 * turns, t.d, t.e, t.f)
        source.grid = replace(own, transform=moved)
        left, _, right, _ = source.grid.bounds
        notes.append(
            f"layer '{name}' lies at longitudes {left:g} to {right:g}, counted as the grid's"
        )
    west, _, east, _ = grid.bounds
    pixel = own.pixel_size[0]  # a grid may reach beyond by one
    if not grid.crs.is_geographic or right - left < 359:
        return
    if west < left - pixel or east > right + pixel:
        raise GridMismatch(
            f"layer '{name}' ends at longitude {left if west < left else right:g}, within the "
            f"grid's {west:g} to {east:g}; write it to the grid first (gdalwarp -te)"
        )


def _lie_apart(grid: Grid, reference: Grid) -> bool:
    """Tell whether they have no ground in common; where their CRS differ, warping finds out."""
    if not (grid.georeferenced and reference.georeferenced):
        return False
    if grid.crs and reference.crs and not same_crs(grid.crs, reference.crs):
        return False
    left, bottom, right, top = grid.bounds
    west, south, east, north = reference.bounds
    return left >= east or right <= west or bottom >= north or top <= south


def _say_extent(grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def _check_part(part: Part, first: Part) -> None:
    """Raise SceneMismatch where a part has other layers than the first."""
    for name, layer in part.layers.items():
        ours, theirs = layer.source, first.layers[name].source
        if ours.bands != theirs.bands:
            raise SceneMismatch(
                f"layer '{name}' has {ours.bands} bands in part '{part.name}' and {theirs.bands} "
                f"in part '{first.name}'; parts of a scene share their layers"
            )
        for fact in ("wavelengths", "units"):
            here, there = getattr(ours.info, fact), getattr(theirs.info, fact)
            if here is not None and there is not None and here != there:
                raise SceneMismatch(
                    f"layer '{name}' has other {fact} in part '{part.name}' than in part "
                    f"'{first.name}'; parts of a scene share their layers"
                )
