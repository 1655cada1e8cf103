"""bandweave audit: what shortcuts of a protocol are worth, or what published scores hide."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bandweave.cli.arguments import SCENE, add_common, add_folder
from bandweave.cli.options import ConfigParser
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import ConfigError
from bandweave.landcover.config import LandCoverConfig
from bandweave.models import LAND_COVER
from bandweave.training.folder import RunFolder
from bandweave.training.sections import merged

USAGE = "RUN|MODEL S --out DIR [any option below]\n       bandweave audit --published FILE"
DESCRIPTION = f"""\
Train a model under honest and leaky protocols, and say what each shortcut would have been worth:
official masks or blocks with a guard at the model's reach and test images hidden; the same with
test images seen; random pixels; overlapping crops; the training labels themselves. RUN gives the
options it was trained with, MODEL those of a preset ({", ".join(LAND_COVER)}). DIR gets audit.html,
audit.json and every run; an interrupted audit goes on where it stopped.

With --published, compare published scores with the benchmark that they are said to be of. FILE is
YAML and says what was published, of which anything may be missing:

  benchmark: houston2013            its masks' counts and its order of classes
  masks: {{train: {{path: gt.mat, key: tr}}, test: {{path: gt.mat, key: te}}}}   in its place
  classes: [healthy grass, ...]     of the rows below, where not in the benchmark's order
  confusion: [[...], ...]           rows are the truth
  supports: [...]                   pixels that were scored, per class
  accuracy: [...]                   per class, in percent or as shares
  overall_accuracy: 97.31
  average_accuracy: 97.32
  kappa: 97.11
  map: {{path: predicted.mat}}        codes as in the masks, 0 for none

Prints what differs, what could not be compared and what fits. Exits with 1 where something
differs."""

_DEFAULTS = {
    "model_or_run": None,
    "scene": None,
    "published": None,
    "out": None,
    "seeds": 5,
    "split": None,
    "size": None,
    "guard": None,
    "folder": None,
    "quiet": False,
    "debug": False,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `audit`, with the configuration of what is audited."""
    first = next((word for word in argv if not word.startswith("-")), None)
    given = {} if "--published" in argv or first is None else _read_config(first).to_dict()
    base = LandCoverConfig.read(given)
    parser = ConfigParser("audit", USAGE, DESCRIPTION)
    add = parser.parser.add_argument
    add("model_or_run", metavar="RUN|MODEL", type=str, nargs="?", help="what is audited")
    add("scene", metavar="S", type=str, nargs="?", help=SCENE)
    add("--published", metavar="FILE", type=str, help="published scores, in YAML")
    add("--out", metavar="DIR", type=str, help="where runs and results are written")
    add("--seeds", type=int, default=5, help="how often everything is drawn and trained")
    add("--split", type=str, help="the honest one: official, given, blocks, objects or parts")
    add("--size", type=int, help="px of the labels: side of a block")
    add("--guard", type=int, help="px of the labels; by default as wide as the model looks")
    add_folder(parser.parser)
    add_common(parser.parser)
    parser.add("model", base.model, f"model: {base.name}")
    parser.add("samples", base.samples, "samples: crops that the model is trained on")
    parser.add("train", base.train, "train: steps, rates, precision")
    chosen = parser.read(argv)
    options = {name: chosen.pop(name, default) for name, default in _DEFAULTS.items()}
    options["config"] = LandCoverConfig.read(merged(base.to_dict(), chosen))
    args = argparse.Namespace(**options)
    if args.published is None and (args.model_or_run is None or args.scene is None):
        raise ConfigError("what is to be audited? Give RUN or MODEL and a scene, or --published")
    if args.published is None and args.out is None:
        raise ConfigError("where to? Give --out DIR")
    return args


def _read_config(what: str) -> LandCoverConfig:
    """The configuration of a run's folder, or of a preset."""
    if what not in LAND_COVER and Path(what).is_dir():
        return LandCoverConfig.read(RunFolder(what).read_config())
    return LandCoverConfig.read({"model": {"name": what}})


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    if args.published is not None:
        return _audit_published(args.published)
    from bandweave.landcover.audit.shortcuts import audit

    found = audit(
        args.config,
        scene_from(args.scene, args.folder),
        args.out,
        seeds=args.seeds,
        name=args.split,
        size=args.size,
        guard=args.guard,
        quiet=args.quiet,
    )
    print(found.table())
    print(f"\n{found.paragraph()}\n\npage     {Path(args.out) / 'audit.html'}")
    return 0


def _audit_published(path: str) -> int:
    from bandweave.landcover.audit.published import read_published
    from bandweave.landcover.audit.published_checks import audit_published

    findings = audit_published(read_published(path))
    if not findings:
        raise ConfigError(
            f"{path}: nothing in it can be compared with something else; give `supports` and "
            f"`benchmark`, `accuracy` and `average_accuracy`, or `confusion` and a score"
        )
    print("\n".join(str(each) for each in findings))
    return int(any(each.kind == "differs" for each in findings))
