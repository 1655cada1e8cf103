"""The parts of a scene, and the files of each."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace

from bandweave.data.scenefile.schema import SceneFile
from bandweave.errors import ConfigError, FileError
from bandweave.raster.formats.gdal.elsewhere import is_address

PATTERN = "{part}"
LONGEST = 200  # bytes of a part's name; a file's name has 255 at most


def find_parts(file: SceneFile) -> list[str]:
    """Find the names of the parts, in natural order (2 before 10); [''] for a scene of one place.

    Raises FileError for a part without a file of some layer, naming both.
    """
    paths = {name: layer.path for name, layer in file.layers.items() if PATTERN in layer.path[0]}
    if not paths:
        return [""]
    away = [path for layer in paths.values() for path in layer if is_address(path)]
    if file.parts == "all":
        if away:
            raise ConfigError(
                f"{away[0]}: what lies at an address cannot be listed; name the parts in `parts:`"
            )
        found = {name: discover_parts(path[0]) for name, path in paths.items()}
        names = set().union(*found.values())
        if not names:
            first = next(iter(paths.values()))[0]
            raise FileError(f"no file matches {first}, so the scene has no part")
    else:
        names = set(file.parts)
        if not names:
            raise ConfigError("parts: is an empty list; name the parts, or leave it out for all")
        for name in sorted(names):
            if not name or len(name.encode()) > LONGEST or "/" in name or not name.isprintable():
                raise ConfigError(
                    f"parts: {name[:60]!r} ({len(name)} letters) cannot be part of a file's name"
                )
        if len(names) < len(file.parts):
            raise ConfigError("parts: a name stands twice in the list")
    for part in sorted(names, key=_natural):
        for layer, several in paths.items():
            for path in several:
                if not (is_address(path) or os.path.lexists(path.replace(PATTERN, part))):
                    have = ", ".join(
                        other for other in paths if part in discover_parts(paths[other][0])
                    )
                    raise FileError(
                        f"part '{part}' has no file {path.replace(PATTERN, part)} for layer "
                        f"'{layer}' (layers with it: {have or 'none'}); add the file, or list the "
                        "parts that are complete in `parts:`"
                    )
    return sorted(names, key=_natural) if file.parts == "all" else list(file.parts)


def choose_part(file: SceneFile, part: str) -> SceneFile:
    """Replace {part} in the layers' paths of a scene file."""
    layers = {
        name: replace(layer, path=tuple(path.replace(PATTERN, part) for path in layer.path))
        for name, layer in file.layers.items()
    }
    return replace(file, layers=layers)


def discover_parts(path: str) -> set[str]:
    """Find the names that stand for {part} in the files that match a path."""
    pattern = re.escape(path).replace(re.escape(PATTERN), "(?P<part>[^/]+)", 1)
    pattern = pattern.replace(re.escape(PATTERN), "(?P=part)")  # the same name, wherever it stands
    matches = (re.fullmatch(pattern, name) for name in glob.glob(_wild(path)))
    return {match["part"] for match in matches if match}


def _wild(path: str) -> str:
    return "*".join(glob.escape(piece) for piece in path.split(PATTERN))


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in pieces]
