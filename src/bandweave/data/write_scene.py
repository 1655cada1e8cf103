"""A scene as files on disk, with the scene file that opens them again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandweave.data.scene import IGNORED, Layer, LayerInfo, Part, Scene
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.raster.grid import Grid
from bandweave.raster.source import BandInfo
from bandweave.raster.writing.outputs import OutputSet, cannot_write
from bandweave.yaml_files import yaml_text


def write_scene(scene: Scene, folder: str | os.PathLike[str]) -> Path:
    """Write a scene's layers and labels into a folder, and `scene.yaml`, whose path is returned.

    Layers with wavelengths become ENVI files, others GeoTIFF; labels a GeoTIFF of class codes, or
    two where they came with roles. Holes are NaN in layers of floats; layers of integers that have
    holes are written as floats. The parts of a scene of many get a folder each. Object numbers are
    not written: a scene file takes them from polygons only.

    Raises OutputError where something cannot be written; no file is then left that was not there.
    """
    folder = Path(folder)
    taken = {info.code for info in scene.classes}
    unlabelled = next(code for code in range(len(taken) + 1) if code not in taken)
    largest = max([*taken, unlabelled])
    codes = np.array([info.code for info in scene.classes], np.min_scalar_type(largest))
    several = len(scene.parts) > 1
    with OutputSet() as outputs:
        for part in scene.parts:
            place = folder / part.name if several else folder
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(place, error) from error
            for name, layer in part.layers.items():
                _write_layer(outputs, place / _file_name(name, scene.layers[name]), layer)
            for name, values in _label_rasters(part, codes, unlabelled).items():
                ratio = part.labels.ratio if part.labels else 1
                _write_raster(
                    outputs, place / f"{name}.tif", values[None], part.grid.finer(ratio), unlabelled
                )
        content = _scene_file(scene, unlabelled, "{part}/" if several else "")
        outputs.text(folder / "scene.yaml", yaml_text(content, inline=True))
    return folder / "scene.yaml"


def _file_name(layer: str, info: LayerInfo) -> str:
    return f"{layer}.img" if info.info.wavelengths else f"{layer}.tif"


def _write_layer(outputs: OutputSet, target: Path, layer: Layer) -> None:
    source = layer.source
    values, valid = source.read(source.grid.window)
    info, nodata = source.info, None
    if source.dtype.kind in "iu" and valid.all() and not (info.scales or info.offsets):
        values = values.astype(source.dtype)
    elif not valid.all():
        values[:, ~valid] = nodata = np.nan
    _write_raster(outputs, target, values, source.grid, nodata, info)


def _write_raster(
    outputs: OutputSet,
    target: Path,
    values: np.ndarray,
    grid: Grid,
    nodata: float | None,
    info: BandInfo | None = None,
) -> None:
    """Values (bands, H, W) as GeoTIFF or, by the name, ENVI with its header beside it."""
    info = info or BandInfo()
    path = outputs.path(target)
    header: Path | None = None
    profile: dict = {"driver": "GTiff", "compress": "deflate", "predictor": 1}
    if target.suffix == ".img":
        header = outputs.path(target.with_suffix(".hdr"))
        profile = {"driver": "ENVI"}
    profile |= {"height": grid.height, "width": grid.width, "count": len(values)}
    profile |= {"crs": grid.crs, "transform": grid.transform, "nodata": nodata}
    try:
        with (
            rasterio.Env(GDAL_PAM_ENABLED="NO"),  # all stands in the files themselves
            rasterio.open(path, "w", dtype=values.dtype, **profile) as file,
        ):
            file.write(values)
            if info.names:
                file.descriptions = info.names
            if info.units and target.suffix == ".tif":
                file.units = (info.units,) * len(values)
            if info.wavelengths:
                listed = ", ".join(repr(float(value)) for value in info.wavelengths)
                file.update_tags(
                    ns="ENVI",
                    wavelength=f"{{{listed}}}",
                    wavelength_units="Nanometers",
                )
        if header is not None:  # GDAL describes the data by the hidden name that they have yet
            text = header.read_text(encoding="utf-8")
            header.write_text(text.replace(str(path), target.name), encoding="utf-8")
    except (RasterioError, OSError) as error:
        raise cannot_write(target, error) from error


def _label_rasters(part: Part, codes: np.ndarray, unlabelled: int) -> dict[str, np.ndarray]:
    """Class codes (H, W) of a part by file name: labels, or train and test."""
    if part.labels is None:
        return {}
    values, given = part.labels.values, part.labels.given
    coded = np.full(values.shape, unlabelled, codes.dtype)
    coded[values != IGNORED] = codes[values[values != IGNORED]]
    if given is None:
        return {"labels": coded}
    return {
        name: np.where(given == role, coded, codes.dtype.type(unlabelled))
        for name, role in (("train", TRAIN), ("test", TEST))
    }


def _scene_file(scene: Scene, unlabelled: int, prefix: str) -> dict:
    layers: dict[str, dict] = {}
    for name, info in scene.layers.items():
        layers[name] = {"path": prefix + _file_name(name, info)}
        if info.ratio != 1:
            layers[name]["ratio"] = info.ratio
        if info.info.units:
            layers[name]["units"] = info.info.units
    content: dict = {"name": scene.name, "grid": scene.reference, "layers": layers}
    labels = next((part.labels for part in scene.parts if part.labels), None)
    if labels is not None:
        names = ["labels"] if labels.given is None else ["train", "test"]
        files: dict[str, dict] = {name: {"path": f"{prefix}{name}.tif"} for name in names}
        for entry in files.values():
            if labels.ratio != 1:
                entry["ratio"] = labels.ratio
        content["labels"] = files["labels"] if labels.given is None else files
        content["classes"] = {
            info.code: {"name": info.name, "color": info.color} for info in scene.classes
        }
        content["ignore"] = [unlabelled]
    return content
