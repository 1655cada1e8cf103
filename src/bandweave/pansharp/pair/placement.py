"""Where an MS grid lies on a PAN grid, and what to tell the user where the two do not fit."""

from __future__ import annotations

import math
from typing import NamedTuple

from bandweave.errors import ConfigError, GridMismatch
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.raster.alignment import same_crs, short_crs
from bandweave.raster.grid import Grid
from bandweave.raster.source import WindowSource

DRIFT = 0.1  # PAN pixels that two transforms may drift apart over the whole image


class Placement(NamedTuple):
    """Where an MS image lies on its PAN image.

    nesting     its ratio is that of the true MS pixels
    resampled   the MS image has been brought to PAN's pixel size before
    notes       what was taken for granted, and decided on opening the two; sentences
    """

    nesting: Nesting
    resampled: bool
    notes: tuple[str, ...] = ()


def place_images(pan: WindowSource, ms: WindowSource, ratio: int | None = None) -> Placement:
    """Find where the MS image lies on the PAN image.

    ratio   what the user states, as in `place_grids`

    Raises GridMismatch too where control points place one of the two, and where they place both and
    the user states no ratio.
    """
    if bool(pan.control) != bool(ms.control):
        name, control = ("PAN", pan.control) if pan.control else ("MS", ms.control)
        raise GridMismatch(
            f"{name} has no transform but {control}, so its place on the other file is not known: "
            f"PAN is {pan.grid}, MS {ms.grid}; write {name} to a grid first (gdalwarp)"
        )
    nesting, resampled, notes = place_grids(pan.grid, ms.grid, ratio)
    if pan.control and ms.control and ratio is None:
        raise GridMismatch(
            f"PAN has {pan.control} and MS {ms.control} instead of a transform, and they are not "
            "compared: if both begin at the same corner of ground, state `ratio`; else write both "
            "to a grid first (gdalwarp)"
        )
    opened = (f"{name}: {note}" for name, one in (("PAN", pan), ("MS", ms)) for note in one.notes)
    return Placement(nesting, resampled, (*notes, *opened))


def place_grids(pan: Grid, ms: Grid, ratio: int | None = None) -> Placement:
    """Find where the MS grid lies on the PAN grid: by transforms, or by sizes without those.

    ratio   what the user states; needed where the MS image already has PAN's pixel size, and where
            sizes alone do not tell

    Raises GridMismatch where the two do not fit and ConfigError for an impossible ratio.
    """
    if ratio is not None and (ratio != int(ratio) or ratio < 2):
        raise ConfigError(
            f"`ratio` is {ratio:g}; it says how many PAN pixels an MS pixel is wide, a whole "
            "number from 2"
        )
    _check_crs(pan, ms)
    if pan.georeferenced and ms.georeferenced:
        return _place_by_transforms(pan, ms, ratio)
    if pan.georeferenced != ms.georeferenced and ratio is None:
        with_one, without = ("PAN", "MS") if pan.georeferenced else ("MS", "PAN")
        raise GridMismatch(
            f"{with_one} is georeferenced and {without} is not, so their places cannot be "
            f"compared: PAN is {pan}, MS {ms}; if both begin at the same corner of ground, state "
            f"`ratio`{_guess_ratio(pan, ms)}, else georeference {without} first"
        )
    placed = _place_by_sizes(pan, ms, ratio)
    if pan.georeferenced != ms.georeferenced:
        without = "MS" if pan.georeferenced else "PAN"
        note = f"{without} has no transform: its upper left corner was taken to be the other's"
        return placed._replace(notes=(note,))
    return placed


def _check_crs(pan: Grid, ms: Grid) -> None:
    if pan.crs and ms.crs and not same_crs(pan.crs, ms.crs):
        raise GridMismatch(
            f"PAN is in {short_crs(pan.crs)} and MS in {short_crs(ms.crs)}; warp the MS to PAN's "
            f"CRS first: gdalwarp -t_srs {short_crs(pan.crs)} -r cubic MS OUT"
        )
    if pan.georeferenced and ms.georeferenced and (pan.crs is None) != (ms.crs is None):
        known, without = (pan.crs, "MS") if pan.crs else (ms.crs, "PAN")
        raise GridMismatch(
            f"{without} has no CRS and the other file is in {short_crs(known)}; if that holds for "
            f"both, say `crs={short_crs(known)}`"
        )


def _place_by_transforms(pan: Grid, ms: Grid, ratio: int | None) -> Placement:
    back = ~pan.transform
    t = ms.transform
    # MS pixel coordinates to PAN pixel coordinates: x = a·col + b·row + c, y = d·col + e·row + f
    a, b = back.a * t.a + back.b * t.d, back.a * t.b + back.b * t.e
    d, e = back.d * t.a + back.e * t.d, back.d * t.b + back.e * t.e
    c, f = back.a * t.c + back.b * t.f + back.c, back.d * t.c + back.e * t.f + back.f
    sizes = f"PAN is {pan}, MS {ms}"
    if abs(b) * ms.height > DRIFT or abs(d) * ms.width > DRIFT or a <= 0 or e <= 0:
        _refuse_turned(pan, ms, sizes, (a, b, d, e))
    if max(a, e) < 0.99:
        raise GridMismatch(
            f"PAN is coarser than MS: {sizes}; are the two files swapped? PAN comes first"
        )
    whole = round((a + e) / 2)
    drifts = abs(a - whole) * ms.width, abs(e - whole) * ms.height
    if max(drifts) > DRIFT or whole < 1:
        raise GridMismatch(_explain_ratio(sizes, e, a, pan, by_transform=True))
    # what drift there is, half of it goes to each side
    row, col = f + (e - whole) * ms.height / 2, c + (a - whole) * ms.width / 2
    _check_overlap(pan, ms, row, col, whole)
    if whole == 1:
        return _place_resampled(ratio, sizes, row, col)
    if ratio is not None and ratio != whole:
        raise GridMismatch(
            f"`ratio` says {ratio} and the files' transforms {whole}: {sizes}; leave `ratio` out"
        )
    return Placement(Nesting(whole, round(row, 6), round(col, 6)), False)


def _refuse_turned(
    pan: Grid, ms: Grid, sizes: str, linear: tuple[float, float, float, float]
) -> None:
    a, b, d, e = linear
    if a * e - b * d < 0:
        what = "one of the two is mirrored (stored from south to north, or from east to west)"
    else:
        turn = abs(math.degrees(math.atan2(d - b, a + e)))
        what = f"MS is turned by {turn:.3g}° against PAN"
        if turn < 1e-6:
            what = "their pixels are sheared differently"
    raise GridMismatch(
        f"{what}: {sizes}; warp the MS to PAN's rows and columns first, with gdalwarp, keeping "
        "its pixel size"
    )


def _check_overlap(pan: Grid, ms: Grid, row: float, col: float, ratio: int) -> None:
    rows = min(pan.height, row + ratio * ms.height) - max(0, row)
    cols = min(pan.width, col + ratio * ms.width) - max(0, col)
    if rows <= 0 or cols <= 0:
        raise GridMismatch(
            f"PAN and MS do not overlap: PAN covers {_bounds(pan)}, MS {_bounds(ms)} "
            f"({short_crs(pan.crs)}); check that they are of the same scene"
        )


def _place_by_sizes(pan: Grid, ms: Grid, ratio: int | None) -> Placement:
    sizes = f"PAN is {pan.height}×{pan.width} px, MS {ms.height}×{ms.width} px"
    rows, cols = pan.height / ms.height, pan.width / ms.width
    if rows == cols == 1:
        return _place_resampled(ratio, sizes, 0.0, 0.0)
    if rows <= 1 and cols <= 1:
        raise GridMismatch(
            f"PAN is coarser than MS: {sizes}; are the two files swapped? PAN comes first"
        )
    if ratio is None:
        if rows != cols or rows != int(rows):
            raise GridMismatch(_explain_ratio(sizes, rows, cols, pan, by_transform=False))
        return Placement(Nesting(int(rows)), False)
    apart = abs(pan.height - ratio * ms.height), abs(pan.width - ratio * ms.width)
    if max(apart) >= 2 * ratio:
        raise GridMismatch(
            f"`ratio` says {ratio} and the sizes do not: {sizes}, {rows:.4g} times as many rows "
            f"and {cols:.4g} times as many columns; give files of one extent, or the true ratio"
        )
    notes = () if not any(apart) else ("the upper left corners of PAN and MS were taken as one",)
    return Placement(Nesting(ratio), False, notes)


def _place_resampled(ratio: int | None, sizes: str, row: float, col: float) -> Placement:
    if ratio is None:
        raise GridMismatch(
            f"MS already has PAN's pixel size: {sizes}; state `ratio`, how many times coarser it "
            "was before it was resampled (4 for most satellites, 2 for Landsat), or give the "
            "original MS"
        )
    note = (
        f"MS already has PAN's pixel size; it was taken for an image resampled from {ratio} times "
        "coarser pixels, and brought back to those"
    )
    return Placement(Nesting(ratio, round(row, 6), round(col, 6)), True, (note,))


def _explain_ratio(sizes: str, rows: float, cols: float, pan: Grid, *, by_transform: bool) -> str:
    if abs(rows - cols) > 1e-3 * max(rows, cols):
        found = f"an MS pixel is {rows:.5g} PAN pixels high and {cols:.5g} wide"
    else:
        found = f"an MS pixel is {(rows + cols) / 2:.5g} PAN pixels wide"
    near = max(round((rows + cols) / 2), 2)
    text = f"the ratio is no whole number: {found} ({sizes}); "
    if not by_transform:
        if max(abs(rows - near), abs(cols - near)) < 0.05:
            return text + f"if both begin at the same corner of ground, state `ratio={near}`"
        return text + "give files of one extent, or georeferenced ones"
    width, height = pan.pixel_size
    return text + (
        f"warp the MS to {near} PAN pixels first: "
        f"gdalwarp -tr {width * near:.10g} {height * near:.10g} -r cubic MS OUT"
    )


def _guess_ratio(pan: Grid, ms: Grid) -> str:
    rows, cols = pan.height / ms.height, pan.width / ms.width
    return f" (sizes say {round(rows)})" if round(rows) == round(cols) >= 2 else ""


def _bounds(grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"
