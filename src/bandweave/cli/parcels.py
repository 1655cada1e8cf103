"""bandweave parcels: the class of each parcel of a vector layer, by a map."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import Parser, add_common, add_overwrite

DESCRIPTION = """\
Write parcels (fields, blocks, stands) with the class that most of their pixels have on a map.

The parcels keep their attributes, order and CRS, and get five more: map_code and map_class of the
class, map_share of the pixels with that class, map_confidence, the mean over the parcel, and
map_pixels. A parcel without a pixel's centre, or outside of the map, gets no values."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `parcels`."""
    parser = Parser("parcels", DESCRIPTION)
    add = parser.add_argument
    add("map", metavar="MAP", help="a raster of class codes, as `bandweave map` writes")
    add("parcels", metavar="PARCELS", help="a vector file; FILE:LAYER where it has several layers")
    add("out", metavar="OUT", help="the GeoPackage to write, .gpkg")
    add(
        "--confidence",
        metavar="PATH",
        help="the confidence of the map; by default the one that `bandweave map` wrote beside it",
    )
    add_overwrite(parser)
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Write the parcels, and say how many have a class."""
    from bandweave.landcover.areas.parcels import classify_parcels

    counts = classify_parcels(
        args.map,
        args.parcels,
        args.out,
        confidence=args.confidence,
        overwrite=args.overwrite,
        quiet=args.quiet,
    )
    print(args.out)
    print(counts)
    return 0
