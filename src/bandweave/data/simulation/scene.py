"""A simulated scene: a small town and its fields, by a hyperspectral sensor and a laser scanner.

Height and spectrum are each ambiguous alone: bitumen roofs are asphalt in the air, fired tiles look
like bare soil, shrubs and crops like trees; trees stand as high as houses. Every pixel is a linear
mixture of what lies in it (16 points), in sun and in cast shadow; materials drift over the scene
and differ from object to object, so that pixels near each other are more alike than their class is.
"""

from __future__ import annotations

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.data.scene import IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.simulation.canvas import COVERS, FINE, Layout
from bandweave.data.simulation.layout import lay_out
from bandweave.data.simulation.noise import generator, smooth_field
from bandweave.data.simulation.spectra import MATERIALS, skylight, snr, spectra, wavelengths
from bandweave.errors import ConfigError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid
from bandweave.raster.source import BandInfo

COLORS = (
    "#8fd14f", "#d9c84a", "#5f9e3a", "#1b6e28", "#a9743f", "#2f6fd6",
    "#5a5a66", "#c9c4bd", "#d2452b", "#9b5fc0",
)  # fmt: skip
RGB_NM = np.array([640.0, 550.0, 470.0])
DRIFT_SCALE = 110.0  # metres over which the materials of a scene change
PURE = 0.55  # a pixel is labelled where its class fills at least this share of it


def simulated_scene(
    seed: int = 0,
    height: int = 256,
    width: int = 320,
    bands: int = 72,
    *,
    pixel: float = 2.0,
    parts: int = 1,
    rgb: int = 0,
    labelled: float = 0.35,
) -> Scene:
    """Simulate a scene with the layers `hsi` (reflectance) and `lidar` (height above ground, m).

    The same arguments give the same scene; `bands`, `rgb` and `labelled` change nothing else.

    seed           what to simulate
    height, width  of a part, in pixels
    bands          of `hsi`, 400 to 2450 nm without the atmosphere's water-vapour bands
    pixel          side of a pixel in metres
    parts          how many places, each with a layout of its own
    rgb            2 or 4 adds a layer `rgb` (uint8) with pixels so many times finer; 0 none
    labelled       share of pixels with a label, in compact pieces that are numbered as objects;
                   the rest is unlabelled, and so is each pixel that no class fills to 55 %; 1.0
                   labels every pixel with the class that fills most of it: the complete truth

    The scene has 10 classes (codes 1 to 10) in UTM 32N.

    >>> scene = simulated_scene(seed=1, height=48, width=64, bands=64)
    >>> {name: layer.bands for name, layer in scene.layers.items()}
    {'hsi': 64, 'lidar': 1}
    """
    _check(height, width, bands, pixel, parts, rgb, labelled)
    places = [
        _simulate_part(seed, number, height, width, bands, pixel, rgb, labelled)
        for number in range(parts)
    ]
    arguments = f"seed={seed}, height={height}, width={width}, bands={bands}, pixel={pixel:g}"
    arguments += f", parts={parts}, rgb={rgb}, labelled={labelled:g}"
    return Scene(
        name=f"simulated-{seed}",
        parts=tuple(
            Part("simulated" if parts == 1 else f"place_{i + 1}", *place)
            for i, place in enumerate(places)
        ),
        reference="hsi",
        classes=tuple(
            ClassInfo(code, name, color)
            for code, (name, color) in enumerate(zip(COVERS, COLORS, strict=True), 1)
        ),
        origin=f"simulated_scene({arguments})",
        notes=["simulated: no pixel was measured"],
    )


def _check(
    height: int, width: int, bands: int, pixel: float, parts: int, rgb: int, labelled: float
) -> None:
    if min(height, width) < 16:
        raise ConfigError(f"a simulated scene of {height}×{width} px: no side may be less than 16")
    if bands < 1 or parts < 1:
        raise ConfigError(f"bands={bands}, parts={parts}: both must be at least 1")
    if not 0.5 <= pixel <= 10:
        raise ConfigError(f"pixel={pixel:g} m: must lie between 0.5 and 10")
    if rgb not in (0, 2, 4):
        raise ConfigError(f"rgb={rgb}: must be 0 (no such layer), 2 or 4 (times finer)")
    if not 0 < labelled <= 1:
        raise ConfigError(f"labelled={labelled:g}: must be a share of the pixels, above 0, up to 1")


def _simulate_part(
    seed: int,
    part: int,
    height: int,
    width: int,
    bands: int,
    pixel: float,
    rgb: int,
    labelled: float,
) -> tuple[Grid, dict[str, Layer], Labels]:
    layout = lay_out(seed, part, height, width, pixel)
    east = 676_000.0 + part * (width * pixel + 500.0)
    grid = Grid(height, width, Affine(pixel, 0, east, 0, -pixel, 5_338_000.0), CRS.from_epsg(32632))
    nm = wavelengths(bands)
    hsi = _observe(layout, seed, part, nm, 1, "hsi")
    info = BandInfo(wavelengths=tuple(float(value) for value in nm), units="reflectance")
    layers = {
        "hsi": Layer(ArraySource(hsi, grid, info=info)),
        "lidar": Layer(
            ArraySource(
                _scan_height(layout, seed, part), grid, info=BandInfo(units="m", names=("height",))
            )
        ),
    }
    if rgb:
        seen = np.clip(_observe(layout, seed, part, RGB_NM, rgb, "rgb") / 0.45, 0, 1)
        photo = np.round(255 * seen**0.6).astype(np.uint8)  # as a camera file: brightened darks
        rgb_info = BandInfo(units="digital number", names=("red", "green", "blue"))
        layers["rgb"] = Layer(ArraySource(photo, grid.finer(rgb), info=rgb_info), rgb)
    return grid, layers, _label(layout, seed, part, labelled)


def _observe(
    layout: Layout, seed: int, part: int, nm: np.ndarray, ratio: int, sensor: str
) -> np.ndarray:
    """Observe as a sensor (bands, h, w) with pixels `ratio` times finer than the scene's."""
    basis = spectra(nm).reshape(-1, len(nm)).T.astype(np.float32)  # (bands, materials · 3)
    share = _shares(layout, seed, part, FINE // ratio)  # (2, materials, 3, h, w): sun and shadow
    shape = share.shape[-2:]
    smooth = generator(seed, part, "drift")
    grain = generator(seed, part, f"grain {sensor}")
    for index in range(len(MATERIALS)):
        for variation in (1, 2):
            drift = smooth_field(smooth, layout.extent, DRIFT_SCALE, shape)
            local = 0.7 * drift + 0.45 * grain.standard_normal(shape, np.float32)
            share[:, index, variation] += share[:, index, 0] * local
    light = 1 + 0.07 * smooth_field(
        generator(seed, part, "light"), layout.extent, 2 * DRIFT_SCALE, shape
    )
    sun, shadow = share.reshape(2, -1, shape[0] * shape[1])
    cube = np.empty((len(nm), *shape), np.float32)
    noise = generator(seed, part, f"noise {sensor}")
    for band, (sky, ratio_to_noise) in enumerate(zip(skylight(nm), snr(nm), strict=True)):
        seen = (basis[band] @ sun + float(sky) * (basis[band] @ shadow)).reshape(shape)
        seen = np.maximum(seen * light, 0.002)
        deviation = float(0.3 / ratio_to_noise) * np.sqrt(0.25 + seen * 2.5)
        cube[band] = seen + deviation * noise.standard_normal(shape, np.float32)
    return cube


def _shares(layout: Layout, seed: int, part: int, block: int) -> np.ndarray:
    """Shares of the materials in each block×block fine pixels: (2, materials, 3, h, w) float32.

    First in the sun, then in shadow. [..., 0] is the share times its brightness; 1 and 2 are the
    same times the object's own variations.
    """
    tones = generator(seed, part, "tones").standard_normal((layout.things, 2)).astype(np.float32)
    h, w = (side // block for side in layout.shape)
    kinds = len(MATERIALS)
    out = np.empty((2, kinds, 3, h, w), np.float32)
    for row in range(h):  # a line at a time: the fine grid of a large scene is large
        lines = slice(row * block, (row + 1) * block)
        column = np.arange(layout.shape[1]) // block
        kind = layout.material[lines] + kinds * layout.shade[lines]
        index = (kind * w + column).ravel()
        gain = layout.gain[lines].ravel() / block**2
        tone = tones[layout.thing[lines].ravel()]
        for variation, weight in enumerate((gain, gain * tone[:, 0], gain * tone[:, 1])):
            total = np.bincount(index, weight, 2 * kinds * w)
            out[:, :, variation, row] = total.reshape(2, kinds, w)
    return out


def _scan_height(layout: Layout, seed: int, part: int) -> np.ndarray:
    """Height above ground as a laser scanner grids it: (1, h, w) float32, metres."""
    height = _blocks(layout.height).mean(axis=-1)
    rng = generator(seed, part, "lidar")
    leaves = _blocks(layout.cover == COVERS.index("trees")).mean(axis=-1)
    terrain = 0.18 * smooth_field(rng, layout.extent, 40.0, height.shape)
    spread = 0.12 + 0.6 * leaves  # pulses get through crowns
    noisy = height + terrain + spread * rng.standard_normal(height.shape)
    return noisy.astype(np.float32)[None]


def _blocks(fine: np.ndarray) -> np.ndarray:
    """The FINE² fine pixels of each pixel: (h, w, FINE²)."""
    h, w = (side // FINE for side in fine.shape)
    return fine.reshape(h, FINE, w, FINE).swapaxes(1, 2).reshape(h, w, FINE**2)


def _label(layout: Layout, seed: int, part: int, labelled: float) -> Labels:
    covers = _blocks(layout.cover)
    count = np.stack([(covers == index).sum(axis=-1) for index in range(len(COVERS))])
    truth, purity = count.argmax(axis=0), count.max(axis=0) / FINE**2
    middle = (FINE // 2) * FINE + FINE // 2
    thing = _blocks(layout.thing)[..., middle]
    pieces = _pieces(thing, truth, generator(seed, part, "pieces"))
    if labelled == 1:
        return Labels(truth.astype(np.int16), 1, pieces.astype(np.int32))
    chosen = _choose(pieces, truth, purity >= PURE, labelled, generator(seed, part, "labels"))
    numbers = np.zeros(pieces.max() + 1, np.int32)
    kept = np.unique(pieces[chosen])
    numbers[kept] = np.arange(1, len(kept) + 1)
    return Labels(
        np.where(chosen, truth, IGNORED).astype(np.int16), 1, np.where(chosen, numbers[pieces], 0)
    )


def _pieces(thing: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Number (h, w), from 1, of compact one-class pieces: whole things, large ones cut up."""
    size = 13  # pixels
    rows, cols = (np.arange(n)[:, None] for n in truth.shape)
    shift = rng.uniform(0, size, 2)
    row = rows + 3 * np.sin((cols.T + shift[1]) / 7) + shift[0]
    col = cols.T + 3 * np.sin((rows + shift[0]) / 7) + shift[1]
    tile = np.floor(row / size) * 100_003 + np.floor(col / size)
    grown = np.isin(truth, [COVERS.index("trees"), COVERS.index("shrubs")])
    owner = np.where(grown, -1, thing)  # crowns of a stand are one
    keys = np.stack([tile.ravel(), owner.ravel(), truth.ravel()])
    return np.unique(keys, axis=1, return_inverse=True)[1].reshape(truth.shape) + 1


def _choose(
    pieces: np.ndarray,
    truth: np.ndarray,
    pure: np.ndarray,
    labelled: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Pixels (h, w) bool of random pieces, the same share of every class, rare ones more."""
    sizes = np.bincount(pieces[pure], minlength=pieces.max() + 1)
    owner = np.zeros(pieces.max() + 1, int)
    owner[pieces] = truth
    totals = np.bincount(truth.ravel(), minlength=len(COVERS))
    wanted = _quotas(totals * 1.0, np.bincount(truth[pure], minlength=len(COVERS)), labelled)
    chosen = np.zeros(len(sizes), bool)
    for index in range(len(COVERS)):
        mine = rng.permutation(np.nonzero((sizes >= 4) & (owner == index))[0])
        chosen[mine[np.cumsum(sizes[mine]) - sizes[mine] < wanted[index]]] = True
    return chosen[pieces] & pure


def _quotas(totals: np.ndarray, available: np.ndarray, labelled: float) -> np.ndarray:
    """Pixels to label of each class: in proportion to the root of its area, as far as there are."""
    room = available.astype(float)
    wanted, open_ = np.zeros(len(totals)), totals > 0
    weight = np.sqrt(totals)
    for _ in range(len(totals)):
        left = labelled * totals.sum() - wanted[~open_].sum()
        if not open_.any() or left <= 0:
            break
        wanted[open_] = left * weight[open_] / weight[open_].sum()
        full = open_ & (wanted >= room)
        if not full.any():
            break
        wanted[full], open_ = room[full], open_ & ~full
    return wanted
