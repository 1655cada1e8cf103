"""The command `bandweave`: finds the subcommand, and says in one line what went wrong.

Each subcommand is a module with `parse(argv) -> Namespace` and `run(args) -> exit status`. It is
imported when it is called for, and imports what it works with when it works: help comes at once.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version

from bandweave.cli.failures import explain
from bandweave.cli.printed import escape_stdout
from bandweave.cli.process import set_up_process
from bandweave.cli.signals import get_received, line_of, raise_signals, status_of
from bandweave.errors import ConfigError

COMMANDS = {
    "demo": "simulate a scene, train on it, map it, score it, report",
    "train": "train a model on a scene, into a run folder",
    "tune": "find options of a model on held-out pixels of a scene",
    "map": "map a scene with a trained run, or the mean of several",
    "ensemble": "save several runs as one, which maps by their mean",
    "score": "score a run on the test pixels of a split",
    "compare": "compare models on scenes, splits and seeds, in tables that hold up",
    "audit": "what shortcuts of a protocol are worth; what published scores hide",
    "report": "write one page on a run: protocol, scores, images, curves",
    "parcels": "write parcels with their class and confidence on a map",
    "sample": "draw places in each class of a map, to label for its areas",
    "sharpen": "sharpen a multispectral file by a panchromatic one",
    "sharpen-train": "train a model to sharpen, on pairs of files",
    "sharpen-score": "score sharpening methods on pairs of files",
    "sharpen-compare": "compare sharpening methods over pairs and seeds",
    "scenes": "list, get and check benchmarks; check and draft scene files",
    "info": "facts on this installation, a file, or a run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, or 2 for errors.

    1 is for what was not foreseen, of `audit` for scores that do not fit, and of `compare` and
    `sharpen-compare` for cells that failed.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    bandweave ...
    0
    """
    set_up_process()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    status = 1
    with warnings.catch_warnings(), raise_signals(for_good=argv is None):
        if not debug:
            warnings.showwarning = _log_warning  # type: ignore[assignment]
        try:
            status = _run(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
        except SystemExit as end:  # --help
            status = end.code if isinstance(end.code, int) else 1
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except BaseException as error:
            if debug and not isinstance(error, KeyboardInterrupt):
                raise
            message, status = explain(error)
            if get_received() is None:
                _tell(message)
        if (number := get_received()) is not None:
            _tell(line_of(number))
            status = status_of(number)
    return status


def name_module(command: str) -> str:
    """The name of the module of a command.

    >>> name_module("sharpen-train")
    'bandweave.cli.sharpen_train'
    """
    return f"bandweave.cli.{command.replace('-', '_')}"


def _tell(message: str) -> None:
    """Write to stderr, which may be closed."""
    with suppress(OSError, ValueError, AttributeError):
        print(message, file=sys.stderr, flush=True)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    command, *rest = arguments
    if command in ("-V", "--version"):
        print(f"bandweave {version('bandweave')}")
        return 0
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        guess = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {command!r}; {guess}")
    module = import_module(name_module(command))
    args = module.parse(rest)
    from bandweave.training.progress import set_up_logging

    set_up_logging(args.quiet, args.debug)
    with escape_stdout():
        return module.run(args)


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = "\n".join(f"  {name:{width}}{text}" for name, text in COMMANDS.items())
    return (
        "usage: bandweave COMMAND …\n\n"
        "Land cover from co-registered rasters: from files on disk to a map on disk.\n\n"
        f"{lines}\n\n"
        "`bandweave COMMAND --help` lists a command's options. Begin with `bandweave demo`,\n"
        "or with `bandweave scenes make FILES > scene.yaml` for files of your own."
    )


def _log_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    """A library's warning as a line of the log; its place in the code is for --debug."""
    log = logging.getLogger("bandweave")
    level = logging.DEBUG if issubclass(category, DeprecationWarning) else logging.WARNING
    log.log(level, "%s", " ".join(str(message).split()))


if __name__ == "__main__":
    sys.exit(main())
