"""The layout of a simulated scene: fields, streets, houses, trees, a river.

Ground comes first; what is drawn later lies over it. All lengths are metres.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from bandweave.data.simulation.canvas import COVERS, FINE, Layout, cast_shadow, plant_trees
from bandweave.data.simulation.noise import generator, smooth_field
from bandweave.data.simulation.parcels import BUILT, PARCELS, fill_parcel
from bandweave.data.simulation.spectra import MATERIALS


def lay_out(seed: int, part: int, height: int, width: int, pixel: float) -> Layout:
    """Draw a place of height×width scene pixels of `pixel` metres."""
    layout = Layout((height * FINE, width * FINE), pixel / FINE)
    rng = generator(seed, part, "layout")
    rows, cols = layout.extent
    size = float(np.clip(np.sqrt(rows * cols) / 7, 30.0, 85.0))
    cells, border, kinds, centres = _parcels(layout, rng, size)
    for number, box in enumerate(ndimage.find_objects(cells + 1, len(centres))):
        if box is not None:
            inside = cells[box] == number
            fill_parcel(layout, rng, kinds[number], centres[number], box, inside, border[box])
    _roads(layout, rng, cells, border, np.isin(kinds, BUILT))
    _river(layout, rng)
    _main_road(layout, rng)
    _cars(layout, rng)
    _lone_trees(layout, rng)
    layout.shade = cast_shadow(layout.height, layout.step)
    return layout


def _parcels(layout: Layout, rng: np.random.Generator, size: float) -> tuple:
    """Voronoi cells: number (h, w), distance to the cell's edge (h, w), kinds, centres (n, 2)."""
    rows, cols = layout.extent
    lattice = np.stack(
        np.meshgrid(np.arange(-1, rows / size + 1), np.arange(-1, cols / size + 1), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    centres = (lattice + 0.5 + rng.uniform(-0.36, 0.36, lattice.shape)) * size
    deals = -(-len(centres) // len(PARCELS))
    kinds = np.concatenate([rng.permutation(PARCELS) for _ in range(deals)])[: len(centres)]

    bend = [smooth_field(rng, layout.extent, 70.0, layout.shape) * 5.0 for _ in range(2)]
    y = (np.arange(layout.shape[0], dtype=np.float32)[:, None] + 0.5) * layout.step + bend[0]
    x = (np.arange(layout.shape[1], dtype=np.float32)[None, :] + 0.5) * layout.step + bend[1]
    cells, border = np.empty(layout.shape, np.int32), np.empty(layout.shape, np.float32)
    tree = cKDTree(centres)
    for row in range(layout.shape[0]):  # of a large layout, all at once would take gigabytes
        distance, nearest = tree.query(np.stack([y[row], x[row]], -1), k=2)
        apart = np.linalg.norm(centres[nearest[:, 0]] - centres[nearest[:, 1]], axis=1)
        cells[row] = nearest[:, 0]
        border[row] = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart)
    return cells, border, kinds, centres


def _roads(
    layout: Layout,
    rng: np.random.Generator,
    cells: np.ndarray,
    border: np.ndarray,
    built: np.ndarray,
) -> None:
    """Streets along the edges of built-up cells, with a pavement on the side of the houses."""
    street = ndimage.maximum_filter(built[cells].astype(np.uint8), int(9 / layout.step)) > 0
    walk = street & (border >= 3.4) & (border < 5.4) & built[cells]
    layout.paint((walk,), "pavement", "concrete", 0.0)
    _pave(layout, rng, street & (border < 3.4))


def _pave(layout: Layout, rng: np.random.Generator, where: np.ndarray) -> None:
    """Asphalt, in stretches of different age."""
    stretch = smooth_field(rng, layout.extent, 45.0, layout.shape)
    for piece in (where & (stretch < -0.3), where & (stretch >= -0.3)):
        layout.paint((piece,), "asphalt", "asphalt", 0.0)


def _river(layout: Layout, rng: np.random.Generator) -> None:
    rows, cols = layout.extent
    y = (np.arange(layout.shape[0]) + 0.5)[:, None] * layout.step
    x = (np.arange(layout.shape[1]) + 0.5)[None, :] * layout.step
    wave = rng.uniform(180, 320)
    course = rows * (rng.uniform(0.3, 0.7) + rng.uniform(-0.15, 0.15) * (x / cols - 0.5))
    course = course + min(30.0, rows / 10) * np.sin(2 * np.pi * (x / wave + rng.random()))
    ripple = 2.0 * smooth_field(rng, layout.extent, 22.0, layout.shape)
    off = np.abs(y - course) + ripple
    half = min(rng.uniform(9, 13), rows / 14)
    bank = (off < half + 3.5) & (off >= half)
    layout.paint((bank,), "grass", "grass", 0.2)
    reeds = bank & (smooth_field(rng, layout.extent, 14.0, layout.shape) > 0.2)
    layout.paint((reeds,), "shrubs", "shrub", 1.4)
    layout.paint((off < half,), "water", "water", 0.0)


def _main_road(layout: Layout, rng: np.random.Generator) -> None:
    """A wide road from north to south, on a bridge over the river."""
    rows, cols = layout.extent
    y = (np.arange(layout.shape[0]) + 0.5)[:, None] * layout.step
    x = (np.arange(layout.shape[1]) + 0.5)[None, :] * layout.step
    course = cols * (rng.uniform(0.35, 0.65) + rng.uniform(-0.25, 0.25) * (y / rows - 0.5))
    off = np.abs(x - course)
    half = min(6.0, cols / 16)
    water = (layout.cover == COVERS.index("water")) & (off < half + 1.0)
    ramp = ndimage.gaussian_filter1d(water.any(axis=1).astype(float), 10 / layout.step, axis=0)
    deck = np.broadcast_to((5.0 * np.clip(1.6 * ramp, 0, 1))[:, None], layout.shape)
    verge = (off < half + 3) & (off >= half) & (layout.cover != COVERS.index("water"))
    layout.paint((verge,), "grass", "grass", 0.1)
    road = off < half
    _pave(layout, rng, road)
    layout.height[road] = deck[road]


def _cars(layout: Layout, rng: np.random.Generator) -> None:
    """Vehicles on asphalt: seen, in the way, and of the class of the ground they stand on."""
    asphalt = np.flatnonzero(layout.cover == COVERS.index("asphalt"))
    if not asphalt.size:
        return
    spots = rng.choice(asphalt, int(asphalt.size * layout.step**2 / 130))
    for row, col in zip(*np.unravel_index(spots, layout.shape), strict=True):
        long, wide = (int(4.4 / layout.step), int(1.9 / layout.step))
        if rng.random() < 0.5:
            long, wide = wide, long
        box = slice(row, row + long), slice(col, col + wide)
        if (layout.cover[box] == COVERS.index("asphalt")).all():
            layout.material[box] = MATERIALS.index(rng.choice(["metal", "paint"]))
            layout.height[box] += 1.5
            layout.gain[box] = rng.uniform(0.4, 1.3)


def _lone_trees(layout: Layout, rng: np.random.Generator) -> None:
    """Street trees, whose crowns hang over what is below."""
    rows, cols = layout.extent
    number = int(rows * cols / 1500)
    y, x = rng.uniform(0, rows, number), rng.uniform(0, cols, number)
    row, col = (y / layout.step).astype(int), (x / layout.step).astype(int)
    open_ground = np.isin(layout.cover[row, col], [COVERS.index("grass"), COVERS.index("pavement")])
    plant_trees(layout, rng, y[open_ground], x[open_ground], (1.8, 4.0))
