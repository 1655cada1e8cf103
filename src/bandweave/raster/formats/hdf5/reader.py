"""HDF5 recognised, without its library, which takes a while to load."""

from __future__ import annotations

from pathlib import Path

from bandweave.raster.formats.array_files import ArrayFile, ArrayReader

SIGNATURE = b"\x89HDF\r\n\x1a\n"
STARTS = (0, 512, 1024, 2048)  # it may begin behind a block of a user's own


class Hdf5Reader(ArrayReader):
    """HDF5 of any program, MATLAB 7.3 and NetCDF-4 among them."""

    noun, endings = "HDF5 file", (".h5", ".hdf5")

    def recognises(self, path: Path, head: bytes) -> bool:
        signed = any(head.startswith(SIGNATURE, at) for at in STARTS)
        return signed or head.startswith(b"MATLAB 7.3")

    def open_file(self, path: Path) -> ArrayFile:
        from bandweave.raster.formats.hdf5.file import Hdf5File

        return Hdf5File(path)
