"""The match of a scene with a model that was trained on another one.

What must agree: the layers by name, their ratio to the grid, band counts, wavelengths and units.
With `match_bands`, each band that the model knows is the scene's band of the nearest wavelength. A
fact that one side does not know (no wavelengths in the file, no units) cannot disagree.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bandweave.data.scene import IGNORED, ClassInfo, Scene
from bandweave.errors import ConfigError, SceneMismatch
from bandweave.raster.deriving.source import BandSubset
from bandweave.schema import nearest

_MADE_UP = re.compile(r"class -?\d+")  # the name of a class that nothing names

log = logging.getLogger(__name__)

SAME_WAVELENGTH = 1.0  # nm: wavelengths no farther apart are of the same band
NEAR_WAVELENGTH = 10.0  # nm: with match_bands, how far the nearest band may be


def describe_layers(scene: Scene, names: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Describe the layers that a run is trained on, as JSON can hold it.

    names  of these layers; empty for all

    For each layer: bands (int), ratio (int), wavelengths (list of nm, or None), units (or None),
    numbers (of the bands in their file, from 1; None where they are all of it), factor (ENVI's
    reflectance scale factor, by which the values were divided; None for other files), derived (how
    it is computed from another layer; None for files).

    Raises ConfigError for a layer that the scene does not have.
    """
    if missing := [name for name in names if name not in scene.layers]:
        raise ConfigError(
            f"scene {scene.name!r} has no layer {missing[0]!r}; it has {', '.join(scene.layers)}"
        )
    return {
        name: {
            "bands": layer.bands,
            "ratio": layer.ratio,
            "wavelengths": list(layer.info.wavelengths) if layer.info.wavelengths else None,
            "units": layer.info.units,
            "numbers": list(layer.info.numbers) if layer.info.numbers else None,
            "factor": layer.info.factor,
            "derived": layer.derived or None,
        }
        for name, layer in scene.layers.items()
        if name in names or not names
    }


def match_layers(
    run_layers: Mapping[str, Mapping[str, Any]], scene: Scene, match_bands: bool = False
) -> dict[str, list[int] | None]:
    """Choose the bands of the scene for each layer of the run; None is all as they are.

    Layers of the scene that the run does not know are left out.

    run_layers   from `describe_layers`
    match_bands  take the bands of the nearest wavelength, at most 10 nm off

    Raises SceneMismatch, with both lists, where they differ, or where no band is near.
    """
    ours = describe_layers(scene)
    problems: list[str] = []
    underived: list[str] = []
    picks: dict[str, list[int] | None] = {}
    for name, run in run_layers.items():
        own = ours.get(name)
        if own is None:
            problems.append(f"layer '{name}' is missing")
            if run.get("derived"):
                underived.append(f"{name}: {run['derived']}")
            continue
        if own["derived"] and run.get("derived") and own["derived"] != run["derived"]:
            problems.append(
                f"layer '{name}' is derived as {own['derived']}, in the run as {run['derived']}"
            )
        if own["ratio"] != run["ratio"]:
            problems.append(
                f"layer '{name}' is {own['ratio']} times as fine as the grid, "
                f"in the run {run['ratio']} times"
            )
        if own["units"] and run["units"] and own["units"] != run["units"]:
            problems.append(f"layer '{name}' is in {own['units']}, in the run in {run['units']}")
        if own["factor"] and "factor" not in run:
            problems.append(
                f"layer '{name}' is divided by its header's reflectance scale factor, and the run "
                f"is of a version that did not do so: add `scale: {own['factor']:g}` to the layer"
            )
        picks[name], problem = _pick_bands(name, run, own, match_bands)
        if problem:
            problems.append(problem)
    if underived:
        problems.append(f"to the scene file add `derived: {{{', '.join(underived)}}}`")
    if problems:
        raise SceneMismatch(
            f"scene '{scene.name}' does not fit the run: {'; '.join(problems)}.\n"
            f"  the run:   {_list_layers(run_layers)}\n"
            f"  the scene: {_list_layers(ours)}"
        )
    return picks


def with_bands(scene: Scene, picks: Mapping[str, list[int] | None]) -> Scene:
    """Reduce a scene to the layers and bands that `match_layers` chose, in that order.

    The reference layer stays in any case, at the end if not chosen: it says where there is data.
    """
    parts = []
    for part in scene.parts:
        layers = {}
        for name, bands in picks.items():
            layer = part.layers[name]
            layers[name] = (
                replace(layer, source=BandSubset(layer.source, bands)) if bands else layer
            )
        if scene.reference not in layers:
            layers[scene.reference] = part.layers[scene.reference]
        parts.append(replace(part, layers=layers))
    return replace(scene, parts=tuple(parts))


def has_made_up_name(one: ClassInfo) -> bool:
    """Whether nothing named the class but its code."""
    return bool(_MADE_UP.fullmatch(one.name))


def with_classes(scene: Scene, classes: Sequence[ClassInfo]) -> Scene:
    """Give a scene a run's classes, in the run's order: labels follow their codes.

    A class is the run's where its code is, or where its name is and no code speaks against it:
    a few names, colours and the order may have changed since. The run's names and colours stay.
    Where labels name their classes, and codes are no more than their numbers, names alone count,
    but for a renamed class among others that are as in the run.

    Raises SceneMismatch for a class that the run does not know, or whose code is that of one of the
    run's classes and whose name that of another, and where more than half of the names are others.
    """
    if not scene.classes:
        known = ", ".join(f"{own.code} {own.name}" for own in classes)
        raise SceneMismatch(
            f"the run knows the classes {known}; scene '{scene.name}' has none: add `labels:` to it"
        )
    by_code = {own.code: i for i, own in enumerate(classes)}
    by_name = {own.name: i for i, own in enumerate(classes)}
    made_up = [has_made_up_name(own) for own in classes]
    by_folded = {own.name.strip().casefold(): i for i, own in enumerate(classes)}
    of_names = [
        by_name.get(own.name, by_folded.get(own.name.strip().casefold())) for own in scene.classes
    ]
    of_codes = [by_code.get(own.code) for own in scene.classes]
    unlike = any(n not in (None, c) for n, c in zip(of_names, of_codes, strict=True))
    if scene.numbered and (unlike or len(scene.classes) != len(classes)):
        of_codes = [None] * len(of_codes)
    table = np.full(len(scene.classes) + 1, IGNORED, np.int16)
    problems = []
    for index, own in enumerate(scene.classes):
        of_code, of_name = of_codes[index], of_names[index]
        found = of_name if of_code is None else of_code
        if found is None:
            guess = nearest(own.name, by_name) if len(by_name) > 12 else ""
            problems.append(f"{own.code} {own.name!r} is none of the run's classes{guess}")
        elif of_name is not None and of_name != found:
            problems.append(
                f"{own.code} {own.name!r} has the code of {classes[found].name!r} and the name of "
                f"{classes[of_name].code} in the run"
            )
        elif found in table[:index]:
            problems.append(f"{own.code} {own.name!r} is {classes[found].name!r} in the run, twice")
        else:
            table[index] = found
    kept = sum(
        of_names[i] == table[i] or has_made_up_name(own) or made_up[table[i]]
        for i, own in enumerate(scene.classes)
    )
    if not problems and 2 * kept < len(scene.classes):
        others = ", ".join(f"{own.code} {own.name}" for own in scene.classes)
        problems.append(f"names differ for more than half of {others}, so codes may mean others")
    if problems:
        known = ", ".join(f"{own.code} {own.name}" for own in classes) or "no class"
        raise SceneMismatch(
            f"scene '{scene.name}' does not fit the run: class {'; class '.join(problems)}. The "
            f"run knows {known}; give the scene's classes the same codes"
        )
    if (table[:-1] == np.arange(len(scene.classes))).all():
        return replace(scene, classes=tuple(classes))
    parts = [
        part
        if part.labels is None
        else replace(part, labels=replace(part.labels, values=table[part.labels.values]))
        for part in scene.parts
    ]
    return replace(scene, parts=tuple(parts), classes=tuple(classes))


def _pick_bands(
    name: str, run: Mapping[str, Any], own: Mapping[str, Any], match_bands: bool
) -> tuple[list[int] | None, str]:
    """Pick the bands to take, and say what is wrong."""
    wanted, have = run["wavelengths"], own["wavelengths"]
    if own["bands"] == run["bands"]:
        if not (wanted and have) and (run.get("numbers") or None) != own["numbers"]:
            return None, (
                f"layer '{name}' has bands {_list_numbers(own)} of its file, in the run "
                f"{_list_numbers(run)}, and no wavelengths to compare"
            )
        if not (wanted and have):
            if bool(wanted) != bool(have):
                log.warning(
                    "layer '%s': %s has no wavelengths, so the bands are taken to agree",
                    name,
                    "the scene" if wanted else "the run",
                )
            return None, ""
        off = np.abs(np.subtract(wanted, have))
        if off.max() <= SAME_WAVELENGTH:
            return None, ""
        problem = (
            f"layer '{name}' has other wavelengths: {(off > SAME_WAVELENGTH).sum()} of its "
            f"{own['bands']} are more than {SAME_WAVELENGTH:g} nm off, at most {off.max():.1f} nm"
        )
    else:
        problem = f"layer '{name}' has {own['bands']} bands, in the run {run['bands']}"
    if not match_bands:
        return None, f"{problem} (--match-bands takes the nearest)" if wanted and have else problem
    if not (wanted and have):
        who = "the run" if not wanted else "the scene"
        return None, f"{problem}, and {who} has no wavelengths to match them by"
    distance = np.abs(np.subtract.outer(np.asarray(wanted), np.asarray(have)))
    bands = distance.argmin(axis=1)
    nearest = distance[np.arange(len(bands)), bands]
    far = np.flatnonzero(nearest > NEAR_WAVELENGTH)
    if far.size:
        shown = ", ".join(f"{wanted[i]:g} nm (nearest {have[bands[i]]:g})" for i in far[:5])
        more = f" and {far.size - 5} more" if far.size > 5 else ""
        return None, f"layer '{name}' has no band within {NEAR_WAVELENGTH:g} nm of {shown}{more}"
    log.info(
        "layer '%s': %d bands matched by wavelength to %d of the scene, at most %.1f nm off",
        name,
        len(bands),
        len(set(bands.tolist())),
        nearest.max(),
    )
    return [int(band) for band in bands], ""


def _list_numbers(facts: Mapping[str, Any]) -> str:
    numbers = facts.get("numbers")
    return ", ".join(map(str, numbers)) if numbers else f"1 to {facts['bands']}"


def _list_layers(layers: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} ({_describe(facts)})" for name, facts in layers.items()) or "no layer"


def _describe(facts: Mapping[str, Any]) -> str:
    words = [f"{facts['bands']} band{'s' if facts['bands'] != 1 else ''}"]
    if facts["wavelengths"]:
        words.append(f"{min(facts['wavelengths']):g} to {max(facts['wavelengths']):g} nm")
    if facts["ratio"] != 1:
        words.append(f"ratio {facts['ratio']}")
    if facts["units"]:
        words.append(f"in {facts['units']}")
    return ", ".join(words)
