"""A sharp multispectral file from a panchromatic and a multispectral one, window by window.

A sharpener looks at all windows once, if it must (`fit`), and then makes each of them sharp. The
next windows are read (by a classical method also computed) while one is written; memory holds a
few, whatever the scene.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from rasterio.crs import CRS

from bandweave.errors import ConfigError, FileError
from bandweave.pansharp.classical.methods import find_method
from bandweave.pansharp.pair.pair import Pair, PathLike, open_ms, open_pair, split_key
from bandweave.pansharp.pair.registration import Shift, measure_shift, registered
from bandweave.pansharp.pair.survey import survey_pair
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.sensors import Sensor, counted_names, sensor_doubts, sensor_of
from bandweave.pansharp.sharpener import Sharpener
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window
from bandweave.raster.writing.described import read_band_facts, read_tags
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import MapWriter, RasterForm
from bandweave.training.progress import Progress

if TYPE_CHECKING:
    from bandweave.models.contract import ZeroShot  # with torch, which most do without
    from bandweave.pansharp.run import SharpenRun

log = logging.getLogger(__name__)

WINDOW = 1024  # PAN pixels
WORTH_MENTIONING = 0.25  # PAN pixels of misregistration
DEFAULT = "gsa"
TAG = "BANDWEAVE_"

DEFAULT_ZERO_SHOT: ZeroShot = (
    "ms as pan"  # led on every pair: benchmarks/plans/landsat7-zero-shot.yaml
)


def sharpen(
    pan: PathLike,
    ms: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    method: str | None = None,
    run: PathLike | None = None,
    sensor: str = "generic",
    register: bool = False,
    ratio: int | None = None,
    bands: Sequence[int] | None = None,
    crs: CRS | str | int | None = None,
    nodata: float | None = None,
    axis: int | None = None,
    window: int = WINDOW,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Sharpen an MS file by a PAN file of the same ground; returns the file written.

    The result is a cloud-optimised GeoTIFF on PAN's grid, cropped to the MS pixels that lie wholly
    on it, with the MS file's bands, type, scale, offset, units, colours, tags and nodata. Integers
    are rounded and clipped to what their type holds. Where PAN or MS has a hole the result has one:
    nodata, or masked where integers have no value for it. What made it stands in the file's tags.

    pan        a file of one band, or FILE:KEY where a file holds several arrays
    ms         a file, or one file a band in the order wanted
    method     one of `CLASSICAL`; gsa where there is no run
    run        instead of a method, the folder of a run that `train_sharpener` trained
    sensor     one of `SENSORS`: how sharp its bands are, and which of them PAN sees; a run has its
               own
    register   move MS by the misregistration that was measured; else it is only reported
    ratio      PAN pixels that an MS pixel is wide, where the files do not tell
    bands      numbers of the MS file's bands from 1; None is all
    crs        assigned where the files have none
    nodata     the value of a hole in both files, instead of the one they state
    axis       which axis of a 3-D MS array counts its bands (0, 1 or 2), where that is not clear
    window     PAN pixels at a time
    overwrite  a file that stands there may be replaced
    quiet      no progress

    Raises GridMismatch where the files do not fit together, FileError for what cannot be read,
    ConfigError for an option that is impossible, RunError for a run that cannot be used,
    SceneMismatch for MS bands or a ratio that are not the run's, OutputError where the result
    cannot be written: then nothing is left behind, and what stood there stays.
    """
    trained = None if run is None else open_run(run, method, sensor)
    classical = find_method(method or DEFAULT) if trained is None else None
    if trained is not None:
        sensor = trained.config.sensor
    pair = open_pair(pan, ms, ratio=ratio, crs=crs, nodata=nodata, ms_bands=bands, axis=axis)
    _check_window(window, pair.ratio)
    if trained is not None:
        trained.check(pair)
    known = sensor_of(sensor, pair.names)
    tell_of_pair(pair, known)
    pair, shift = register_pair(pair, correct=register)
    if classical is not None:
        sharpener: Sharpener = classical(pair, known)
        made_by = {"method": method or DEFAULT}
    elif trained is not None:
        from bandweave.pansharp.trained import Trained

        trained.warn_of(pair, register)
        sharpener = Trained(trained, pair)
        made_by = {"method": trained.config.name, "run": str(run)}
    tags = {**made_by, **_shift_tags(shift, register), **_sources(pan, ms)}
    outputs = OutputSet(overwrite=overwrite, inputs=_files(pan, ms))
    write_sharp(pair, sharpener, out, outputs, sensor=known, tags=tags, window=window, quiet=quiet)
    return Path(out)


def super_resolve(
    ms: PathLike | Sequence[PathLike],
    out: PathLike,
    run: PathLike,
    *,
    zero_shot: ZeroShot = DEFAULT_ZERO_SHOT,
    sensor: str = "generic",
    bands: Sequence[int] | None = None,
    crs: CRS | str | int | None = None,
    nodata: float | None = None,
    axis: int | None = None,
    window: int = WINDOW,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Sharpen an MS file alone by a run that was trained with PAN; returns the file written.

    The result has the run's ratio times as many pixels along each side; else it is as `sharpen`
    makes it.

    zero_shot   'ms as pan': the mean of the bands, interpolated, is taken for PAN, which scored
                best wherever it was measured;
                'ms stream': PAN's stream is left out, and zero where the model's tail takes both;
                'ms twice': left out, and the tail takes the MS stream in both places
    window      pixels of the result at a time

    The other options are those of `sharpen`, and so are the errors.
    """
    from bandweave.models.contract import ZeroShot
    from bandweave.pansharp.trained import Trained

    if zero_shot not in get_args(ZeroShot):
        raise ConfigError(
            f"zero_shot is {zero_shot!r}; it is one of {', '.join(get_args(ZeroShot))}"
        )
    trained = open_run(run, sensor=sensor)
    pair = open_ms(ms, trained.ratio, crs=crs, nodata=nodata, ms_bands=bands, axis=axis)
    _check_window(window, pair.ratio)
    trained.check(pair)
    known = sensor_of(trained.config.sensor, pair.names)
    tell_of_pair(pair, known, with_pan=False)
    trained.warn_of(pair, register=True, with_pan=False)
    sharpener = Trained(trained, pair, zero_shot=zero_shot)
    made_by = {"method": f"{trained.config.name}, {zero_shot}", "run": os.fspath(run)}
    tags = {**made_by, **_sources(None, ms)}
    outputs = OutputSet(overwrite=overwrite, inputs=_files(None, ms))
    write_sharp(pair, sharpener, out, outputs, sensor=known, tags=tags, window=window, quiet=quiet)
    return Path(out)


def open_run(run: PathLike, method: str | None = None, sensor: str = "generic") -> SharpenRun:
    """The run in a folder. Raises ConfigError for a method, or for another sensor, beside it."""
    if method is not None:
        raise ConfigError(f"method {method!r} and the run {run}: give one of the two")
    from bandweave.pansharp.run import SharpenRun

    trained = SharpenRun.open(run)
    if sensor not in ("generic", trained.config.sensor):
        raise ConfigError(
            f"sensor {sensor!r}: the run {run} was trained for {trained.config.sensor!r}; leave "
            f"the sensor out, or take another run"
        )
    return trained


def _check_window(window: int, ratio: int) -> None:
    """Raise ConfigError for a window without a whole MS pixel."""
    if window < ratio:
        raise ConfigError(f"window is {window} px; it must hold an MS pixel, {ratio} px")


def tell_of_pair(
    pair: Pair, sensor: Sensor, *, with_pan: bool = True, choosable: bool = True
) -> None:
    """Log what a user should know of a pair before it is sharpened.

    with_pan   there is a PAN to be looked at
    choosable  the user may leave bands out by `bands`

    Raises FileError for a PAN or for bands without a valid pixel.
    """
    for note in (*pair.notes, *(sensor.notes if with_pan else ())):
        log.info("%s", note)
    for doubt in sensor_doubts(sensor, pair.names, pair.ratio):
        log.warning("%s", doubt)
    for warning in survey_pair(pair, with_pan=with_pan, choosable=choosable):
        log.warning("%s", warning)


def register_pair(pair: Pair, *, correct: bool) -> tuple[Pair, Shift]:
    """Measure how far PAN and MS are off, say so, and correct it if asked."""
    shift = measure_shift(pair)
    if shift.measured and correct:
        log.info("%s; corrected", shift)
    elif max(abs(shift.row), abs(shift.col)) >= WORTH_MENTIONING:
        log.warning("%s; `register` corrects it", shift)
    else:
        log.info("%s", shift)
    if shift.varies:
        log.warning("%s", shift.doubt)
    return (registered(pair, shift) if correct else pair), shift


def _shift_tags(shift: Shift, register: bool) -> dict[str, str]:
    """The shift that was measured, in PAN pixels, and what was done about it."""
    if not shift.measured:
        return {"shift": "not measured"}
    return {
        "shift": f"{shift.row:.3f} down, {shift.col:.3f} right, in PAN pixels",
        "shift_varies": f"{shift.variation:.3f} PAN pixels over the scene",
        "registered": "yes" if register else "no",
    }


def _sources(pan: PathLike | None, ms: PathLike | Sequence[PathLike]) -> dict[str, str]:
    """The files that an image is made of."""
    found = {} if pan is None else {"pan": os.fspath(pan)}
    return {**found, "ms": ", ".join(os.fspath(path) for path in _paths(ms))}


def _paths(ms: PathLike | Sequence[PathLike]) -> Sequence[PathLike]:
    return [ms] if isinstance(ms, str | os.PathLike) else ms


def _files(pan: PathLike | None, ms: PathLike | Sequence[PathLike]) -> list[str]:
    """The files that are read, without their keys: an output never takes their place."""
    given = [*([] if pan is None else [pan]), *_paths(ms)]
    return [os.fspath(split_key(one, None)[0]) for one in given]


def write_sharp(
    pair: Pair,
    sharpener: Sharpener,
    out: PathLike,
    outputs: OutputSet,
    *,
    sensor: Sensor,
    tags: Mapping[str, str],
    window: int = WINDOW,
    quiet: bool = False,
) -> None:
    """Fit a sharpener to a pair and write what it makes of it.

    The bands keep the type, scale, offset, unit, colour and tags of the MS file's. Holes are nodata
    where the MS type has a value for it, else masked.

    outputs  what `out` becomes one of, and who says what it may replace
    sensor  names bands that have no name in the file
    tags    what the image was made by and of; they are written as BANDWEAVE_…
    """
    outputs.check(out)
    places = list(pair.grid.window.divide(window))
    dtype = written_type(pair.ms_dtype)

    def read(place: Window) -> PairWindow:
        return pair.read(place, sharpener.margin)

    passes = 2 * pair.grid.height * pair.grid.width
    with (
        outputs,
        Progress("sharpening, px", passes, quiet=quiet) as progress,
    ):

        def seen() -> Iterator[PairWindow]:
            for place, got in zip(places, map_ordered(read, places), strict=True):
                yield got
                progress.advance(count=place.height * place.width)

        sharpener.fit(seen())
        progress.advance(count=passes // 2 - progress.done)
        with MapWriter(
            out,
            pair.grid,
            RasterForm(
                bands=pair.bands,
                dtype=dtype,
                nodata=pair.nodata,
                overviews="average",
                facts=read_band_facts(pair.ms, _names(pair, sensor)),
                tags=_all_tags(pair, sensor, tags),
                masked=pair.nodata is None,
            ),
            outputs=outputs,
        ) as writer:

            def make(got: PairWindow) -> tuple[np.ndarray, np.ndarray]:
                rows, cols = got.core
                values = pair.encoded(sharpener.apply(got)[:, rows, cols])
                valid = got.valid[rows, cols]
                return stored(values, valid, dtype, pair.nodata), valid

            made = (
                map(make, map_ordered(read, places))
                if sharpener.single_threaded
                else map_ordered(lambda place: make(read(place)), places)
            )
            anything = False
            for place, (values, valid) in zip(places, made, strict=True):
                writer.write(place, values, valid)
                anything |= bool(valid.any())
                progress.advance(count=place.height * place.width)
            if not anything:
                raise FileError("PAN and MS have no valid pixel in common: there is nothing to do")


def written_type(dtype: np.dtype) -> np.dtype:
    """The type of what is written for an MS image: its own where GeoTIFF has it.

    >>> written_type(np.dtype(">u2")), written_type(np.dtype("f2")), written_type(np.dtype("?"))
    (dtype('uint16'), dtype('float32'), dtype('uint8'))
    """
    if dtype.kind == "b":
        return np.dtype("uint8")
    return np.dtype("float32") if dtype == np.float16 else dtype.newbyteorder("=")


def _names(pair: Pair, sensor: Sensor) -> Sequence[str]:
    """Of the bands: the files', or the sensor's where they have none."""
    if sensor.name == "generic" or not counted_names(pair.names):
        return pair.names
    return sensor.bands


def _all_tags(pair: Pair, sensor: Sensor, tags: Mapping[str, str]) -> dict[str, str]:
    """What the MS file says of itself, but who made it, and what made the image."""
    kept = {key: value for key, value in read_tags(pair.ms).items() if not key.startswith(TAG)}
    made = {"version": version("bandweave"), "sensor": sensor.name, "ratio": str(pair.ratio)}
    ours = {f"{TAG}{key.upper()}": value for key, value in {**made, **tags}.items()}
    return {**kept, "TIFFTAG_SOFTWARE": f"bandweave {version('bandweave')}", **ours}


def stored(
    values: np.ndarray, valid: np.ndarray, dtype: np.dtype, nodata: float | None
) -> np.ndarray:
    """Values (C, H, W) as their type holds them: integers rounded and clipped, holes nodata.

    Where a valid pixel would become nodata by chance it becomes the next number.

    >>> stored(np.array([[[-3.2, 0.4, 300]]]), np.ones((1, 3), bool), np.dtype("uint8"), 0)
    array([[[  1,   1, 255]]], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.where(valid, values, 0)
        # the largest float32 below a limit that float32 does not hold
        high = np.nextafter(np.float32(limits.max), np.float32(0))
        high = np.float32(limits.max) if int(np.float32(limits.max)) <= limits.max else high
        result = np.clip(np.rint(values), np.float32(limits.min), high).astype(dtype)
    else:
        result = values.astype(dtype)
    if nodata is None:
        result[:, ~valid] = 0
        return result
    if not np.isnan(nodata):
        clash = result == dtype.type(nodata)
        if clash.any():
            result[clash] = _neighbour(dtype, nodata)
    result[:, ~valid] = nodata
    return result


def _neighbour(dtype: np.dtype, nodata: float) -> np.generic:
    if dtype.kind in "iu":
        return dtype.type(int(nodata) + (1 if nodata < np.iinfo(dtype).max else -1))
    return np.nextafter(dtype.type(nodata), dtype.type(0 if nodata else 1))
