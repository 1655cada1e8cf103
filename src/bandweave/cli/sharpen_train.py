"""bandweave sharpen-train: pairs of PAN and MS files, to a run folder."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from bandweave.cli.flag_words import speak_in_flags
from bandweave.cli.options import ConfigParser
from bandweave.cli.run_options import (
    OPTIONS,
    add_run_options,
    before_flags,
    resumable,
    trained_lines,
)
from bandweave.errors import ConfigError
from bandweave.models import SHARPENERS, describe_presets
from bandweave.pansharp.config import DEFAULT, SharpenConfig
from bandweave.pansharp.pair.files import listed_pairs
from bandweave.pansharp.sensors import SENSORS
from bandweave.pansharp.training import train_sharpener
from bandweave.training.processes import is_main
from bandweave.training.sections import merged

USAGE = "--pan P --ms M --out RUN [--model M] [--sensor S] [--register] [any option below]"
DESCRIPTION = f"""\
Train a model to sharpen MS files by PAN files, into a run folder.

Both are made coarser through the sensor's MTF, and the MS file as it is is what the model learns to
make of them (Wald's protocol). Train on scenes that nothing is tested on.

  bandweave sharpen-train --pan a_pan.tif b_pan.tif --ms a_ms.tif b_ms.tif --sensor worldview-2 \\
    --register --model mmmamba_small --out run
  bandweave sharpen-train --pairs pairs.yaml --validate-every 500 --out run

A file of pairs lists them, by paths from its own folder; `validation` may be left out:

  pairs:
  - {{pan: a_pan.tif, ms: a_ms.tif}}
  - {{pan: B8.TIF, ms: [B2.TIF, B3.TIF, B4.TIF]}}
  validation:
  - {{pan: c_pan.tif, ms: c_ms.tif}}

Models:
{describe_presets(SHARPENERS)}

Values not given are those of --config, or of the model's preset, which are the defaults shown here.
A flag may be shortened to any end of its name where that is clear: --steps is --train.steps,
--patch is --samples.patch. The same names are the keys of a configuration file."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The configuration: the preset's, over it the file's, over it what the flags give."""
    base = before_flags(argv, SharpenConfig.read, {"model": DEFAULT})
    given = _parser(base).read(argv)
    chosen = {name: given.pop(name, default) for name, default in OPTIONS.items()}
    pairs = _pairs(given.pop("pan", []), given.pop("ms", []), given.pop("pairs", None))
    chosen["config"] = SharpenConfig.read({**merged(base.to_dict(), given), **pairs})
    return argparse.Namespace(**chosen)


def run(args: argparse.Namespace) -> int:
    """Train, and say what to do with the run."""
    with speak_in_flags(args.quiet):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    if not args.config.pairs:
        raise ConfigError("which files? Give --pan and --ms, or --pairs with a file of pairs")
    if not args.out:
        raise ConfigError("which run folder? Give --out")
    with resumable("sharpen-train", args.out):
        trained = train_sharpener(
            out=args.out,
            config=args.config,
            resume=args.resume,
            overwrite=args.overwrite,
            quiet=args.quiet,
            accelerator=args.accelerator,
            devices=args.devices,
            nodes=args.nodes,
        )
    if is_main():
        flag = " --register" if trained.config.register else ""
        print(trained_lines(args.out, trained.config.name, trained))
        print(f"use it   bandweave sharpen PAN MS OUT --run {shlex.quote(args.out)}{flag}")
    return 0


def _pairs(pan: list[str], ms: list[str], listed: str | None) -> dict[str, Any]:
    """The pairs, and those to validate on, that flags give; nothing where none does."""
    if listed is not None:
        if pan or ms:
            raise ConfigError("--pairs and --pan with --ms: give one of the two")
        return listed_pairs(listed)
    if len(pan) == 1 and ms:
        return {"pairs": [{"pan": pan[0], "ms": ms}]}
    if len(pan) != len(ms):
        raise ConfigError(
            f"--pan names {len(pan)} files and --ms {len(ms)}: give as many of both, in the same "
            f"order, or one PAN file with an MS file a band; several pairs with a file a band take "
            f"--pairs"
        )
    return {"pairs": [{"pan": p, "ms": m} for p, m in zip(pan, ms, strict=True)]} if pan else {}


def _parser(config: SharpenConfig) -> ConfigParser:
    parser = ConfigParser("sharpen-train", USAGE, DESCRIPTION)
    add = parser.parser.add_argument
    add("--pan", type=str, nargs="+", default=[], help="PAN files; FILE:KEY where one holds more")
    add("--ms", type=str, nargs="+", default=[], help="MS files, one a PAN file, or one a band")
    add("--pairs", type=str, help="a YAML file that lists pairs, in place of --pan and --ms")
    add("--model.name", type=str, default=config.name, help="one of those above")
    add("--sensor", type=str, default=config.sensor, help=f"one of {', '.join(SENSORS)}")
    add(
        "--register",
        action="store_true",
        default=config.register,
        help="correct the misregistration that is measured in each pair",
    )
    add("--ratio", type=int, help="PAN pixels an MS pixel is wide, where the files do not tell")
    add("--crs", type=str, help="assigned where a file has none; never a warp")
    add("--nodata", type=float, help="the value of a hole in all files")
    add_run_options(parser)
    parser.add("model", config.model, f"model: {config.name}")
    parser.add("samples", config.samples, "samples: patches that the model is trained on")
    parser.add("train", config.train, "train: steps, rates, precision")
    return parser
