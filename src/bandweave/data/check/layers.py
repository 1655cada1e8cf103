"""Findings on layers: empty and double bands, marks of no value, wavelengths, odd units."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bandweave.data.check.findings import Edit, Finding
from bandweave.data.no_value import (
    find_soft_candidates,
    is_border_or_block,
    marks,
    shorten,
    to_stored,
)
from bandweave.data.scene import Layer, LayerInfo, Scene
from bandweave.data.scenefile.schema import LayerFile, SceneFile
from bandweave.errors import BandweaveError
from bandweave.raster.grid import Grid, Window
from bandweave.raster.source import read_nan

WHOLE = 2**27  # values of a layer that are all read; of more, windows over all of it
AT_ONCE = 2**24  # values of a window
SAMPLE = 2**22  # values that are kept for statistics
CLIPPED = 0.10  # share of a band's values at its highest from which its scale is doubted


@dataclass
class Look:
    """A summary of the pixels of a layer, over all parts.

    low     (bands,) least value, infinite where a band has none
    high    (bands,)
    sample  (bands, n) values of pixels spread over all that was read, NaN where there is none
    digests  of all values of each band: the same where two bands are the same
    """

    low: np.ndarray
    high: np.ndarray
    digests: list
    pixels: int = 0
    valid: int = 0
    empty: list[str] = field(default_factory=list)
    pieces: list[np.ndarray] = field(default_factory=list)
    whole: bool = True

    @property
    def sample(self) -> np.ndarray:
        """Values (bands, n) of the pixels that were kept."""
        return np.concatenate(self.pieces, axis=1)


def look_at_layers(scene: Scene, file: SceneFile | None) -> Iterator[Finding]:
    """Findings on every layer; a layer that cannot be read is a problem and ends its own lines.

    What is wrong with the values of a derived layer is wrong with those that it is computed from.
    """
    for name in scene.layers:
        try:
            look = _look(scene, name)
            yield _summarise(scene, name, look)
            if scene.layers[name].derived:
                yield from _find_empty(name, look)
            else:
                yield from _find_all(scene, name, look, file.layers[name] if file else None)
        except BandweaveError as error:
            yield Finding(f"layer '{name}': {error}", problem=True)


def _find_all(scene: Scene, name: str, look: Look, entry: LayerFile | None) -> Iterator[Finding]:
    yield from _find_empty(name, look)
    if not look.valid:
        return
    yield from _find_useless_bands(scene.layers[name], name, look, entry)
    found = list(_find_no_values(scene, name, look, entry))
    yield from found
    yield from _check_wavelengths(scene.layers[name], name, entry)
    if not found:  # marks of no value make every range look wrong
        yield from _check_ranges(scene.layers[name], name, look, entry)
        yield from _find_clipped(scene.parts[0].layers[name], name, look)


def _find_empty(name: str, look: Look) -> Iterator[Finding]:
    if not look.valid:
        yield Finding(f"layer '{name}' has no data at all; is `nodata` right?", problem=True)
    elif look.empty:
        shown = ", ".join(look.empty[:5])
        shown += f" and {len(look.empty) - 5} more" if len(look.empty) > 5 else ""
        yield Finding(f"layer '{name}' has no data in part {shown}", problem=True)


# ------------------------------------------------------------------------------------------ looking


def spread_over(grid: Grid, bands: int, budget: int) -> tuple[list[Window], bool]:
    """List windows over a grid, or as many as `budget` values allow, spread to all its edges."""
    size = 256
    while size > 32 and bands * size**2 > AT_ONCE:
        size //= 2
    rows, cols = (list(range(0, length, size)) for length in (grid.height, grid.width))
    whole = grid.height * grid.width * bands <= budget
    if not whole:
        most = max(int((budget / (bands * size**2)) ** 0.5), 3)
        rows, cols = _spread(rows, most), _spread(cols, most)
    places = itertools.product(rows, cols)
    return [
        Window(row, col, min(size, grid.height - row), min(size, grid.width - col))
        for row, col in places
    ], whole


def _spread(starts: list[int], most: int) -> list[int]:
    if len(starts) <= most:
        return starts
    return [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]


def _look(scene: Scene, name: str) -> Look:
    bands = scene.layers[name].bands
    look = Look(
        np.full(bands, np.inf), np.full(bands, -np.inf), [hashlib.blake2b() for _ in range(bands)]
    )
    budget = WHOLE // len(scene.parts)
    total = sum(part.layers[name].source.grid.height * part.layers[name].source.grid.width
                for part in scene.parts)  # fmt: skip
    step = max(int(np.ceil(min(total, WHOLE // bands) * bands / SAMPLE)), 1)
    for part in scene.parts:
        before = look.valid
        source = part.layers[name].source
        windows, whole = spread_over(source.grid, bands, budget)
        look.whole = look.whole and whole
        for window in windows:
            _add(look, read_nan(source, window), step)
        if look.valid == before:
            look.empty.append(part.name)
    return look


def _add(look: Look, values: np.ndarray, step: int) -> None:
    has = ~np.isnan(values)
    look.pixels += values[0].size
    look.valid += int(has.any(axis=0).sum())
    look.low = np.minimum(look.low, np.where(has, values, np.inf).min(axis=(1, 2)))
    look.high = np.maximum(look.high, np.where(has, values, -np.inf).max(axis=(1, 2)))
    for digest, band in zip(look.digests, values, strict=True):
        digest.update(np.ascontiguousarray(band))
    flat = values.reshape(len(values), -1)
    first = look.pixels % step  # another column of each window
    look.pieces.append(flat[:, first::step].copy())


def _summarise(scene: Scene, name: str, look: Look) -> Finding:
    info = scene.layers[name]
    source = scene.parts[0].layers[name].source
    words = [f"{info.bands} band{'s' if info.bands > 1 else ''} of {source.dtype}"]
    if info.derived:
        words.append(f"derived by {info.derived}")
    if info.reach:
        words.append(f"from all within {info.reach} px of the grid")
    if info.ratio > 1:
        words.append(f"{info.ratio} times finer than the grid")
    if info.info.wavelengths:
        low, high = min(info.info.wavelengths), max(info.info.wavelengths)
        words.append(f"{low:g} to {high:g} nm" if low < high else f"{low:g} nm")
    if info.info.units:
        words.append(f"in {info.info.units}")
    words.append(f"{100 * (1 - look.valid / max(look.pixels, 1)):.1f} % without data")
    if look.valid:
        words.append(f"values {look.low.min():.4g} to {look.high.max():.4g}")
    if not look.whole:
        words.append(f"seen in windows of {look.pixels:,} px spread over it")
    return Finding(f"layer '{name}': {', '.join(words)}")


# ------------------------------------------------------------------------------------ useless bands


def _find_useless_bands(
    info: LayerInfo, name: str, look: Look, entry: LayerFile | None
) -> Iterator[Finding]:
    empty = np.flatnonzero(np.isinf(look.low)).tolist()
    constant = np.flatnonzero(look.low == look.high).tolist()
    first: dict[bytes, int] = {}
    twins = []
    for band, digest in enumerate(look.digests):
        if band not in empty and band not in constant:
            original = first.setdefault(digest.digest(), band)
            if original != band:
                twins.append((band, original))
    useless = {*empty, *constant, *(band for band, _ in twins)}
    edits = _drop_bands(info, name, useless, entry)
    for what, bands in (("no data", empty), ("one value only", constant)):
        if bands:
            yield Finding(
                f"layer '{name}': {what} in band {_list_numbers(bands)} (from 1)", True, edits
            )
    if twins:
        shown = ", ".join(f"{band + 1} as {original + 1}" for band, original in twins[:10])
        more = f" and {len(twins) - 10} more" if len(twins) > 10 else ""
        yield Finding(f"layer '{name}': the same values twice, in band {shown}{more}", True, edits)


def _list_numbers(bands: Sequence[int]) -> str:
    shown = ", ".join(str(band + 1) for band in bands[:10])
    return shown + (f" and {len(bands) - 10} more" if len(bands) > 10 else "")


def _drop_bands(
    info: LayerInfo, name: str, useless: set[int], entry: LayerFile | None
) -> list[Edit]:
    kept = [band for band in range(info.bands) if band not in useless]
    return keep_bands(info, name, kept, entry) if kept else []


def keep_bands(info: LayerInfo, name: str, kept: list[int], entry: LayerFile | None) -> list[Edit]:
    """List the edits that leave a layer its bands `kept` (from 0, in this order)."""
    numbers = info.info.numbers
    if entry and entry.bands:
        numbers = tuple(entry.bands)
    place = ("layers", name)
    edits = [Edit(place, "bands", [numbers[band] if numbers else band + 1 for band in kept])]
    if entry and entry.wavelengths:
        edits.append(Edit(place, "wavelengths", [entry.wavelengths[band] for band in kept]))
    return edits


# ---------------------------------------------------------------------------------------- no values


def _find_no_values(
    scene: Scene, name: str, look: Look, entry: LayerFile | None
) -> Iterator[Finding]:
    """Find numbers that stand for no value and that neither file declares."""
    layer = scene.parts[0].layers[name]
    wanted: dict[float, list[int]] = {}
    sample = look.sample
    for band, values in enumerate(sample):
        ends = [end for end in (look.low[band], look.high[band]) if np.isfinite(end)]
        for mark in marks(_to_stored(layer, band, np.append(values, ends))):
            wanted.setdefault(mark, []).append(band)
    soft = not wanted
    if soft:  # by their shape alone
        for value in find_soft_candidates(sample):
            wanted[float(_to_stored(layer, 0, np.array([value]))[0])] = list(range(len(sample)))
    declared = _get_declared(layer, entry)
    edited = False
    for stored, bands in wanted.items():
        shape, pixels, seen = _locate(scene, name, stored, bands, soft)
        if not pixels or (soft and not shape):
            continue
        number = shorten(stored)
        at = "all bands" if len(bands) == len(sample) else f"band {_list_numbers(bands)}"
        share = f"{pixels:,} px ({100 * pixels / max(seen, 1):.2g} %)"
        text = (
            f"layer '{name}': {number} in {share} of {at} looks like no data"
            f"{', by its place at the border or in a block' if shape else ''}, "
            "and is declared nowhere"
        )
        if declared is not None:
            text += f" (`nodata` is {declared:g} already: write one of the two into the file)"
        elif edited:
            text += " (a layer has one `nodata`: write one of the two into the file)"
        yield Finding(
            text,
            problem=True,
            edits=()
            if declared is not None or edited
            else [Edit(("layers", name), "nodata", number)],
        )
        edited = True


def _to_stored(layer: Layer, band: int, values: np.ndarray) -> np.ndarray:
    return to_stored(values, layer.source.dtype, *_get_scale(layer, band))


def _get_scale(layer: Layer, band: int) -> tuple[float, float]:
    """Get the factor of a band's stored numbers, and the offset."""
    info = layer.source.info
    return (
        info.scales[band] if info.scales else 1.0,
        info.offsets[band] if info.offsets else 0.0,
    )


def _get_declared(layer: Layer, entry: LayerFile | None) -> float | None:
    """Get the number that is declared as no data, by the scene file or by the layer's file."""
    if entry and entry.nodata is not None:
        return entry.nodata
    source = getattr(layer.source, "source", layer.source)
    holes = [hole for hole in getattr(source, "nodata", ()) if hole is not None and hole == hole]
    return holes[0] if holes else None


def _locate(
    scene: Scene, name: str, stored: float, bands: list[int], all_bands: bool
) -> tuple[bool, int, int]:
    """Tell whether a number's pixels have the shape of missing data; how many they are, of all."""
    pixels = seen = shaped = 0
    for part in scene.parts:
        layer = part.layers[name]
        source = layer.source
        scale = np.array([_get_scale(layer, band) for band in bands])
        read = (scale[:, 0] * stored + scale[:, 1]).astype(np.float32)[:, None, None]
        windows, whole = spread_over(source.grid, source.bands, WHOLE // len(scene.parts))
        size = (source.grid.height, source.grid.width)
        picture = np.zeros(size, bool) if whole else None
        for window in windows:
            values = read_nan(source, window)[bands]
            same = np.isclose(values, read, rtol=1e-6, atol=0) if stored else values == read
            mask = (same | np.isnan(values)).all(axis=0) & same.any(axis=0) if all_bands else (
                same.any(axis=0)
            )  # fmt: skip
            pixels, seen = pixels + int(mask.sum()), seen + mask.size
            if picture is not None:
                picture[window.slices()] = mask
            elif is_border_or_block(mask):
                shaped += int(mask.sum())
        if picture is not None and is_border_or_block(picture):
            shaped += int(picture.sum())
    return shaped >= 0.8 * pixels > 0, pixels, seen


# ------------------------------------------------------------------------------------- wavelengths


LEAST_NM, MOST_NM = 200.0, 50_000.0  # no sensor of reflected or thermal light is outside of it
LANDSAT = (443, 482, 561, 655, 865, 1609, 2201)  # a list that goes on elsewhere begins so
SEAM = 8  # bands on either side of the seam of two detectors


def _check_wavelengths(info: LayerInfo, name: str, entry: LayerFile | None) -> Iterator[Finding]:
    given = info.info.wavelengths
    if not given or len(given) < 1:
        return
    place = ("layers", name)
    odd = [band for band, value in enumerate(given) if not LEAST_NM <= value <= MOST_NM]
    if odd:
        text = (
            f"layer '{name}': {given[odd[0]]:g} nm in band {_list_numbers(odd)} is no "
            f"wavelength of an optical sensor ({LEAST_NM:g} to {MOST_NM:g} nm)"
        )
        factors = [f for f in (1000, 0.001, 0.1) if all(250 <= v * f <= 16_000 for v in given)]
        right = [float(f"{value * factors[0]:.7g}") for value in given] if factors else []
        yield Finding(text, True, [Edit(place, "wavelengths", right)] if right else ())
        return
    twins = [
        (band, given.index(value)) for band, value in enumerate(given) if given.index(value) != band
    ]
    if twins:
        band, original = twins[0]
        yield Finding(
            f"layer '{name}': {len(twins)} wavelength{'s stand' if len(twins) > 1 else ' stands'} "
            f"twice, first {given[band]:g} nm in bands {original + 1} and {band + 1}; state the "
            f"right ones as `wavelengths:` of layer '{name}', {len(given)} values in nm",
            problem=True,
        )
        return
    steps = np.sign(np.diff(given))
    if abs(int(steps.sum())) < len(steps) and not _is_own_order(given, steps, entry):
        backwards = np.flatnonzero(steps < 0)
        first = int(backwards[0])
        yield Finding(
            f"layer '{name}': wavelengths out of order {len(backwards)} time"
            f"{'s' if len(backwards) > 1 else ''}, first {given[first]:g} nm in band {first + 1} "
            f"before {given[first + 1]:g} nm in band {first + 2}",
            True,
            keep_bands(info, name, np.argsort(given, kind="stable").tolist(), entry),
        )


def _is_own_order(given: Sequence[float], steps: np.ndarray, entry: LayerFile | None) -> bool:
    """Tell whether an order was chosen, or is a sensor's: of two detectors, or Landsat's bands."""
    several = entry and max(len(entry.path), len(entry.key or ()), len(entry.asset or ())) > 1
    if entry and (entry.bands or several):
        return True
    backwards = np.flatnonzero(steps < 0)
    seam = int(backwards[0]) + 1 if len(backwards) == 1 else 0
    if min(seam, len(given) - seam) >= SEAM:
        return True
    return len(given) > len(LANDSAT) and np.allclose(given[: len(LANDSAT)], LANDSAT, atol=15)


# ------------------------------------------------------------------------------------------- values


def _check_ranges(
    info: LayerInfo, name: str, look: Look, entry: LayerFile | None
) -> Iterator[Finding]:
    """Find values that the layer's unit cannot have."""
    unit = (info.info.units or "").strip().lower()
    if not unit:
        return
    sample = look.sample[np.isfinite(look.sample)]
    low, high = (float(value) for value in np.percentile(sample, (1, 99)))
    span = f"{low:.4g} to {high:.4g} (1st to 99th percentile)"
    place = ("layers", name)
    own = entry.scale if entry else 1.0
    if unit.startswith("reflectance") and high > 2:
        scale = next((s for s in (1e-2, 1e-4, 1e-5) if high * s <= 2), None)
        if scale:
            yield Finding(
                f"layer '{name}': in {info.info.units}, which is 0 to 1, with values {span}",
                True,
                [Edit(place, "scale", float(f"{own * scale:.6g}"))],
            )
        return
    if unit in ("db", "decibel", "decibels") and low >= 0 and high <= 30:
        yield Finding(
            f"layer '{name}': in {info.info.units}, where backscatter is mostly negative, with "
            f"values {span}: they look like linear power",
            True,
            [Edit(place, "units", "linear power")],
        )
    if unit in ("linear", "linear power", "power", "intensity", "amplitude") and low < 0:
        yield Finding(
            f"layer '{name}': in {info.info.units}, which is never negative, with values {span}: "
            "they look like decibels",
            True,
            [Edit(place, "units", "dB")],
        )
    for names, least, most in _LIMITS:
        if unit in names and (low < least or high > most):
            yield Finding(
                f"layer '{name}': in {info.info.units}, which is {least:g} to {most:g}, with "
                f"values {span}; state its `units` or its `scale`",
                problem=True,
            )


_LIMITS = (  # what the values of a unit can be on Earth
    (("°", "deg", "degree", "degrees"), -360, 360),
    (("rad", "radian", "radians"), -6.2832, 6.2832),
    (("%", "percent"), -5, 105),
    (("k", "kelvin"), 100, 1500),
    (("°c", "celsius", "degc", "degrees celsius"), -120, 1200),
    (("m", "metre", "metres", "meter", "meters"), -500, 9000),
)


def _find_clipped(layer: Layer, name: str, look: Look) -> Iterator[Finding]:
    """Find bands with a tenth of their values at the highest number that their bits can hold."""
    if layer.source.dtype.kind not in "iu":
        return
    sample = look.sample
    clipped = []
    for band, values in enumerate(sample):
        top = float(look.high[band])
        stored = float(_to_stored(layer, band, np.array([top]))[0]) if np.isfinite(top) else 0.0
        bits = np.log2(stored + 1) if stored > 0 else 0.0
        has = np.isfinite(values)
        share = float((values[has] == np.float32(top)).mean()) if has.any() else 0.0
        distinct = len(np.unique(values[has][:4096]))
        if bits in (7, 8, 10, 11, 12, 14, 15, 16) and share >= CLIPPED and distinct > 16:
            clipped.append((share, band, int(stored)))
    if clipped:
        share, band, stored = max(clipped)
        yield Finding(
            f"layer '{name}': {100 * share:.0f} % of band {band + 1} is {stored}, the highest that "
            f"its bits hold, and so in {len(clipped)} of {len(sample)} bands: saturated, or no "
            f"data (then add `nodata: {stored}` to layer '{name}')",
            problem=stored > 255,  # photographs are white in places
        )
