"""bandweave report: all of a run on one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import SCENE, Parser, add_common, add_folder
from bandweave.data.scenefile.argument import scene_from


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `report`."""
    parser = Parser(
        "report",
        "Write report.html into a run's folder: protocol, scores, images, curves, machine.",
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a trained run")
    parser.add_argument("scene", metavar="S", help=SCENE)
    add_folder(parser)
    parser.add_argument("--map", metavar="PATH", help="to show; RUN/map.tif by default")
    parser.add_argument("--confidence", metavar="PATH", help="to show; beside the map by default")
    parser.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="train no classical method to show beside the model",
    )
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Write the page, and print where it is."""
    from bandweave.landcover.report.page import write_report

    page = write_report(
        args.run,
        scene_from(args.scene, args.folder),
        map_path=args.map,
        confidence_path=args.confidence,
        baseline=args.baseline,
        quiet=args.quiet,
    )
    print(page)
    return 0
