"""What a report says in words: protocol, layers, options that were changed, commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from bandweave.data.scene import Scene
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.run import Run
from bandweave.report.words import counted, percent

CONTEXTS = {
    "transductive": "training saw the images of the whole scene, and never a test label",
    "inductive": "inputs of test and guard pixels were hidden in training",
}

SIDES = {
    "train": "training",
    "validation": "validation",
    "test": "test",
    "guard": "guard",
    "unused": "unused",
}


def protocol_lines(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocol as terms and what they are; from what `Split.protocol` gives."""
    lines = []
    if "split" in protocol:
        lines.append(("Split", _split_words(protocol)))
    if "guard_label_px" in protocol:
        lines.append(("Guard", _length(protocol, "guard")))
    if protocol.get("validation"):
        text = f"{percent(protocol['validation'], 0)} of the training side"
        if "validation_guard_label_px" in protocol:
            text += f", guard {_length(protocol, 'validation_guard')}"
        lines.append(("Validation", text))
    if "context" in protocol:
        context = protocol["context"]
        lines.append(("Context", f"{context}: {CONTEXTS.get(context, '')}".rstrip(": ")))
    if "reach_px" in protocol:
        lines.append(("Reach of the model", _reach_words(protocol)))
    if "pixels" in protocol:
        pixels = protocol["pixels"]
        counts = [
            f"{counted(pixels[role])} {words}" for role, words in SIDES.items() if pixels.get(role)
        ]
        lines.append(("Labelled pixels", ", ".join(counts) or "none"))
    if "hash" in protocol:
        lines.append(("Hash of the split", protocol["hash"]))
    return lines


def _split_words(protocol: Mapping[str, Any]) -> str:
    words = [protocol["split"]]
    if "size_label_px" in protocol:
        words.append(f"of {_length(protocol, 'size')}")
    text = " ".join(words)
    train = protocol.get("train")
    if isinstance(train, float):
        text += f", {percent(train, 0)} for training"
    elif train is not None:
        text += f", {train} training pixels a class"
    if protocol.get("units"):
        number, unit = protocol["units"], protocol.get("unit", "unit")
        text += f", {counted(number)} {unit}{'s' if number != 1 else ''} with labels"
    return f"{text}, seed {protocol['seed']}" if "seed" in protocol else text


def _length(protocol: Mapping[str, Any], name: str) -> str:
    """A width in pixels of the labels, of the grid where that differs, and in metres."""
    fine, coarse = protocol[f"{name}_label_px"], protocol[f"{name}_px"]
    metres = protocol.get(f"{name}_m")
    text = f"{fine:g} px" if fine == coarse else f"{fine:g} label px, {coarse:g} px of the grid"
    return text if metres is None else f"{text} ({metres:g} m)"


def _reach_words(protocol: Mapping[str, Any]) -> str:
    text = _length(protocol, "reach")
    share = protocol.get("test_share_within_reach")
    if share is not None:
        text += f"; {percent(share, 1)} of the test pixels have a training pixel within it"
    guard = protocol.get("guard_label_px")
    if share and guard is not None and guard < protocol["reach_label_px"]:
        text += ", as the guard is narrower"
    return text


def described_grid(scene: Scene) -> str:
    """Parts, size and CRS in a line."""
    first, number = scene.parts[0].grid, len(scene.parts)
    text = str(first) if number == 1 else f"{number} parts, the first {first}"
    return f"{text}, {first.crs}" if first.crs is not None else text


def described_layers(scene: Scene, run: Run) -> list[dict[str, str]]:
    """A line for each layer of the scene."""
    lines = []
    for name, layer in scene.layers.items():
        grid = scene.parts[0].grid.finer(layer.ratio)
        nm = layer.info.wavelengths
        size, unit, placed = grid.pixel_size[0], grid.unit, scene.parts[0].grid.georeferenced
        lines.append(
            {
                "name": name,
                "bands": str(layer.bands),
                "pixel": f"{size:g} {unit}".rstrip() if placed else "–",
                "ratio": str(layer.ratio),
                "wavelengths": _range(nm),
                "units": layer.info.units or "–",
                "role": ", ".join(
                    word
                    for word, holds in (
                        ("reference", name == scene.reference),
                        ("used", name in run.layers),
                    )
                    if holds
                )
                or "not used",
            }
        )
    return lines


def _range(wavelengths: tuple[float, ...] | None) -> str:
    if not wavelengths:
        return "–"
    low, high = f"{min(wavelengths):.0f}", f"{max(wavelengths):.0f}"
    return f"{low} nm" if low == high else f"{low} to {high} nm"


def changed_options(config: LandCoverConfig) -> list[tuple[str, str, str]]:
    """Options that differ from the preset's: name, the preset's value, the run's."""
    preset = _flat(LandCoverConfig.read({"model": config.name}).to_dict())
    own = _flat(config.to_dict())
    names = [*preset, *(name for name in own if name not in preset)]
    return [
        (name, _value(preset.get(name)), _value(own.get(name)))
        for name in names
        if name != "scene" and preset.get(name) != own.get(name)
    ]


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{path}.{key}" if path else str(key)
        flat |= _flat(item, name) if isinstance(item, Mapping) else {name: item}
    return flat


def _value(value: Any) -> str:
    """As YAML and a flag have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def commands(run: Run, scene: Scene, scored: Mapping[str, Any] | None) -> list[str]:
    """What to type for the same run, map and scores.

    scored  the protocol of the scores; None where there are none
    """
    again = f"{run.folder.path}-again"
    train = ["bandweave", "train", "--scene", run.config.scene, "--model", run.config.name]
    train += ["--split", run.config.split.name]
    for name, _, value in changed_options(run.config):
        if name != "split.name":
            train += [f"--{name}", value]
    opened = scene.origin or scene.name
    lines = [
        [*train, "--out", again],
        ["bandweave", "map", again, opened, f"{again}/map.tif", "--confidence"],
    ]
    if scored is not None and scored.get("scene") in (None, scene.name):
        other = scored.get("hash") != run.facts["split_hash"]
        lines.append(
            ["bandweave", "score", again, opened]
            + (_split_flags(scored) if other and "split" in scored else [])
        )
    return [shlex.join(line) for line in lines]


def _split_flags(scored: Mapping[str, Any]) -> list[str]:
    """Of the split that a protocol tells of."""
    flags = ["--split", scored["split"], "--split.seed", str(scored["seed"])]
    flags += ["--split.guard", str(scored["guard_label_px"]), "--split.context", scored["context"]]
    if "size_label_px" in scored:
        flags += ["--split.size", str(scored["size_label_px"])]
    train = scored.get("train")
    if train is not None:
        flags += ["--split.train" if isinstance(train, float) else "--split.per_class", str(train)]
    if scored.get("validation"):
        flags += ["--split.validation", str(scored["validation"])]
    if scored.get("dropped"):
        flags += ["--split.drop", "true"]
    return flags
