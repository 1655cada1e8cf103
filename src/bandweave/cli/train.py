"""bandweave train: a scene and a split, to a run folder."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Sequence
from typing import Any

from bandweave.cli.arguments import SCENE, add_folder
from bandweave.cli.options import UNNAMED, ConfigParser
from bandweave.cli.run_options import (
    OPTIONS,
    add_run_options,
    before_flags,
    resumable,
    trained_lines,
)
from bandweave.data.scenefile.argument import scene_from
from bandweave.data.splits.splitting import split
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.methods import METHODS
from bandweave.landcover.config import (
    AnyConfig,
    ClassicalConfig,
    LandCoverConfig,
    read_config,
)
from bandweave.landcover.training import train
from bandweave.models import LAND_COVER, describe_presets
from bandweave.training.processes import is_main
from bandweave.training.sections import merged

log = logging.getLogger(__name__)

USAGE = "--scene S --out RUN [--model M] [--split NAME] [any option below]"
DESCRIPTION = f"""\
Train a model on a scene, into a run folder.

Models:
{describe_presets(LAND_COVER)}
Classical methods, trained and used the same way: {", ".join(METHODS)}
(their options: --model svm --help).

Values not given are those of --config, or of the model's preset, which are the defaults shown here.
A flag may be shortened to any end of its name where that is clear: --steps is --train.steps, --crop
is --samples.crop, --split NAME is --split.name, --clip MODE is --model.clip.mode (and --train.clip
the clipping of gradients). The same names are the keys of a configuration file."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The configuration: the preset's, over it the file's, over it what the flags give."""
    base = before_flags(argv, read_config, UNNAMED)
    if isinstance(base, ClassicalConfig):
        _refuse_idle(base, argv)
    given = _parser(base).read(argv)
    chosen = {name: given.pop(name, default) for name, default in _RUN.items()}
    chosen["config"] = read_config(merged(base.to_dict(), given))
    return argparse.Namespace(**chosen)


def run(args: argparse.Namespace) -> int:
    """Train, and say what to do with the run."""
    config: AnyConfig = args.config
    if not config.scene:
        raise ConfigError("which scene? Give --scene: " + SCENE)
    if not args.out:
        raise ConfigError("which run folder? Give --out")
    scene = scene_from(config.scene, args.folder)
    drawn = split(scene, **vars(config.split))
    _say(drawn.protocol())
    with resumable("train", args.out):
        trained = train(
            scene,
            drawn,
            out=args.out,
            config=config,
            resume=args.resume,
            overwrite=args.overwrite,
            self_contained=args.self_contained,
            quiet=args.quiet,
            accelerator=args.accelerator,
            devices=args.devices,
            nodes=args.nodes,
        )
    if is_main():
        where, what = shlex.quote(str(args.out)), shlex.quote(config.scene)
        what += f" --folder {shlex.quote(args.folder)}" if args.folder else ""
        print(trained_lines(args.out, trained.config.name, trained))
        print(f"map it   bandweave map {where} {what} map.tif")
        print(f"score it bandweave score {where} {what}")
    return 0


def _say(protocol: dict[str, Any]) -> None:
    """The split in the log, before training begins."""
    pixels = protocol["pixels"]
    metres = protocol["guard_m"]
    log.info(
        "split '%s', seed %d, %s inputs: %d training, %d validation, %d test px; guard %d px%s",
        protocol["split"],
        protocol["seed"],
        protocol["context"],
        pixels["train"],
        pixels["validation"],
        pixels["test"],
        protocol["guard_label_px"],
        "" if metres is None else f" ({metres:g} m)",
    )
    for note in protocol["notes"]:
        log.info("split: %s", note)
    if protocol["dropped"]:
        log.info("split: left out are %s", ", ".join(protocol["dropped"]))


_RUN = {**OPTIONS, "folder": None, "self_contained": False}
_TITLES = {
    "split": "split: which pixels train, and which test",
    "model": "model: {}",
    "samples": "samples: crops that the model is trained on",
    "train": "train: steps, rates, precision",
}


def _refuse_idle(config: ClassicalConfig, argv: Sequence[str]) -> None:
    """Raise ConfigError for a flag of models that a classical method has no use for."""
    own, models = _parser(config), _parser(LandCoverConfig.read({}))
    for word in argv:
        if word.startswith("--") and not _has_flag(own, word) and _has_flag(models, word):
            raise ConfigError(
                f"{word.partition('=')[0]}: the classical method {config.name!r} has no use for it"
            )


def _has_flag(parser: ConfigParser, word: str) -> bool:
    try:
        parser.full_flags([word])
    except ConfigError:
        return False
    return True


def _parser(config: AnyConfig) -> ConfigParser:
    parser = ConfigParser("train", USAGE, DESCRIPTION)
    add = parser.parser.add_argument
    add("--scene", type=str, help=SCENE)
    add_folder(parser.parser)
    add_run_options(parser, isinstance(config, LandCoverConfig))
    add("--model.name", type=str, default=config.name, help="one of those above")
    add("--layers", type=list[str], default=config.layers, help="layers to use, as in hsi,lidar")
    if isinstance(config, LandCoverConfig):
        add(
            "--pca",
            type=dict[str, int],
            default=config.pca,
            help="components that a layer is reduced to, by its name, as in --pca.hsi 30; 0: its "
            "bands as they are",
        )
        add(
            "--temperature",
            type=bool,
            default=config.temperature,
            help="fit what logits are divided by for probabilities, to the validation pixels",
        )
        add(
            "--self-contained",
            action="store_true",
            help="keep frozen weights, such as CLIP's, in the run too",
        )
    for name, title in _TITLES.items():
        if name in config.to_dict():
            parser.add(name, getattr(config, name), title.format(config.name))
    return parser
