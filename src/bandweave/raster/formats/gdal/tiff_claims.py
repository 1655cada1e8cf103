"""Checks of the bands that a TIFF claims against its size, before GDAL describes them.

Source: TIFF 6.0, and BigTIFF. A file begins with its byte order and the place of its first
directory, a list of entries: tag, type, number of values, and the values or their place. Tags 256
and 257 are width and height, 258 the bits of each band (two bytes a band), 259 the compression (1
is none), 277 the number of bands.

Damage in tag 277 claims any number of bands, which GDAL then describes for minutes. A file of many
bands states the bits of each, also where its pixels are sparse or compressed to nothing; one that
states them once for all is believed if it is as large as its pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bandweave.errors import FileError

MANY = 64  # bands from which a file is doubted
MOST_ENTRIES = 4096  # of a directory
WIDTH, HEIGHT, BITS, COMPRESSION, BANDS = 256, 257, 258, 259, 277
_LENGTHS = {3: 2, 4: 4, 16: 8}  # bytes of the types of whole numbers: SHORT, LONG, LONG8


@dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    first  its first value, if that stands in the entry itself, else 0
    """

    count: int
    first: int


def check_bands(path: Path) -> None:
    """Raise FileError for a TIFF that claims more bands than it describes or can hold."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            entries = _read_first_directory(file)
        except (struct.error, OSError, OverflowError):
            return  # GDAL says what is wrong
    one = Entry(1, 1)
    bands, bits = entries.get(BANDS, one).first, entries.get(BITS, one)
    if bands <= MANY or (bits.count >= bands and 2 * bands <= size):
        return
    pixels = entries.get(WIDTH, one).first * entries.get(HEIGHT, one).first
    plain = entries.get(COMPRESSION, one).first == 1
    if plain and bits.count == 1 and bits.first and pixels * bands * bits.first <= 8 * size:
        return
    raise FileError(
        f"{path} claims {bands} bands, which its {size} bytes do not hold; it is damaged, or no "
        "image"
    )


def _read_first_directory(file: BinaryIO) -> dict[int, Entry]:
    """Entries by their tag; none where the file is no TIFF."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return {}
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    count_form, entry_form = (
        (order + "Q", order + "HHQ8s") if big else (order + "H", order + "HHI4s")
    )
    (start,) = (
        struct.unpack(order + "Q", head[8:16]) if big else struct.unpack(order + "I", head[4:8])
    )
    file.seek(start)
    (number,) = struct.unpack(count_form, file.read(struct.calcsize(count_form)))
    entries: dict[int, Entry] = {}
    for _ in range(min(number, MOST_ENTRIES)):
        piece = file.read(struct.calcsize(entry_form))
        tag, kind, count, value = struct.unpack(entry_form, piece)
        length = _LENGTHS.get(kind, 0)
        inside = count * length <= len(value)
        first = int.from_bytes(value[:length], "little" if order == "<" else "big") if inside else 0
        entries.setdefault(tag, Entry(count, first))
    return entries
