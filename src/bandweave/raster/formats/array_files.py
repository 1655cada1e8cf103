"""Files that hold arrays: NumPy (.npy, .npz), MATLAB (v5, v7.3), HDF5 and NetCDF-4.

A key is a path in the file: `hsi.Data` of a struct, `cubes{2}` of a cell, `group/cube` of HDF5. An
end of a path that is the only one, such as `VNIR_Cube`, is enough.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.errors import FileError
from bandweave.local_files import check_input_file
from bandweave.raster.formats.mat_elements import check_elements
from bandweave.raster.formats.stored import (
    MOST_LISTED,
    NUMBERS,
    WAVELENGTHS,
    Entry,
    OpenArray,
    dense,
    element,
    fitting_wavelengths,
    show_shape,
)

HDF5 = b"\x89HDF\r\n\x1a\n"


def is_array_file(path: Path) -> bool:
    """Whether a file is one of arrays, by its first bytes or, failing that, its name."""
    return _kind(path) is not None


def list_arrays(path: Path) -> list[Entry]:
    """All arrays of a file. Raises FileError for one that is damaged or of another kind."""
    with _reading(path) as file:
        return list(file.entries())


def open_array(path: Path, key: str | None) -> OpenArray:
    """The array of a key, or the only one that can be a layer.

    HDF5 and uncompressed .npy are read by window later; what is compressed as a whole is in memory.
    Raises FileError for a damaged file, and for a key that names none or several, with all there
    are.
    """
    file = _reader(path)
    try:
        with _naming(path):
            return file.open(_choose(path, key, list(file.entries())))
    except BaseException:
        file.close()
        raise


def _choose(path: Path, key: str | None, entries: list[Entry]) -> Entry:
    if key is None:
        likely = [entry for entry in entries if entry.is_layer or len(entries) == 1]
        if len(likely) == 1:
            return likely[0]
        raise FileError(
            f"{path} has {len(likely)} arrays that could be a layer; choose one with `key`: "
            f"{_listing(entries)}"
        )
    wanted = _plain(key)
    plain = {entry: _plain(entry.key) for entry in entries}
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
            raise FileError(f"{path} has several arrays named {key!r}: {_listing(found)}")
    raise FileError(f"{path} has no key {key!r}; it has {_listing(entries)}")


def _plain(key: str) -> str:
    """A key without the ways of writing it.

    >>> _plain("/a/b c") == _plain("a.b_c") == _plain("//a/b_c"), _plain("c{2}") == _plain("c[1]")
    (True, True)
    """
    key = re.sub(r"\[(\d+)\]", lambda match: f"#{int(match[1]) + 1}", key)
    key = re.sub(r"[({]([\d,\s]+)[)}]", lambda match: "#" + match[1].replace(" ", ""), key)
    return re.sub(r"[\s_]", "_", key.removesuffix(".npy")).replace(".", "/").strip("/")


def _listing(entries: list[Entry], most: int = 20) -> str:
    shown = ", ".join(str(entry) for entry in entries[:most])
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return f"{shown}{more}" or "none"


# --------------------------------------------------------------------------------- kinds of files


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(128)
    suffix = path.suffix.lower()
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04") and (suffix in (".npz", ".npy") or _holds_arrays(path)):
        return "npz"
    if head.startswith((b"MATLAB 7.3", HDF5)) or _has_late_hdf5(path):
        return "hdf5"
    if head.startswith(b"MATLAB ") or suffix == ".mat":
        return "mat"
    return {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}.get(suffix)


def _holds_arrays(path: Path) -> bool:
    """Whether an archive under any name is one of NumPy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _has_late_hdf5(path: Path) -> bool:
    """HDF5 may begin behind a block of a user's own, at 512 bytes or a power of two times that."""
    if path.suffix.lower() not in (".mat", ".h5", ".hdf5", ".he5", ".nc"):
        return False
    with path.open("rb") as file:
        for start in (512, 1024, 2048):
            file.seek(start)
            if file.read(8) == HDF5:
                return True
    return False


class _Npy:
    """A .npy file: one array, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)

    def entries(self) -> Iterator[Entry]:
        yield Entry("array", self._array.shape, str(self._array.dtype))

    def open(self, entry: Entry) -> OpenArray:
        return OpenArray(self._array)

    def close(self) -> None:
        pass


class _Npz:
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


class _Mat:
    """A MATLAB file of version 5: variables, and arrays in their structs and cells."""

    def __init__(self, path: Path) -> None:
        import scipy.io

        check_elements(path)
        self._path = path
        self._variables = scipy.io.whosmat(path)
        self._containers: dict[str, Any] = {}  # structs and cells, which are looked into twice

    def entries(self) -> Iterator[Entry]:
        for name, shape, kind in self._variables:
            if min(shape, default=0) < 0:
                raise FileError(f"it has an array of shape {show_shape(shape)}")
            if kind in ("struct", "cell", "object"):
                self._containers[name] = self._load(name)
                for key, value in _walk_struct(self._containers[name], name):
                    yield Entry(key, value.shape, str(value.dtype))
            else:
                yield Entry(name, shape, kind)

    def open(self, entry: Entry) -> OpenArray:
        root = re.split(r"[.{(]", entry.key, maxsplit=1)[0]
        arrays = {
            key: value
            for name, container in self._containers.items()
            for key, value in _walk_struct(container, name)
        }
        arrays |= {
            name: np.asarray(self._load(name))
            for name, shape, kind in self._variables
            if WAVELENGTHS.search(name)
            and kind not in ("struct", "cell", "object", "char", "sparse", "opaque", "function")
            and math.prod(shape) <= MOST_LISTED
        }
        value = arrays[entry.key] if root in self._containers else self._load(root)
        value = dense(value) if hasattr(value, "toarray") else value
        return OpenArray(value, wavelengths=fitting_wavelengths(entry, arrays))

    def _load(self, name: str) -> Any:
        import scipy.io

        return scipy.io.loadmat(self._path, variable_names=[name])[name]

    def close(self) -> None:
        pass


def _walk_struct(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of numbers in a struct or cell, by their paths as MATLAB writes them."""
    value = dense(value) if hasattr(value, "toarray") else value
    if not isinstance(value, np.ndarray):
        return
    flat = value.ravel(order="F")
    if value.dtype.names:
        for number, one in enumerate(flat[:MOST_LISTED]):
            own = path if len(flat) == 1 else f"{path}({element(number, value.shape)})"
            for name in value.dtype.names:
                yield from _walk_struct(one[name], f"{own}.{name}")
    elif value.dtype == object:
        for number, one in enumerate(flat[:MOST_LISTED]):
            yield from _walk_struct(one, f"{path}{{{element(number, value.shape)}}}")
    elif value.dtype.kind in NUMBERS:
        yield path, value


def _hdf5(path: Path) -> Any:
    from bandweave.raster.formats.hdf5 import Hdf5File

    return Hdf5File(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "npy": _Npy,
    "npz": _Npz,
    "mat": _Mat,
    "hdf5": _hdf5,
}
_NAMES = {"npy": "NumPy array", "npz": "NumPy archive", "mat": "MATLAB file", "hdf5": "HDF5 file"}


def _reader(path: Path) -> Any:
    check_input_file(path)
    kind = _kind(path)
    if kind is None:
        raise FileError(f"{path} is no file of arrays (.npy, .npz, .mat, HDF5)")
    with _naming(path):
        return _READERS[kind](path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever a reader raises of a damaged file, as a FileError that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except FileError as error:
        if str(path) in str(error):
            raise
        raise FileError(f"{path}: {error}") from error
    except Exception as error:  # readers raise whatever the damage leads to
        name = _NAMES.get(_kind(path) or "", "file of arrays")
        raise FileError(
            f"{path} cannot be read, it is damaged or of another kind: no readable {name} "
            f"({' '.join(str(error).split())[:300]})"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """A file of arrays that is closed at the end."""
    file = _reader(path)
    try:
        with _naming(path):
            yield file
    finally:
        file.close()
