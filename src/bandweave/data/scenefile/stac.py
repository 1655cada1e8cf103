"""Assets of a STAC item as layers: where they lie, and what the item says of their bands."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import check_input_file
from bandweave.raster.bands import rename_bands, to_nanometres
from bandweave.raster.formats.arrays import StackedSource
from bandweave.raster.formats.gdal.elsewhere import explain_failure, is_address
from bandweave.raster.formats.gdal.source import GdalSource
from bandweave.raster.source import BandInfo, WindowSource
from bandweave.schema import join_words, nearest

LARGEST = 16 * 2**20  # bytes of an item
WAIT = 8  # seconds for an item


@dataclass(frozen=True)
class Asset:
    """An asset of an item.

    path    the file or address of its raster
    bands   what the item says of each band: wavelength (nm), scale, offset, nodata, unit
    """

    name: str
    path: str
    bands: Sequence[Mapping[str, Any]]


def find_assets(item: str, names: Sequence[str]) -> list[Asset]:
    """Find assets of the item at a path or address.

    Raises ConfigError where pystac is not installed, and for a name that the item has not;
    FileError for what is no STAC item, and for an item elsewhere whose asset is a file of here.
    """
    try:
        import pystac
    except ImportError:
        raise ConfigError(
            "assets of STAC items need pystac: pip install 'bandweave[stac]', or name the files of "
            "the assets as `path`"
        ) from None
    try:
        content = json.loads(_read(item))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        read = pystac.Item.from_dict(content, href=item)
    except _find_failures(pystac) as error:
        text = " ".join(str(error).split())[:200]
        raise FileError(f"{item} is no STAC item: {text}; `asset` names one's assets") from error
    return [_find_asset(read, item, name) for name in names]


def _find_failures(pystac: Any) -> tuple[type[Exception], ...]:
    """What reading an item raises where it is none."""
    own = (pystac.STACError, pystac.STACTypeError)
    return ValueError, KeyError, TypeError, AttributeError, RecursionError, *own


def _find_asset(read: Any, item: str, name: str) -> Asset:
    if name not in read.assets:
        known = list(read.assets)
        raise ConfigError(
            f"the STAC item {item} has no asset '{name}'{nearest(name, known)}; it has "
            f"{join_words(known, 'and') if known else 'none'}"
        )
    asset = read.assets[name]
    path = asset.get_absolute_href() or asset.href
    if is_address(item) and not is_address(path):
        raise FileError(f"the asset '{name}' of {item} lies at {path}, which is no address")
    fields = asset.extra_fields
    lists = [fields.get(key) or [] for key in ("eo:bands", "raster:bands", "bands")]
    count = max(1, *map(len, lists))
    bands = []
    for number in range(count):
        stated: dict[str, Any] = {}
        for source in (fields, *(each[number] for each in lists if len(each) == count)):
            stated |= {key.rpartition(":")[2]: value for key, value in source.items()}
        bands.append(stated)
    return Asset(name, path, bands)


def describe_by_assets(source: WindowSource, assets: Sequence[Asset]) -> WindowSource:
    """Add to the files of assets what they do not say themselves, and the assets' names."""
    files = source.sources if isinstance(source, StackedSource) else (source,)
    for file, asset in zip(files, assets, strict=len(files) > 1):
        if isinstance(file, GdalSource) and len(asset.bands) >= max(file.numbers):
            info, nodata = _read_facts(asset.bands)
            file.complete(info, nodata)
    if len(files) == 1:
        return source
    stacked = StackedSource(files)
    stacked.info = rename_bands(stacked.info, [asset.name for asset in assets])
    return stacked


def _read_facts(bands: Sequence[Mapping[str, Any]]) -> tuple[BandInfo, list[float | None]]:
    """The facts of all bands, and their nodata."""

    def numbers(name: str) -> list[float | None]:
        return [_to_number(band.get(name)) for band in bands]

    micrometres, scales, offsets = map(numbers, ("center_wavelength", "scale", "offset"))
    known = [value for value in micrometres if value is not None]
    units = {str(band["unit"]) for band in bands if band.get("unit")}
    info = BandInfo(
        wavelengths=to_nanometres(known, "um") if len(known) == len(bands) else None,
        units=units.pop() if len(units) == 1 else None,
        scales=_spread(scales, 1.0),
        offsets=_spread(offsets, 0.0),
    )
    return info, [_to_number(band.get("nodata"), finite=False) for band in bands]


def _spread(values: Sequence[float | None], plain: float) -> tuple[float, ...] | None:
    """Values of all bands, `plain` for those without; None where none has one of its own."""
    full = tuple(plain if value is None else value for value in values)
    return full if any(value != plain for value in full) else None


def _to_number(value: Any, finite: bool = True) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) or not finite else None


def _read(item: str) -> bytes:
    """The text of an item, of a file of this machine or of a web address."""
    if not is_address(item):
        try:
            with check_input_file(Path(item)).open("rb") as file:
                return _check_size(item, file.read(LARGEST + 1))
        except OSError as error:
            raise FileError(f"{item} cannot be read: {error.strerror or error}") from error
    if not item.startswith("http"):
        raise FileError(f"{item}: a STAC item is read from a file or a web address; give its https")
    end, pieces = time.monotonic() + WAIT, b""
    try:
        with urllib.request.urlopen(item, timeout=WAIT / 2) as answer:
            while piece := answer.read1(2**16):
                pieces += piece
                if time.monotonic() > end:
                    raise TimeoutError("timed out")
                _check_size(item, pieces)
    except urllib.error.HTTPError as error:
        raise explain_failure(item, f"response code {error.code}") from error
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        text = str(reason)
        if "refused" in text:
            text = "could not connect"
        elif "name" in text.lower() or "resol" in text:
            text = "could not resolve host"
        raise explain_failure(item, text) from error
    return pieces


def _check_size(item: str, content: bytes) -> bytes:
    if len(content) > LARGEST:
        raise FileError(f"{item} is larger than {LARGEST // 2**20} MiB, so it is no STAC item")
    return content
