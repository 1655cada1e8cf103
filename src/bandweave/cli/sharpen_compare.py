"""bandweave sharpen-compare: methods, pairs and seeds, to a folder of runs and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import add_common
from bandweave.cli.comparison_options import (
    PairComparisonFile,
    add_comparison,
    read_comparison,
)
from bandweave.cli.flag_words import speak_in_flags
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

_EXAMPLES = {"models": "mmmamba_small,gsa", "test": "test.yaml", "out": "tables"}
_OPTIONS = ("sensor", "register", "ratio", "crs", "nodata", "peak")  # of all pairs


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `sharpen-compare`, over those of a configuration file."""
    args = read_comparison(
        *("sharpen-compare", _make_parser(), argv, PairComparisonFile, ("models",), _EXAMPLES),
        {"no_pictures": False},
    )
    for key in ("pairs", "test"):
        if getattr(args, key) is not None and not isinstance(getattr(args, key), str):
            raise ConfigError(f"{key}: expected the name of a file that lists pairs")
    return args


def run(args: argparse.Namespace) -> int:
    """Compare, and print the table."""
    from bandweave.pansharp.comparison.comparing import compare_sharpeners

    with speak_in_flags(args.quiet):
        made = compare_sharpeners(
            args.models,
            args.pairs or (),
            args.test,
            args.seeds,
            args.out,
            options=args.sections,
            **{name: getattr(args, name) for name in _OPTIONS},
            processes=args.processes,
            threads=args.threads,
            dask=args.dask,
            pictures=not args.no_pictures,
            against=args.against,
            rows=args.rows,
            command=args.command,
            quiet=args.quiet,
        )
        print(made)
    return int(bool(made.failed))


def _make_parser() -> ConfigParser:
    parser = ConfigParser("sharpen-compare", USAGE, DESCRIPTION)
    add_comparison(parser.parser)
    add = parser.parser.add_argument
    add("--pairs", type=str, help="a YAML file that lists the pairs to train on")
    add("--test", type=str, help="a YAML file that lists the pairs to score on")
    add("--sensor", type=str, default="generic", help=f"one of {', '.join(SENSORS)}")
    add("--register", action="store_true", help="correct the misregistration of every pair")
    add("--ratio", type=int, help="PAN pixels an MS pixel is wide, where the files do not tell")
    add("--crs", type=str, help="assigned where a file has none; never a warp")
    add("--nodata", type=float, help="the value of a hole in all files")
    add("--peak", type=float, help="largest value of the data; by the sensor's bits")
    add("--no-pictures", action="store_true", help="keep no pictures, and show none")
    add_common(parser.parser)
    parser.add("samples", PatchConfig(), "samples: of all trained models, over their presets'")
    parser.add("train", TrainConfig(), "train: of all trained models, over their presets'")
    return parser
