"""A simulated PAN and MS pair whose sharp MS image is known.

Fields, roofs and trees with the spectra of `bandweave.data.simulation.spectra` are drawn with PAN's
pixels; that is the truth. PAN is a weighted sum of its bands, and MS the truth degraded as a sensor
does, at any phase.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine
from scipy.spatial import cKDTree

from bandweave.data.simulation.noise import generator, smooth_field
from bandweave.data.simulation.spectra import MATERIALS, spectra
from bandweave.errors import ConfigError, OutputError
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.resample import degrade
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.writing.outputs import OutputSet
from bandweave.raster.writing.raster import MapWriter, RasterForm

GAIN = 0.3  # of the MS bands at their Nyquist frequency
BANDS = {  # nanometres; the first so many, in the order of WorldView-2's
    "blue": 478.0, "green": 546.0, "red": 659.0, "nir": 831.0,
    "coastal": 427.0, "yellow": 608.0, "red edge": 724.0, "nir 2": 908.0,
}  # fmt: skip
PAN_RANGE = (450.0, 800.0)  # nanometres
FIELDS = ("grass", "crop", "soil", "shrub", "asphalt", "crop", "water", "soil")
THINGS = ("tile", "bitumen", "concrete", "gravel", "metal", "tree")
LARGEST = {"uint8": 255, "uint16": 2047, "uint32": 2047, "int16": 10_000}  # digital numbers
METRES = 0.5  # a PAN pixel's side


@dataclass(frozen=True)
class SimulatedPair:
    """Files of a simulated pair, and what it was made by.

    pan, ms, truth   paths: (1, H, W), (C, h, w) and (C, H, W)
    nesting          of MS on PAN
    weights          (C,): PAN is the sum of the truth's bands with these
    gains            (C,): of the MS bands at their Nyquist frequency
    """

    pan: Path
    ms: Path
    truth: Path
    nesting: Nesting
    weights: tuple[float, ...]
    gains: tuple[float, ...]


def simulated_pair(
    folder: str | os.PathLike[str],
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    ratio: int = 4,
    bands: int = 4,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    dtype: str = "uint16",
    crs: str | None = "EPSG:32632",
) -> SimulatedPair:
    """Write `pan.tif`, `ms.tif` and `truth.tif` into a folder, which is made where it is missing.

    Args:
        folder: where to.
        seed: what to simulate; the same arguments give the same files.
        size: rows and columns of PAN.
        ratio: PAN pixels an MS pixel is wide, from 2.
        bands: 1 to 8: blue, green, red, NIR, and those of WorldView-2 between them.
        offset: where MS begins, in PAN pixels down and right of PAN's corner.
        dtype: uint8, uint16 and uint32 (11 bits), int16 or float32 (reflectance).
        crs: of all three; None leaves out the transform too.

    Raises ConfigError for impossible arguments, OutputError where a file cannot be written.
    """
    height, width = size
    if ratio < 2 or not 1 <= bands <= len(BANDS) or min(size) < 4 * ratio:
        raise ConfigError(
            f"ratio={ratio}, bands={bands}, size={height}×{width}: the ratio is 2 or more, bands "
            f"are 1 to {len(BANDS)}, and the sides {4 * ratio} PAN pixels or more at this ratio"
        )
    if dtype not in (*LARGEST, "float32"):
        raise ConfigError(f"dtype={dtype!r}: it is one of {', '.join(LARGEST)}, float32")
    names = list(BANDS)[:bands]
    nm = np.array([BANDS[name] for name in names])
    inside = (nm >= PAN_RANGE[0]) & (nm <= PAN_RANGE[1])
    weights = np.where(inside, 1.0, 0.0 if inside.any() else 1.0)
    weights /= weights.sum()
    gains = (GAIN,) * bands

    around = 3 * ratio + max(int(abs(value)) + 1 for value in offset)  # so that no edge is seen
    wide = _reflectance(seed, (height + 2 * around, width + 2 * around), nm)
    truth = wide[:, around:-around, around:-around]
    pan = np.tensordot(weights.astype(np.float32), truth, 1)[None]
    h, w = (int((n - max(v, 0)) // ratio) for n, v in zip(size, offset, strict=True))
    nesting = Nesting(ratio, *offset)
    ms = degrade(wide, nesting.move(around, around), (h, w), gains)

    pan_grid = Grid(height, width, PIXELS)
    ms_grid = Grid(h, w, PIXELS)
    if crs is not None:
        left, top, coarse = 676_000.0, 5_338_000.0, METRES * ratio
        known = CRS.from_user_input(crs)
        x, y = left + offset[1] * METRES, top - offset[0] * METRES
        pan_grid = Grid(height, width, Affine(METRES, 0, left, 0, -METRES, top), known)
        ms_grid = Grid(h, w, Affine(coarse, 0, x, 0, -coarse, y), known)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from error
    paths = folder / "pan.tif", folder / "ms.tif", folder / "truth.tif"
    with OutputSet() as outputs:
        for path, values, grid, labels in zip(
            paths,
            (pan, ms, truth),
            (pan_grid, ms_grid, pan_grid),
            (["panchromatic"], names, names),
            strict=True,
        ):
            writer = MapWriter(
                path,
                grid,
                RasterForm(bands=len(values), dtype=dtype, overviews="average", names=labels),
                outputs=outputs,
            )
            writer.write(grid.window, _stored(values, dtype))
    return SimulatedPair(*paths, nesting, tuple(weights.tolist()), gains)


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float32":
        return values
    return np.clip(np.round(values / 0.7 * LARGEST[dtype]), 1, LARGEST[dtype]).astype(dtype)


def _reflectance(seed: int, shape: tuple[int, int], nm: np.ndarray) -> np.ndarray:
    """The scene, (bands, h, w) float32: every pixel of one material, each thing of its own tone."""
    rng = generator(seed, 0, "pair")
    h, w = shape
    extent = float(h), float(w)
    rows, cols = np.mgrid[:h, :w].astype(np.float32)
    bend = [6 * smooth_field(rng, extent, 40.0, shape) for _ in range(2)]
    centres = rng.uniform(0, 1, (max(h * w // 3000, 4), 2)) * extent
    spots = np.stack([rows + bend[0], cols + bend[1]], axis=-1)
    field = cKDTree(centres).query(spots.reshape(-1, 2))[1].reshape(shape)
    material = rng.choice([MATERIALS.index(name) for name in FIELDS], len(centres))[field]
    thing, number = field.astype(np.int64), len(centres)
    shade = np.zeros(shape, bool)
    for number in range(len(centres), len(centres) + h * w // 250):
        name = rng.choice(THINGS)
        row, col, angle = rng.uniform(0, h), rng.uniform(0, w), rng.uniform(0, np.pi)
        half = rng.uniform(1.5, 9, 2) if name != "tree" else np.full(2, rng.uniform(1.5, 5))
        reach = int(np.ceil(np.hypot(*half))) + 4
        box = (
            slice(max(int(row) - reach, 0), int(row) + reach + 1),
            slice(max(int(col) - reach, 0), int(col) + reach + 1),
        )
        y, x = rows[box] - row, cols[box] - col
        for away, is_shade in ((2.0, True), (0.0, False)):
            u = (x - away) * np.cos(angle) + (y - away) * np.sin(angle)
            v = (y - away) * np.cos(angle) - (x - away) * np.sin(angle)
            hit = (np.abs(u) < half[0]) & (np.abs(v) < half[1])
            if name == "tree":
                hit = u**2 + v**2 < half[0] ** 2
            if is_shade:
                shade[box][hit] = True
            else:
                material[box][hit], thing[box][hit] = MATERIALS.index(name), number
                shade[box][hit] = False
    basis = spectra(nm).astype(np.float32)  # (materials, 3, bands)
    tones = 0.6 * rng.standard_normal((number + 1, 2)).astype(np.float32)
    grain = 0.4 * rng.standard_normal((2, *shape)).astype(np.float32)
    tone = tones[thing].transpose(2, 0, 1) + grain
    tone += 0.5 * np.stack([smooth_field(rng, extent, 12.0, shape) for _ in range(2)])
    light = np.where(shade, np.float32(0.35), np.float32(1))
    out = np.empty((len(nm), *shape), np.float32)
    for band in range(len(nm)):
        mean, one, other = (basis[:, i, band][material] for i in range(3))
        out[band] = np.maximum(mean + one * tone[0] + other * tone[1], 0.002) * light
    return out
