"""Pixels per second of a map by CF-IPT, which answers for one pixel at a time, and what bounds it.

    BANDWEAVE_DATA=folder python benchmarks/speed/patch_mapping.py [--threads 2]

The scene is houston2018-crop: 128 × 128 px, 48 bands and RGB four times finer. The model is trained
for one step, because what it says does not change how long it takes. Time is that of
`bandweave map`, from files on disk to a GeoTIFF on disk, by the wall and of the processor: on a
machine that does other things, the latter says more. Clocks of the processor's time around the
parts of the model say where it goes.

Results go to benchmarks/results/patch_mapping.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
SCENE = HERE.parent / "examples" / "scenes" / "houston2018-crop.yaml"
RESULTS = HERE / "results" / "patch_mapping.json"
TEXTS: dict[str, dict[str, Any]] = {
    "text of every sample": {"text": "sample"},
    "text once a batch": {"text": "batch"},
}


def measure(preset: str, options: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Time of a map, the least of some, and what the parts of the model took of it."""
    import bandweave as bw

    scene = bw.open_scene(SCENE)
    split = bw.split(scene, "blocks", size=64, guard=8, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        run = bw.train(
            scene, split, model=preset, out=f"{folder}/run", steps=1, quiet=True, **options
        )
        grid = scene.parts[0].grid
        pixels, found = grid.height * grid.width, []
        for number in range(repeats):
            with clocks(run.model) as taken:
                wall, began = time.perf_counter(), time.process_time()
                bw.map_scene(run, scene, f"{folder}/map{number}.tif", quiet=True)
                spent = time.process_time() - began, time.perf_counter() - wall
                found.append((*spent, dict(taken)))
    seconds, wall, taken = min(found, key=lambda each: each[0])
    return {
        "pixels": pixels,
        "seconds": round(wall, 2),
        "cpu_seconds": round(seconds, 2),
        "cpu_spread": [round(pick(each[0] for each in found), 2) for pick in (min, max)],
        "pixels_per_second": round(pixels / wall, 1),
        "pixels_per_cpu_second": round(pixels / seconds, 1),
        "shares": {name: round(part / seconds, 3) for name, part in taken.items()},
    }


class clocks:  # noqa: N801
    """What the parts of a CF-IPT take while this is open: seconds by name."""

    def __init__(self, model: Any) -> None:
        clip = model.clip
        self.parts = {
            "single pixels": (model, "pixels"),
            "matrices and fusion": (model.attention, "forward"),
            "attention over channels": (model.fuse, "forward"),
            "upsampling": (model.upsample, "forward"),
            "prompts": (model.prompts, "forward"),
            "vision tower": (clip, "embed_images"),
            "text tower": (clip, "embed_texts"),
        }

    def __enter__(self) -> dict[str, float]:
        taken: dict[str, float] = defaultdict(float)

        def timed(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
            def outer(*args: Any, **options: Any) -> Any:
                began = time.process_time()
                try:
                    return inner(*args, **options)
                finally:
                    taken[name] += time.process_time() - began

            return outer

        for name, (owner, method) in self.parts.items():
            setattr(owner, method, timed(name, getattr(owner, method)))
        return taken

    def __exit__(self, *_: Any) -> None:
        for owner, method in self.parts.values():
            delattr(owner, method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cf_ipt_small", help="cf_ipt_small or cf_ipt_tiny")
    parser.add_argument("--repeats", type=int, default=3, help="maps of each kind; the best counts")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    from bandweave.training.folder import machine

    torch.set_num_threads(arguments.threads)
    found = {
        name: measure(arguments.preset, options, arguments.repeats)
        for name, options in TEXTS.items()
    }
    result = {
        "preset": arguments.preset,
        "threads": arguments.threads,
        "maps": found,
        "machine": machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for name, each in found.items():
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in each["shares"].items())
        print(f"{name}: {each['pixels_per_cpu_second']} px/s ({each['cpu_seconds']} s); {shares}")


if __name__ == "__main__":
    main()
