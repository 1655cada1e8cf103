"""What the commands that train share: their options, the configuration below the flags, hints."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from bandweave.cli.arguments import add_common
from bandweave.cli.options import ConfigParser, drop_other_choices
from bandweave.errors import ConfigError
from bandweave.training.folder import RunFolder
from bandweave.training.run import TrainedRun
from bandweave.yaml_files import read_yaml

log = logging.getLogger(__name__)

T = TypeVar("T")

OPTIONS: dict[str, Any] = {  # what is no part of the configuration, and its defaults
    "config": None,
    "out": None,
    "resume": False,
    "overwrite": False,
    "quiet": False,
    "debug": False,
    "accelerator": "auto",
    "devices": 1,
    "nodes": 1,
}


def add_run_options(parser: ConfigParser, in_steps: bool = True) -> None:
    """Flags for OPTIONS; those of devices for what is trained step by step."""
    add = parser.parser.add_argument
    add("--out", type=str, help="the run folder to write")
    add("--config", type=str, help="a configuration file; that of another run repeats it")
    add("--resume", action="store_true", help="continue the interrupted run in --out")
    add("--overwrite", action="store_true", help="replace the run in --out")
    add_common(parser.parser)
    if not in_steps:
        return
    add(
        "--accelerator",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="what to train on",
    )
    add("--devices", type=int, default=1, help="processes on each machine, one a GPU")
    add("--nodes", type=int, default=1, help="machines, on each of which this command runs")


def before_flags(
    argv: Sequence[str], read: Callable[[dict[str, Any]], T], unnamed: Mapping[str, str]
) -> T:
    """The configuration of the file and the preset that a command line names.

    read      makes it of a mapping
    unnamed   the sections that a name rules, such as 'model', and what they are without one
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for section in unnamed:
        first.add_argument(f"--{section}", f"--{section}.name", dest=section)
    for name in ("config", "out"):
        first.add_argument(f"--{name}")
    first.add_argument("--resume", action="store_true")
    try:
        named = first.parse_known_args(argv)[0]
    except argparse.ArgumentError:  # a value is missing; the whole parser says it better
        return read({})
    path = named.config
    if path is None and named.resume and named.out and RunFolder(named.out).config.exists():
        path = RunFolder(named.out).config
    if path is None:
        return read({"model": named.model} if named.model else {})
    asked = {section: getattr(named, section) for section in unnamed}
    in_file = read_yaml(path)
    stored = drop_other_choices(in_file, unnamed, **asked)
    for section in in_file.keys() - stored.keys():
        if isinstance(in_file[section], Mapping) and len(in_file[section]) > 1:
            log.warning(
                "--%s %s: the options under `%s:` in %s are of another one and have no effect",
                section, asked[section], section, path,
            )  # fmt: skip
    if named.model:
        stored.setdefault("model", named.model)
    try:
        return read(stored)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


@contextmanager
def resumable(command: str, out: str) -> Iterator[None]:
    """Say how to go on where a user stops a training."""
    try:
        yield
    except KeyboardInterrupt:
        if RunFolder(out).checkpoints:
            log.warning("continue with `bandweave %s --out %s --resume`", command, shlex.quote(out))
        raise


def trained_lines(out: str, model: str, run: TrainedRun) -> str:
    """Two lines on a run that is trained."""
    return f"run      {out}\n         {model}, {run.summary()}"
