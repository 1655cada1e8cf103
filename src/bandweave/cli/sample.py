"""bandweave sample: places drawn at random in each class of a map, to label."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import Parser, add_common, add_overwrite

DESCRIPTION = """\
Draw places at random within each class of a map and write them as points, for areas with standard
errors. Label the field `class` of every point by what is there (the map's class is not told), and
name the file in a scene file that is otherwise as before:

  labels: {path: points.gpkg, field: class, sampling: stratified by map class}

`bandweave report RUN SCENE` then estimates the areas of the map and writes areas.csv."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `sample`."""
    parser = Parser("sample", DESCRIPTION)
    parser.add_argument("map", metavar="MAP", help="a raster of class codes")
    parser.add_argument("out", metavar="OUT", help="the points, .gpkg or .geojson")
    parser.add_argument(
        "--per-class", type=int, default=50, metavar="N", help="places in each class (50)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    add_overwrite(parser)
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Draw, and say how many of each class."""
    from bandweave.landcover.areas.sample import draw_sample

    drawn = draw_sample(
        args.map, args.out, args.per_class, seed=args.seed, overwrite=args.overwrite
    )
    print(args.out)
    print(
        f"{sum(drawn.values())} points in {len(drawn)} classes: "
        + ", ".join(f"{number} of code {code}" for code, number in drawn.items())
    )
    return 0
