"""A sharp multispectral file from a panchromatic and a multispectral one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bandweave.errors import ConfigError
from bandweave.pansharp.classical.methods import find_method
from bandweave.pansharp.options import SharpenOptions
from bandweave.pansharp.pair.files import list_ms_files
from bandweave.pansharp.pair.open import open_ms, open_pair
from bandweave.pansharp.pair.registration import register_pair
from bandweave.pansharp.pair.survey import tell_of_pair
from bandweave.pansharp.sensors import find_sensor
from bandweave.pansharp.sharpener import Sharpener
from bandweave.pansharp.writing import write_sharp
from bandweave.raster.open import PathLike

if TYPE_CHECKING:
    from bandweave.models.contract import ZeroShot  # with torch, which most do without
    from bandweave.pansharp.run import SharpenRun

DEFAULT = "gsa"
DEFAULT_ZERO_SHOT: ZeroShot = "ms as pan"  # led on every pair: plans/landsat7-zero-shot.yaml


def sharpen(
    pan: PathLike,
    ms: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    method: str | None = None,
    run: PathLike | None = None,
    options: SharpenOptions | None = None,
    **given: Any,
) -> Path:
    """Sharpen an MS file by a PAN file of the same ground; returns the file written.

    The result is a cloud-optimised GeoTIFF on PAN's grid, cropped to the MS pixels that lie wholly
    on it, with the MS file's bands, type, scale, offset, units, colours, tags and nodata. Integers
    are rounded and clipped to what their type holds. Where PAN or MS has a hole the result has one:
    nodata, or masked where integers have no value for it. What made it stands in the file's tags.

    pan      a file of one band, or FILE:KEY where a file holds several arrays
    ms       a file, or one file a band in the order wanted
    method   one of `CLASSICAL`; gsa where there is no run
    run      instead of a method, the folder of a run that `train_sharpener` trained
    options  of `SharpenOptions`; single ones may be given by name: `register=True`

    Raises GridMismatch where the files do not fit together, FileError for what cannot be read,
    ConfigError for an option that is impossible, RunError for a run that cannot be used,
    SceneMismatch for MS bands or a ratio that are not the run's, OutputError where the result
    cannot be written: then nothing is left behind, and what stood there stays.
    """
    asked = SharpenOptions.choose(options, given)
    trained = None if run is None else open_run(run, method, asked.sensor)
    classical = find_method(method or DEFAULT) if trained is None else None
    pair = open_pair(pan, ms, asked)
    if trained is not None:
        trained.check(pair)
    sensor = find_sensor(
        asked.sensor if trained is None else trained.config.sensor, pair.names, pair.ratio
    )
    tell_of_pair(pair, sensor)
    pair, shift = register_pair(pair, correct=asked.register)
    if classical is not None:
        sharpener: Sharpener = classical(pair, sensor)
        made_by = {"method": method or DEFAULT}
    elif trained is not None:
        from bandweave.pansharp.trained import Trained

        trained.warn_of(pair, asked.register)
        sharpener = Trained(trained, pair)
        made_by = {"method": trained.config.name, "run": str(run)}
    made_by |= shift.tags(corrected=asked.register)
    files = {"pan": [pan], "ms": list_ms_files(ms)}
    write_sharp(pair, sharpener, out, files, sensor=sensor, made_by=made_by, options=asked)
    return Path(out)


def super_resolve(
    ms: PathLike | Sequence[PathLike],
    out: PathLike,
    run: PathLike,
    *,
    zero_shot: ZeroShot = DEFAULT_ZERO_SHOT,
    options: SharpenOptions | None = None,
    **given: Any,
) -> Path:
    """Sharpen an MS file alone by a run that was trained with PAN; returns the file written.

    The result has the run's ratio times as many pixels along each side; else it is as `sharpen`
    makes it.

    zero_shot  'ms as pan': the mean of the bands, interpolated, is taken for PAN, which scored
               best wherever it was measured;
               'ms stream': PAN's stream is left out, and zero where the model's tail takes both;
               'ms twice': left out, and the tail takes the MS stream in both places
    options    as those of `sharpen`, but `ratio` and `register`; a window is of the result's pixels

    Raises the errors of `sharpen`.
    """
    from bandweave.models.contract import ZeroShot
    from bandweave.pansharp.trained import Trained

    asked = SharpenOptions.choose(options, given)
    if zero_shot not in get_args(ZeroShot):
        raise ConfigError(
            f"zero_shot is {zero_shot!r}; it is one of {', '.join(get_args(ZeroShot))}"
        )
    if asked.register or asked.ratio is not None:
        raise ConfigError("`register` and `ratio` say nothing without PAN; leave them out")
    trained = open_run(run, sensor=asked.sensor)
    pair = open_ms(ms, trained.ratio, asked)
    trained.check(pair)
    sensor = find_sensor(trained.config.sensor, pair.names, pair.ratio)
    tell_of_pair(pair, sensor, with_pan=False)
    trained.warn_of(pair, register=True, with_pan=False)
    sharpener = Trained(trained, pair, zero_shot=zero_shot)
    made_by = {"method": f"{trained.config.name}, {zero_shot}", "run": os.fspath(run)}
    files = {"ms": list_ms_files(ms)}
    write_sharp(pair, sharpener, out, files, sensor=sensor, made_by=made_by, options=asked)
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
