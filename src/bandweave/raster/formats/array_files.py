"""Files that hold arrays by name, whatever their format.

A key is a path in the file: `hsi.Data` of a struct, `cubes{2}` of a cell, `group/cube` of HDF5. An
end of a path that is the only one, such as `VNIR_Cube`, is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandweave.errors import FileError
from bandweave.raster.facts import Facts, describe_bands, describe_place
from bandweave.raster.formats.arrays import StoredArraySource
from bandweave.raster.formats.stored import Entry, OpenArray, show_shape
from bandweave.raster.reader import RasterReader, Request


class ArrayFile:
    """An open file of arrays."""

    def entries(self) -> Iterator[Entry]:
        """List all arrays, by their keys."""
        raise NotImplementedError

    def open(self, entry: Entry) -> OpenArray:
        """Open the array of an entry, with what the file says of it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""


class ArrayReader(RasterReader):
    """A format of named arrays; a subclass writes `open_file`."""

    content = "a file of arrays"

    def open_file(self, path: Path) -> ArrayFile:
        """Open a file; whatever it raises of damage becomes a FileError that names the file."""
        raise NotImplementedError

    def open(self, path: str, request: Request) -> StoredArraySource:
        return StoredArraySource(self, Path(path), request)

    def list_arrays(self, path: str) -> list[Entry]:
        with self._convert_failures(Path(path)):
            file = self.open_file(Path(path))
            try:
                return list(file.entries())
            finally:
                file.close()

    def open_array(self, path: Path, key: str | None) -> OpenArray:
        """Open the array of a key, or the only one that can be a layer.

        HDF5 and .npy are read by window later; what is compressed as a whole is in memory. Raises
        FileError for a damaged file, and for a key that names none or several, with all there are.
        """
        with self._convert_failures(path):
            file = self.open_file(path)
            try:
                return file.open(choose_array(path, key, list(file.entries())))
            except BaseException:
                file.close()
                raise

    def describe(self, path: str) -> Facts:
        facts = [(e.shown, f"{show_shape(e.shape)} {e.kind}") for e in self.list_arrays(path)]
        try:
            source = self.open(path, Request())
        except FileError:  # several arrays, or no plain axis of bands: their list is the answer
            return facts
        place = describe_place(source.grid) if source.grid.georeferenced else []
        return [*facts, *place, *describe_bands(source.info)]

    @contextmanager
    def _convert_failures(self, path: Path) -> Iterator[None]:
        """Convert whatever reading raises into a FileError that names the file."""
        try:
            yield
        except MemoryError:
            raise
        except FileError as error:
            if str(path) in str(error):
                raise
            raise FileError(f"{path}: {error}") from error
        except Exception as error:  # readers raise whatever the damage leads to
            raise FileError(
                f"{path} cannot be read, it is damaged or of another kind: no readable {self.noun} "
                f"({' '.join(str(error).split())[:300]})"
            ) from error


def choose_array(path: Path, key: str | None, entries: list[Entry]) -> Entry:
    """Choose the entry that a key names; without a key the only one that can be a layer."""
    if key is None:
        likely = [entry for entry in entries if entry.is_layer or len(entries) == 1]
        if len(likely) == 1:
            return likely[0]
        raise FileError(
            f"{path} has {len(likely)} arrays that could be a layer; choose one with `key`: "
            f"{_list_entries(entries)}"
        )
    wanted = _simplify_key(key)
    plain = {entry: _simplify_key(entry.key) for entry in entries}
    shorter = re.sub(r"#(?:1,(\d+)|(\d+),1)(?!\d)", r"#\1\2", wanted)  # {1,3} of a row is {3}
    for found in (
        [entry for entry in entries if entry.key == key],
        [entry for entry in entries if plain[entry] == wanted],
        [entry for entry in entries if plain[entry] == shorter],
        [entry for entry in entries if f"/{plain[entry]}".endswith(f"/{wanted}")],
        [e for e in entries if e.is_layer and re.match(rf"{re.escape(wanted)}[/#]", plain[e])],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise FileError(f"{path} has several arrays named {key!r}: {_list_entries(found)}")
    raise FileError(f"{path} has no key {key!r}; it has {_list_entries(entries)}")


def _simplify_key(key: str) -> str:
    """Reduce a key to a form without ways of writing it.

    >>> _simplify_key("/a/b c"), _simplify_key("a.b_c")
    ('a/b_c', 'a/b_c')
    >>> _simplify_key("c{2}"), _simplify_key("c[1]")
    ('c#2', 'c#2')
    """
    key = re.sub(r"\[(\d+)\]", lambda match: f"#{int(match[1]) + 1}", key)
    key = re.sub(r"[({]([\d,\s]+)[)}]", lambda match: "#" + match[1].replace(" ", ""), key)
    return re.sub(r"[\s_]", "_", key.removesuffix(".npy")).replace(".", "/").strip("/")


def _list_entries(entries: list[Entry], most: int = 20) -> str:
    shown = ", ".join(str(entry) for entry in entries[:most])
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return f"{shown}{more}" or "none"
