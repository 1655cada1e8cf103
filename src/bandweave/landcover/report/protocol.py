"""A protocol of scores in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandweave.report.words import format_count, percent

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


def describe_protocol(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Describe what `Split.protocol` gives, as terms and what they are."""
    lines = []
    if "split" in protocol:
        lines.append(("Split", _describe_split(protocol)))
    if "splits" in protocol:
        lines.append(("Splits of its runs", "; ".join(protocol["splits"])))
    if "guard_label_px" in protocol:
        lines.append(("Guard", _length_text(protocol, "guard")))
    if protocol.get("validation"):
        text = f"{percent(protocol['validation'], 0)} of the training side"
        if "validation_guard_label_px" in protocol:
            text += f", guard {_length_text(protocol, 'validation_guard')}"
        lines.append(("Validation", text))
    if "context" in protocol:
        context = protocol["context"]
        lines.append(("Context", f"{context}: {CONTEXTS.get(context, '')}".rstrip(": ")))
    if "reach_px" in protocol:
        lines.append(("Reach of the model", _describe_reach(protocol)))
    if "pixels" in protocol:
        pixels = protocol["pixels"]
        counts = [
            f"{format_count(pixels[role])} {words}"
            for role, words in SIDES.items()
            if pixels.get(role)
        ]
        lines.append(("Labelled pixels", ", ".join(counts) or "none"))
    if "test_px_trained_on" in protocol:
        lines.append(("Test pixels trained on", format_count(protocol["test_px_trained_on"])))
    if "hash" in protocol:
        lines.append(("Hash of the split", protocol["hash"]))
    return lines


def _describe_split(protocol: Mapping[str, Any]) -> str:
    words = [protocol["split"]]
    if "size_label_px" in protocol:
        words.append(f"of {_length_text(protocol, 'size')}")
    text = " ".join(words)
    train = protocol.get("train")
    if isinstance(train, float):
        text += f", {percent(train, 0)} for training"
    elif train is not None:
        text += f", {train} training pixels a class"
    if protocol.get("units"):
        number, unit = protocol["units"], protocol.get("unit", "unit")
        text += f", {format_count(number)} {unit}{'s' if number != 1 else ''} with labels"
    return f"{text}, seed {protocol['seed']}" if "seed" in protocol else text


def _length_text(protocol: Mapping[str, Any], name: str) -> str:
    """Write a width in pixels of the labels, of the grid where that differs, and in metres."""
    fine, coarse = protocol[f"{name}_label_px"], protocol[f"{name}_px"]
    metres = protocol.get(f"{name}_m")
    text = f"{fine:g} px" if fine == coarse else f"{fine:g} label px, {coarse:g} px of the grid"
    return text if metres is None else f"{text} ({metres:g} m)"


def _describe_reach(protocol: Mapping[str, Any]) -> str:
    text = _length_text(protocol, "reach")
    share = protocol.get("test_share_within_reach")
    if share is not None:
        text += f"; {percent(share, 1)} of the test pixels have a training pixel within it"
    guard = protocol.get("guard_label_px")
    if share and guard is not None and guard < protocol["reach_label_px"]:
        text += ", as the guard is narrower"
    return text
