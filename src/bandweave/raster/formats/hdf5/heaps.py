"""The heaps of an HDF5 file, where its texts of any length lie, looked over before they are read.

The library walks from object to object by their sizes, and without an end where one is damaged. A
heap ("HDF5 File Format Specification", III.E): `GCOL`, version 1, three zeros, its size in eight
bytes; then objects, each with its number and references (two bytes each), four zeros, and its size
in eight bytes. Number 0 is the rest of the heap.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from bandweave.errors import FileError

MOST_SEARCHED = 64 << 20  # bytes; larger files are trusted, since all of them would be read
_START = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(path: Path) -> None:
    """Raise FileError where the objects of a heap do not fill it."""
    size = path.stat().st_size
    if not _START.size <= size <= MOST_SEARCHED:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"GCOL\x01\0\0\0")
        while at >= 0 and at + _START.size <= size:
            length = _START.unpack_from(data, at)[2]
            if at % 8 == 0 and at + length <= size and not _is_filled(data, at, at + length):
                raise FileError(f"its heap at byte {at} is damaged")
            at = data.find(b"GCOL\x01\0\0\0", at + 8)


def _is_filled(data: mmap.mmap, start: int, end: int) -> bool:
    at = start + _START.size
    while at + _OBJECT.size <= end:
        number, _, _, size = _OBJECT.unpack_from(data, at)
        if number == 0:
            return at + size == end
        at += _OBJECT.size + size + -size % 8
    return at <= end
