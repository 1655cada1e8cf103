"""The keys of a scene file, their types, and what they mean.

A scene file is YAML (or the same as a dict). `read_scene_file` checks all of it before any raster
is opened: an unknown key is named with the nearest right one, a wrong type with its place.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bandweave.errors import ConfigError, FileError
from bandweave.raster.deriving.indices import ANY, INDICES
from bandweave.raster.formats.gdal.drivers import check_address
from bandweave.raster.formats.gdal.elsewhere import is_address
from bandweave.schema import OneOrMore, from_dict, join_words, nearest, show_value
from bandweave.yaml_files import read_yaml

WIDEST = {"gaussian": 64, "profile": 32}  # px: what is read beside a window is bounded
LARGEST = 1e30  # of a scale or an offset: with larger ones float32 holds no values

Resampling = Literal["nearest", "bilinear", "cubic", "lanczos", "average", "mode"]
Code = int | str  # how files name a class: a number, or a text of a polygon's field
Sampling = Literal["stratified by map class", "simple random"]


@dataclass(frozen=True)
class LayerFile:
    """A layer: its files, and what they do not say themselves."""

    path: OneOrMore[str]  # a file or address, or one a band; may hold {part}
    key: OneOrMore[str] | None = None  # array in a .mat, .npz, .h5 or .nc; several: their bands
    asset: OneOrMore[str] | None = None  # of the STAC item at `path`; several: one a band
    bands: OneOrMore[int] | None = None  # which, counted from 1, in this order; all if unset
    axis: int | None = None  # which axis of a 3-D array has the bands: 0, 1 or 2
    warp: Resampling | None = None  # onto the grid, however the file lies
    ratio: int = 1  # how many times finer than the grid
    nodata: float | None = None  # where the file does not say
    crs: str | int | None = None  # where the file has none
    wavelengths: OneOrMore[float] | None = None  # nanometres, one a band
    units: str | None = None  # of the values, instead of what the file says
    scale: float = 1.0  # value = what the file gives × scale + offset
    offset: float = 0.0


@dataclass(frozen=True)
class DerivedFile:
    """A layer computed from another one: an index, Gaussian means, a profile, or slope."""

    of: str  # the layer that it is computed from; a derived one too
    index: str | None = None  # ndvi, …, or nd with two `bands`
    gaussian: OneOrMore[float] | None = None  # means of neighbourhoods: deviations in px
    profile: OneOrMore[int] | None = None  # openings and closings by reconstruction: radii in px
    slope: bool = False  # in degrees, of heights in metres
    bands: OneOrMore[int] | None = None  # of the layer, counted from 1; all if unset
    pixel: float | None = None  # slope: side of a pixel, where no file says so


@dataclass(frozen=True)
class JoinFile:
    """A table that gives polygons their class: the row with the same `on`, its column `field`."""

    csv: str  # the table
    on: str  # the column that table and polygons share
    encoding: str | None = None  # of its text, if neither UTF-8, UTF-16 nor Windows' Latin letters


@dataclass(frozen=True)
class LabelFile:
    """Labels: a raster of class codes, or polygons or points with a field."""

    path: OneOrMore[str]  # one raster (may hold {part}), or vector files
    key: str | None = None  # variable in a .mat or .h5, layer of a .gpkg
    axis: int | None = None  # which axis of a 3-D array has the bands, where labels have several
    ratio: int | None = None  # polygons: 1 if unset; rasters: found from their size
    warp: Literal["nearest", "mode"] | None = None  # rasters: onto the grid, however they lie
    crs: str | int | None = None  # where the file has none
    nodata: float | None = None  # rasters: the code of no label, where the file does not say
    encoding: str | None = None  # of a shapefile's text, where its files say none or a wrong one
    field: str | None = None  # polygons: the attribute, or the join's column, with the class
    join: JoinFile | None = None  # polygons: the table with the class
    overlap: Literal["smallest", "largest", "first", "last", "ignore"] = "smallest"  # whose pixel
    all_touched: bool = False  # polygons: every pixel they touch, not only centres
    sampling: Sampling | None = None  # how these places were drawn, if at random from the map


@dataclass(frozen=True)
class LabelFiles:
    """Labels with the role that came with the files."""

    train: LabelFile | None = None
    test: LabelFile | None = None


@dataclass(frozen=True)
class ClassFile:
    """Name and colour of a class."""

    name: str
    color: str | None = None


@dataclass(frozen=True)
class SceneFile:
    """All of a scene file. Paths are absolute, and environment variables in them replaced."""

    layers: dict[str, LayerFile]  # by name
    derived: dict[str, DerivedFile] | None = None  # further layers, computed from these; by name
    grid: str = ""  # the layer whose grid is the scene's; the only one if unset
    name: str = ""  # that of the file if unset
    labels: LabelFile | LabelFiles | None = None  # one, or `train` and `test`; none to map only
    classes: dict[Code, ClassFile] | None = None  # by code; made from the codes found if unset
    ignore: OneOrMore[Code] = ()  # codes that are no label
    others: Literal["error", "ignore"] = "error"  # codes that `classes` does not name
    crs: str | int | None = None  # where files have none; never a warp
    parts: Literal["all"] | OneOrMore[str] = "all"  # what {part} in the paths stands for


def read_scene_file(source: str | Path | Mapping, folder: str | Path | None = None) -> SceneFile:
    """Read and check a scene file, or a dict of the same content.

    Relative paths are relative to the file, or to `folder` (the working folder if unset).
    """
    if isinstance(source, Mapping):
        where, content, base = "scene", dict(source), Path(folder or ".").resolve()
    elif not isinstance(source, str | os.PathLike):
        raise ConfigError(f"a scene is a path or a dict, not {show_value(source)}")
    else:
        file = Path(source)
        where, content = file.name, read_yaml(file)
        base = Path(folder).resolve() if folder else file.resolve().parent
    scene = from_dict(SceneFile, _expand(content, where), f"{where}:")
    return _check(_make_absolute(scene, base, where), where)


# --------------------------------------------------------------------------------- shorthand forms


def _expand(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Write short forms out."""
    full = dict(content)
    if isinstance(layers := content.get("layers"), Mapping):
        full["layers"] = {name: _expand_path(entry) for name, entry in layers.items()}
    labels = _expand_path(content.get("labels"))
    if isinstance(labels, Mapping):
        roles = {role: _expand_path(labels[role]) for role in ("train", "test") if role in labels}
        full["labels"] = {**labels, **roles}
    if "classes" in content:
        full["classes"] = _expand_classes(content["classes"], labels, where)
    return full


def _expand_path(entry: Any) -> Any:
    """Write `hsi: cube.tif` out as {path: cube.tif}."""
    return {"path": entry} if isinstance(entry, str | Path | list) else entry


def _expand_classes(classes: Any, labels: Any, where: str) -> Any:
    """Write out the short forms of `classes`: a list, and bare names instead of {name: …}."""
    if isinstance(classes, list):
        texts = _has_field(labels)  # polygons: the list holds the field's values
        classes = {(str(name) if texts else code): name for code, name in enumerate(classes, 1)}
        if texts:
            classes = {_to_name(name): name for name in classes.values()}
    if isinstance(classes, Mapping):
        for code in classes:
            if isinstance(code, bool) or code is None:
                raise ConfigError(
                    f"{where}: classes: YAML reads a key as {code}; put the code in quotes"
                )
            entry = classes[code]
            if isinstance(entry, Mapping) and "color" in entry and entry["color"] is None:
                raise ConfigError(
                    f'{where}: classes.{code}.color: is empty; put it in quotes: "#00cd00"'
                )
        classes = {
            code: entry if isinstance(entry, Mapping) else {"name": _to_name(entry)}
            for code, entry in classes.items()
        }
    return classes


def _has_field(labels: Any) -> bool:
    if not isinstance(labels, Mapping):
        return False
    return "field" in labels or any(_has_field(entry) for entry in labels.values())


def _to_name(entry: Any) -> Any:
    return str(entry) if isinstance(entry, int | float) and not isinstance(entry, bool) else entry


# ------------------------------------------------------------------------------- paths and checks


def _make_absolute(scene: SceneFile, folder: Path, where: str) -> SceneFile:
    """Make paths absolute."""

    def place(text: str, key: str, away: bool = False) -> str:
        if not text:
            raise ConfigError(f"{where}: {key}: is empty")
        full = os.path.expanduser(os.path.expandvars(text))
        away = away and is_address(full)
        try:
            if not away:
                check_address(full)
        except FileError as error:
            raise FileError(f"{where}: {key}: {error}") from None
        unset = re.search(r"\$\{?(\w+)\}?", full)
        if unset:
            raise ConfigError(
                f"{where}: {key}: the environment variable {unset[1]} is not set; "
                f"set it, or write the folder in its place"
            )
        return full if away else os.path.normpath(folder / full)

    def place_all(texts: tuple[str, ...], key: str, away: bool = False) -> tuple[str, ...]:
        if not texts:
            raise ConfigError(f"{where}: {key}: is an empty list")
        return tuple(place(text, key, away) for text in texts)

    def label(entry: LabelFile | None, key: str) -> LabelFile | None:
        if entry is None:
            return None
        join = entry.join and replace(entry.join, csv=place(entry.join.csv, f"{key}.join.csv"))
        return replace(entry, path=place_all(entry.path, f"{key}.path"), join=join)

    layers = {
        name: replace(layer, path=place_all(layer.path, f"layers.{name}.path", away=True))
        for name, layer in scene.layers.items()
    }
    labels = scene.labels
    if isinstance(labels, LabelFiles):
        labels = LabelFiles(label(labels.train, "labels.train"), label(labels.test, "labels.test"))
    else:
        labels = label(labels, "labels")
    return replace(scene, layers=layers, labels=labels)


def _check(scene: SceneFile, where: str) -> SceneFile:
    """Check what types cannot say: names that refer to each other, and possible values."""

    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{where}: {text}")

    if not scene.layers:
        raise wrong("layers: is empty; a scene has at least one layer")
    if not scene.grid:
        if len(scene.layers) > 1:
            raise wrong(f"`grid` is missing: which layer's? {join_words(scene.layers, 'or')}")
        scene = replace(scene, grid=next(iter(scene.layers)))
    if scene.grid in (scene.derived or {}):
        raise wrong(f"grid: '{scene.grid}' is derived; name a layer that has files")
    if scene.grid not in scene.layers:
        near = nearest(scene.grid, scene.layers)
        raise wrong(f"grid: no layer is named '{scene.grid}'{near}")
    for key, names in (("layers", scene.layers), ("derived", scene.derived or {})):
        for name in names:
            if not re.fullmatch(r"\w+", name):
                raise wrong(f"{key}: the name '{name}' may hold letters, digits and _ only")
    for name, layer in scene.layers.items():
        if layer.ratio < 1:
            raise wrong(f"layers.{name}.ratio: {layer.ratio} is less than 1")
        for key, value in (("scale", layer.scale), ("offset", layer.offset)):
            if not abs(value) <= LARGEST or (key == "scale" and value == 0):
                raise wrong(
                    f"layers.{name}.{key}: {value:g} leaves no values; give a number up to "
                    f"{LARGEST:g}" + (" other than 0" if key == "scale" else "")
                )
        if layer.wavelengths and not all(0 < value < math.inf for value in layer.wavelengths):
            raise wrong(
                f"layers.{name}.wavelengths: a wavelength is a number of nanometres above 0"
            )
        if layer.asset is not None and (not layer.asset or len(layer.path) > 1 or layer.key):
            raise wrong(
                f"layers.{name}.asset: names assets of one STAC item; give the item as `path`, and "
                f"no `key`"
            )
        if layer.bands and min(layer.bands) < 1:
            raise wrong(f"layers.{name}.bands: {min(layer.bands)}; bands are counted from 1")
    reference = scene.layers[scene.grid]
    if reference.ratio != 1 or reference.warp:
        raise wrong(f"layers.{scene.grid}: is the grid; it has neither `ratio` nor `warp`")
    for key, entry in label_files(scene).items():
        if entry.ratio is not None and entry.ratio < 1:
            raise wrong(f"{key}.ratio: {entry.ratio} is less than 1")
        if entry.join and not entry.field:
            raise wrong(f"{key}: `join` needs `field`, the column with the class")
        if entry.sampling and key == "labels.train":
            raise wrong(
                f"{key}.sampling: a sample that areas are estimated from is not trained on; "
                f"it belongs to `labels.test`, or is the `labels` of a scene of its own"
            )
    patterns = [path for layer in scene.layers.values() for path in layer.path if "{part}" in path]
    if scene.parts != "all" and not patterns:
        raise wrong("parts: no layer's path holds {part}, so there is one part only")
    for name, layer in scene.layers.items():
        if patterns and not all("{part}" in path for path in layer.path):
            raise wrong(f"layers.{name}.path: holds no {{part}}, while other layers' paths do")
    _check_derived(scene, wrong)
    _check_classes(scene, wrong)
    return scene


def _check_derived(scene: SceneFile, wrong: Callable[[str], ConfigError]) -> None:
    derived = scene.derived or {}
    for name, entry in derived.items():
        key = f"derived.{name}"
        if name in scene.layers:
            raise wrong(f"{key}: `layers` has a layer of this name")
        if entry.of not in scene.layers and entry.of not in derived:
            near = nearest(entry.of, [*scene.layers, *derived])
            raise wrong(f"{key}.of: no layer is named '{entry.of}'{near}")
        chain = [name]
        while chain[-1] in derived:
            chain.append(derived[chain[-1]].of)
            if chain[-1] in chain[:-1]:
                raise wrong(f"{key}.of: a circle, {' of '.join(chain)}")
        kinds = {kind: getattr(entry, kind) for kind in ("index", "gaussian", "profile", "slope")}
        given = [kind for kind, value in kinds.items() if value not in (None, False)]
        if len(given) != 1:
            has = join_words(given, "and") if given else "none"
            raise wrong(f"{key}: has {has}; a layer is one of {join_words(kinds, 'or')}")
        _check_values(key, entry, wrong)


def _check_values(key: str, entry: DerivedFile, wrong: Callable[[str], ConfigError]) -> None:
    """Check what a derived layer is computed with."""
    if entry.index is not None and entry.index not in (*INDICES, ANY):
        near = nearest(entry.index, [*INDICES, ANY])
        raise wrong(f"{key}.index: no index is named '{entry.index}'{near}")
    for kind, most in WIDEST.items():
        sizes = getattr(entry, kind)
        if sizes is not None and not sizes:
            raise wrong(f"{key}.{kind}: is an empty list")
        for size in sizes or ():
            if not 0 < size <= most:
                raise wrong(f"{key}.{kind}: {size:g} px; it must be above 0 and at most {most}")
        if sizes and len(set(sizes)) < len(sizes):
            raise wrong(f"{key}.{kind}: a number stands twice in the list")
    if entry.bands is not None and (not entry.bands or min(entry.bands) < 1):
        raise wrong(f"{key}.bands: {[*entry.bands]}; bands are counted from 1")
    if entry.index == ANY and entry.bands is None:
        raise wrong(f"{key}: `index: {ANY}` needs `bands: [a, b]`, for (a − b) / (a + b)")
    if (
        entry.index is not None
        and entry.bands
        and not len(entry.bands) == len(set(entry.bands)) == 2
    ):
        raise wrong(f"{key}.bands: {[*entry.bands]}; an index is of two bands")
    if entry.pixel is not None and not (entry.slope and 0 < entry.pixel < math.inf):
        raise wrong(f"{key}.pixel: {entry.pixel:g}; it is the side of a pixel, for `slope` alone")


def _check_classes(scene: SceneFile, wrong: Callable[[str], ConfigError]) -> None:
    if scene.others == "ignore" and not scene.classes:
        raise wrong("others: ignore needs `classes`, which says what others are not")
    names: set[str] = set()
    for code, entry in (scene.classes or {}).items():
        if code in scene.ignore:
            raise wrong(f"classes: {code} ({entry.name}) is also in `ignore`")
        if entry.name in names:
            raise wrong(f"classes: two have the name '{entry.name}'")
        names.add(entry.name)
        if entry.color is not None and not re.fullmatch(r"#[0-9a-fA-F]{6}", entry.color):
            raise wrong(f"classes.{code}.color: expected \"#rrggbb\", got '{entry.color}'")


def label_files(scene: SceneFile) -> dict[str, LabelFile]:
    """List the label files by their key: labels, or labels.train and labels.test."""
    if isinstance(scene.labels, LabelFiles):
        both = {"labels.train": scene.labels.train, "labels.test": scene.labels.test}
        return {key: entry for key, entry in both.items() if entry}
    return {"labels": scene.labels} if scene.labels else {}
