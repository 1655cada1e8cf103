"""What accuracy is compared on, frozen: the splits of the tables and the simulated towns.

    export BANDWEAVE_DATA=/folder/of/your/data
    python benchmarks/accuracy/freeze.py [--write]

Compares with benchmarks/frozen.yaml, and writes it anew with --write. A difference means that
numbers before and after it are of other pixels.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import yaml

import bandweave as bw
from bandweave.data.scene import Scene

ROOT = Path(__file__).parents[2]
FROZEN = ROOT / "benchmarks" / "frozen.yaml"
SPLITS = {  # scene file, split, seeds
    "houston2018-crop, guard 8": ("houston2018-crop", {"size": 64, "guard": 8}, 10),
    "houston2018-crop, guard 28": ("houston2018-crop", {"size": 64, "guard": 28}, 10),
    "idtrees2020, whole plots": ("idtrees2020", {"name": "parts"}, 5),
}
TOWN = {"height": 96, "width": 128, "bands": 48}
TOWNS = 5


def find_splits(name: str) -> list[str]:
    """The hashes of the splits of a table, by seed."""
    file, options, seeds = SPLITS[name]
    scene = bw.open_scene(ROOT / "examples" / "scenes" / f"{file}.yaml")
    return [bw.split(scene, **{"name": "blocks", **options}, seed=s).hash for s in range(seeds)]


def find_towns() -> list[dict[str, Any]]:
    """The labels' hash of each simulated town, and means and deviations of its layers."""
    return [describe(bw.simulated_scene(seed=seed, **TOWN)) for seed in range(TOWNS)]


def describe(scene: Scene) -> dict[str, Any]:
    """In four digits, since machines differ in the last."""
    (part,) = scene.parts
    found: dict[str, Any] = {"labels": hashlib.sha256(part.labels.values.tobytes()).hexdigest()}
    for name, layer in part.layers.items():
        values, _ = layer.read(part.grid.window)
        found[name] = [float(f"{number:.4g}") for number in (values.mean(), values.std())]
    return found


def main() -> int:
    """Print what differs from what was frozen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    now = {"splits": {name: find_splits(name) for name in SPLITS}, "towns": find_towns()}
    if write:
        FROZEN.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
        return 0
    then = yaml.safe_load(FROZEN.read_text(encoding="utf-8"))
    differing = [name for name in SPLITS if now["splits"][name] != then["splits"][name]]
    differing += ["towns"] * (now["towns"] != then["towns"])
    print("differs: " + ", ".join(differing) if differing else "all as it was frozen")
    return int(bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
