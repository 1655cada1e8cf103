"""Every command that writes, with tiny inputs: what it is given, and how it is called again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from . import inputs
from .inputs import TINY, TINY_SHARPENER
from .kinds import write_yaml

Words = tuple[object, ...]


@dataclass(frozen=True)
class Command:
    """One row of COMMANDS. In words, `IN` is the folder of inputs and `OUT` that of the outputs.

    again   what is added where the command is called once more after a kill
    run     the folder of inputs whose copy is `OUT/run`, '' for none
    """

    words: Words
    again: Words = ()
    run: str = ""

    def line(self, given: Path, out: Path, again: bool = False) -> list[str]:
        """The command line."""
        words = (*self.words, *(self.again if again else ()))
        return [str(word).replace("IN", str(given)).replace("OUT", str(out)) for word in words]

    def begin(self, given: Path, out: Path) -> None:
        """Make the folder of outputs."""
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        if self.run:
            shutil.copytree(given / self.run, out / "run")


TRAIN = *("train", "--scene", "IN/scene.yaml", "--out", "OUT/run"), *TINY
SHARPEN = "--pan", "IN/pan.tif", "--ms", "IN/ms.tif"
SPLIT = "--split.size", 8, "--split.guard", 1

COMMANDS: dict[str, Command] = {
    "train": Command((*TRAIN, "--steps", 12, "--checkpoint-every", 1), ("--resume",)),
    "train, validated": Command(
        (*TRAIN, "--steps", 8, "--checkpoint-every", 2, "--validation", 0.2, "--validate-every", 2),
        ("--resume",),
    ),
    "train, CLIP": Command(
        (*TRAIN, "--steps", 4, "--checkpoint-every", 1, "--clip", "adapters", "--clip.weights",
         "embedded"),
        ("--resume",),
    ),
    "sharpen-train": Command(
        ("sharpen-train", *SHARPEN, "--out", "OUT/run", *TINY_SHARPENER, "--steps", 6,
         "--checkpoint-every", 1),
        ("--resume",),
    ),
    "map": Command(
        ("map", "IN/run", "IN/scene.yaml", "OUT/map.tif", "--confidence", "--probabilities",
         "--uncertainty"),
        ("--overwrite",),
    ),
    "map, parts": Command(
        ("map", "IN/run", "IN/parts.yaml", "OUT/maps", "--confidence"), ("--overwrite",)
    ),
    "score": Command(("score", "OUT/run", "IN/scene.yaml"), run="run"),
    "report": Command(("report", "OUT/run", "IN/scene.yaml"), run="run"),
    "compare": Command(
        ("compare", "--models", "m3amba_tiny,random_forest", "--scenes", "IN/scene.yaml", *SPLIT,
         "--splits", "blocks", "--seeds", 2, "--out", "OUT/all", "--train.steps", 3,
         "--train.checkpoint_every", 1, "--samples.crop", 8, "--samples.batch", 2, "--no-features"),
    ),
    "compare, processes": Command(
        ("compare", "--models", "random_forest,svm", "--scenes", "IN/scene.yaml", *SPLIT,
         "--splits", "blocks", "--seeds", 2, "--out", "OUT/all", "--no-features", "--no-maps",
         "--processes", 2),
    ),
    "audit": Command(
        ("audit", "m3amba_tiny", "IN/scene.yaml", "--out", "OUT/audit", "--seeds", 1, "--steps", 2,
         "--split", "blocks", "--size", 8, "--guard", 1, "--crop", 8, "--batch", 2, "--width", 8,
         "--depth", 1),
    ),
    "sharpen": Command(
        ("sharpen", "IN/pan.tif", "IN/ms.tif", "OUT/o.tif", "--method", "gsa"), ("--overwrite",)
    ),
    "sharpen, run": Command(
        ("sharpen", "IN/pan.tif", "IN/ms.tif", "OUT/o.tif", "--run", "IN/sharpener",
         "--window", 32),
        ("--overwrite",),
    ),
    "sharpen-score": Command(
        ("sharpen-score", *SHARPEN, "--methods", "gsa,bicubic", "--peak", 2047, "--out",
         "OUT/scores"),
        ("--overwrite",),
    ),
    "sharpen-compare": Command(
        ("sharpen-compare", "--models", "mmmamba_tiny,gsa", "--pairs", "IN/train.yaml", "--test",
         "IN/test.yaml", "--seeds", 1, "--peak", 2047, "--out", "OUT/all", "--train.steps", 2,
         "--samples.patch", 4, "--samples.batch", 1),
    ),
    "scenes make": Command(
        ("scenes", "make", "IN/a.tif", "IN/p.gpkg", "--out", "OUT/drafted.yaml"), ("--overwrite",)
    ),
    "sample": Command(
        ("sample", "IN/map.tif", "OUT/points.gpkg", "--per-class", 5), ("--overwrite",)
    ),
    "demo": Command(("demo", "--out", "OUT/demo", "--steps", 1)),
}  # fmt: skip


def write_inputs(folder: Path) -> None:
    """All that the commands read."""
    from bandweave.pansharp.simulate import simulated_pair

    folder.mkdir()
    inputs.write_tiff(folder / "a.tif", inputs.values(3).repeat(2, 1).repeat(2, 2))
    inputs.write_tiff(folder / "gt.tif", inputs.codes()[None].repeat(2, 1).repeat(2, 2))
    inputs.write_polygons(folder / "p.gpkg", "GPKG")
    inputs.write_scene_file(folder / "scene.yaml", a="a.tif")
    for part in ("x", "y"):
        shutil.copy(folder / "a.tif", folder / f"part_{part}.tif")
    write_yaml(folder / "parts.yaml", {"layers": {"a": "part_{part}.tif"}})
    inputs.write_run(folder / "run", folder / "scene.yaml")
    for words in (
        ("score", folder / "run", folder / "scene.yaml"),
        ("map", folder / "run", folder / "scene.yaml", folder / "run" / "map.tif", "--confidence"),
        ("map", folder / "run", folder / "scene.yaml", folder / "map.tif"),
    ):
        if inputs.call(*words):
            raise SystemExit(f"{' '.join(map(str, words))} failed")
    simulated_pair(folder, size=(64, 80), ratio=2, bands=3)
    simulated_pair(folder / "other", seed=1, size=(64, 80), ratio=2, bands=3)
    inputs.write_sharpener(folder / "sharpener", folder)
    files = {"pan": "pan.tif", "ms": "ms.tif"}
    write_yaml(folder / "train.yaml", {"pairs": [files]})
    other = {"name": "other", "pan": "other/pan.tif", "ms": "other/ms.tif"}
    write_yaml(folder / "test.yaml", {"pairs": [other]})
