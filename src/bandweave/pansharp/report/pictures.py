"""Pictures of a sharpening report: strips at one stretch, errors at one scale, spectra.

The stretch of a strip is the truth's in its region, or at full resolution that of the MS; PAN, of
another unit, has its own. Errors are root mean squares over the bands.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from bandweave.pansharp.scores.samples import Sample
from bandweave.pansharp.sensors import Sensor
from bandweave.raster.grid import Window
from bandweave.report.curves import INK, LINE, RULE, SECOND, TEXT, draw
from bandweave.report.pictures import NO_DATA, Picture, photograph, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = ((228, 87, 46), (59, 126, 166))  # around the crops, in the pictures of the whole region
FRAME_COLOURS = tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in FRAMES)
INTERPOLATED = "MS, bicubic"
LINES = (LINE, SECOND, "#2a9d8f", "#a06cc8")  # of the methods that a drawing tells apart
SHARE = 95  # percentile of the errors of all methods that is the end of their scale


@dataclass(frozen=True)
class Spectrum:
    """A pixel, and the drawing of what each method made of its bands."""

    title: str
    caption: str
    drawing: str


@dataclass(frozen=True)
class Plate:
    """All pictures of a sample.

    whole     the region: PAN, MS, truth
    crops     a strip of each crop: PAN, MS, methods, truth
    png       the strips in one picture, for a paper or a slide
    errors    a map of each method; empty at full resolution
    limit     of the scale of the errors, in units of the bands
    spectra   of chosen pixels; empty at full resolution
    legend    names and colours of the lines of `spectra`
    """

    sample: Sample
    words: str
    whole: list[Picture]
    crops: list[list[Picture]]
    png: bytes
    errors: list[Picture]
    limit: float
    spectra: list[Spectrum]
    legend: list[tuple[str, str]]


def draw_plate(sample: Sample, captions: Mapping[str, str], leaders: Sequence[str]) -> Plate:
    """Draw a sample.

    captions  what stands under the name of a method
    leaders   methods, the best first, whose spectra have colours of their own
    """
    bands, words = shown_bands(sample.facts.sensor)
    reference = sample.ms if sample.truth is None else sample.truth
    _, ranges = photograph(np.where(sample.valid, reference, np.nan)[bands])
    _, pan_range = photograph(np.where(sample.valid, sample.pan, np.nan)[None])

    def shown(image: np.ndarray, at: Window | None = None) -> np.ndarray:
        seen = np.where(sample.valid, image, np.nan)
        chosen, stretch = (seen[None], pan_range) if image.ndim == 2 else (seen[bands], ranges)
        return photograph(chosen if at is None else chosen[:, *at.slices()], stretch)[0]

    layers: dict[str, np.ndarray] = {"PAN": sample.pan, INTERPOLATED: sample.ms}
    truth = {} if sample.truth is None else {"truth": sample.truth}
    methods = {name: image for name, image in sample.images.items() if name != "bicubic"}
    if "bicubic" in captions:
        captions = {**captions, INTERPOLATED: captions["bicubic"]}
    whole = [
        picture(name, "", framed(shown(image), sample.crops))
        for name, image in (layers | truth).items()
    ]
    strips = [
        {name: shown(image, at) for name, image in (layers | methods | truth).items()}
        for at in sample.crops
    ]
    crops = [
        [picture(name, captions.get(name, ""), rgba) for name, rgba in strip.items()]
        for strip in strips
    ]
    errors, limit = _errors(sample, captions)
    return Plate(
        sample,
        words,
        whole,
        crops,
        _strip_png(strips, captions),
        errors,
        limit,
        _spectra(sample, leaders),
        _legend(sample, leaders),
    )


def shown_bands(sensor: Sensor) -> tuple[list[int], str]:
    """Bands shown as red, green and blue, and how to say so; one where there are fewer than three.

    >>> from bandweave.pansharp.sensors import find_sensor
    >>> shown_bands(find_sensor("worldview-2", 8))
    ([4, 2, 1], 'red, green and blue')
    """
    names = list(sensor.bands)
    if {"red", "green", "blue"} <= set(names):
        return [names.index(name) for name in ("red", "green", "blue")], "red, green and blue"
    if len(names) < 3:
        return [0], names[0]
    return [2, 1, 0], f"{names[2]}, {names[1]} and {names[0]} as red, green and blue"


def framed(rgba: np.ndarray, crops: Sequence[Window]) -> np.ndarray:
    """The picture with a line of two pixels around each crop."""
    rgba = rgba.copy()
    for window, colour in zip(crops, FRAMES, strict=False):
        box = rgba[window.slices()][..., :3]
        for edge in (box[:2], box[-2:], box[:, :2], box[:, -2:]):
            edge[...] = colour
    return rgba


# Errors ------------------------------------------------------------------------------------------


def _errors(sample: Sample, captions: Mapping[str, str]) -> tuple[list[Picture], float]:
    if sample.truth is None or not sample.valid.any():
        return [], 0.0
    maps = {
        name: np.sqrt(((image - sample.truth) ** 2).mean(axis=0))
        for name, image in sample.images.items()
    }
    limit = float(np.percentile(np.stack(list(maps.values()))[:, sample.valid], SHARE))
    pictures = []
    for name, values in maps.items():
        rgba = _error_map()(np.clip(values / max(limit, 1e-12), 0, 1), bytes=True)
        rgba[~sample.valid, :3] = NO_DATA
        pictures.append(picture(name, captions.get(name, ""), rgba))
    return pictures, limit


def error_ramp(steps: int = 9) -> list[str]:
    """Colours of the error maps, '#rrggbb', from 0 to their limit."""
    table = _error_map()(np.linspace(0, 1, steps), bytes=True)
    return ["#" + "".join(f"{int(value):02x}" for value in row[:3]) for row in table]


def _error_map() -> Any:
    from matplotlib import colormaps

    return colormaps["magma"]


# Spectra -----------------------------------------------------------------------------------------


def chosen_pixels(sample: Sample) -> dict[str, tuple[int, int]]:
    """Row and column in the region of pixels that are easily spoilt, and of an ordinary one.

    The brightest and the darkest; the one nearest to the median of each band; the greenest of those
    that are not dark, where the sensor has red and near infrared; the one on PAN's strongest edge.
    """
    assert sample.truth is not None
    values = sample.truth[:, sample.valid].astype(np.float64)  # (C, n)
    places = np.argwhere(sample.valid)
    level = values.mean(axis=0)
    spread = np.maximum(values.std(axis=1, keepdims=True), 1e-12)
    away = (((values - np.median(values, axis=1, keepdims=True)) / spread) ** 2).sum(axis=0)
    edge = ndimage.gaussian_gradient_magnitude(sample.pan.astype(np.float64), 1)[sample.valid]
    found = {"bright": level.argmax(), "dark": level.argmin(), "median": away.argmin()}
    found["edge"] = edge.argmax()
    names = sample.facts.sensor.bands
    nir = next((name for name in names if name.startswith("nir")), None)
    if nir is not None and "red" in names:
        red_value, nir_value = values[names.index("red")], values[names.index(nir)]
        index = (nir_value - red_value) / np.maximum(nir_value + red_value, 1e-12)
        found["vegetation"] = np.where(level >= np.percentile(level, 25), index, -2).argmax()
    return {name: (int(places[i][0]), int(places[i][1])) for name, i in found.items()}


def _spectra(sample: Sample, leaders: Sequence[str]) -> list[Spectrum]:
    if sample.truth is None or len(sample.truth) < 2 or not sample.valid.any():
        return []
    return [
        Spectrum(
            name,
            f"row {sample.place.row + row}, column {sample.place.col + col}",
            _drawn(sample, name, (row, col), leaders),
        )
        for name, (row, col) in chosen_pixels(sample).items()
    ]


def _drawn(sample: Sample, name: str, at: tuple[int, int], leaders: Sequence[str]) -> str:
    assert sample.truth is not None
    truth, colours = sample.truth, dict(zip(leaders, LINES, strict=False))
    names = sample.facts.sensor.bands
    numbers = np.arange(1, len(truth) + 1)

    def plot(axes: Axes) -> None:
        for method, image in sample.images.items():
            if method not in colours:
                axes.plot(numbers, image[:, *at], color=RULE, linewidth=1)
        for method, colour in reversed(colours.items()):
            axes.plot(numbers, sample.images[method][:, *at], color=colour, linewidth=1.5)
        axes.plot(numbers, sample.ms[:, *at], color=TEXT, linewidth=1.3, linestyle="--")
        axes.plot(numbers, truth[:, *at], color=INK, linewidth=2.2, marker="o", markersize=3.5)
        axes.set_xticks(numbers, names if len(names) <= 6 else numbers.astype(str))

    return draw(f"{sample.facts.name} {name}", plot, (4.4, 2.5))


def _legend(sample: Sample, leaders: Sequence[str]) -> list[tuple[str, str]]:
    lines = [("truth", "var(--ink)"), (f"{INTERPOLATED} (dashed)", "var(--soft)")]
    for method, colour in zip(leaders, LINES, strict=False):
        page = {LINE: "var(--accent)", SECOND: "var(--second)"}.get(colour, colour)
        lines.append((method, page))
    if len(sample.images) > len(lines) - 2:
        lines.append(("other methods", "var(--rule)"))
    return lines


# Strips in one picture ---------------------------------------------------------------------------


def _strip_png(strips: Sequence[Mapping[str, np.ndarray]], captions: Mapping[str, str]) -> bytes:
    from matplotlib.figure import Figure

    number = len(strips[0])
    figure = Figure(figsize=(1.5 * number, 1.5 * len(strips) + 0.45))
    grid = figure.subplots(len(strips), number, squeeze=False)
    figure.subplots_adjust(
        left=0.003, right=0.997, bottom=0.01, top=1 - 0.42 / figure.get_figheight(),
        wspace=0.03, hspace=0.03,
    )  # fmt: skip
    for line, strip in zip(grid, strips, strict=True):
        for axes, rgba in zip(line, strip.values(), strict=True):
            axes.imshow(rgba, interpolation="nearest")
            axes.set_axis_off()
    for axes, name in zip(grid[0], strips[0], strict=True):
        axes.set_title(f"{name}\n{captions.get(name, '')}", fontsize=8, pad=3)
    file = io.BytesIO()
    nothing: Any = {"Software": None}
    figure.savefig(file, format="png", dpi=160, metadata=nothing)
    return file.getvalue()
