"""bandweave sharpen: a PAN and an MS file, to a sharp MS file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import Parser, add_common, add_overwrite, collect_options
from bandweave.cli.flag_words import speak_in_flags

DESCRIPTION = """\
Sharpen a multispectral file by a panchromatic file of the same ground.

The result is a cloud-optimised GeoTIFF on PAN's grid with the MS file's bands, type, units and
nodata; it appears when it is complete, or not at all. How far the two files lie off each other is
measured and told; --register corrects it.

With --run a model sharpens that `bandweave sharpen-train` trained; with --ms-only it does without
PAN, and the files are MS and OUT."""

EPILOG = """\
  bandweave sharpen pan.tif ms.tif sharp.tif
  bandweave sharpen LC08_B8.TIF LC08_B4.TIF LC08_B3.TIF LC08_B2.TIF sharp.tif --sensor landsat-8
  bandweave sharpen scene.mat:pan scene.mat:ms sharp.tif --method mtf-glp --register
  bandweave sharpen pan.tif ms.tif sharp.tif --run runs/wv2 --register
  bandweave sharpen ms.tif sharp.tif --run runs/wv2 --ms-only"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `sharpen`."""
    parser = Parser("sharpen", DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("pan", metavar="PAN", help="a file of one band; FILE:KEY where it holds several arrays")
    add("ms", metavar="MS", nargs="*", help="a file, or one file a band in the order wanted")
    add("out", metavar="OUT", help="the file to write")
    add("--method", metavar="NAME", help="a classical method (gsa); --list names them")
    add("--run", metavar="RUN", help="instead of a method, the folder of a trained run")
    add("--ms-only", action="store_true", help="with --run: without PAN; the files are MS and OUT")
    add(
        "--zero-shot",
        metavar="WAY",
        help="with --ms-only: 'ms as pan' (the default), the mean of the bands is taken for PAN; "
        "'ms stream', PAN's stream is left out; 'ms twice', the MS stream stands in its place in "
        "the tail",
    )
    add("--sensor", metavar="NAME", default="generic", help="whose bands they are; --list")
    add("--register", action="store_true", help="correct the misregistration that was measured")
    add("--ratio", type=int, metavar="R", help="PAN pixels an MS pixel is wide")
    add("--bands", type=int, nargs="+", metavar="N", help="of the MS file, from 1, in this order")
    add("--crs", help="assigned where the files have none; never a warp")
    add("--nodata", type=float, metavar="V", help="the value of a hole in both files")
    add("--axis", type=int, metavar="N", help="of a 3-D MS array, that counts bands: 0, 1 or 2")
    add("--window", type=int, metavar="PX", help="PAN pixels at a time (1024)")
    add("--list", action=_List, nargs=0, help="name the methods and sensors, and stop")
    add_overwrite(parser)
    add_common(parser)
    args = parser.read(argv)
    if not (args.ms or args.ms_only):
        parser.error("an MS file is missing: PAN, MS and OUT are needed")
    if args.zero_shot and not args.ms_only:
        parser.error("--zero-shot is for --ms-only")
    if args.ms_only:
        _check_alone(parser, args)
    return args


def _check_alone(parser: Parser, args: argparse.Namespace) -> None:
    """Refuse what says nothing where there is no PAN."""
    if args.run is None:
        parser.error("--ms-only needs --run: a trained model sharpens MS alone")
    for option in ("method", "register", "ratio"):
        if getattr(args, option):
            parser.error(f"--{option} says nothing with --ms-only")


class _List(argparse.Action):
    """--list: name the methods and sensors that there are, and stop."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from bandweave.pansharp.classical.methods import CLASSICAL
        from bandweave.pansharp.sensors import SENSORS

        print("methods")
        for name, method in CLASSICAL.items():
            print(f"  {name:<14} {method.source}")
        print("sensors")
        for name, sensor in SENSORS.items():
            print(f"  {name:<14} {', '.join(sensor.bands)}")
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Sharpen, and print the file that was written."""
    with speak_in_flags(args.quiet):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from bandweave.pansharp.options import SharpenOptions
    from bandweave.pansharp.sharpening import DEFAULT_ZERO_SHOT, sharpen, super_resolve

    options = collect_options(SharpenOptions, args)
    if args.ms_only:
        ms, zero_shot = [args.pan, *args.ms], args.zero_shot or DEFAULT_ZERO_SHOT
        written = super_resolve(ms, args.out, args.run, zero_shot=zero_shot, options=options)
    else:
        written = sharpen(
            args.pan, args.ms, args.out, method=args.method, run=args.run, options=options
        )
    print(written)
    return 0
