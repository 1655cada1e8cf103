"""bandweave map: a run and a scene, to a georeferenced map."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import SCENE, Parser, add_common, add_folder, add_overwrite
from bandweave.data.scenefile.argument import scene_from

DESCRIPTION = """\
Map a scene with a trained run, or by the mean probability of several. The scene needs no labels,
only the layers that the run knows.

The map is a cloud-optimised GeoTIFF of class codes with colours and class names; a scene of many
parts is mapped into a folder. All files appear when the last is complete, or none does."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `map`."""
    parser = Parser("map", DESCRIPTION)
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="the folder of a trained run, or several")
    add("scene", metavar="S", help=SCENE)
    add("out", metavar="OUT", help="the file to write; a folder where the scene has many parts")
    add_folder(parser)
    add(
        "--confidence",
        nargs="?",
        const=True,
        metavar="PATH",
        help="also write the largest class probability, to PATH or beside the map",
    )
    add(
        "--probabilities",
        nargs="?",
        const=True,
        metavar="PATH",
        help="also write the probabilities of all classes, one band each",
    )
    add(
        "--uncertainty",
        nargs="?",
        const=True,
        metavar="PATH",
        help="also write their entropy, from 0 (one class is certain) to 1 (all are alike)",
    )
    add(
        "--within",
        metavar="PATH",
        help="map what lies in these polygons alone, and crop the map to them; FILE:LAYER where a "
        "file has several layers",
    )
    add(
        "--minimum",
        type=int,
        metavar="PX",
        help="merge patches of a class with fewer pixels into their largest neighbour",
    )
    add(
        "--polygons",
        metavar="PATH",
        help="also write the map's patches as polygons, a .gpkg with class and area of each",
    )
    add(
        "--match-bands",
        action="store_true",
        help="take the scene's bands of the nearest wavelength where they are not the run's",
    )
    add("--overlap", type=int, metavar="PX", help="that windows share; by default that of the run")
    add("--batch", type=int, metavar="N", help="windows that go through the model together (16)")
    add("--device", help="cpu, cuda, cuda:1, mps; by default a GPU where there is one")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the model (fp32)")
    add("--tta", action="store_true", help="mean over eight flips and turns, eight times as slow")
    add(
        "--overviews",
        choices=("nearest", "mode"),
        default="nearest",
        help="the map's reduced copies: one pixel of many (nearest), or the most frequent (mode)",
    )
    add(
        "--tiles",
        action="store_true",
        help="leave the map in pieces: OUT is a folder of files, and a VRT that opens them as one",
    )
    add("--workers", type=int, default=1, metavar="N", help="processes that map pieces (1)")
    add("--dask", metavar="ADDRESS", help="of a Dask scheduler whose workers map the pieces")
    add_overwrite(parser)
    add_common(parser)
    return parser.read(argv)


def run(args: argparse.Namespace) -> int:
    """Map, and print the files that were written."""
    from bandweave.landcover.ensemble import open_run
    from bandweave.landcover.mapping import map_scene

    written = map_scene(
        open_run(args.runs),
        scene_from(args.scene, args.folder),
        args.out,
        confidence=args.confidence,
        probabilities=args.probabilities,
        uncertainty=args.uncertainty,
        within=args.within,
        minimum=args.minimum,
        polygons=args.polygons,
        match_bands=args.match_bands,
        overlap=args.overlap,
        batch=args.batch,
        device=args.device,
        precision=args.precision,
        tta=args.tta,
        overviews=args.overviews,
        tiles=args.tiles,
        workers=args.workers,
        dask=args.dask,
        overwrite=args.overwrite,
        quiet=args.quiet,
    )
    for path in written:
        print(path)
    return 0
