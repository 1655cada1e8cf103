"""A sharp image, written window by window.

The next windows are read, by a classical method also computed, while one is written; memory holds a
few, whatever the scene.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import numpy as np

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import split_key
from bandweave.pansharp.options import SharpenOptions
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.sensors import Sensor, counted_names
from bandweave.pansharp.sharpener import Sharpener
from bandweave.pansharp.storage import Storage
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window
from bandweave.raster.open import PathLike
from bandweave.raster.writing.described import BandFacts, read_band_facts, read_tags
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import MapWriter, RasterForm
from bandweave.training.progress import Progress

TAG = "BANDWEAVE_"


def write_sharp(
    pair: Pair,
    sharpener: Sharpener,
    out: PathLike,
    files: Mapping[str, Sequence[PathLike]],
    *,
    sensor: Sensor,
    made_by: Mapping[str, str],
    options: SharpenOptions,
) -> None:
    """Fit a sharpener to a pair and write what it makes of it.

    The bands keep the type, scale, offset, unit, colour and tags of the MS file's. Holes are nodata
    where the MS type has a value for it, else masked.

    files    that were read, of PAN and of MS; the image never takes their place
    sensor   names bands that have no name in the file
    made_by  what made the image; it is written as tags BANDWEAVE_…, and so are the files

    Raises ConfigError for a window that holds no MS pixel.
    """
    window = options.window
    if window < pair.ratio:
        raise ConfigError(f"window is {window} px; it must hold an MS pixel, {pair.ratio} px")
    named = {key: ", ".join(os.fspath(path) for path in paths) for key, paths in files.items()}
    facts, tags = _describe(pair, sensor, {**made_by, **named})
    inputs = [os.fspath(split_key(file)[0]) for paths in files.values() for file in paths]
    outputs = OutputSet(overwrite=options.overwrite, inputs=inputs)
    outputs.check(out)
    storage, places = Storage.of(pair), list(pair.grid.window.divide(window))
    half = pair.grid.height * pair.grid.width
    progress = Progress("sharpening, px", 2 * half, quiet=options.quiet)

    def read(place: Window) -> PairWindow:
        return pair.read(place, sharpener.margin)

    def read_all() -> Iterator[PairWindow]:
        for seen in map_ordered(read, places):
            yield seen
            progress.advance(count=seen.window.height * seen.window.width)

    def make(seen: PairWindow) -> tuple[np.ndarray, np.ndarray]:
        valid = seen.valid[seen.core]
        return storage.encode(sharpener.apply(seen)[:, *seen.core], valid), valid

    with outputs, progress:
        sharpener.fit(read_all())
        progress.advance(count=half - progress.done)
        made = map_ordered(lambda place: make(read(place)), places)
        if sharpener.single_threaded:
            made = (make(seen) for seen in map_ordered(read, places))
        anything = False
        with MapWriter(
            out,
            pair.grid,
            RasterForm(
                bands=pair.bands,
                dtype=storage.dtype,
                nodata=storage.nodata,
                overviews="average",
                facts=facts,
                tags=tags,
                masked=storage.nodata is None,
            ),
            outputs=outputs,
        ) as writer:
            for place, (values, valid) in zip(places, made, strict=True):
                writer.write(place, values, valid)
                anything |= bool(valid.any())
                progress.advance(count=place.height * place.width)
            if not anything:
                raise FileError("PAN and MS have no valid pixel in common: there is nothing to do")


def _describe(
    pair: Pair, sensor: Sensor, made_by: Mapping[str, str]
) -> tuple[list[BandFacts], dict[str, str]]:
    """What the written file says of its bands, and of itself: what MS says, and what made it.

    Bands without a name in the file have the sensor's.
    """
    unnamed = sensor.name != "generic" and counted_names(pair.names)
    facts = read_band_facts(pair.ms, sensor.bands if unnamed else pair.names)
    kept = {key: value for key, value in read_tags(pair.ms).items() if not key.startswith(TAG)}
    made = {"version": version("bandweave"), "sensor": sensor.name, "ratio": str(pair.ratio)}
    ours = {f"{TAG}{key.upper()}": value for key, value in {**made, **made_by}.items()}
    return facts, {**kept, "TIFFTAG_SOFTWARE": f"bandweave {version('bandweave')}", **ours}
