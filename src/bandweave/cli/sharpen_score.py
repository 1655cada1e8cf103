"""bandweave sharpen-score: pairs and methods, to tables of scores, a page, and picture strips."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from bandweave.cli.arguments import Parser, add_common, add_overwrite, collect_options
from bandweave.cli.flag_words import speak_in_flags
from bandweave.errors import ConfigError

DESCRIPTION = """\
Score sharpening methods on pairs of PAN and MS files, every method on the same pairs and pixels:
at reduced resolution (Wald's protocol: both are degraded by the sensor's MTF, and the observed MS
is the truth) and at full resolution, without a reference.

Prints the tables. With --out DIR it also writes scores.csv (a line for each method, pair and
protocol), report.html and picture strips, all of them or none."""

EPILOG = """\
  bandweave sharpen-score --pan pan.tif --ms ms.tif --sensor worldview-2 --register --out scores
  bandweave sharpen-score --pairs test.yaml --methods gsa,mtf-glp --run runs/wv2 --out scores

A file of pairs, whose paths are relative to it:

  pairs:
    - {name: north, pan: north_pan.tif, ms: north_ms.tif}
    - {name: south, pan: south_pan.tif, ms: [south_B4.tif, south_B3.tif, south_B2.tif]}"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `sharpen-score`."""
    parser = Parser("sharpen-score", DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("--pan", metavar="PAN", help="a file of one band; FILE:KEY where it holds several arrays")
    add("--ms", metavar="MS", nargs="+", help="a file, or one file a band in the order wanted")
    add("--pairs", metavar="FILE", help="YAML list of pairs, instead of --pan and --ms")
    add("--methods", metavar="NAMES", default="all", help="all, none, or names: gsa,mtf-glp (all)")
    add("--run", metavar="RUN", nargs="+", default=[], help="folders of trained runs")
    add("--sensor", metavar="NAME", default="generic", help="whose bands they are (generic)")
    add("--register", action="store_true", help="correct the misregistration, for all methods")
    add("--peak", type=float, metavar="V", help="largest value of the data; by the sensor's bits")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--full-only", action="store_true", help="no scores at reduced resolution")
    only.add_argument("--reduced-only", action="store_true", help="none at full resolution")
    add(
        "--hqnr",
        choices=("ours", "toolbox"),
        default="ours",
        help="toolbox: HQNR as the toolbox of Vivone et al. (2021) takes it, besides",
    )
    add("--ratio", type=int, metavar="R", help="PAN pixels an MS pixel is wide")
    add("--bands", type=int, nargs="+", metavar="N", help="of the MS file, from 1, in this order")
    add("--crs", help="assigned where the files have none; never a warp")
    add("--nodata", type=float, metavar="V", help="the value of a hole in all files")
    add("--axis", type=int, metavar="N", help="of a 3-D MS array, that counts bands: 0, 1 or 2")
    add("--window", type=int, metavar="PX", help="PAN pixels scored at a time (1024)")
    add("--device", help="of runs: cpu, cuda, cuda:1, mps; by default a GPU where there is one")
    add("--out", metavar="DIR", help="folder for the scores, the page and the strips")
    add_overwrite(parser)
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Score, print the tables, and write what was asked for."""
    with speak_in_flags(args.quiet):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from bandweave.pansharp.scoring import ScoreOptions, score_sharpeners

    args.protocols = ("full",) if args.full_only else ("reduced",) if args.reduced_only else None
    scores = score_sharpeners(
        _pairs(args),
        _methods(args.methods, bool(args.run)),
        run=args.run,
        out=args.out,
        overwrite=args.overwrite,
        options=collect_options(ScoreOptions, args),
    )
    print(scores)
    if scores.written:
        print("", *scores.written, sep="\n")
    return 0


def _methods(text: str, runs: bool) -> list[str]:
    from bandweave.pansharp.classical.methods import CLASSICAL

    if text == "all":
        return list(CLASSICAL)
    if text == "none":
        if not runs:
            raise ConfigError("--methods none leaves nothing to score; give --run, or methods")
        return []
    return [name.strip() for name in text.split(",") if name.strip()]


def _pairs(args: argparse.Namespace) -> Any:
    """The list of pairs, or the one pair, by name."""
    if args.pairs is not None:
        if args.pan is not None or args.ms is not None:
            raise ConfigError("--pairs is instead of --pan and --ms; leave out one or the other")
        return args.pairs
    if args.pan is None or args.ms is None:
        raise ConfigError("give --pan and --ms, or --pairs FILE with a list of pairs")
    return [(args.pan, args.ms)]
