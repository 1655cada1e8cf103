"""What is known of sensors: sharpness of every band, and which bands the panchromatic one covers.

Gains of the modulation transfer function (MTF) at the Nyquist frequency are those of the
pan-sharpening toolbox of Vivone et al. ("A critical comparison among pansharpening algorithms",
IEEE TGRS 53(5), 2015; "A new benchmark based on recent advances in multispectral pansharpening",
IEEE GRSM 9(1), 2021). A sensor that it does not list takes its default, and its `source` says so.
Band edges are the nominal ones of the operators' data sheets, in nanometres.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.errors import ConfigError
from bandweave.schema import join_words, nearest

MTF, MTF_PAN = 0.3, 0.15  # the toolbox's, for sensors that it does not list
COVERED = 1 / 3  # of a band's width inside PAN's range; less is called outside its response

TOOLBOX = "Vivone et al. 2015, 2021"
UNKNOWN = "no MTF published; the default of Vivone et al. 2021: 0.3, PAN 0.15"


@dataclass(frozen=True)
class Sensor:
    """The multispectral bands of a sensor, or those of them that a file has, and its PAN.

    name      key of SENSORS
    bands     names, in the order of the file
    mtf       gain of each band at the Nyquist frequency of the multispectral grid
    mtf_pan   gain of PAN at the Nyquist frequency of the PAN grid
    bits      depth of the values in products; None if it depends on the file
    ratio     multispectral over panchromatic pixel size
    source    of the gains
    edges     nm, from and to, of each band; None if unknown: PAN is then taken to cover all
    pan_edges nm, of PAN
    numbers   of the bands in names of files, such as `B4`
    doubts    why files may not be of this sensor, warnings
    """

    name: str
    bands: tuple[str, ...]
    mtf: tuple[float, ...]
    mtf_pan: float
    bits: int | None
    ratio: int
    source: str
    edges: tuple[tuple[float, float], ...] | None = None
    pan_edges: tuple[float, float] | None = None
    numbers: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def covered(self) -> tuple[bool, ...]:
        """Whether each band lies in PAN's range, at least a third of it."""
        if self.edges is None or self.pan_edges is None:
            return (True,) * len(self.bands)
        low, high = self.pan_edges
        return tuple(min(b, high) - max(a, low) >= COVERED * (b - a) for a, b in self.edges)

    @property
    def weights(self) -> np.ndarray:
        """(bands,) float64: shares of the bands in an intensity: equal, and 0 outside PAN's range.

        Where PAN covers none of the bands, all weigh the same.
        """
        covered = np.asarray(self.covered, np.float64)
        return covered / covered.sum() if covered.any() else np.full(len(covered), 1 / len(covered))

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Names of the bands outside PAN's range."""
        return tuple(b for b, inside in zip(self.bands, self.covered, strict=True) if not inside)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before sharpening, one sentence each; may be empty."""
        if not self.uncovered or self.pan_edges is None:
            return ()
        low, high = self.pan_edges
        many = len(self.uncovered) > 1
        return (
            f"{self.name}'s PAN ({low:g}-{high:g} nm) does not see "
            f"{join_words(self.uncovered, 'and')}: "
            f"{'they weigh' if many else 'it weighs'} nothing in the intensity, and detail there"
            " is a guess from the other bands",
        )

    def choose(self, places: Sequence[int]) -> Sensor:
        """The sensor with these of its bands alone, in this order."""
        return dataclasses.replace(
            self,
            bands=tuple(self.bands[i] for i in places),
            mtf=tuple(self.mtf[i] for i in places),
            edges=None if self.edges is None else tuple(self.edges[i] for i in places),
            numbers=tuple(self.numbers[i] for i in places),
        )


def _sensor(
    name: str,
    edges: dict[str, tuple[float, float]],
    pan: tuple[float, float],
    bits: int,
    *,
    mtf: Sequence[float] | None = None,
    mtf_pan: float = MTF_PAN,
    ratio: int = 4,
    numbers: Sequence[int] = (),
    source: str | None = None,
) -> Sensor:
    return Sensor(
        name=name,
        bands=tuple(edges),
        mtf=tuple(mtf or (MTF,) * len(edges)),
        mtf_pan=mtf_pan,
        bits=bits,
        ratio=ratio,
        source=source or (TOOLBOX if mtf else UNKNOWN),
        edges=tuple(edges.values()),
        pan_edges=pan,
        numbers=tuple(numbers) or tuple(range(1, len(edges) + 1)),
    )


# DigitalGlobe's data sheets of WorldView-2 and WorldView-3 give the same nominal bands.
_WORLDVIEW = {
    "coastal": (400.0, 450.0),
    "blue": (450.0, 510.0),
    "green": (510.0, 580.0),
    "yellow": (585.0, 625.0),
    "red": (630.0, 690.0),
    "rededge": (705.0, 745.0),
    "nir1": (770.0, 895.0),
    "nir2": (860.0, 1040.0),
}
# USGS: Landsat 7 Data Users Handbook, without the thermal band 6.
_ETM = {
    "blue": (450.0, 520.0),
    "green": (520.0, 600.0),
    "red": (630.0, 690.0),
    "nir": (770.0, 900.0),
    "swir1": (1550.0, 1750.0),
    "swir2": (2090.0, 2350.0),
}
# USGS: Landsat 8 (L8) Data Users Handbook; OLI-2 of Landsat 9 is a copy.
_OLI = {
    "coastal": (435.0, 451.0),
    "blue": (452.0, 512.0),
    "green": (533.0, 590.0),
    "red": (636.0, 673.0),
    "nir": (851.0, 879.0),
    "swir1": (1566.0, 1651.0),
    "swir2": (2107.0, 2294.0),
    "cirrus": (1363.0, 1384.0),
}
_OLI_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9)
# Airbus: SPOT 6/7 Imagery User Guide.
_SPOT = {
    "blue": (450.0, 520.0),
    "green": (530.0, 590.0),
    "red": (625.0, 695.0),
    "nir": (760.0, 890.0),
}


def _four(*edges: float) -> dict[str, tuple[float, float]]:
    names = ("blue", "green", "red", "nir")
    return {name: (edges[2 * i], edges[2 * i + 1]) for i, name in enumerate(names)}


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        _sensor("worldview-2", _WORLDVIEW, (450, 800), 11, mtf=(0.35,) * 7 + (0.27,), mtf_pan=0.11),
        _sensor(  # the toolbox's first release had 0.5 for PAN
            "worldview-3",
            _WORLDVIEW,
            (450, 800),
            11,
            mtf=(0.325, 0.355, 0.360, 0.350, 0.365, 0.360, 0.335, 0.315),
            mtf_pan=0.14,
        ),
        _sensor(  # edges: DigitalGlobe's effective ones
            "quickbird",
            _four(430, 545, 466, 620, 590, 710, 715, 918),
            (405, 1053),
            11,
            mtf=(0.34, 0.32, 0.30, 0.22),
            mtf_pan=0.15,
        ),
        _sensor(  # PAN's response is low in the blue; its half maximum begins at 526 nm
            "ikonos",
            _four(450, 520, 520, 600, 630, 690, 760, 900),
            (450, 900),
            11,
            mtf=(0.26, 0.28, 0.29, 0.28),
            mtf_pan=0.17,
        ),
        _sensor(
            "geoeye-1",
            _four(450, 510, 510, 580, 655, 690, 780, 920),
            (450, 800),
            11,
            mtf=(0.23,) * 4,
            mtf_pan=0.16,
        ),
        _sensor("gaofen-2", _four(450, 520, 520, 590, 630, 690, 770, 890), (450, 900), 10),
        _sensor("landsat-7", _ETM, (520, 900), 8, ratio=2, numbers=(1, 2, 3, 4, 5, 7)),
        # 12 bit in the instrument of Landsat 8 and 14 in Landsat 9's, scaled to 16 in products.
        _sensor("landsat-8", _OLI, (503, 676), 16, ratio=2, numbers=_OLI_NUMBERS),
        _sensor("landsat-9", _OLI, (503, 676), 16, ratio=2, numbers=_OLI_NUMBERS),
        _sensor("spot-6", _SPOT, (450, 745), 12),
        _sensor("spot-7", _SPOT, (450, 745), 12),
        _sensor("pleiades", _four(430, 550, 500, 620, 590, 710, 740, 940), (470, 830), 12),
        Sensor("generic", (), (), MTF_PAN, None, 4, "the default of " + TOOLBOX),
    )
}

# How many bands a file of fewer has, and which of the sensor's they are by common usage.
_USUAL: dict[str, dict[int, tuple[int, ...]]] = {
    "worldview-2": {4: (1, 2, 4, 6)},
    "worldview-3": {4: (1, 2, 4, 6)},
    "landsat-7": {4: (0, 1, 2, 3)},
    "landsat-8": {7: tuple(range(7)), 6: (1, 2, 3, 4, 5, 6), 4: (1, 2, 3, 4)},
    "landsat-9": {7: tuple(range(7)), 6: (1, 2, 3, 4, 5, 6), 4: (1, 2, 3, 4)},
}

_SHORT = {
    "wv2": "worldview-2",
    "wv3": "worldview-3",
    "qb": "quickbird",
    "qb2": "quickbird",
    "quickbird2": "quickbird",
    "ikonos2": "ikonos",
    "ge1": "geoeye-1",
    "geoeye": "geoeye-1",
    "gf2": "gaofen-2",
    "l7": "landsat-7",
    "l8": "landsat-8",
    "l9": "landsat-9",
    "pleiades1a": "pleiades",
    "pleiades1b": "pleiades",
    "phr": "pleiades",
}


def find_sensor(name: str, bands: int | Sequence[str], ratio: int | None = None) -> Sensor:
    """The sensor of a name, with the bands of a file.

    bands   how many, or their names: `red`, `B4`, `LC08_…_B4.TIF`. Names that say nothing
            (`Band 1`, …) count only how many they are.
    ratio   PAN pixels that an MS pixel is wide in the files; with it the sensor's `doubts` say why
            they may not be of the sensor

    Raises ConfigError for a sensor that is not in the table, and for bands that are not its.

    >>> find_sensor("Landsat 8", ["B4", "B3", "B2"]).bands
    ('red', 'green', 'blue')
    >>> find_sensor("wv2", 4).bands
    ('blue', 'green', 'red', 'nir1')
    >>> find_sensor("landsat-7", 6).uncovered
    ('blue', 'swir1', 'swir2')
    """
    known = {_letters(key): key for key in SENSORS} | _SHORT
    key = known.get(_letters(name))
    if key is None:
        raise ConfigError(f"no sensor {name!r} in the table{nearest(name.lower(), SENSORS)}")
    names = () if isinstance(bands, int) else tuple(bands)
    sensor = _choose_bands(SENSORS[key], bands if isinstance(bands, int) else len(names), names)
    if ratio is None:
        return sensor
    return dataclasses.replace(sensor, doubts=tuple(_doubts(sensor, names, ratio)))


def _choose_bands(sensor: Sensor, count: int, names: Sequence[str]) -> Sensor:
    """The sensor with those of its bands that a file has."""
    if count < 1:
        raise ConfigError("a file without bands has no sensor")
    if sensor.name == "generic":
        return dataclasses.replace(
            sensor,
            bands=tuple(names) or tuple(f"band {i + 1}" for i in range(count)),
            mtf=(MTF,) * count,
        )
    places = [_place(sensor, text) for text in names]
    if places and None not in places and len(set(places)) == count and not counted_names(names):
        return sensor.choose([place for place in places if place is not None])
    if count == len(sensor.bands):
        return sensor
    usual = _USUAL.get(sensor.name, {})
    if count in usual:
        return sensor.choose(usual[count])
    counts = join_words(sorted([*usual, len(sensor.bands)]), "or")
    named = f" ({', '.join(names)})" if names else ""
    raise ConfigError(
        f"{sensor.name} has {len(sensor.bands)} bands ({', '.join(sensor.bands)}), the file has "
        f"{count}{named}: which they are is clear for {counts} bands alone; name the bands of the "
        "file as here, or choose the sensor 'generic'"
    )


def _doubts(sensor: Sensor, names: Sequence[str], ratio: int) -> list[str]:
    """Why files may not be of the sensor that was named: another ratio, other bands."""
    if sensor.name == "generic":
        return []
    whole, doubts = SENSORS[sensor.name], []
    if ratio != whole.ratio:
        doubts.append(
            f"an MS pixel of {sensor.name} is {whole.ratio} PAN pixels wide, one of these files "
            f"{ratio}; check `sensor`: its MTF decides how much detail is added"
        )
    if counted_names(names) or any(_place(whole, name) is None for name in names):
        taken = f"they were taken for {', '.join(sensor.bands)}, in this order"
        if len(names) != len(whole.bands):
            doubts.append(
                f"{sensor.name} has {len(whole.bands)} bands and these files {len(names)}; {taken}"
                ". If they are others, name the bands in the file or choose another `sensor`"
            )
        elif not counted_names(names):
            doubts.append(
                f"the bands are called {', '.join(names)}, which tells not all of them in "
                f"{sensor.name}; {taken}"
            )
    return doubts


def _letters(text: str) -> str:
    """Letters and digits alone, without accents: `Pléiades` is `pleiades`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", plain)


_SYNONYMS = {
    "coastal": ("coastalblue", "coastalaerosol", "ultrablue", "aerosol"),
    "nir": ("nearinfrared", "nir1"),
    "nir1": ("nearinfrared1", "nir"),
    "nir2": ("nearinfrared2",),
    "rededge": ("rededge1",),
    "swir1": ("shortwaveinfrared1",),
    "swir2": ("shortwaveinfrared2",),
}
_NUMBER = re.compile(r"(?:^|[^a-z])b(?:and)?[ _-]?0*(\d+)$")


def _place(sensor: Sensor, text: str) -> int | None:
    """Which of the sensor's bands a name means; None if it does not say."""
    stem = re.sub(r"\.(tiff?|jp2|img|vrt)$", "", text.strip().lower())
    for i, band in enumerate(sensor.bands):
        if _letters(stem) in (band, *_SYNONYMS.get(band, ())):
            return i
    found = _NUMBER.search(stem)
    if found:
        number = int(found[1])
        return sensor.numbers.index(number) if number in sensor.numbers else None
    words = set(re.split(r"[^a-z0-9]+", stem))
    said = [i for i, band in enumerate(sensor.bands) if band in words]
    return said[0] if len(said) == 1 else None


def counted_names(names: Sequence[str]) -> bool:
    """`Band 1`, `Band 2`, …: what writers put where there is no name."""
    return [text.strip().lower().replace("_", " ") for text in names] == [
        f"band {i + 1}" for i in range(len(names))
    ]
