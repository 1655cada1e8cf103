"""bandweave audit: what published scores say, and what in them does not fit the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import Parser, add_common
from bandweave.errors import ConfigError

DESCRIPTION = """\
Compare published scores with the benchmark that they are said to be of. FILE is YAML and says what
was published, of which anything may be missing:

  benchmark: houston2013            its masks' counts and its order of classes
  masks: {train: {path: gt.mat, key: tr}, test: {path: gt.mat, key: te}}   in its place
  classes: [healthy grass, ...]     of the rows below, where not in the benchmark's order
  confusion: [[...], ...]           rows are the truth
  supports: [...]                   pixels that were scored, per class
  accuracy: [...]                   per class, in percent or as shares
  overall_accuracy: 97.31
  average_accuracy: 97.32
  kappa: 97.11
  map: {path: predicted.mat}        codes as in the masks, 0 for none

Prints what differs, what could not be compared and what fits. Exits with 1 where something
differs."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `audit`."""
    parser = Parser("audit", DESCRIPTION)
    parser.add_argument("--published", metavar="FILE", help="what was published, in YAML")
    add_common(parser)
    args = parser.read(argv)
    if args.published is None:
        raise ConfigError("what is to be audited? Give --published FILE")
    return args


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from bandweave.landcover.published import read_published
    from bandweave.landcover.published_checks import audit_published

    findings = audit_published(read_published(args.published))
    if not findings:
        raise ConfigError(
            f"{args.published}: nothing in it can be compared with something else; give `supports` "
            f"and `benchmark`, `accuracy` and `average_accuracy`, or `confusion` and a score"
        )
    print("\n".join(str(each) for each in findings))
    return int(any(each.kind == "differs" for each in findings))
