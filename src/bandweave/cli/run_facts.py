"""What is known of a run, from its folder alone: no model is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandweave.cli.columns import format_columns
from bandweave.errors import RunError, printable
from bandweave.training.checkpoint import load_checkpoint, load_model
from bandweave.training.folder import RunFolder
from bandweave.yaml_files import yaml_text

if TYPE_CHECKING:
    from torch import Tensor


def run_facts(path: Path) -> str:
    """Model, parameters, scores, protocol and configuration of a run, as text.

    Raises RunError for a folder that is no run, or whose files are damaged.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    rows = [("run", str(path)), ("state", _state(folder, config))]
    files = ("files", ", ".join(sorted(p.name for p in path.iterdir() if p.is_file())))
    protocol = ""
    if folder.finished:
        tensors, stored = load_model(folder.model)
        try:
            rows += _trained(stored, tensors)
            protocol = _section("protocol", stored["facts"].get("protocol", {}))
            table = format_columns([*rows, files])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunError(
                f"{folder.model}: its metadata lacks or misstates {error!s:.200}"
            ) from error
    else:
        table = format_columns([*rows, files])
    parts = [table, _scores(folder) or protocol, _section(folder.config.name, config)]
    return printable("\n\n".join(part for part in parts if part))


def _state(folder: RunFolder, config: Mapping[str, Any]) -> str:
    train = config.get("train")
    steps = train.get("steps", "?") if isinstance(train, dict) else "?"
    if folder.finished:
        return "trained"
    if not folder.checkpoints:
        return "not trained: neither weights nor a checkpoint"
    checkpoint = folder.checkpoints[0]
    try:
        done = load_checkpoint(checkpoint)["counters"]["step"]
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(f"{checkpoint}: damaged: it names no step ({error!s:.200})") from None
    command = "sharpen-train" if "pairs" in config else "train"
    resume = f"bandweave {command} --out {folder.path} --resume"
    stage = ""
    if checkpoint.parent == folder.held_out:
        stage = "finding the length: "
    elif checkpoint.parent.parent == folder.rounds:
        stage = f"round {int(checkpoint.parent.name) + 1}: "
    return f"interrupted {stage}after step {done} of {steps}; continue with `{resume}`"


def _trained(stored: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    if "members" in stored:
        return _ensemble(stored)
    facts = stored["facts"]
    machine, versions = facts["machine"], facts["versions"]
    described = _sharpener if stored.get("kind") == "sharpening" else _land_cover
    (model, *rows) = described(stored)
    if "chosen" in stored:
        pixels, values = tensors["values"].shape
        held = ("training", f"{pixels:,} pixels, {values} values each")
        took, library = f"in {facts['seconds']:.0f} s", f"scikit-learn {versions['scikit-learn']}"
    else:
        numbers = sum(tensor.numel() for tensor in tensors.values())
        held = "parameters", f"{facts['parameters']:,} trained, {numbers:,} numbers in the file"
        took = f"{facts['steps']} steps in {facts['seconds']:.0f} s"
        if length := facts.get("length"):
            took += f", as many as were best for {length['held_out']:,} held-out pixels"
        if teaching := facts.get("teaching"):
            taught = f"{100 * teaching['teacher']:.0f} %"
            took += f"; of what unlabelled pixels teach, {taught} is its teacher's"
        library = f"torch {machine['torch']}"
    return [
        model,
        held,
        *rows,
        ("trained", took),
        ("on", f"{machine['gpu'] or machine['cpu']}, {library}"),
        ("by", f"bandweave {versions['bandweave']}"),
    ]


def _published(model: Mapping[str, Any]) -> str:
    """The published weights in a model, in few words."""
    if "weights" in model:
        return f"encoder {model['weights']}"
    return f"clip {model.get('clip', {}).get('mode', 'none')}"


def _ensemble(stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    options, facts = stored["config"]["model"], stored["facts"]
    rows = [
        ("run", f"{name}: {_model(own)}; {100 * weight:.3g} % of the mean")
        for name, weight, own in zip(
            options["members"], options["weights"], stored["members"], strict=True
        )
    ]
    return [
        ("model", f"ensemble, the mean of {len(rows)} runs"),
        *rows,
        *_land_cover(stored)[1:],
        ("trained", f"in {facts['seconds']:.0f} s together"),
        ("by", f"bandweave {facts['versions']['bandweave']}"),
    ]


def _model(stored: Mapping[str, Any]) -> str:
    """Name, and published weights or what a classical method chose."""
    name = stored["config"]["model"]["name"]
    if "chosen" in stored:
        chosen = [f"{key.rpartition('__')[2]} {value:g}" for key, value in stored["chosen"].items()]
        return ", ".join([f"{name}, a classical method", *chosen])
    return f"{name}, {_published(stored['config']['model'])}"


def _land_cover(stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("model", _model(stored)),
        ("scene", stored["config"]["scene"]),
        *(("layer", f"{name}: {_layer(layer)}") for name, layer in stored["layers"].items()),
        ("classes", ", ".join(f"{each['code']} {each['name']}" for each in stored["classes"])),
        *([("window", f"{stored['window']} px of the grid")] if "window" in stored else []),
        ("answers at", f"{stored['output_ratio']} times the grid's pixels along each side"),
    ]


def _sharpener(stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    config, scale = stored["config"], stored["scale"]
    number, beside = len(config["pairs"]), len(config["validation"])
    return [
        ("model", config["model"]["name"]),
        ("bands", ", ".join(stored["bands"])),
        ("ratio", f"an MS pixel is {stored['ratio']} PAN pixels wide"),
        ("sensor", stored["sensor"]),
        ("pairs", f"{number} to train on, {beside} to validate on"),
        ("registered", "yes" if stored["registered"] else "no"),
        ("scale", f"MS / {scale['ms']:g}, PAN / {scale['pan']:g}: {scale['source']}"),
        ("window", f"{stored['window']} px of PAN"),
    ]


def _layer(layer: Mapping[str, Any]) -> str:
    words = [f"{layer['bands']} band{'s' if layer['bands'] > 1 else ''}"]
    if layer["wavelengths"]:
        words.append(f"{min(layer['wavelengths']):g} to {max(layer['wavelengths']):g} nm")
    if layer["units"]:
        words.append(f"in {layer['units']}")
    if layer["ratio"] > 1:
        words.append(f"{layer['ratio']} times finer than the grid")
    if layer.get("derived"):
        words.append(f"derived by {layer['derived']}")
    return ", ".join(words)


def _scores(folder: RunFolder) -> str:
    """The table of scores.json, which has the protocol; '' where there is none."""
    if not folder.scores.exists():
        return ""
    from bandweave.landcover.scoring import SceneScores

    try:
        return str(SceneScores.from_dict(json.loads(folder.scores.read_text(encoding="utf-8"))))
    except OSError as error:
        raise RunError(f"{folder.scores}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RunError) as error:
        raise RunError(
            f"{folder.scores} is damaged ({error!s:.200}); score the run again"
        ) from error


def _section(title: str, content: Mapping[str, Any]) -> str:
    if not content:
        return ""
    return f"{title}:\n" + "\n".join(f"  {line}" for line in yaml_text(content).splitlines())
