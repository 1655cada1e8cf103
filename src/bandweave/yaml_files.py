"""YAML files of options: read safely and strictly, and written so that they are read alike."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import check_input_file
from bandweave.schema import show_value, to_plain

_FLOAT = re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")  # 1e-4, text in YAML 1.1
MOST_BYTES = 2**19  # five thousand classes; some seconds' reading
MOST_VALUES, MOST_DEPTH, MOST_MERGED = 250_000, 60, 10**5
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 where 1.1 surprises: `1e-4` is a number, `on` and `no` are text.

    A key given twice is refused, where YAML takes the last, and so are more levels, or more keys
    merged by `<<`, than any file of options has.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, f"it is nested in more than {MOST_DEPTH} levels", mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: Any) -> None:
        merged = [value for key, value in node.value if key.tag == _MERGE]
        inside = [each for value in merged for each in getattr(value, "value", ())]
        keys = 0
        for each in [*merged, *inside]:
            if isinstance(each, yaml.MappingNode) and each is not node:
                self.flatten_mapping(each)
                keys += len(each.value)
        if keys > MOST_MERGED:
            raise yaml.constructor.ConstructorError(
                None, None, f"its merges (<<) make more than {MOST_MERGED} keys", node.start_mark
            )
        super().flatten_mapping(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
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
    line, for a key given twice, and for a file that holds no mapping.
    """
    if os.path.exists(path):
        check_input_file(path)
    try:
        size = Path(path).stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(
                f"{path} has {size} bytes, and a YAML file of options {MOST_BYTES} at most"
            )
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: not a YAML text file (byte {error.start}: {error.reason})"
        ) from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str = "YAML") -> dict[str, Any]:
    """The mapping in a YAML text; `where` names its origin in errors. Empty text is {}.

    >>> parse_yaml("lr: 1e-4\\nsplit: {per_class: 20}")
    {'lr': 0.0001, 'split': {'per_class': 20}}
    """
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        malformed = not isinstance(error, yaml.constructor.ConstructorError)
        advice = " (a text that holds {, }, # or : needs quotes)" if malformed else ""
        raise ConfigError(f"{where}{place}: broken YAML: {error.problem}{advice}") from None
    except RecursionError:
        raise ConfigError(f"{where}: broken YAML: it is nested too deeply to be read") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        text = " ".join(str(error).split())
        if "integer string conversion" in text:
            text = "a number of thousands of digits is no option's value"
        raise ConfigError(f"{where}: broken YAML: {text}") from None
    _check_values(value, where)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a mapping of options, got {show_value(value)}")
    return value


def _check_values(value: Any, where: str) -> None:
    """Raise ConfigError for what no option can be: deep nesting, many aliases, endless numbers.

    An alias may stand for a whole structure and be used any number of times, and even in itself.
    """
    left = MOST_VALUES
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > MOST_DEPTH:
            what = (
                f"more than {MOST_VALUES:,} values"
                if left < 0
                else f"more than {MOST_DEPTH} levels"
            )
            raise ConfigError(f"{where}: broken YAML: its aliases or lists make {what}")
        if isinstance(one, dict):
            waiting += [(item, depth + 1) for pair in one.items() for item in pair]
        elif isinstance(one, list | tuple):
            waiting += [(item, depth + 1) for item in one]
        elif isinstance(one, int) and abs(one) >= 2**1023:  # no float holds more
            raise ConfigError(
                f"{where}: a number of {round(one.bit_length() * 0.30103)} digits is no option's "
                "value"
            )


def yaml_text(mapping: Mapping[str, Any], inline: bool = False) -> str:
    """The mapping as YAML, keys in their order; `parse_yaml` gives the same mapping back.

    inline  innermost lists and mappings on a line each
    """
    return yaml.dump(
        to_plain(mapping),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None if inline else False,
    )


def inline_yaml(value: Any) -> str:
    """A plain value as YAML on one line, as it may stand behind a key.

    >>> inline_yaml([0, "255", -3.4e38])
    "[0, '255', -3.4e+38]"
    """
    text = yaml.dump(
        to_plain(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=10**9,
        default_flow_style=True,
    )
    return text.removesuffix("...\n").strip()
