"""The commands that make the same run, map and scores."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bandweave.data.scene import Scene
from bandweave.landcover.ensemble import EnsembleRun
from bandweave.landcover.report.findings import Findings
from bandweave.landcover.report.sections.scene_run import list_changed_options
from bandweave.landcover.run import Run
from bandweave.report.section import Section, fill_section
from bandweave.yaml_files import yaml_text

TEMPLATE = """
{% for command in commands %}
<pre>{{ command }}</pre>
{% endfor %}
<details><summary>All options</summary><pre>{{ config }}</pre></details>
"""


def show_commands(found: Findings) -> Section:
    """The commands that make the same run, map and scores, and all options."""
    return fill_section(
        "Again",
        TEMPLATE,
        commands=_list_commands(found.run, found.scene, found.protocol if found.pixels else None),
        config=yaml_text(found.run.config.to_dict()),
    )


def _list_commands(run: Run, scene: Scene, scored: Mapping[str, Any] | None) -> list[str]:
    """List what to type for the same run, map and scores.

    scored  the protocol of the scores; None where there are none
    """
    again = f"{run.folder.path}-again"
    if isinstance(run, EnsembleRun):
        options = run.config.model
        train = ["bandweave", "ensemble", *options.members]
        train += ["--weights", ",".join(f"{weight:g}" for weight in options.weights)]
    else:
        train = ["bandweave", "train", "--scene", run.config.scene, "--model", run.config.name]
        train += ["--split", run.config.split.name]
        for name, _, value in list_changed_options(run.config):
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
    """Write the options that make the split of a protocol."""
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
