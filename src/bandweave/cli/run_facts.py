"""What is known of a run, from its folder alone: no model is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandweave.cli.columns import columns
from bandweave.errors import RunError
from bandweave.run.checkpoint import load_checkpoint, load_model
from bandweave.run.folder import RunFolder
from bandweave.yaml_files import yaml_text


def run_facts(path: Path) -> str:
    """Model, parameters, scores, protocol and configuration of a run, as text.

    Raises RunError for a folder that is no run, or whose files are damaged.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    rows = [("run", str(path)), ("state", _state(folder, config))]
    protocol: dict[str, Any] = {}
    if folder.finished:
        tensors, stored = load_model(folder.model)
        try:
            rows += _trained(stored, sum(tensor.numel() for tensor in tensors.values()))
            protocol = stored["facts"].get("protocol", {})
        except (KeyError, TypeError) as error:
            raise RunError(f"{folder.model}: its metadata lacks or misstates {error}") from error
    rows.append(("files", ", ".join(sorted(p.name for p in path.iterdir() if p.is_file()))))
    parts = [columns(rows), _scores(folder) or _section("protocol", protocol)]
    return "\n\n".join(part for part in [*parts, _section(folder.config.name, config)] if part)


def _state(folder: RunFolder, config: Mapping[str, Any]) -> str:
    steps = (config.get("train") or {}).get("steps", "?")
    if folder.finished:
        return "trained"
    if not folder.checkpoint.exists():
        return "not trained: neither weights nor a checkpoint"
    done = load_checkpoint(folder.checkpoint)["counters"]["step"]
    resume = f"bandweave train --out {folder.path} --resume"
    return f"interrupted after step {done} of {steps}; continue with `{resume}`"


def _trained(stored: Mapping[str, Any], numbers: int) -> list[tuple[str, str]]:
    config, facts, machine = stored["config"], stored["facts"], stored["facts"]["machine"]
    clip = config["model"].get("clip", {}).get("mode", "none")
    rows = [
        ("model", f"{config['model']['name']}, clip {clip}"),
        ("parameters", f"{facts['parameters']:,} trained, {numbers:,} numbers in the file"),
        ("scene", config["scene"]),
    ]
    rows += [("layer", f"{name}: {_layer(layer)}") for name, layer in stored["layers"].items()]
    rows += [
        ("classes", ", ".join(f"{each['code']} {each['name']}" for each in stored["classes"])),
        ("window", f"{stored['window']} px of the grid"),
        ("answers at", f"{stored['output_ratio']} times the grid's pixels along each side"),
        ("trained", f"{facts['steps']} steps in {facts['seconds']:.0f} s"),
        ("on", f"{machine['gpu'] or machine['cpu']}, torch {machine['torch']}"),
        ("by", f"bandweave {facts['versions']['bandweave']}"),
    ]
    return rows


def _layer(layer: Mapping[str, Any]) -> str:
    words = [f"{layer['bands']} band{'s' if layer['bands'] > 1 else ''}"]
    if layer["wavelengths"]:
        words.append(f"{min(layer['wavelengths']):g} to {max(layer['wavelengths']):g} nm")
    if layer["units"]:
        words.append(f"in {layer['units']}")
    if layer["ratio"] > 1:
        words.append(f"{layer['ratio']} times finer than the grid")
    return ", ".join(words)


def _scores(folder: RunFolder) -> str:
    """The table of scores.json, which has the protocol; '' where there is none."""
    if not folder.scores.exists():
        return ""
    from bandweave.landcover.scoring import SceneScores

    try:
        return str(SceneScores.from_dict(json.loads(folder.scores.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder.scores} is damaged ({error}); remove it, or score the run again"
        ) from error


def _section(title: str, content: Mapping[str, Any]) -> str:
    if not content:
        return ""
    return f"{title}:\n" + "\n".join(f"  {line}" for line in yaml_text(content).splitlines())
