"""Every option of the configuration as a flag: `--samples.augment.noise 0.1`, or `--noise 0.1`.

A flag may be shortened to any end of its name. Where several options end alike, the one that lies
least deep is meant (`--precision` is train.precision, not model.clip.precision); a section with one
choice that rules the others stands for it and comes first (`--clip` is model.clip.mode, not
train.clip); what is then still ambiguous is refused with both names (`--seed`).
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import jsonargparse

from bandweave.cli.option_texts import read_option_texts
from bandweave.errors import ConfigError
from bandweave.schema import from_dict

SECTIONS = {"split": "split.name", "model": "model.name", "model.clip": "model.clip.mode"}


class _Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Types and defaults of options, and descriptions as they were written."""


class ConfigParser:
    """The parser of a subcommand whose flags come from dataclasses."""

    def __init__(self, command: str, usage: str, description: str) -> None:
        self.parser = jsonargparse.ArgumentParser(
            prog=f"bandweave {command}",
            usage=f"bandweave {command} {usage}",
            description=description,
            formatter_class=_Help,
            exit_on_error=False,
            allow_abbrev=False,
        )
        self._switches: set[str] = set()  # options that are true where no value follows
        self._lists: set[str] = set()  # options that take `1,10` for a list
        self._homes: dict[str, type] = {}  # the dataclass of each option

    def add(self, path: str, config: Any, title: str = "") -> None:
        """Add a flag for each field of a dataclass, nested ones too, with the values as defaults.

        path   where the dataclass stands in the configuration: 'model', 'samples.augment'
        title  what its section is called in the help
        """
        group = self.parser.add_argument_group(title or path)
        kind: type = type(config)
        hints, texts = typing.get_type_hints(kind), read_option_texts(kind)
        nested = []
        for field in dataclasses.fields(config):
            value, name = getattr(config, field.name), f"{path}.{field.name}"
            if dataclasses.is_dataclass(value):
                nested.append((name, value))
                continue
            self._homes[name] = type(config)
            if hints[field.name] is bool:
                self._switches.add(name)
            if typing.get_origin(hints[field.name]) is list:
                self._lists.add(name)
            text = texts.get(field.name, "").replace("%", "%%")
            group.add_argument(
                f"--{name}",
                type=hints[field.name],
                default=value,
                help=text,
                metavar=field.name.upper(),
            )
        for name, value in nested:
            self.add(name, value)

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """The options that a command line gives, nested, without those at their defaults.

        Raises ConfigError for a flag that does not exist, with the nearest right one, and for a
        value of another type.
        """
        words = self.full_flags(argv)
        try:
            return self.parser.parse_args(words, defaults=False).as_dict()
        except argparse.ArgumentError as error:
            raise self._explain_error(str(error), words) from None

    def full_flags(self, argv: Sequence[str]) -> list[str]:
        """The command line with full names of flags, and `1,10` as a list where one is due."""
        known = [flag[2:] for flag in self.parser._option_string_actions if flag[:2] == "--"]
        lists = {"layers", *self._lists}
        words: list[str] = []
        for word, following in zip(argv, [*argv, ""][1:], strict=True):
            if not word.startswith("--") or word == "--":
                listed = words[-1:] and words[-1][2:] in lists and word[:1] != "["
                words.append(f"[{word}]" if listed else word)
                continue
            flag, equals, value = word[2:].partition("=")
            name = find_full_name(flag, known)
            if name in self._switches and not equals and following.lower() not in _TRUTHS:
                equals, value = "=", "true"
            if name in lists and equals and value[:1] != "[":
                value = f"[{value}]"
            words.append(f"--{name}{equals}{value}")
        return words

    def _explain_error(self, message: str, words: list[str]) -> ConfigError:
        """A ConfigError in the words of the configuration, of what jsonargparse says."""
        found = re.match(r'Parser key "([\w.]+)"', message)
        path = found[1] if found else ""
        if path in self._homes:
            value = _find_value(path, words)
            section, _, name = path.rpartition(".")
            try:
                from_dict(self._homes[path], {name: value}, section)
            except ConfigError as error:
                return error
        wrong = re.search(r"Expected an? <class '(\w+)'>. Got value: (.*)", message)
        if wrong:
            what = {"int": "a whole number", "float": "a number"}.get(wrong[1], wrong[1])
            return ConfigError(f"{path}: expected {what}, got {wrong[2]}")
        return ConfigError(f"{message}; `{self.parser.prog} --help` lists what there is")


_TRUTHS = ("true", "false", "yes", "no")


def find_full_name(flag: str, known: Sequence[str]) -> str:
    """The option that a flag, written without its dashes, means. Raises ConfigError if none.

    >>> find_full_name("noise", ["train.seed", "split.seed", "samples.augment.noise"])
    'samples.augment.noise'
    >>> find_full_name("seed", ["train.seed", "split.seed"])
    Traceback (most recent call last):
    ...
    bandweave.errors.ConfigError: --seed: which one? There are --train.seed and --split.seed
    """
    sections = {path: name for path, name in SECTIONS.items() if name in known}
    written = {_simplify_name(name): name for name in known} | {
        _simplify_name(path): path for path in sections
    }
    word = _simplify_name(flag)
    if word in written:
        return sections.get(written[word], written[word])
    if flag.startswith("pca.") and "pca" in known:  # named by the scene's layers
        return flag
    ends = [name for plain, name in written.items() if plain.endswith(f".{word}")]
    if not ends:
        raise ConfigError(f"--{flag}: no such option{_suggest_flag(flag, [*known, *sections])}")
    depth = min(name.count(".") for name in ends)
    least = [name for name in ends if name.count(".") == depth]
    ruling = [name for name in least if name in sections]
    if len(ruling or least) > 1:
        raise ConfigError(f"--{flag}: which one? There are --{' and --'.join(ruling or least)}")
    chosen = (ruling or least)[0]
    return sections.get(chosen, chosen)


def _simplify_name(name: str) -> str:
    return name.replace("-", "_").lower()


def _suggest_flag(flag: str, names: Sequence[str]) -> str:
    """The nearest name, or end of a name."""
    ends = [".".join(name.split(".")[i:]) for name in names for i in range(name.count(".") + 1)]
    close = difflib.get_close_matches(flag, list(dict.fromkeys(ends)), n=1)
    return f"; did you mean --{close[0]}?" if close else "; --help lists what there is"


def _find_value(path: str, words: Sequence[str]) -> str:
    """The value behind a flag the last time that it stands on the command line."""
    value = ""
    for number, word in enumerate(words):
        if word.startswith(f"--{path}="):
            value = word.partition("=")[2]
        elif word == f"--{path}" and number + 1 < len(words):
            value = words[number + 1]
    return value


UNNAMED = {"model": "m3amba_small", "split": "blocks"}  # what a section without a name is of


def drop_other_choices(
    stored: Mapping[str, Any], unnamed: Mapping[str, str] = UNNAMED, **names: str | None
) -> dict[str, Any]:
    """A stored configuration without the sections that are of another name than the one asked for.

    The options of one model or split mean nothing to another.

    unnamed   what a section without a name is of

    >>> drop_other_choices({"model": {"name": "a", "width": 8}, "scene": "s"}, model="b")
    {'scene': 's'}
    """
    kept = dict(stored)
    for section, asked in names.items():
        before = kept.get(section)
        name = before.get("name", unnamed[section]) if isinstance(before, Mapping) else before
        if asked is not None and asked != name:
            kept.pop(section, None)
    return kept
