"""Findings on a scene: a line to read, and the keys of the scene file that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bandweave.yaml_files import inline_yaml

PROBLEM = "problem: "  # how a finding that wants an answer begins
MOST_SHOWN = 24  # entries of a list that a line writes out


@dataclass(frozen=True)
class Edit:
    """One key of a scene file, set to a value.

    place   the mapping that holds it: () for the file, ("layers", "hsi"), ("labels", "train")
    value   plain numbers, texts, lists or mappings; None takes the key away
    """

    place: tuple[str, ...]
    key: Any
    value: Any

    def __str__(self) -> str:
        value = self.value
        if isinstance(value, list) and len(value) > MOST_SHOWN:
            text = f"{self.key}: [{', '.join(map(str, value[:3]))}, … {value[-1]}]"
            text += f" ({len(value)} entries)"
        elif value is None:
            return f"without {self.key}"
        else:
            text = f"{inline_yaml(self.key)}: {inline_yaml(value)}"
        return text

    @property
    def where(self) -> str:
        """The mapping in words: 'layer 'hsi'', '`labels`', 'the scene file'."""
        if not self.place:
            return "the scene file"
        if self.place[0] == "layers":
            return f"layer '{self.place[1]}'"
        return f"`{'.'.join(self.place)}`"


@dataclass(frozen=True)
class Finding:
    """One line on a scene; a problem wants an answer before training.

    edits  keys of the scene file that answer it; empty where only the user can tell
    """

    text: str
    problem: bool = False
    edits: Sequence[Edit] = ()

    def __str__(self) -> str:
        line = f"{PROBLEM if self.problem else ''}{self.text}"
        if self.edits:
            place = self.edits[0].where
            line += f"; add to {place}: " + ", ".join(f"`{edit}`" for edit in self.edits)
        return line
