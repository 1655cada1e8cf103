"""Parts that subcommands share: a parser that raises, hints for misspelt flags, common options."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import NoReturn, TypeVar

from bandweave.errors import ConfigError

T = TypeVar("T")
SCENE = (
    "a scene file (.yaml), its folder, `simulated` or `simulated:SEED`, or a benchmark's name "
    "together with --folder"
)


class Parser(argparse.ArgumentParser):
    """Options of one subcommand. What does not fit them is a ConfigError, not an exit."""

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"bandweave {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError; argparse would print the usage and exit."""
        raise ConfigError(f"{message}; `{self.prog} --help` lists what there is")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse, after naming the first flag that does not exist."""
        flags = [flag.lstrip("-") for flag in self._option_string_actions]
        for word in argv:
            if word == "--":
                break
            name = word.partition("=")[0][2:]
            if word.startswith("--") and name not in flags:
                raise ConfigError(f"--{name}: no such option{nearest_flag(name, flags)}")
        return self.parse_args(argv)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """The option without which no output replaces a file."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what stands where the output goes"
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """--quiet and --debug, which every subcommand has."""
    parser.add_argument("--quiet", action="store_true", help="no progress and no notes")
    parser.add_argument("--debug", action="store_true", help="tell more, and show where it failed")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """--folder, wherever a scene may be a benchmark's name."""
    parser.add_argument("--folder", help="where the files of a benchmark are, given by its name")


def nearest_flag(name: str, flags: Iterable[str]) -> str:
    """The end of an error message on a flag that does not exist.

    >>> nearest_flag("btach", ["batch", "overlap"])
    '; did you mean --batch?'
    """
    close = difflib.get_close_matches(name, list(flags), n=1)
    return f"; did you mean --{close[0]}?" if close else "; --help lists what there is"


def collect_options(kind: type[T], args: argparse.Namespace) -> T:
    """A dataclass of the arguments that its fields are named after; where one is None, its default.

    >>> from bandweave.pansharp.options import PairOptions
    >>> collect_options(PairOptions, argparse.Namespace(ratio=4, crs=None, out="sharp.tif")).ratio
    4
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    given = {name: getattr(args, name, None) for name in names}
    return kind(**{name: value for name, value in given.items() if value is not None})
