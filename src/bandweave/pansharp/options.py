"""How the files of a pair are opened, and sharpened: what commands and functions have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from rasterio.crs import CRS

from bandweave.errors import ConfigError
from bandweave.schema import nearest

WINDOW = 1024  # PAN pixels


@dataclass(frozen=True)
class PairOptions:
    """How the files of a pair are opened.

    ratio   PAN pixels that an MS pixel is wide; the transforms, or the sizes where there are none,
            tell it unless MS already has PAN's pixel size
    bands   numbers of the MS file's bands from 1, in the order wanted; None is all
    crs     assigned where a file has none; never a warp
    nodata  the value of a hole in both files, instead of the one they state
    axis    which axis of a 3-D MS array counts its bands (0, 1 or 2), where that is not clear
    """

    ratio: int | None = None
    bands: Sequence[int] | None = None
    crs: CRS | str | int | None = None
    nodata: float | None = None
    axis: int | None = None

    @classmethod
    def choose(cls, options: Self | None, given: Mapping[str, Any]) -> Self:
        """The options, and over them those that are given by name.

        Raises ConfigError for a name that is none.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(f"{name}: no such option{nearest(name, known)}")
        return replace(options or cls(), **given)


@dataclass(frozen=True)
class SharpenOptions(PairOptions):
    """How files are opened, as `PairOptions` says, and sharpened.

    sensor     one of `SENSORS`: how sharp its bands are, and which of them PAN sees; a run has its
               own
    register   move MS by the misregistration that was measured; else it is only reported
    window     PAN pixels at a time
    overwrite  a file that stands there may be replaced
    quiet      no progress
    """

    sensor: str = "generic"
    register: bool = False
    window: int = WINDOW
    overwrite: bool = False
    quiet: bool = False
