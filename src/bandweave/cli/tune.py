"""bandweave tune: options of a model that held-out pixels of a scene favour."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from bandweave.cli.arguments import SCENE, add_common, add_folder
from bandweave.cli.options import UNNAMED, ConfigParser
from bandweave.cli.run_options import before_flags
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import ConfigError
from bandweave.landcover.config import LandCoverConfig
from bandweave.models import LAND_COVER, describe_presets
from bandweave.training.sections import merged

USAGE = "SCENE --model M --minutes N --out DIR [any option below]"
DESCRIPTION = f"""\
Try options of a model on a scene for some minutes: learning rate, weight decay, regularisation,
sides of crops, balance of classes, strength of changes to crops. Each trial trains without a fifth
of the training blocks, objects or parts (--hold-out) and is judged on those; test pixels have no
part.
DIR gets trials.jsonl and config.yaml, with which the best is trained on the whole training side:

  bandweave train --config DIR/config.yaml --out RUN

The same command again goes on with more trials. Models:
{describe_presets(LAND_COVER)}"""

_OWN: dict[str, Any] = {
    "given_scene": None,
    "minutes": 10.0,
    "out": None,
    "config": None,
    "folder": None,
    "quiet": False,
    "debug": False,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `tune`, with the configuration that is tuned."""
    base = before_flags(argv, LandCoverConfig.read, UNNAMED)
    parser = ConfigParser("tune", USAGE, DESCRIPTION)
    add = parser.parser.add_argument
    add("given_scene", metavar="SCENE", type=str, nargs="?", help=SCENE)
    add("--minutes", type=float, default=10.0, help="after which no trial is begun (10)")
    add("--out", metavar="DIR", type=str, help="where trials and the best options are written")
    add("--config", type=str, help="a configuration file to begin with")
    add("--model.name", type=str, default=base.name, help="one of those above")
    add("--layers", type=list[str], default=base.layers, help="layers to use, as in hsi,lidar")
    add(
        "--pca",
        type=dict[str, int],
        default=base.pca,
        help="components that a layer is reduced to, by its name, as in --pca.hsi 30",
    )
    add_folder(parser.parser)
    add_common(parser.parser)
    parser.add("split", base.split, "split: which pixels train, and which test")
    parser.add("model", base.model, f"model: {base.name}")
    parser.add("samples", base.samples, "samples: crops that the model is trained on")
    parser.add("train", base.train, "train: steps at most, rates, precision")
    chosen = parser.read(argv)
    options = {name: chosen.pop(name, default) for name, default in _OWN.items()}
    options["config"] = LandCoverConfig.read(merged(base.to_dict(), chosen))
    return argparse.Namespace(**options)


def run(args: argparse.Namespace) -> int:
    """Print every trial, and how to train the best."""
    scene = args.given_scene or args.config.scene
    if not scene:
        raise ConfigError("which scene? Give SCENE: " + SCENE)
    if not args.out:
        raise ConfigError("where to? Give --out DIR")
    from bandweave.data.splits.splitting import split
    from bandweave.landcover.tuning import tune

    opened = scene_from(scene, args.folder)
    drawn = split(opened, **vars(args.config.split))
    found = tune(
        opened, drawn, args.out, config=args.config, minutes=args.minutes, quiet=args.quiet
    )
    for trial in found.trials:
        print(trial.line())
    best = found.best
    print(f"\nbest     trial {best.number}: {best.line().partition('%  ')[2]}")
    print(f"train it bandweave train --config {shlex.quote(f'{args.out}/config.yaml')} --out RUN")
    return 0
