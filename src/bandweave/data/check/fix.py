"""Setting keys of a scene file as a text: comments, order and style of the rest stay as they are.

YAML tells where in the text each value stands. Every way of writing an edit that fits the style of
its place is tried; the first one is taken whose text is read back as the old content with this one
key changed, so that no edit can change anything else.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from bandweave.data.check.findings import Edit, Finding
from bandweave.data.check.scene import look_at_scene
from bandweave.errors import ConfigError
from bandweave.yaml_files import inline_yaml, parse_yaml

ROUNDS = 5  # an answered problem may uncover another


def fix_scene_text(
    text: str, folder: str | os.PathLike[str], where: str = "scene file"
) -> tuple[str, list[Edit]]:
    """Write the keys that answer its problems into a scene file; returns the text and the edits.

    The scene is looked at again after each round of edits, until none is left to make.

    folder  where relative paths start
    where   the file's name for errors

    Raises ConfigError for broken YAML, for an edit that cannot be written safely, and where the
    scene does not open with the edits; the text is then to be left as it was.
    """
    written: list[Edit] = []
    findings = look_at_scene(parse_yaml(text, where), folder)
    for _ in range(ROUNDS):
        wanted = [edit for finding in findings if finding.problem for edit in finding.edits]
        edits = [edit for i, edit in enumerate(wanted) if edit not in (*wanted[:i], *written)]
        if not edits:
            break
        text = edit_scene_text(text, edits, where)
        written += edits
        findings = look_at_scene(parse_yaml(text, where), folder)
        if _is_closed(findings):
            told = ", ".join(f"`{edit}`" for edit in edits)
            raise ConfigError(
                f"{where}: with {told} the scene does not open, so nothing is written: "
                f"{findings[0].text}"
            )
    return text, written


def _is_closed(findings: Sequence[Finding]) -> bool:
    """The scene could not be opened: that is the only finding."""
    return len(findings) == 1 and findings[0].problem


def edit_scene_text(text: str, edits: Sequence[Edit], where: str = "scene file") -> str:
    """Set keys in the text of a scene file, and change nothing else.

    Raises ConfigError for broken YAML, and for an edit whose place the text writes in a way that
    cannot be changed safely (an anchor that others share, a merge).
    """
    for edit in edits:
        content = parse_yaml(text, where)
        wanted = _apply(content, edit)
        if wanted == content:
            continue
        text = next((new for new in _list_ways(text, edit) if _reads_as(new, wanted)), "")
        if not text:
            raise ConfigError(
                f"{where}: `{edit}` cannot be written into {edit.where} without touching its other "
                "lines; write it there by hand"
            )
    return text


def _apply(content: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """Apply an edit to the content, as it shall be read then."""
    wanted = copy.deepcopy(content)
    inner: dict[Any, Any] = wanted
    for step in edit.place:
        entry = inner.get(step)
        if not isinstance(entry, dict):
            entry = {} if entry is None else {"path": entry}
        inner[step] = entry
        inner = entry
    if edit.value is None:
        inner.pop(edit.key, None)
    else:
        inner[edit.key] = edit.value
    return wanted


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return parse_yaml(text) == wanted
    except ConfigError:
        return False


def _list_ways(text: str, edit: Edit) -> Iterator[str]:
    """List texts that may say it, the one nearest to the old style first."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node, end = root, "\r\n" if "\r\n" in text else "\n"
    for step in edit.place:
        inner = _get_value(node, step)
        if inner is None:
            return
        node = inner
    if not isinstance(node, yaml.MappingNode):
        yield from _expand(text, node, edit, end)
        return
    pair = next((pair for pair in node.value if _is_key(pair[0], edit.key)), None)
    if edit.value is None:
        yield from _remove(text, node, pair)
    elif pair is not None:
        yield _replace(text, pair[1], inline_yaml(edit.value))
    else:
        yield from _insert(text, node, f"{inline_yaml(edit.key)}: {inline_yaml(edit.value)}", end)


def _get_value(node: Any, key: Any) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for own, value in node.value if _is_key(own, key)), None)


def _is_key(node: Any, key: Any) -> bool:
    """Texts are keys as they stand; numbers as YAML reads them."""
    return isinstance(node, yaml.ScalarNode) and node.value.strip() == str(key)


def _replace(text: str, node: Any, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _insert(text: str, node: Any, line: str, end: str) -> Iterator[str]:
    """Insert a key: behind the last of a mapping in braces, else on a line of its own."""
    if node.flow_style:
        last = node.value[-1][1].end_mark.index if node.value else node.start_mark.index + 1
        yield text[:last] + (", " if node.value else "") + line + text[last:]
        return
    indent = " " * node.start_mark.column
    if node.start_mark.column:
        key, value = node.value[0]
        stop = text.find("\n", value.end_mark.index)
        if isinstance(value, yaml.ScalarNode) and stop >= 0:  # below the first key and its comment
            yield text[: stop + 1] + indent + line + end + text[stop + 1 :]
        start = key.start_mark.index
        yield text[:start] + line + end + indent + text[start:]
    yield text.rstrip() + end + line + end
    start = node.start_mark.index
    yield text[:start] + line + end + indent + text[start:]


def _remove(text: str, node: Any, pair: Any) -> Iterator[str]:
    if pair is None:
        return
    start, stop = pair[0].start_mark.index, pair[1].end_mark.index
    if node.flow_style:
        behind = text[stop:].lstrip()
        if behind.startswith(","):
            rest = text[stop:]
            yield text[:start] + rest[rest.index(",") + 1 :].lstrip(" ")
        before = text[:start].rstrip()
        yield before.removesuffix(",") + text[stop:]
        return
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", stop)
    yield text[:first] + (text[last + 1 :] if last >= 0 else "")


def _expand(text: str, node: Any, edit: Edit, end: str) -> Iterator[str]:
    """`hsi: cube.tif` and `hsi: [a.tif, b.tif]` become mappings with `path`."""
    line = f"{inline_yaml(edit.key)}: {inline_yaml(edit.value)}"
    start, stop = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        yield text[:start] + f"{{path: {text[start:stop]}, {line}}}" + text[stop:]
    else:  # a list of lines
        indent = " " * node.start_mark.column
        yield text[:start] + f"{line}{end}{indent}path:{end}{indent}" + text[start:]
    plain = yaml.SafeLoader("")
    value = plain.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else [
        entry.value for entry in node.value
    ]  # fmt: skip
    full = f"{{path: {inline_yaml(value)}, {line}}}"
    yield text[:start] + full + text[stop:]
    rest = text[start:stop]
    yield f"{text[:start].rstrip()} {full}{rest[len(rest.rstrip()) :]}{text[stop:]}"
