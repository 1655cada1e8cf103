"""Wavelengths of the bands of known sensors, by what bands and files are called.

Central wavelengths are those that the operators publish: of Sentinel-2A (ESA, "Sentinel-2 MSI
Technical Guide"), of OLI and TIRS on Landsat 8 (USGS, "Landsat 8 Data Users Handbook"), and of ETM+
on Landsat 7. Satellites of a family differ by some nanometres: enough for a picture in true
colours, not to tell whether two files have the same bands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

SENTINEL_2 = {  # nm, by band
    **{"1": 443, "2": 492, "3": 560, "4": 665, "5": 704, "6": 741, "7": 783, "8": 833},
    **{"8A": 865, "9": 945, "10": 1374, "11": 1614, "12": 2202},
}
LANDSAT_8 = {
    **{"1": 443, "2": 482, "3": 561, "4": 655, "5": 865, "6": 1609, "7": 2201, "8": 590},
    **{"9": 1373, "10": 10895, "11": 12005},
}
LANDSAT_7 = {"1": 485, "2": 560, "3": 660, "4": 830, "5": 1650, "6": 11450, "7": 2220, "8": 710}
COLOURS = {
    **{"coastal": 443, "blue": 482, "green": 560, "yellow": 605, "red": 660},
    **{"rededge": 720, "nir": 840, "nir1": 840, "swir1": 1610, "swir2": 2200},
}

_BAND = re.compile(r"(?:^|[_\W])B(?:and)?[ _]?0*(\d{1,2}A?)(?=$|[_\W])", re.I)
_FAMILIES: dict[re.Pattern[str], Mapping[str, float]] = {  # by words in the file's name
    re.compile(r"(?:^|[_\W])(?:L[COT]0[89]|L[89]|HLS\.L30)(?=$|[_\W])|landsat[ _-]?[89]", re.I): (
        LANDSAT_8
    ),
    re.compile(r"(?:^|[_\W])(?:L[ETM]0[457]|L[457])(?=$|[_\W])|landsat[ _-]?[457]", re.I): (
        LANDSAT_7
    ),
    re.compile(
        r"(?:^|[_\W])(?:S2[A-D]?|T\d\d[A-Z]{3})(?=$|[_\W])|sentinel[ _-]?2|MSIL[12]|HLS\.S30", re.I
    ): SENTINEL_2,
}


def nominal_wavelengths(names: Sequence[str], file: str) -> tuple[float, ...] | None:
    """Central wavelengths (nm), one a band, NaN for bands of no known sensor; None for none.

    names  of the bands, '' where there is none
    file   in whose name the sensor may stand, and the band of a file that has only one

    >>> nominal_wavelengths(["B2", "B3", "B4", "B8A"], "scene.tif")
    (492.0, 560.0, 665.0, 865.0)
    >>> nominal_wavelengths(["Red", "NIR"], "drone.tif")
    (660.0, 840.0)
    >>> nominal_wavelengths(["B2", "B3", "B4"], "of_whom.tif") is None
    True
    """
    path = Path(file)
    if len(names) == 1 and not names[0]:
        names = [path.stem]
    found = [match[1].upper() if (match := _BAND.search(name)) else "" for name in names]
    family = next((bands for words, bands in _FAMILIES.items() if words.search(path.name)), None)
    if family is None and {"8A", "12"} & set(found):
        family = SENTINEL_2
    if family is not None and any(found):
        values = [float(family.get(band, math.nan)) for band in found]
    else:
        values = [float(COLOURS.get(re.sub(r"[\s_-]", "", n.lower()), math.nan)) for n in names]
    return None if all(map(math.isnan, values)) else tuple(values)
