"""bandweave sharpen-compare: methods, pairs and seeds, to a folder of runs and tables."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from bandweave.cli.arguments import add_common
from bandweave.cli.comparison_options import (
    PairComparisonFile,
    add_making,
    laid_over,
    seeds_of,
    stored_options,
)
from bandweave.cli.flag_words import speaking_flags
from bandweave.cli.options import ConfigParser
from bandweave.errors import ConfigError
from bandweave.models import SHARPENERS
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.patches import PatchConfig
from bandweave.pansharp.sensors import SENSORS
from bandweave.training.config import TrainConfig

USAGE = "--models A,B --test T [--pairs P] [--sensor S] [--register] [--seeds 10] --out DIR"
DESCRIPTION = f"""\
Train every model on the same pairs by every seed, score it and the classical methods on the same
test pairs, at reduced and at full resolution, and write results.csv, times.csv, table.md,
table.tex, compare.html and picture strips. The same command continues what was stopped and repeats
nothing that is finished; more models or seeds may be added.

Models: {", ".join(SHARPENERS)};
classical methods, scored once: {", ".join(CLASSICAL)}.

Files of pairs are those of sharpen-train (--pairs) and of sharpen-score (--test), by paths from
their own folders. A file in both is refused. --config FILE holds the same in YAML, and there a
model may have options of its own:

  models:
    mmmamba_small: {{steps: 2500}}
    papers_blur: {{model: mmmamba_small, steps: 2500, less_blur: 0}}
    gsa: {{}}
  pairs: train.yaml
  test: test.yaml
  sensor: landsat-7
  register: true
  seeds: 5

Exit status 1 says that some cells failed: the tables have dashes, with the reasons below."""

_DEFAULTS: dict[str, Any] = {
    "config": None,
    "models": None,
    "pairs": None,
    "test": None,
    "seeds": None,
    "out": None,
    "sensor": "generic",
    "register": False,
    "ratio": None,
    "crs": None,
    "nodata": None,
    "peak": None,
    "processes": 1,
    "threads": None,
    "dask": None,
    "no_pictures": False,
    "quiet": False,
    "debug": False,
}
_OPTIONS = ("sensor", "register", "ratio", "crs", "nodata", "peak")  # of all pairs


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `sharpen-compare`, over those of a configuration file."""
    given = _parser().read(argv)
    stored = stored_options(given.pop("config", None), PairComparisonFile)
    chosen = laid_over(_DEFAULTS, stored, given, ("models",))
    for key, example in (("models", "mmmamba_small,gsa"), ("test", "test.yaml"), ("out", "tables")):
        if not chosen[key]:
            raise ConfigError(f"which {key}? Give --{key}, such as {example}")
    if "seed" in (chosen.get("train") or {}):
        raise ConfigError("--train.seed: the seeds are those of the comparison, --seeds")
    for key in ("pairs", "test"):
        if chosen[key] is not None and not isinstance(chosen[key], str):
            raise ConfigError(f"{key}: expected the name of a file that lists pairs")
    chosen["seeds"] = seeds_of(chosen["seeds"])
    chosen["command"] = shlex.join(["bandweave", "sharpen-compare", *argv])
    return argparse.Namespace(**chosen)


def run(args: argparse.Namespace) -> int:
    """Compare, and print the table."""
    with speaking_flags(args.quiet):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from bandweave.pansharp.comparison.comparing import compare_sharpeners

    made = compare_sharpeners(
        args.models,
        args.pairs or (),
        args.test,
        args.seeds,
        args.out,
        options={name: getattr(args, name, None) or {} for name in ("samples", "train")},
        **{name: getattr(args, name) for name in _OPTIONS},
        processes=args.processes,
        threads=args.threads,
        dask=args.dask,
        pictures=not args.no_pictures,
        command=args.command,
        quiet=args.quiet,
    )
    print(made)
    return int(bool(made.failed))


def _parser() -> ConfigParser:
    parser = ConfigParser("sharpen-compare", USAGE, DESCRIPTION)
    add = parser.parser.add_argument
    add("--models", type=str, help="names between commas")
    add("--pairs", type=str, help="a YAML file that lists the pairs to train on")
    add("--test", type=str, help="a YAML file that lists the pairs to score on")
    add("--seeds", type=str, help="how many, from 0, or which, between commas (10)")
    add("--out", type=str, help="the folder of runs and tables")
    add("--config", type=str, help="a file with all of this, and options of single models")
    add("--sensor", type=str, default="generic", help=f"one of {', '.join(SENSORS)}")
    add("--register", action="store_true", help="correct the misregistration of every pair")
    add("--ratio", type=int, help="PAN pixels an MS pixel is wide, where the files do not tell")
    add("--crs", type=str, help="assigned where a file has none; never a warp")
    add("--nodata", type=float, help="the value of a hole in all files")
    add("--peak", type=float, help="largest value of the data; by the sensor's bits")
    add_making(parser.parser)
    add("--no-pictures", action="store_true", help="keep no pictures, and show none")
    add_common(parser.parser)
    parser.add("samples", PatchConfig(), "samples: of all trained models, over their presets'")
    parser.add("train", TrainConfig(), "train: of all trained models, over their presets'")
    return parser
