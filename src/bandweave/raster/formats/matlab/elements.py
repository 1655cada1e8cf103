"""The elements of a MATLAB 5 file, looked over before SciPy reads them.

SciPy trusts types and lengths: an unknown type ends the process, a huge length takes all memory.
The format (MATLAB's "MAT-File Format", level 5): behind a header of 128 bytes stand elements, each
with a tag of its type and its bytes. Small ones have both and up to four bytes of data in eight.
A matrix holds elements: flags, dimensions, name, then its values, or further matrices.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

from bandweave.errors import FileError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
PLAIN = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 1, 18: 1}
CELL, STRUCT, OBJECT, CHAR, SPARSE = 1, 2, 3, 4, 5
NUMBERS = range(6, 16)  # classes of arrays: double to uint64
MOST_INFLATED = 1100  # bytes of a packed one; the method gives 1,032 at most
DEEPEST = 50  # structs and cells in each other


def check_elements(path: Path) -> None:
    """Raise FileError where an element is of no type, or longer than what holds it.

    A file that has not MATLAB 5's header is left to its reader.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(HEADER)[126:])
        if order is None:
            return
        at = HEADER
        while at + 8 <= size:
            file.seek(at)
            kind, length = struct.unpack(f"{order}II", file.read(8))
            if kind not in (MATRIX, COMPRESSED) and kind not in PLAIN:
                raise FileError(f"it has an element of the unknown type {kind} at byte {at}")
            if length > size - at - 8:
                raise FileError(
                    f"truncated or damaged: {size} bytes, an element at byte {at} tells of "
                    f"{at + 8 + length}"
                )
            if kind == MATRIX:
                _check_matrix(_Bytes(file), length, order)
            elif kind == COMPRESSED:
                _check_packed(file, length, order)
            at += 8 + length


def _check_packed(file: IO[bytes], length: int, order: str) -> None:
    inner = _Inflated(file, length)
    kind, inflated = struct.unpack(f"{order}II", inner.take(8))
    if kind != MATRIX or inflated > MOST_INFLATED * length:
        raise FileError(f"a packed element of {length} bytes holds {inflated} of the type {kind}")
    _check_matrix(inner, inflated, order)


def _check_matrix(inner: _Bytes, left: int, order: str, depth: int = 0) -> None:
    """Look over the elements of a matrix, `left` bytes in all, and go on behind them.

    Where nothing is behind (depth 0), values are not even read: their tags say all.
    """
    if depth > DEEPEST:
        raise FileError(f"its structs and cells lie more than {DEEPEST} deep in each other")
    elements = _Elements(inner, left, order)
    if left:  # else an empty one
        _check_parts(elements, depth)
    if depth:
        inner.pass_by(elements.left)


def _check_parts(elements: _Elements, depth: int) -> None:
    flags = elements.data(16)
    if len(flags) < 4:
        raise FileError("it has a matrix without flags")
    bits = struct.unpack(f"{elements.order}I", flags[:4])[0]
    kind, has_imaginary = bits & 0xFF, bool(bits & 0x800)
    if not (kind in NUMBERS or kind in (CELL, STRUCT, OBJECT, CHAR, SPARSE)):
        return  # functions and opaque objects, which nothing here reads
    elements.data(4 * 64)  # dimensions
    elements.data(4096)  # name
    if kind in (CELL, STRUCT, OBJECT):
        for _ in range({CELL: 0, STRUCT: 2, OBJECT: 3}[kind]):  # class, length, names of fields
            elements.data(1 << 20)
        while elements.left >= 8:
            _check_matrix(elements.inner, elements.matrix(), elements.order, depth + 1)
        return
    values = (3 if kind == SPARSE else 1) + has_imaginary
    for number in range(1, values + 1):
        elements.skip(last=number == values)


class _Elements:
    """The elements inside a matrix, one after the other; `left` bytes of them are not read yet."""

    def __init__(self, inner: _Bytes, left: int, order: str) -> None:
        self.inner, self.left, self.order = inner, left, order

    def data(self, most: int) -> bytes:
        """The bytes of the next element, of `most` at most."""
        _, length, small = self._tag()
        if length > most:
            raise FileError(f"an element of {length} bytes stands where {most} are the most")
        if small is not None:
            return small[:length]
        return self._take(min(length + -length % 8, self.left))[:length]

    def skip(self, last: bool) -> None:
        """Pass the next element; the last one's bytes are not even read."""
        _, length, small = self._tag()
        if small is None and not last:
            self.inner.pass_by(step := min(length + -length % 8, self.left))
            self.left -= step

    def matrix(self) -> int:
        """The length of the next element, which has to be a matrix; its bytes are not read yet."""
        kind, length = struct.unpack(f"{self.order}II", self._take(8))
        if kind != MATRIX or length > self.left:
            raise FileError(f"an element of the type {kind} and {length} bytes is no matrix of its")
        self.left -= length
        return length

    def _tag(self) -> tuple[int, int, bytes | None]:
        """Type and length of the next element, and its bytes where they stand in the tag."""
        tag = self._take(8)
        word, length = struct.unpack(f"{self.order}II", tag)
        kind, small = word, None
        if word >> 16:
            kind, length, small = word & 0xFFFF, word >> 16, tag[4:]
        if kind not in PLAIN:
            raise FileError(f"it has an element of the unknown type {kind}")
        if length > (4 if small is not None else self.left):
            raise FileError(f"an element of {length} bytes stands where {self.left} are left")
        return kind, length, small

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise FileError("a matrix ends within one of its elements")
        self.left -= count
        return self.inner.take(count)


class _Bytes:
    """Bytes of the file itself."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def take(self, count: int) -> bytes:
        """The next bytes. Raises FileError where there are fewer."""
        taken = self._file.read(count)
        if len(taken) < count:
            raise FileError("it ends within an element")
        return taken

    def pass_by(self, count: int) -> None:
        """Go on behind the next bytes."""
        self._file.seek(count, 1)


class _Inflated(_Bytes):
    """Bytes of an element that is packed, inflated as they are needed."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        super().__init__(file)
        self._left, self._packed, self._unpack = length, b"", zlib.decompressobj()

    def take(self, count: int) -> bytes:
        pieces = []
        while count:
            if not self._packed and self._left:
                self._packed = self._file.read(min(self._left, 1 << 16))
                self._left -= len(self._packed)
            try:
                piece = self._unpack.decompress(self._packed, min(count, 1 << 20))
            except zlib.error as error:
                raise FileError(f"a packed element is damaged: {error}") from error
            taken_in = self._packed
            self._packed = self._unpack.unconsumed_tail
            if not piece and (not taken_in or self._unpack.eof):
                raise FileError("a packed element ends early")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def pass_by(self, count: int) -> None:
        while count:
            count -= len(self.take(min(count, 1 << 20)))
