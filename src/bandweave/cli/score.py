"""bandweave score: a run and a scene, to a table of scores with their protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import SCENE, add_common, add_folder
from bandweave.cli.options import ConfigParser
from bandweave.data.scenefile.argument import scene_from
from bandweave.data.splits.protocols import SplitConfig

DESCRIPTION = """\
Score a run on the test pixels of a split of a scene, each pixel once. Prints the table and writes
scores.json into the run's folder. Of several runs, the mean of their probabilities is scored, and
the table is printed alone; `bandweave ensemble` saves them as one run.

Without any option of a split it is the run's own, which must come out as it did in training.
--split NAME is --split.name NAME; --size, --guard and the like may be given without `split.`."""

_DEFAULTS = {
    "folder": None,
    "match_bands": False,
    "tta": False,
    "device": None,
    "quiet": False,
    "debug": False,
    "split": None,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `score`."""
    parser = ConfigParser("score", "RUN [RUN …] S [any option below]", DESCRIPTION)
    add = parser.parser.add_argument
    add("runs", metavar="RUN", nargs="+", type=str, help="the folder of a trained run, or several")
    add("scene", metavar="S", type=str, help=SCENE)
    add_folder(parser.parser)
    add(
        "--match-bands",
        action="store_true",
        help="take the scene's bands of the nearest wavelength where they are not the run's",
    )
    add("--tta", action="store_true", help="mean over eight flips and turns, eight times as slow")
    add("--device", type=str, help="cpu, cuda, cuda:1, mps; by default a GPU where there is one")
    add_common(parser.parser)
    parser.add("split", SplitConfig(), "split: which pixels test, where it is not the run's own")
    return argparse.Namespace(**_DEFAULTS | parser.read(argv))


def run(args: argparse.Namespace) -> int:
    """Score, and print the table."""
    from bandweave.data.splits.splitting import split
    from bandweave.landcover.ensemble import open_run
    from bandweave.landcover.scoring import score
    from bandweave.schema import from_dict

    trained = open_run(args.runs)
    trained.use_device(args.device)
    scene = scene_from(args.scene, args.folder)
    drawn = None
    if args.split:
        own = vars(trained.config.split) if "name" not in args.split else {}
        drawn = split(scene, **vars(from_dict(SplitConfig, {**own, **args.split}, "split")))
    scores = score(
        trained, scene, drawn, match_bands=args.match_bands, tta=args.tta, quiet=args.quiet
    )
    print(scores)
    return 0
