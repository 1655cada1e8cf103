"""From YAML to typed dataclasses, with errors that name the place and the nearest right word."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bandweave.errors import ConfigError, FileError

T = TypeVar("T")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, and reads on, off, yes, no, y and n as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - a copy of the base class's table
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: `{key}` is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(  # as YAML 1.2 has it: `on` is a key of a join
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load_yaml(file: Path) -> Any:
    """The content of a YAML file; a key given twice is an error, where YAML takes the last."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(f"{file}: no such file") from None
    except UnicodeDecodeError:
        raise FileError(f"{file}: not a text file, and so not YAML") from None
    except OSError as error:
        raise FileError(f"{file}: cannot be read: {error.strerror or error}") from None
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        raise ConfigError(f"{file.name}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(
            f"{file.name}{at}: {problem} (a text that holds {{, }}, # or : needs quotes)"
        ) from None


def convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that names `where`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return _convert_dataclass(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            wanted = listed(arguments, "or")
            hint_text = nearest(value, arguments)
            raise ConfigError(f"{where}: expected {wanted}, got {kind(value)}{hint_text}")
        return value
    if origin is tuple:  # of any length; one value stands for a list of one
        if not isinstance(value, list | tuple):
            return (convert(arguments[0], value, where),)
        return tuple(convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping of names, got {kind(value)}")
        return {
            convert(arguments[0], key, where): convert(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str) and _is_number(value):
        return float(value)  # YAML 1.1 reads 1e-4 and nan as text
    if hint is str and isinstance(value, Path):
        return str(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        wanted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ConfigError(f"{where}: expected {wanted[hint]}, got {kind(value)}")
    return value


def _convert_union(arguments: tuple, value: Any, where: str) -> Any:
    """The first choice whose kind fits; of several dataclasses, the one that knows most keys."""
    if value is None and type(None) in arguments:
        return None
    choices = [argument for argument in arguments if argument is not type(None)]
    for choice in choices:
        if get_origin(choice) is Literal and value in get_args(choice):
            return value
        if isinstance(choice, type) and not is_dataclass(choice) and isinstance(value, choice):
            return _convert_scalar(choice, value, where)
    typed = [choice for choice in choices if get_origin(choice) is not Literal] or choices
    keys = set(value) if isinstance(value, Mapping) else set()
    return convert(max(typed, key=lambda choice: len(keys & _keys(choice))), value, where)


def _keys(choice: Any) -> set[str]:
    return {entry.name for entry in fields(choice)} if is_dataclass(choice) else set()


def _convert_dataclass(cls: type[T], value: Any, where: str) -> T:
    known = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    if isinstance(value, str | list) and "path" in known:
        value = {"path": value}  # `hsi: cube.tif` is enough
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected keys ({', '.join(known)}), got {kind(value)}")
    for key in value:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key `{key}`{nearest(key, known)}; known: {', '.join(known)}"
            )
    hints = get_type_hints(cls)
    for name, entry in known.items():
        if name not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(f"{where}: `{name}` is missing")
    colon = "." if ": " in where else ": "
    return cls(
        **{key: convert(hints[key], item, f"{where}{colon}{key}") for key, item in value.items()}
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def kind(value: Any) -> str:
    """What a value is, in words for an error."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return f"keys ({', '.join(map(str, value)) or 'none'})"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}'" if isinstance(value, str) else f"{value}"


def listed(values: Iterable[Any], last: str) -> str:
    """`a, b or c`."""
    *head, tail = [str(value) for value in values]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def nearest(value: Any, known: Iterable[Any]) -> str:
    """`; did you mean …?`, or nothing where no word is near."""
    found = difflib.get_close_matches(str(value), [str(name) for name in known], n=1, cutoff=0.5)
    return f"; did you mean `{found[0]}`?" if found else ""
