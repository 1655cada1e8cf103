"""NumPy files: one array (.npy), or an archive of them (.npz)."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.formats.array_files import ArrayFile, ArrayReader
from bandweave.raster.formats.stored import Entry, OpenArray, show_shape


class NpyReader(ArrayReader):
    """NumPy arrays."""

    noun, endings = "NumPy array", (".npy",)

    def recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"\x93NUMPY")

    def open_file(self, path: Path) -> ArrayFile:
        return NpyFile(path)


class NpzReader(ArrayReader):
    """Archives of NumPy arrays."""

    noun, endings = "NumPy archive", (".npz",)

    def recognises(self, path: Path, head: bytes) -> bool:
        if not head.startswith(b"PK\x03\x04"):
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return False
        return bool(names) and all(name.endswith(".npy") for name in names)

    def open_file(self, path: Path) -> ArrayFile:
        return NpzFile(path)


class NpyFile(ArrayFile):
    """A .npy file: one array, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)

    def entries(self) -> Iterator[Entry]:
        yield Entry("array", self._array.shape, str(self._array.dtype))

    def open(self, entry: Entry) -> OpenArray:
        return OpenArray(self._array)

    def close(self) -> None:
        pass


class NpzFile(ArrayFile):
    """A .npz file: arrays by name, each read whole."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)

    def entries(self) -> Iterator[Entry]:
        for name in self._archive.namelist():
            if name.endswith(".npy"):
                shape, dtype = self._header(name)
                kind = "object" if dtype.hasobject else str(dtype)
                yield Entry(name.removesuffix(".npy"), shape, kind)

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        try:
            with self._archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(member)
        except Exception as error:  # NumPy parses a damaged header and raises whatever that gives
            reason = " ".join(str(error).split())[:300]
            raise FileError(f"its array {name} cannot be read: {reason}") from error
        return shape, dtype

    def open(self, entry: Entry) -> OpenArray:
        name = f"{entry.key}.npy"
        if entry.kind == "object":
            raise FileError(f"its array {entry.key!r} holds Python objects, which are not read")
        shape, dtype = self._header(name)
        held = self._archive.getinfo(name).file_size
        if math.prod(shape) * dtype.itemsize > held:
            raise FileError(
                f"its array {entry.key!r} claims {show_shape(shape)} values of {dtype}, "
                f"and the archive holds {held} bytes of it"
            )
        with self._archive.open(name) as member:
            return OpenArray(np.lib.format.read_array(member, allow_pickle=False))

    def close(self) -> None:
        self._archive.close()
