"""Dataclasses as schemas: made strictly from plain mappings, turned back into them, compared.

`from_dict` accepts exactly a dataclass's fields with exactly their types, and an error names the
place, the value and the nearest right key or choice.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from bandweave.errors import ConfigError

T = TypeVar("T")

# A tuple of any length, for which one value without its list may stand: `ignore: 0`.
OneOrMore = Annotated[tuple[T, ...], "one or more"]


# Dataclass ⇄ mapping ------------------------------------------------------------------------------


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str = "config") -> T:
    """Make the dataclass `cls` from a mapping, strictly.

    `where` is the path in error messages; one that ends in a colon is the name of a file.

    Raises ConfigError for a key that is no field (with the nearest right one), a missing key, and
    a value of another type. Nested dataclasses, Literal, list, tuple, OneOrMore, dict, Path and
    unions work; of several dataclasses in a union, the one that knows most of the keys is meant.

    >>> from bandweave.training.config import TrainConfig
    >>> from_dict(TrainConfig, {"step": 10}, "train")
    Traceback (most recent call last):
    ...
    bandweave.errors.ConfigError: train.step: no such option; did you mean 'steps'?
    """
    if not isinstance(mapping, Mapping):
        raise _make_error(where, f"expected a mapping of options, got {show_value(mapping)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise _make_error(_join_path(where, key), f"no such option{nearest(key, fields)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {
        name: _convert(value, hints[name], _join_path(where, name))
        for name, value in mapping.items()
    }
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise _make_error(
                _join_path(where, name), f"missing; expected {_describe_type(hints[name])}"
            )
    try:
        return cls(**values)
    except ConfigError as error:
        raise _make_error(where, str(error)) from None


def check_choices(config: Any, prefix: str = "") -> None:
    """Raise ConfigError where a field of a dataclass is none of its Literal's values.

    prefix  before the field's name in the message, such as 'clip.'
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        if choices and getattr(config, name) not in choices:
            names = ", ".join(str(choice) for choice in choices)
            raise ConfigError(f"{prefix}{name} is {getattr(config, name)!r}; it is one of {names}")


def check_ranges(
    config: Any, least: Mapping[str, float] | None = None, shares: Iterable[str] = ()
) -> None:
    """Raise ConfigError where a number of a dataclass is out of its range, or not finite.

    least   the least value of a field, by its name
    shares  fields that are from 0 to below 1
    """
    for name, lowest in (least or {}).items():
        value = getattr(config, name)
        if not lowest <= value < math.inf:
            finite = "" if math.isfinite(value) else ", and finite"
            raise ConfigError(f"{name} is {value}; it must be {lowest} or more{finite}")
    for name in shares:
        if not 0 <= getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be from 0 to below 1")


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain mappings, lists, texts and numbers; `from_dict` reads it back."""
    return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}


def to_plain(value: Any) -> Any:
    """Any value that a field can hold, as `to_dict` gives it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:  # OneOrMore
        if isinstance(value, list | tuple):
            return _convert(value, arguments[0], where)
        return (_convert(value, typing.get_args(arguments[0])[0], where),)
    if origin is Literal:
        if not _is_choice(value, hint):
            raise _make_mismatch(value, hint, where)
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, hint, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)  # type: ignore
    if origin is list or (origin is tuple and arguments[-1:] == (Ellipsis,)):
        if not isinstance(value, list | tuple):
            raise _make_mismatch(value, hint, where)
        return origin(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            raise _make_mismatch(value, hint, where)
        pairs = zip(value, arguments, strict=True)
        return tuple(_convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(pairs))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _make_mismatch(value, hint, where)
        return {
            _convert(key, arguments[0], f"{where} (key)"): _convert(
                item, arguments[1], _join_path(where, key)
            )
            for key, item in value.items()
        }
    return _convert_plain(value, hint, where)


def _convert_union(value: Any, hint: Any, where: str) -> Any:
    choices = typing.get_args(hint)
    if type(value) in choices or any(_is_choice(value, choice) for choice in choices):
        return value
    fitting = [choice for choice in choices if _contains(choice, value)]
    if isinstance(value, Mapping) and fitting:
        fitting = [max(fitting, key=lambda choice: len(_list_keys(choice) & set(value)))]
    if len(fitting) == 1:  # its message names the place inside
        return _convert(value, fitting[0], where)
    for choice in choices:
        try:
            return _convert(value, choice, where)
        except ConfigError:
            continue
    raise _make_mismatch(value, hint, where)


def _is_choice(value: Any, hint: Any) -> bool:
    """One of a Literal's, where 1 is not true."""
    return typing.get_origin(hint) is Literal and any(
        type(value) is type(choice) and value == choice for choice in typing.get_args(hint)
    )


def _contains(hint: Any, value: Any) -> bool:
    """`hint` holds other values as `value` does: a mapping or a list."""
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    kind = typing.get_origin(kind) or kind
    if isinstance(value, Mapping):
        return kind in (dict, Mapping) or dataclasses.is_dataclass(kind)
    return kind in (list, tuple) and isinstance(value, list | tuple)


def _list_keys(hint: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(hint)} if dataclasses.is_dataclass(hint) else set()


def _convert_plain(value: Any, hint: Any, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and isinstance(value, numbers.Real) and not is_bool:
        return float(value)
    if hint is float and isinstance(value, str) and _is_not_finite(value):
        return float(value)  # in YAML the number is `.nan`, and everybody writes `nan`
    if hint is int and isinstance(value, numbers.Integral) and not is_bool:
        return int(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is str and isinstance(value, Path):
        return str(value)
    if hint in (bool, str, list, dict, type(None)) and isinstance(value, hint):
        return value
    raise _make_mismatch(value, hint, where)


def _is_not_finite(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


# Comparison ---------------------------------------------------------------------------------------


def list_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per key that differs between two nested mappings, by dotted path.

    >>> list_differences({"train": {"lr": 0.1, "seed": 0}}, {"train": {"lr": 0.2, "seed": 0}})
    ['train.lr: 0.1 then, 0.2 now']
    """
    old, new = flatten(to_plain(then)), flatten(to_plain(now))
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        first, second = old.get(key, "absent"), new.get(key, "absent")
        if first != second:
            lines.append(f"{key}: {_shorten(first)} then, {_shorten(second)} now")
    return lines


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Values of nested mappings by dotted path; an empty mapping is a value.

    >>> flatten({"train": {"lr": 0.1, "seed": 0}})
    {'train.lr': 0.1, 'train.seed': 0}
    """
    if not isinstance(value, dict) or not value:
        return {path: value} if path else {}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{path}.{key}" if path else str(key))
    return flat


def _shorten(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# Words of errors ----------------------------------------------------------------------------------


def nearest(word: Any, known: Iterable[Any]) -> str:
    """The end of an error message: '; did you mean …?', or the list of what there is.

    >>> nearest("precison", ["precision", "patience"])
    "; did you mean 'precision'?"
    >>> nearest("zzz", ["b", "a"])
    '; there are: a, b'
    """
    names = sorted(str(name) for name in known)
    close = difflib.get_close_matches(str(word), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(names)}" if names else "; it takes none"


def join_words(values: Iterable[Any], last: str) -> str:
    """Values in a sentence.

    >>> join_words(["a", "b", "c"], "or")
    'a, b or c'
    """
    *head, tail = [str(value) for value in values]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def show_value(value: Any) -> str:
    """A value and its type, cut to a line.

    >>> show_value("fast")
    "'fast' (str)"
    """
    if value is None:
        return "null"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _join_path(where: str, key: Any) -> str:
    return f"{where} {key}" if where.endswith(":") else f"{where}.{key}"


def _make_error(where: str, text: str) -> ConfigError:
    return ConfigError(f"{where.removesuffix(':')}: {text}")


def _make_mismatch(value: Any, hint: Any, where: str) -> ConfigError:
    close = difflib.get_close_matches(value, _list_texts(hint), 1) if isinstance(value, str) else []
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return _make_error(where, f"expected {_describe_type(hint)}, got {show_value(value)}{guess}")


def _list_texts(hint: Any) -> list[str]:
    """The texts among the choices of a Literal, or of those in a union."""
    return [text for choice in _list_choices(hint) if isinstance(text := choice, str)]


def _list_choices(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) is Literal:
        yield from typing.get_args(hint)
    elif typing.get_origin(hint) in (typing.Union, types.UnionType):
        for choice in typing.get_args(hint):
            yield from _list_choices(choice)


def _describe_type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe_type(a) for a in arguments))
    if origin is Annotated:  # OneOrMore
        return f"{_describe_type(typing.get_args(arguments[0])[0])}, alone or in a list"
    if origin is list or (origin is tuple and arguments[-1:] == (Ellipsis,)):
        return f"a list, each {_describe_type(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: " + ", ".join(_describe_type(a) for a in arguments)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words |= {Path: "a path", type(None): "null", list: "a list", dict: "a mapping"}
    return words.get(hint, str(hint))
