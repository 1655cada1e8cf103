"""bandweave demo: a scene of its own making, from files on disk to a map and a report."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bandweave.cli.arguments import Parser, add_common
from bandweave.errors import ConfigError, OutputError

# What keeps the whole below five minutes on two cores, training being about half of it.
SIZE = {"height": 192, "width": 256, "bands": 72}  # px of 2 m
MODEL = "m3amba_tiny"
STEPS = 300
CROP, BATCH = 16, 16
SPLIT = {"size": 32, "guard": 4}  # px of the labels

DESCRIPTION = """\
Simulate a scene (hyperspectral and LiDAR, ten classes), write it as files, train a small M³amba on
half of its blocks, map it, score it on the other half, and write a report."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `demo`."""
    parser = Parser("demo", DESCRIPTION)
    add = parser.add_argument
    add("--out", metavar="FOLDER", default="demo", help="where everything is written (demo)")
    add("--seed", type=int, default=0, help="of the scene and the training (0)")
    add("--steps", type=int, default=STEPS, help=f"of training ({STEPS})")
    add_common(parser)
    args = parser.read(argv)
    if args.seed < 0 or args.steps < 1:
        raise ConfigError(f"--seed {args.seed}, --steps {args.steps}: at least 0 and 1")
    return args


def run(args: argparse.Namespace) -> int:
    """Do all of it, and print where to look and how long each stage took."""
    from bandweave.cli.columns import format_columns
    from bandweave.data.scenefile.open import open_scene
    from bandweave.data.simulation.scene import simulated_scene
    from bandweave.data.splits.splitting import split
    from bandweave.data.write_scene import write_scene
    from bandweave.landcover.mapping import map_scene
    from bandweave.landcover.report.page import write_report
    from bandweave.landcover.scoring import score
    from bandweave.landcover.training import train

    out = Path(args.out)
    _refuse_others(out)
    times: dict[str, float] = {}
    with _time_step("simulate", times):
        file = write_scene(simulated_scene(args.seed, **SIZE), out / "scene")
        scene = open_scene(file)
    drawn = split(scene, "blocks", seed=args.seed, **SPLIT)
    with _time_step("train", times):
        trained = train(
            scene,
            drawn,
            MODEL,
            out / "run",
            overwrite=True,
            quiet=args.quiet,
            steps=args.steps,
            seed=args.seed,
            crop=CROP,
            batch=BATCH,
            hold_out=0.0,
        )
    with _time_step("map", times):
        where = trained.folder.map
        map_scene(trained, scene, where, confidence=True, overwrite=True, quiet=args.quiet)
    with _time_step("score", times):
        scores = score(trained, scene, drawn, quiet=args.quiet)
    with _time_step("report", times):
        page = write_report(trained, scene, scores=scores, split=drawn, quiet=args.quiet)
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in times.items())
    print(f"{scores}\n")
    print(
        format_columns(
            [
                ("scene", str(file)),
                ("map", str(where)),
                ("scores", str(trained.folder.scores)),
                ("report", str(page)),
                ("time", f"{spent}; {sum(times.values()):.0f} s in all"),
            ]
        )
    )
    return 0


@contextmanager
def _time_step(stage: str, times: dict[str, float]) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[stage] = time.monotonic() - began


def _refuse_others(out: Path) -> None:
    """An earlier demo is written over, and nothing else."""
    if out.is_file():
        raise OutputError(f"{out} is a file; name a folder with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "scene" / "scene.yaml").exists():
        raise OutputError(f"{out} holds something else than an earlier demo; choose another --out")
