"""Parts of the pages that are written by the code itself, so that they cannot be wrong.

A line of a page that is one of these is replaced when the pages are built:

    {{ options bandweave.training.config.TrainConfig }}
                                                     the fields of a dataclass: type, default, text
    {{ presets m3amba }}                             a model's presets and what they change
    {{ presets }}                                    those of all land-cover models
    {{ methods }}                                    what each model is, and how large
    {{ sharpeners }}                                 the classical sharpening methods
    {{ metrics }}                                    the scores of a land-cover map
    {{ sections }}                                   the sections of a land-cover report
    {{ benchmarks }}                                 the known benchmark scenes
    {{ errors }}                                     the errors a user can meet
    {{ plan idtrees }}                               scores and gains of a plan in benchmarks/plans
    {{ plan idtrees svm m3amba_small }}              those of some of its models
    {{ pairs landsat7 gsa mmmamba_small }}           scores of some methods of a sharpening plan
    {{ campaign }}                                   what the campaigns counted so far
    {{ help map }}                                   what `bandweave map --help` prints

A line that is an SVG picture of docs/images becomes that drawing itself: its ink is the page's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import math
import os
import re
import types
import typing
from pathlib import Path
from typing import Any

SHOWN_SCORES = ("psnr", "sam_degrees", "ergas", "q2n", "qnr", "hqnr")  # of sharpening


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the lines that ask for something; mkdocs calls this for each page."""

    def replaced(match: re.Match[str]) -> str:
        word, *rest = match[1].split()
        return WRITERS[word](*rest)

    def drawing(match: re.Match[str]) -> str:
        svg = (Path(__file__).parent / "images" / match[1]).read_text(encoding="utf-8")
        return f"<figure>\n{svg}</figure>"

    markdown = re.sub(r"^!\[[^\]]*\]\([./]*images/(\w+\.svg)\)$", drawing, markdown, flags=re.M)
    return re.sub(r"^\{\{ (.+?) \}\}$", replaced, markdown, flags=re.M)


def options(path: str) -> str:
    """A table of the fields of a dataclass that hold a value; nested ones have their own table."""
    from bandweave.cli.option_texts import read_option_texts

    module, _, name = path.rpartition(".")
    config = getattr(importlib.import_module(module), name)
    hints, texts = typing.get_type_hints(config), read_option_texts(config)
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(config):
        if (
            field.default is dataclasses.MISSING
            and field.default_factory is not dataclasses.MISSING
        ):
            continue
        default = "" if field.default is dataclasses.MISSING else _default(field.default)
        text = texts.get(field.name, "").replace("|", "\\|").replace("{", "&#123;")
        lines.append(f"| `{field.name}` | {_kind(hints[field.name])} | {default} | {text} |")
    return "\n".join(lines)


def presets(model: str = "") -> str:
    """A table of presets and the values that differ from their paper's, the defaults."""
    from bandweave.models import LAND_COVER, SHARPENERS

    lines = ["| `--model` | values that differ | training and samples |", "|---|---|---|"]
    for name, preset in (LAND_COVER | SHARPENERS if model else LAND_COVER).items():
        if model and name != model and not name.startswith(f"{model}_"):
            continue
        differing = _differences(preset.config, type(preset.config)())
        if preset.components:
            differing.append(f"{preset.components} components of the first layer")
        other = [f"`{key}` {value}" for key, value in {**preset.train, **preset.samples}.items()]
        lines.append(
            f"| `{name}` | {', '.join(differing) or 'the paper’s'} | "
            f"{', '.join(other) or 'the defaults'} |"
        )
    return "\n".join(lines)


def methods() -> str:
    """A table of the models in their papers' sizes: what they are, and how many numbers train."""
    import torch

    from bandweave.errors import WeightsError
    from bandweave.models import LAND_COVER

    lines = ["| `--model` | what it is | parameters |", "|---|---|---|"]
    for name, preset in LAND_COVER.items():
        if name.endswith(("_small", "_tiny")):
            continue
        bands = {"hsi": min(144, preset.components or 144), "lidar": 1}
        try:
            with torch.device("meta"):
                model = preset.model(bands, [f"type {letter}" for letter in CLASSES], preset.config)
            count = f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}"
        except WeightsError:  # its CLIP is not on every machine
            count = "with CLIP"
        lines.append(f"| `{name}` | {preset.about} | {count} |")
    return "\n".join(lines)


def sharpeners() -> str:
    """A table of the classical sharpening methods, from their docstrings."""
    from bandweave.pansharp.classical.methods import CLASSICAL

    lines = ["| name | what it is | source |", "|---|---|---|"]
    for name, method in CLASSICAL.items():
        about = (inspect.getdoc(method) or "").splitlines()[0].removesuffix(".")
        lines.append(f"| `{name}` | {about} | {method.source} |")
    return "\n".join(lines)


def metrics() -> str:
    """A table of the land-cover scores, with formula and source."""
    from bandweave.landcover.metrics import METRICS

    lines = ["| score | of | formula | source |", "|---|---|---|---|"]
    for metric in METRICS.values():
        scope = "each class" if metric.per_class else "the map"
        name = metric.name if metric.symbol == metric.name else f"{metric.name}, {metric.symbol}"
        lines.append(f"| {name} | {scope} | {metric.formula} | {metric.source} |")
    return "\n".join(lines)


def sections() -> str:
    """A list of the sections of a land-cover report, from their docstrings."""
    from bandweave.landcover.report.sections import SECTIONS

    texts = {title: inspect.getdoc(show) or "" for title, show in SECTIONS.items()}
    return "\n".join(f"- **{title}**: {' '.join(text.split())}" for title, text in texts.items())


def benchmarks() -> str:
    """A table of the benchmarks, and below it the terms, sources and remarks of each."""
    from bandweave.data.benchmarks.catalogue import benchmark_names, describe

    lines = ["| name | size, px | layers (bands) | classes | masks | `get` |"]
    lines.append("|---|---|---|---|---|---|")
    known = [describe(name) for name in benchmark_names()]
    for one in known:
        layers = ", ".join(f"{name} ({layer.bands})" for name, layer in one.layers.items())
        fetched = any(variant.fetch for variant in one.variants.values())
        lines.append(
            f"| [{one.name}](#{one.name}) | {'×'.join(map(str, one.shape))} | "
            f"{layers} | {len(one.classes)} | {'official' if one.official else '–'} | "
            f"{'downloads' if fetched else 'says where'} |"
        )
    for one in known:
        lines += ["", f"### {one.name} {{ #{one.name} }}", "", f"{one.title}; {one.pixel:g} m.", ""]
        lines += [f"- Source: {one.source}", f"- Terms: {one.licence}", f"- Cite: {one.citation}"]
        for key, variant in one.variants.items():
            files = ", ".join(f"`{f}`" for f in dict.fromkeys(each.file for each in variant.files))
            lines.append(f"- Copy `{key}` ({variant.about}; roles: {variant.roles}): {files}")
        lines += [f"- {note}" for note in one.notes]
    return "\n".join(lines)


def errors() -> str:
    """A table of the errors, from their docstrings."""
    from bandweave import errors as module

    lines = ["| error | |", "|---|---|"]
    for name, error in inspect.getmembers(module, inspect.isclass):
        lines.append(f"| `{name}` | {inspect.getdoc(error)} |")
    return "\n".join(lines)


def command_help(*words: str) -> str:
    """What a command prints when it is asked for help, at a width that fits the page."""
    from bandweave.cli.main import main

    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "88"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main([*words, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if width is not None:
            os.environ["COLUMNS"] = width
    return f"```text\n{printed.getvalue().rstrip()}\n```"


def _differences(config: Any, paper: Any, above: str = "") -> list[str]:
    """Each value of a config that is not the paper's, by its full name."""
    found = []
    for field in dataclasses.fields(config):
        value, other = getattr(config, field.name), getattr(paper, field.name)
        if value != other and dataclasses.is_dataclass(value):
            found += _differences(value, other, f"{above}{field.name}.")
        elif value != other:
            found.append(f"`{above}{field.name}` {value}")
    return found


def _default(value: Any) -> str:
    if value is None or value == () or value == "":
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _kind(hint: Any) -> str:
    """The type of a value in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [_kind(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin in (list, tuple):
        return f"{_kind(arguments[0])}, or a list"
    if origin is dict:
        return "a mapping"
    if dataclasses.is_dataclass(hint):
        return "keys, see below"
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return words.get(hint, str(getattr(hint, "__name__", hint)))


def campaign() -> str:
    """What benchmarks/results/campaign.json holds: inputs by kind, kills by command."""
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "campaign.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    tables = []
    for name, what, counts in (
        ("kills", "command", {"kills": "kills", "runs": "trials"}),
        ("inputs", "kind", {"inputs": "inputs", "refused": "refused", "slowest, s": "slowest_s"}),
    ):
        rows = {key: row for key, row in stored[name].items() if row.get("date")}
        total = sum(row[next(iter(counts.values()))] for row in rows.values())
        heads = [what, *counts, "findings mended", "findings open", "last, at commit"]
        lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for key, row in rows.items():
            unmended = len({found["seed"] for found in row.get("findings", [])})
            numbers = [row.get(count, 0) for count in counts.values()]
            cells = [
                *numbers,
                row.get("mended", 0),
                unmended,
                f"{row['date']}, {row['commits'][-1]}",
            ]
            lines.append(f"| {key} | {' | '.join(map(str, cells))} |")
        tables.append(f"{total:,} {name} in all so far.\n\n" + "\n".join(lines))
    return "\n\n".join(tables)


def plan(name: str, *models: str) -> str:
    """A table of a plan, from the results that benchmarks/results keeps: percent, one decimal.

    models  the first words of the rows to show; all where none is named
    """
    from bandweave.cli.compare import parse
    from bandweave.comparison.kept import find_kept, read_kept
    from bandweave.comparison.summary import summarise
    from bandweave.landcover.comparison.plan import Plan
    from bandweave.landcover.comparison.task import LandCoverTask

    project = Path(__file__).parents[1]
    args = parse(["--config", str(project / f"benchmarks/plans/{name}.yaml"), "--out", "nowhere"])
    scenes = {scene: (origin, None) for scene, origin in args.scenes.items()}
    shared = {**args.sections, "layers": args.layers, "pca": args.pca}
    made = Plan.make(args.models, scenes, args.splits, args.seeds, shared, args.split)
    kept = read_kept(project / args.rows, made.cells())
    found = [result for cell in made.cells() if (result := find_kept(kept, cell))]
    (panel,) = summarise(LandCoverTask(made, args.against), found).panels
    heads = ["", *panel.heads, f"{panel.heads[0]} over {panel.against} (95 %)", "seeds", "trained"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in panel.rows:
        if models and row.model.split()[0] not in models:
            continue
        scores = [f"{100 * e.mean:.1f}&nbsp;± {100 * e.std:.1f}" for e in row.scores.values()]
        gain = panel.gain_words(row, digits=3)
        trained = "–" if row.parameters is None else f"{row.parameters:,}"
        lines.append(f"| {row.model} | {' | '.join([*scores, gain, str(row.seeds), trained])} |")
    return "\n".join(lines)


def pairs(name: str, *models: str) -> str:
    """A table of a sharpening plan, from the results that benchmarks/results keeps; best in bold.

    models  the first words of the rows to show; all where none is named
    """
    from bandweave.pansharp.scores.names import SCORES

    path = Path(__file__).parents[1] / "benchmarks" / "results" / f"{name}.jsonl"
    cells = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    means = {
        cell["model"]: {score: _mean(cell["values"], score) for score in SHOWN_SCORES}
        for cell in cells
        if not models or cell["model"].split(",")[0] in models
    }
    shown = [
        score for score in SHOWN_SCORES if not all(math.isnan(m[score]) for m in means.values())
    ]
    best = {
        score: (max if SCORES[score].higher else min)(row[score] for row in means.values())
        for score in shown
    }
    heads = ["", *(SCORES[score].head for score in shown)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for model, row in sorted(means.items(), key=lambda one: -one[1][shown[0]]):
        texts = [SCORES[score].text(row[score], unit=False) for score in shown]
        texts = [
            f"**{text}**" if row[score] == best[score] else text
            for score, text in zip(shown, texts, strict=True)
        ]
        lines.append(f"| {model} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _mean(values: list[dict[str, Any]], score: str) -> float:
    """The mean of a score over the pairs; NaN where it was not measured."""
    found = [row[score] for row in values if row.get(score) is not None]
    return sum(found) / len(found) if found else math.nan


CLASSES = "abcdefghijklmno"  # of Houston 2013: fifteen

WRITERS = {
    "options": options,
    "presets": presets,
    "methods": methods,
    "sharpeners": sharpeners,
    "metrics": metrics,
    "sections": sections,
    "benchmarks": benchmarks,
    "errors": errors,
    "campaign": campaign,
    "plan": plan,
    "pairs": pairs,
    "help": command_help,
}
