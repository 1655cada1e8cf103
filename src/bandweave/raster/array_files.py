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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from bandweave.errors import FileError
from bandweave.local_files import check_input_file

HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = "biuf"
_CHUNKS_KEPT = 256 * 2**20  # bytes of decompressed chunks that an open HDF5 file keeps at most
_WAVELENGTHS = re.compile(r"wave|lambda|(?:^|[^a-z])wl", re.I)


@dataclass(frozen=True)
class Entry:
    """An array in a file: its key, its shape as the file's own program shows it, and its type."""

    key: str
    shape: tuple[int, ...]
    kind: str

    @property
    def is_layer(self) -> bool:
        """Numbers in two or three dimensions that are no mere list."""
        return (
            len(self.shape) in (2, 3)
            and min(self.shape) > 0
            and sum(size > 1 for size in self.shape) >= 2
            and self.kind not in ("char", "cell", "struct", "object", "opaque", "function")
        )

    def __str__(self) -> str:
        return f"{self.key} {show_shape(self.shape)} {self.kind}"


@dataclass
class OpenArray:
    """An array that is open, and what its file says of it.

    reversed     its axes are stored the other way round, as MATLAB's are in HDF5
    axis         the axis of bands where the file tells it, as the file's own program counts
    transform    of a regular grid, where coordinates tell it; `crs` likewise
    wavelengths  in the unit of the file, one a band
    """

    array: Any
    reversed: bool = False
    file: Any = None
    axis: int | None = None
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    wavelengths: tuple[float, ...] | None = None
    transform: Affine | None = None
    crs: CRS | None = None
    table: tuple[Any, Any] | None = None  # columns and rows of the pixels on a grid, from 1
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close the file behind it."""
        if self.file is not None:
            self.file.close()


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


def show_shape(shape: tuple[int, ...]) -> str:
    """
    >>> show_shape((3, 4)), show_shape(())
    ('3×4', 'scalar')
    """
    return "×".join(str(size) for size in shape) or "scalar"


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
    exact = [entry for entry in entries if _plain(entry.key) == wanted]
    ends = [entry for entry in entries if f"/{_plain(entry.key)}".endswith(f"/{wanted}")]
    found = exact or ends
    if len(found) == 1:
        return found[0]
    if found:
        raise FileError(f"{path} has several arrays that end in {key!r}: {_listing(found)}")
    raise FileError(f"{path} has no key {key!r}; it has {_listing(entries)}")


def _plain(key: str) -> str:
    """A key without the ways of writing it: `/a/b c`, `a.b_c` and GDAL's `//a/b_c` are one."""
    return re.sub(r"[\s_]", "_", key).replace(".", "/").strip("/")


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
    if head.startswith(b"PK\x03\x04") and suffix in (".npz", ".npy"):
        return "npz"
    if head.startswith((b"MATLAB 7.3", HDF5)) or _has_late_hdf5(path):
        return "hdf5"
    if head.startswith(b"MATLAB ") or suffix == ".mat":
        return "mat"
    return {".npy": "npy", ".npz": "npz"}.get(suffix)


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
                with self._archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(member)
                kind = "object" if dtype.hasobject else str(dtype)
                yield Entry(name.removesuffix(".npy"), shape, kind)

    def open(self, entry: Entry) -> OpenArray:
        if entry.kind == "object":
            raise FileError(f"its array {entry.key!r} holds Python objects, which are not read")
        with self._archive.open(f"{entry.key}.npy") as member:
            return OpenArray(np.lib.format.read_array(member, allow_pickle=False))

    def close(self) -> None:
        self._archive.close()


class _Mat:
    """A MATLAB file of version 5: variables, and arrays in their structs and cells."""

    def __init__(self, path: Path) -> None:
        import scipy.io

        self._path = path
        self._variables = scipy.io.whosmat(path)

    def entries(self) -> Iterator[Entry]:
        for name, shape, kind in self._variables:
            if min(shape, default=0) < 0:
                raise FileError(f"it has an array of shape {show_shape(shape)}")
            if kind in ("struct", "cell", "object"):
                for key, value in _walk_struct(self._load(name), name):
                    yield Entry(key, value.shape, str(value.dtype))
            else:
                yield Entry(name, shape, kind)

    def open(self, entry: Entry) -> OpenArray:
        root = re.split(r"[.{(]", entry.key, maxsplit=1)[0]
        value = self._load(root)
        if entry.key == root:
            return OpenArray(_dense(value))
        inside = dict(_walk_struct(value, root))
        return OpenArray(inside[entry.key], wavelengths=_beside(entry, inside))

    def _load(self, name: str) -> Any:
        import scipy.io

        return scipy.io.loadmat(self._path, variable_names=[name])[name]

    def close(self) -> None:
        pass


def _walk_struct(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of numbers in a struct or cell, by their paths as MATLAB writes them."""
    value = _dense(value)
    if not isinstance(value, np.ndarray):
        return
    flat = value.ravel(order="F")
    if value.dtype.names:
        for number, element in enumerate(flat, 1):
            own = path if len(flat) == 1 else f"{path}({number})"
            for name in value.dtype.names:
                yield from _walk_struct(element[name], f"{own}.{name}")
    elif value.dtype == object:
        for number, element in enumerate(flat, 1):
            yield from _walk_struct(element, f"{path}{{{number}}}")
    elif value.dtype.kind in _NUMBERS:
        yield path, value


def _dense(value: Any) -> Any:
    return value.toarray() if hasattr(value, "toarray") else value


def _beside(entry: Entry, arrays: dict[str, np.ndarray]) -> tuple[float, ...] | None:
    """The list of wavelengths in the same file whose length is one of the array's axes."""
    lists = [
        values.ravel()
        for key, values in arrays.items()
        if _WAVELENGTHS.search(key) and values.ndim and values.size == max(values.shape)
    ]
    fitting = [values for values in lists if list(entry.shape).count(values.size) == 1]
    return tuple(float(value) for value in fitting[0]) if len(fitting) == 1 else None


class _Hdf5:
    """HDF5 of any program, MATLAB 7.3 and NetCDF-4 among them."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._path = path
        self._file = h5py.File(path, "r")
        with path.open("rb") as head:
            self._matlab = head.read(6) == b"MATLAB"

    def entries(self) -> Iterator[Entry]:
        found: list[Entry] = []
        self._file.visititems(lambda name, item: found.extend(self._entries_of(name, item)))
        yield from found

    def _entries_of(self, name: str, item: Any) -> Iterator[Entry]:
        import h5py

        if name.startswith("#") or "/#" in name:  # MATLAB's store of what cells refer to
            return
        if isinstance(item, h5py.Group):
            if "MATLAB_sparse" in item.attrs and "data" in item:
                yield Entry(name, self._sparse_shape(item), "sparse")
            return
        parent = item.parent
        if "MATLAB_sparse" in parent.attrs:
            return
        if item.dtype.kind == "O" and h5py.check_ref_dtype(item.dtype) is not None:
            for number, reference in enumerate(np.asarray(item[()]).ravel(), 1):
                target = self._file[reference] if reference else None
                if isinstance(target, h5py.Dataset) and target.dtype.kind in _NUMBERS:
                    yield Entry(f"{name}{{{number}}}", self._seen(target), str(target.dtype))
            return
        kind = item.attrs.get("MATLAB_class", str(item.dtype))
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        yield Entry(name, self._seen(item), kind)

    def _seen(self, dataset: Any) -> tuple[int, ...]:
        return dataset.shape[::-1] if self._backwards(dataset) else dataset.shape

    def _backwards(self, dataset: Any) -> bool:
        return self._matlab or "MATLAB_class" in dataset.attrs

    def _sparse_shape(self, group: Any) -> tuple[int, int]:
        return int(group.attrs["MATLAB_sparse"]), len(group["jc"]) - 1

    def open(self, entry: Entry) -> OpenArray:
        import h5py
        import scipy.sparse

        match = re.fullmatch(r"(.*)\{(\d+)\}", entry.key)
        if match:
            references = np.asarray(self._file[match[1]][()]).ravel()
            dataset = self._file[references[int(match[2]) - 1]]
        else:
            dataset = self._file[entry.key]
        if isinstance(dataset, h5py.Group):
            parts = [dataset[name][()] for name in ("data", "ir", "jc")]
            matrix = scipy.sparse.csc_matrix(tuple(parts), shape=self._sparse_shape(dataset))
            return OpenArray(matrix.toarray(), file=self._file)
        name = dataset.name
        self._keep_chunks(dataset)
        dataset = self._file[name]
        opened = OpenArray(dataset, self._backwards(dataset), self._file)
        _read_conventions(opened, dataset, self._file)
        if opened.wavelengths is None:
            opened.wavelengths = _beside(entry, self._lists(dataset))
        return opened

    def _keep_chunks(self, dataset: Any) -> None:
        """Open the file again with a cache that holds the chunks which a row of windows meets."""
        import h5py

        if not dataset.chunks or dataset.ndim < 2:
            return
        counts = [math.ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        together = math.prod(counts) // max(min(counts[-2:]), 1) * chunk
        kept = min(max(together, 2**20), _CHUNKS_KEPT)
        slots = 100 * max(kept // chunk, 1) + 1
        self._file.close()
        self._file = h5py.File(self._path, "r", rdcc_nbytes=kept, rdcc_nslots=slots, rdcc_w0=0)

    def _lists(self, dataset: Any) -> dict[str, np.ndarray]:
        """Lists of numbers that may be wavelengths, of the whole file."""
        import h5py

        found: dict[str, np.ndarray] = {}

        def visit(name: str, item: Any) -> None:
            if (
                isinstance(item, h5py.Dataset)
                and _WAVELENGTHS.search(name.rpartition("/")[2])
                and item.dtype.kind in _NUMBERS
                and 1 <= item.ndim <= 2
                and item.size == max(item.shape)
            ):
                found[name] = np.asarray(item[()])

        self._file.visititems(visit)
        return found

    def close(self) -> None:
        self._file.close()


_READERS: dict[str, Callable[[Path], Any]] = {
    "npy": _Npy,
    "npz": _Npz,
    "mat": _Mat,
    "hdf5": _Hdf5,
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


# ------------------------------------------------------------------ what HDF5 files say of an array


def _read_conventions(opened: OpenArray, dataset: Any, file: Any) -> None:
    """Fill in what the conventions of CF and of known products say."""
    attributes = dataset.attrs
    for name in ("_FillValue", "missing_value"):
        if opened.nodata is None and name in attributes:
            opened.nodata = _number(attributes[name])
    opened.scale = _number(attributes.get("scale_factor", 1.0)) or 1.0
    opened.offset = _number(attributes.get("add_offset", 0.0)) or 0.0
    units = attributes.get("units")
    opened.units = _string(units) or None
    if dataset.ndim != 3 or opened.reversed:
        return
    path = dataset.name
    if re.search(r"/HDFEOS/SWATHS/PRS_L\w+/Data Fields/(?:VNIR|SWIR)_Cube$", path):
        opened.axis = 1  # PRISMA: lines, bands, samples
    if "location" in file and {"glt_x", "glt_y"} <= set(file["location"]):
        _read_lookup_table(opened, dataset, file)
        return
    _read_coordinates(opened, dataset, file)


def _read_lookup_table(opened: OpenArray, dataset: Any, file: Any) -> None:
    """EMIT: lines, samples and bands of a swath, with a table that puts them on a grid."""
    transform = np.asarray(file.attrs.get("geotransform", ())).ravel()
    if len(transform) != 6:
        return
    opened.axis = 2
    opened.table = file["location/glt_x"], file["location/glt_y"]
    opened.transform = Affine.from_gdal(*(float(value) for value in transform))
    opened.crs = _crs(_string(file.attrs.get("spatial_ref")))
    if "sensor_band_parameters/wavelengths" in file:
        opened.wavelengths = tuple(
            float(value) for value in file["sensor_band_parameters/wavelengths"][()]
        )
    opened.notes.append("placed on a grid by its geographic lookup table (GLT)")


def _read_coordinates(opened: OpenArray, dataset: Any, file: Any) -> None:
    """CF: which axes are y and x by their coordinates, and the grid where these are regular."""
    names, steps = {}, {}
    for axis, dimension in enumerate(dataset.dims):
        if not len(dimension):
            continue
        scale = dimension[0]
        kind = _axis_kind(scale)
        if kind:
            names[kind] = axis
            values = np.asarray(scale[()], np.float64)
            if values.ndim == 1 and values.size == dataset.shape[axis] and values.size > 1:
                steps[kind] = values
    if {"x", "y"} <= names.keys() and len({names["x"], names["y"]}) == 2:
        opened.axis = 3 - names["x"] - names["y"]
        if names["x"] < names["y"]:
            opened.axis = None  # columns before rows: not read without being asked
            opened.notes.append("its columns come before its rows; state `axis` after a transpose")
            return
        x, y = steps.get("x"), steps.get("y")
        if x is None or y is None or not (_regular(x) and _regular(y)):
            return
        dx, dy = (x[-1] - x[0]) / (x.size - 1), (y[-1] - y[0]) / (y.size - 1)
        opened.transform = Affine(dx, 0, x[0] - dx / 2, 0, dy, y[0] - dy / 2)
        opened.crs = _grid_mapping(dataset, file)


def _axis_kind(scale: Any) -> str | None:
    attributes = scale.attrs
    standard = _string(attributes.get("standard_name"))
    name = scale.name.rpartition("/")[2].lower()
    if standard in ("projection_x_coordinate", "longitude") or name in ("x", "lon", "longitude"):
        return "x"
    if standard in ("projection_y_coordinate", "latitude") or name in ("y", "lat", "latitude"):
        return "y"
    return None


def _regular(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool(np.isfinite(values).all() and steps[0] != 0 and np.allclose(steps, steps[0], 1e-4))


def _grid_mapping(dataset: Any, file: Any) -> CRS | None:
    name = _string(dataset.attrs.get("grid_mapping"))
    if name:
        for place in (f"{dataset.parent.name}/{name}", name):
            if place in file:
                attributes = file[place].attrs
                text = _string(attributes.get("crs_wkt") or attributes.get("spatial_ref"))
                return _crs(text)
    for dimension in dataset.dims:
        if len(dimension) and _string(dimension[0].attrs.get("units")).startswith("degrees"):
            return CRS.from_epsg(4326)
    return None


def _crs(text: str) -> CRS | None:
    try:
        return CRS.from_user_input(text) if text else None
    except CRSError:
        return None


def _number(value: Any) -> float | None:
    try:
        return float(np.asarray(value).ravel()[0])
    except (ValueError, TypeError, IndexError):
        return None


def _string(value: Any) -> str:
    value = np.asarray(value).ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else ""
