"""MMMamba from file to file: megapixels a second, and memory on a scene and on a larger one.

    python benchmarks/speed/sharpening_model.py [--presets mmmamba_small] [--sides 1024 3236]

For each preset a model of four bands and ratio 4 with new weights (they do not matter here)
sharpens simulated scenes of these sides, each in a process of its own. Reported are the seconds,
the peak resident memory, and what of it was there before, with everything loaded and a scene of one
tile sharpened. What is measured is in benchmarks/results/sharpening_model.json, preset by preset.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sharpening_speed import make

RESULTS = Path(__file__).parents[1] / "results" / "sharpening_model.json"
FIRST = 256  # px of PAN: side of the scene that is sharpened before the clock runs


def begin(preset: str, folder: Path) -> None:
    """A run of one step, and the small scene."""
    from bandweave.pansharp.training import train_sharpener

    make(folder / "first", FIRST)
    files = folder / "first" / "pan.tif", folder / "first" / "ms.tif"
    train_sharpener([files], preset, folder / "run", steps=1, batch=1, patch=8, quiet=True)


def measure(folder: Path, side: int) -> dict[str, float]:
    """Seconds and memory, in MiB, of sharpening a scene."""
    from bandweave.pansharp.sharpening import sharpen

    def run(name: str) -> None:
        scene = folder / name
        files = scene / "pan.tif", scene / "ms.tif", scene / "sharp.tif"
        sharpen(*files, run=folder / "run", quiet=True)

    run("first")
    before, began, used = peak_mib(), time.perf_counter(), time.process_time()
    run(str(side))
    return {
        "side": side,
        "seconds": round(time.perf_counter() - began, 2),
        "processor_seconds": round(time.process_time() - used, 2),
        "before_mib": round(before),
        "peak_mib": round(peak_mib()),
    }


def peak_mib() -> float:
    """Peak resident memory of this process."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def compare(preset: str, sides: list[int]) -> dict[str, Any]:
    """A preset on all scenes."""
    scenes = []
    with tempfile.TemporaryDirectory(prefix="sharpening-model-") as folder:
        step("begin", preset, folder)
        for side in sides:
            step("make", folder, str(side))
            found = json.loads(step("measure", folder, str(side)).splitlines()[-1])
            found["megapixels_a_second"] = round(side**2 / 1e6 / found["seconds"], 4)
            scenes.append(found)
            print(preset, found, flush=True)
    first, last = scenes[0], scenes[-1]
    return {
        "scenes": scenes,
        "pixels_ratio": round((last["side"] / first["side"]) ** 2, 2),
        "memory_ratio": round(last["peak_mib"] / first["peak_mib"], 3),
        "load": os.getloadavg(),
    }


def step(*words: str) -> str:
    """A step in a process of its own; a child's peak counts from this one's, which stays small."""
    command = [sys.executable, __file__, "--step", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["mmmamba_small"])
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 3236], help="px of PAN")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write or to add to")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, *words = options.step
        if name == "begin":
            (Path(words[1]) / "first").mkdir()
            begin(words[0], Path(words[1]))
        elif name == "make":
            scene = Path(words[0]) / words[1]
            scene.mkdir()
            make(scene, int(words[1]))
        elif name == "machine":
            from bandweave.training.folder import machine

            print(json.dumps(machine()))
        else:
            from bandweave.cli.process import set_up_process

            set_up_process()  # as the command has it, before torch is loaded
            print(json.dumps(measure(Path(words[0]), int(words[1]))))
        return
    report = json.loads(options.out.read_text()) if options.out.exists() else {}
    for preset in options.presets:
        report[preset] = compare(preset, options.sides)
        report["machine"] = json.loads(step("machine"))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
