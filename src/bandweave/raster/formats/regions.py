"""ENVI's regions of interest written as text: labels as lists of pixels, one region a class."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.reader import RasterReader, Request
from bandweave.raster.source import WindowSource

_SIZE = re.compile(r"File Dimension:\s*(\d+)\s*x\s*(\d+)", re.I)  # columns, rows


class RegionsReader(RasterReader):
    """Regions become class codes 1, 2, … in the order of the file, and holes elsewhere.

    Their size stands in the header, or is that of the grid they are asked for.
    """

    noun = "ENVI regions of interest"

    def recognises(self, path: Path, head: bytes) -> bool:
        return head.lstrip().startswith(b"; ENVI Output of ROIs")

    def open(self, path: str, request: Request) -> WindowSource:
        lines = Path(path).read_text(encoding="latin-1").splitlines()
        stated = _SIZE.search("\n".join(line for line in lines[:100] if line.startswith(";")))
        shape = (int(stated[2]), int(stated[1])) if stated else request.shape
        if shape is None:
            raise FileError(f"{path} lists pixels and does not say the size of their image")
        codes = ArraySource(_read_codes(path, lines, shape), nodata=0)
        return request.pick_bands(codes, path)


def _read_codes(path: str, lines: list[str], shape: tuple[int, int]) -> np.ndarray:
    """Codes (H, W) from lines `number column row …`, both from 1; 1 again is the next."""
    codes, code = np.zeros(shape, np.int32), 0
    for count, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith(";"):
            continue
        try:
            number, column, row = (int(float(word)) for word in words[:3])
        except ValueError:
            raise FileError(f"{path}, line {count}: expected `number column row`") from None
        code += number == 1
        if not (1 <= row <= shape[0] and 1 <= column <= shape[1]):
            raise FileError(
                f"{path}, line {count}: row {row}, column {column} lies outside "
                f"{shape[0]}×{shape[1]} px"
            )
        codes[row - 1, column - 1] = code
    return codes
