"""Looking a scene over before any training: what is there, and what would go wrong."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bandweave.data.masks import labels_with_data
from bandweave.data.roles import ROLES
from bandweave.data.scene import IGNORED, Part, Scene
from bandweave.data.scene_file import open_scene
from bandweave.errors import BandweaveError
from bandweave.raster.grid import Window
from bandweave.raster.open import short_crs
from bandweave.raster.source import read_nan

PROBLEM = "problem: "  # how a finding that wants an answer begins


def check_scene(source: str | os.PathLike[str] | Mapping | Scene) -> list[str]:
    """Findings on a scene, one line each, all pixels read; problems begin with 'problem: '.

    source   what `open_scene` takes, or an open scene
    """
    try:
        scene = source if isinstance(source, Scene) else open_scene(source)
    except BandweaveError as error:
        return [f"{PROBLEM}{error}"]
    return [
        f"scene '{scene.name}': {_parts(scene)}, the grid is that of '{scene.reference}'",
        *scene.notes,
        *_layers(scene),
        *_labels(scene),
        *_overlaps(scene),
    ]


def _parts(scene: Scene) -> str:
    first = scene.parts[0].grid
    place = short_crs(first.crs) if first.georeferenced else "no georeference"
    if len(scene.parts) == 1:
        return f"{first}, {place}"
    heights = [part.grid.height for part in scene.parts]
    widths = [part.grid.width for part in scene.parts]
    sizes = f"{min(heights)}×{min(widths)}"
    if len({(part.grid.height, part.grid.width) for part in scene.parts}) > 1:
        sizes += f" to {max(heights)}×{max(widths)}"
    return f"{len(scene.parts)} parts of {sizes} px, {place}"


# ------------------------------------------------------------------------------------------ layers


@dataclass
class _Seen:
    """What a layer's pixels hold, over all parts."""

    low: np.ndarray  # (bands,) least value, infinite where a band has none
    high: np.ndarray  # (bands,)
    pixels: int = 0
    valid: int = 0


def _layers(scene: Scene) -> Iterator[str]:
    for name, info in scene.layers.items():
        seen = _Seen(np.full(info.bands, np.inf), np.full(info.bands, -np.inf))
        empty = []
        try:
            for part in scene.parts:
                before = seen.valid
                _look(part, name, seen)
                if seen.valid == before:
                    empty.append(part.name)
        except BandweaveError as error:
            yield f"{PROBLEM}layer '{name}': {error}"
            continue
        source = scene.parts[0].layers[name].source
        words = [f"{info.bands} band{'s' if info.bands > 1 else ''} of {source.dtype}"]
        if info.ratio > 1:
            words.append(f"{info.ratio} times finer than the grid")
        if info.info.wavelengths:
            low, high = min(info.info.wavelengths), max(info.info.wavelengths)
            words.append(f"{low:g} to {high:g} nm" if low < high else f"{low:g} nm")
        if info.info.units:
            words.append(f"in {info.info.units}")
        words.append(f"{100 * (1 - seen.valid / max(seen.pixels, 1)):.1f} % without data")
        if seen.valid:
            words.append(f"values {seen.low.min():.4g} to {seen.high.max():.4g}")
        yield f"layer '{name}': {', '.join(words)}"
        if not seen.valid:
            yield f"{PROBLEM}layer '{name}' has no data at all; is `nodata` right?"
            continue
        if empty:
            shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
            yield f"{PROBLEM}layer '{name}' has no data in part {shown}"
        for what, bands in (
            ("no data", np.flatnonzero(np.isinf(seen.low))),
            ("one value only", np.flatnonzero(seen.low == seen.high)),
        ):
            if len(bands):
                shown = ", ".join(str(band + 1) for band in bands[:10])
                more = f" and {len(bands) - 10} more" if len(bands) > 10 else ""
                yield f"{PROBLEM}layer '{name}': {what} in band {shown}{more} (from 1)"


def _look(part: Part, name: str, seen: _Seen, size: int = 256) -> None:
    layer = part.layers[name]
    height, width = layer.source.grid.height, layer.source.grid.width
    for row, col in itertools.product(range(0, height, size), range(0, width, size)):
        window = Window(row, col, min(size, height - row), min(size, width - col))
        values = read_nan(layer.source, window)
        has = ~np.isnan(values)
        seen.pixels += window.height * window.width
        seen.valid += int(has.any(axis=0).sum())
        low = np.where(has, values, np.inf).min(axis=(1, 2))
        high = np.where(has, values, -np.inf).max(axis=(1, 2))
        seen.low, seen.high = np.minimum(seen.low, low), np.maximum(seen.high, high)


# ------------------------------------------------------------------------------------------ labels


def _labels(scene: Scene) -> Iterator[str]:
    labels = [part.labels for part in scene.parts if part.labels is not None]
    if not labels:
        yield "no labels: the scene can be mapped, not trained on or scored"
        return
    roles = [role for role in range(len(ROLES)) if any(_has(own.given, role) for own in labels)]
    for index, info in enumerate(scene.classes):
        total = sum(int((own.values == index).sum()) for own in labels)
        words = [f"{total} px"]
        for role in roles:
            of_role = sum(
                int(((own.values == index) & (own.given == role)).sum())
                for own in labels
                if own.given is not None
            )
            words.append(f"{of_role} {ROLES[role]}")
        if all(own.objects is not None for own in labels):
            polygons = sum(
                len(np.unique(own.objects[own.values == index]))
                for own in labels
                if own.objects is not None
            )
            words.append(f"{polygons} polygons")
        yield f"class {info.code} '{info.name}': {', '.join(words)}"
        if not total:
            yield f"{PROBLEM}class {info.code} '{info.name}' has no pixel"
    total = sum(own.values.size for own in labels)
    none = sum(int((own.values == IGNORED).sum()) for own in labels)
    finer = f", {scene.label_ratio} times finer than the grid" if scene.label_ratio > 1 else ""
    yield f"labels: {total - none} of {total} px labelled{finer}"
    if none == total:
        yield f"{PROBLEM}no pixel is labelled, so there is nothing to train on or to score"
    blind = sum(_labelled_without_data(scene, part) for part in scene.parts)
    if blind:
        yield f"{PROBLEM}{blind} labelled px lie where '{scene.reference}' has no data; left out"


def _has(given: np.ndarray | None, role: int) -> bool:
    return given is not None and role > 0 and bool((given == role).any())


def _labelled_without_data(scene: Scene, part: Part) -> int:
    if part.labels is None:
        return 0
    try:
        kept = labels_with_data(part, scene.reference, part.labels.ratio)
    except BandweaveError:
        return 0  # said at its layer
    return int((part.labels.values != IGNORED).sum() - (kept != IGNORED).sum())


# ------------------------------------------------------------------------------------------- parts


def _overlaps(scene: Scene) -> Iterator[str]:
    """Parts that share ground: a split by parts would test on what it trained on."""
    placed = [part for part in scene.parts if part.grid.georeferenced]
    for one, other in itertools.combinations(placed, 2):
        left, bottom, right, top = one.grid.bounds
        west, south, east, north = other.grid.bounds
        width, height = min(right, east) - max(left, west), min(top, north) - max(bottom, south)
        pixel = min(one.grid.pixel_size)
        if width > pixel / 2 and height > pixel / 2:
            unit = one.grid.unit
            yield (
                f"{PROBLEM}parts '{one.name}' and '{other.name}' share {width:g}×{height:g} {unit} "
                "of ground: a split by parts would test on what it trained on"
            )
