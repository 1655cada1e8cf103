"""bandweave ensemble: several runs, to one that maps by the mean of their probabilities."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from bandweave.cli.arguments import Parser, add_common, add_overwrite

DESCRIPTION = """\
Save several runs as one, which maps by the mean of their probabilities. They may be of any models
and classical methods, trained on any layers, and know the same classes.

The folder holds all of the runs: it needs theirs no more. `map`, `score`, `report` and `info` take
it as any run."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `ensemble`."""
    parser = Parser("ensemble", DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folders of two runs or more")
    parser.add_argument("--out", metavar="DIR", required=True, help="the run folder")
    parser.add_argument(
        "--weights",
        type=_numbers,
        metavar="W,W,…",
        help="how much the probabilities of each run count; all alike by default",
    )
    add_overwrite(parser)
    add_common(parser)
    return parser.read(argv)


def _numbers(text: str) -> list[float]:
    """The numbers of a list with commas."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers as in 2,1, got {text!r}") from None


def run(args: argparse.Namespace) -> int:
    """Save, and say what to do with the run."""
    from bandweave.cli.run_options import trained_lines
    from bandweave.landcover.ensemble import join_runs

    joined = join_runs(args.runs, args.out, weights=args.weights, overwrite=args.overwrite)
    where, what = shlex.quote(args.out), shlex.quote(joined.config.scene)
    print(trained_lines(args.out, joined.config.name, joined))
    print(f"map it   bandweave map {where} {what} map.tif")
    print(f"score it bandweave score {where} {what}")
    return 0
