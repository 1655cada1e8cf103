"""Options as dataclasses: read strictly from YAML, written back, compared.

A dataclass is the schema. `from_dict` accepts exactly its fields with exactly their types, and an
error names the key, the value and the nearest right key. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from bandweave.errors import ConfigError, FileError
from bandweave.run.atomic import write_text

T = TypeVar("T")

Precision = Literal["auto", "fp32", "bf16", "fp16"]

HARMLESS = ("checkpoint_every", "tensorboard")  # options that may differ when a run continues


@dataclass
class TrainConfig:
    """How a module is trained. Steps are optimiser steps; every schedule follows from them alone.

    >>> TrainConfig(steps=100).warmup
    0.05
    """

    steps: int = 2000
    lr: float = 1e-4  # highest learning rate of AdamW (M³amba)
    weight_decay: float = 1e-3  # of matrices and kernels; vectors, A_log and D have none (M³amba)
    warmup: float = 0.05  # fraction of the steps in which the rate rises; then a cosine to 0
    clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    precision: Precision = "auto"  # auto: bf16 on a GPU that has it, fp32 on a CPU
    accumulate: int = 1  # batches a step, one after another
    ema: float = 0.0  # decay a step of averaged weights (0.999, say), used instead; 0: none
    validate_every: int = 0  # steps; 0: never; then the best weights are kept, not the last
    patience: int = 0  # validations without a better score before it stops early; 0: never
    checkpoint_every: int = 100  # steps; what a killed run can lose
    seed: int = 0
    tensorboard: bool = False  # event files beside history.csv (extra `tensorboard`)
    compile: bool = False  # torch.compile; on a CPU it needs a C++ compiler

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "checkpoint_every"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("weight_decay", "clip", "validate_every", "patience", "seed"):
            value = getattr(self, name)
            _require(self, name, value >= 0 and math.isfinite(value), "0 or more, and finite")
        _require(self, "lr", 0 < self.lr < math.inf, "above 0, and finite")
        _require(self, "warmup", 0 <= self.warmup <= 1, "a fraction of the steps, 0 to 1")
        _require(self, "ema", 0 <= self.ema < 1, "a decay from 0 (none) to below 1")
        if self.patience and not self.validate_every:
            raise ConfigError(
                f"patience={self.patience} counts validations, but validate_every is 0; "
                f"set validate_every to a number of steps, or patience to 0"
            )


def _require(config: TrainConfig, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(f"{name}={getattr(config, name)!r} must be {what}")


# Dataclass ⇄ dict ---------------------------------------------------------------------------------


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str = "train") -> T:
    """Make the dataclass `cls` from a mapping, strictly. `where` is the path in error messages.

    Raises ConfigError for a key that is no field (with the nearest right one), a missing key, and
    a value of another type. Nested dataclasses, Literal, list, tuple, dict, Path and unions work.

    >>> from_dict(TrainConfig, {"step": 10})
    Traceback (most recent call last):
    ...
    bandweave.errors.ConfigError: train.step: no such option; did you mean 'steps'?
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a mapping of options, got {_shown(mapping)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"{where}.{key}: no such option{nearest(str(key), list(fields))}")
    hints = typing.get_type_hints(cls)
    values = {
        name: _converted(value, hints[name], f"{where}.{name}") for name, value in mapping.items()
    }
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{where}.{name}: missing; expected {_expected(hints[name])}")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain mappings, lists, texts and numbers; `from_dict` reads it back."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of an error message: '; did you mean …?', or the list of what there is.

    >>> nearest("precison", ["precision", "patience"])
    "; did you mean 'precision'?"
    >>> nearest("zzz", ["b", "a"])
    '; there are: a, b'
    """
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known))}" if known else "; it takes none"


def _converted(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        for choice in arguments:
            if value == choice and type(value) is type(choice):
                return value
        options = [choice for choice in arguments if isinstance(choice, str)]
        guess = difflib.get_close_matches(value, options, n=1) if isinstance(value, str) else []
        raise _mismatch(value, hint, where, f"; did you mean {guess[0]!r}?" if guess else "")
    if origin in (typing.Union, types.UnionType):
        return _of_union(value, hint, arguments, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)  # type: ignore
    if origin is list or (origin is tuple and arguments[-1:] == (Ellipsis,)):
        if not isinstance(value, list | tuple):
            raise _mismatch(value, hint, where)
        return origin(_converted(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            raise _mismatch(value, hint, where)
        pairs = zip(value, arguments, strict=True)
        return tuple(_converted(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(pairs))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _mismatch(value, hint, where)
        return {
            _converted(key, arguments[0], f"{where} (key)"): _converted(
                item, arguments[1], f"{where}.{key}"
            )
            for key, item in value.items()
        }
    return _of_plain_type(value, hint, where)


def _of_union(value: Any, hint: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [a for a in arguments if a is not type(None)]
    if len(choices) == 1:
        try:
            return _converted(value, choices[0], where)
        except ConfigError:
            if dataclasses.is_dataclass(choices[0]) and isinstance(value, Mapping):
                raise  # the inner message says which key
            raise _mismatch(value, hint, where) from None
    for choice in choices:
        try:
            return _converted(value, choice, where)
        except ConfigError:
            continue
    raise _mismatch(value, hint, where)


def _of_plain_type(value: Any, hint: Any, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and isinstance(value, numbers.Real) and not is_bool:
        return float(value)
    if hint is int and isinstance(value, numbers.Integral) and not is_bool:
        return int(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (bool, str, list, dict, type(None)) and isinstance(value, hint):
        return value
    raise _mismatch(value, hint, where)


def _mismatch(value: Any, hint: Any, where: str, more: str = "") -> ConfigError:
    return ConfigError(f"{where}: expected {_expected(hint)}, got {_shown(value)}{more}")


def _expected(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(a) for a in arguments)
    if origin is list or (origin is tuple and arguments[-1:] == (Ellipsis,)):
        return f"a list, each {_expected(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: " + ", ".join(_expected(a) for a in arguments)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words |= {Path: "a path", type(None): "null", list: "a list", dict: "a mapping"}
    return words.get(hint, str(hint))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


# YAML ---------------------------------------------------------------------------------------------

_FLOAT = re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")  # 1e-4, text in YAML 1.1


class _Loader(yaml.SafeLoader):
    """YAML 1.2 where 1.1 surprises: `1e-4` is a number, `on` and `no` are text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:bool"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping (safely; nothing in it can run).

    Raises FileError for a file that is missing or no text, ConfigError for broken YAML, with the
    line, and for a file that holds no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: not a YAML text file (byte {error.start}: {error.reason})"
        ) from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str = "YAML") -> dict[str, Any]:
    """The mapping in a YAML text; `where` names its origin in errors. Empty text is {}."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: broken YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: broken YAML: {' '.join(str(error).split())}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a mapping of options, got {_shown(value)}")
    return value


def write_yaml(path: Path | str, mapping: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, whole or not at all; `read_yaml` gives the same mapping back."""
    write_text(path, yaml_text(mapping))


def yaml_text(mapping: Mapping[str, Any]) -> str:
    """The mapping as YAML, keys in their order."""
    return yaml.dump(
        _plain(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


# Comparison ---------------------------------------------------------------------------------------


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per key that differs between two nested mappings, by dotted path.

    >>> differences({"train": {"lr": 0.1, "seed": 0}}, {"train": {"lr": 0.2, "seed": 0}})
    ['train.lr: 0.1 then, 0.2 now']
    """
    old, new = _flat(_plain(then)), _flat(_plain(now))
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        first, second = old.get(key, "absent"), new.get(key, "absent")
        if first != second:
            lines.append(f"{key}: {_brief(first)} then, {_brief(second)} now")
    return lines


def conflicts(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences that stand against continuing a run: all but HARMLESS ones under `train`."""
    harmless = tuple(f"train.{name}" for name in HARMLESS)
    return [line for line in differences(then, now) if not line.split(":")[0].endswith(harmless)]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value} if path else {}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{path}.{key}" if path else str(key))
    return flat


def _brief(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
