"""The ground of a simulated scene while it is painted, with crowns and shadows.

All is drawn in metres on a fine grid, `FINE` times finer than the scene's pixels, so that pixels on
edges come out mixed when it is averaged. Later layers paint over earlier ones.

    cover     (h, w) uint8    class, index into COVERS
    material  (h, w) uint8    what is seen from above, index into MATERIALS
    thing     (h, w) int32    number of the field, house, tree, ... that the pixel belongs to
    height    (h, w) float32  above ground, metres
    gain      (h, w) float32  brightness relative to flat ground in the sun
    shade     (h, w) bool     in cast shadow
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bandweave.data.simulation.spectra import MATERIALS

FINE = 4
COVERS = (
    "grass", "crops", "shrubs", "trees", "bare soil", "water",
    "asphalt", "pavement", "tiled roof", "flat roof",
)  # fmt: skip
SUN_AZIMUTH, SUN_ELEVATION = np.deg2rad(155.0), np.deg2rad(54.0)


@dataclass
class Layout:
    """The truth of one place, being painted."""

    shape: tuple[int, int]
    step: float  # metres a fine pixel
    cover: np.ndarray = field(init=False)
    material: np.ndarray = field(init=False)
    thing: np.ndarray = field(init=False)
    height: np.ndarray = field(init=False)
    gain: np.ndarray = field(init=False)
    shade: np.ndarray = field(init=False)
    things: int = 1

    def __post_init__(self) -> None:
        self.cover = np.zeros(self.shape, np.uint8)
        self.material = np.zeros(self.shape, np.uint8)
        self.thing = np.zeros(self.shape, np.int32)
        self.height = np.full(self.shape, 0.05, np.float32)
        self.gain = np.ones(self.shape, np.float32)
        self.shade = np.zeros(self.shape, bool)

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in metres."""
        return self.shape[0] * self.step, self.shape[1] * self.step

    def paint(
        self,
        where: tuple,
        cover: str,
        material: str,
        height: float | np.ndarray,
        gain: float | np.ndarray = 1.0,
        thing: int | None = None,
    ) -> None:
        """Put one thing (a new number unless given) on the fine pixels indexed by `where`."""
        if thing is None:
            thing = self.things
            self.things += 1
        self.cover[where] = COVERS.index(cover)
        self.material[where] = MATERIALS.index(material)
        self.height[where] = height
        self.gain[where] = gain
        self.thing[where] = thing


def cast_shadow(height: np.ndarray, step: float) -> np.ndarray:
    """Pixels (h, w) bool that the sun does not reach: something towards it stands higher."""
    reach = int((height.max() - height.min()) / np.tan(SUN_ELEVATION) / step)
    shade = np.zeros(height.shape, bool)
    for distance in range(1, reach + 1):
        # towards the sun: rows grow to the south, columns to the east
        down = round(-np.cos(SUN_AZIMUTH) * distance)
        right = round(np.sin(SUN_AZIMUTH) * distance)
        rise = distance * step * np.tan(SUN_ELEVATION)
        near = height[: max(height.shape[0] - down, 0), : max(height.shape[1] - right, 0)]
        far = height[down:, right:]
        shade[: near.shape[0], : near.shape[1]] |= far - rise > near + 0.3
    return shade


def plant_trees(
    layout: Layout, rng, y: np.ndarray, x: np.ndarray, radii: tuple[float, float]
) -> None:
    """Round crowns, the higher over the lower, brighter towards the sun."""
    stand = rng.uniform(0.75, 1.25)
    for cy, cx in zip(y, x, strict=True):
        radius = rng.uniform(*radii)
        top = (1.5 + 2.6 * radius) * stand * rng.uniform(0.8, 1.2)
        place, dy, dx = _disc(layout, cy, cx, radius)
        if place is None:
            continue
        near = (dy**2 + dx**2) / radius**2
        lump = 1 + 0.12 * rng.standard_normal(near.shape)
        dome = top * (1 - 0.55 * near) * lump
        here = (near < 0.8 + 0.2 * lump) & (dome > layout.height[place])
        where = tuple(axis[here] for axis in np.mgrid[place])
        sunny = (np.sin(SUN_AZIMUTH) * dx - np.cos(SUN_AZIMUTH) * dy) / radius
        layout.paint(where, "trees", "tree", dome[here], (0.92 + 0.22 * sunny * lump)[here])


def plant_bushes(layout: Layout, rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> None:
    for cy, cx in zip(y, x, strict=True):
        radius = rng.uniform(0.9, 2.6)
        place, dy, dx = _disc(layout, cy, cx, radius)
        if place is None:
            continue
        here = (dy**2 + dx**2 < radius**2) & (layout.height[place] < 1.0)
        where = tuple(axis[here] for axis in np.mgrid[place])
        layout.paint(where, "shrubs", "shrub", rng.uniform(0.8, 2.6), rng.uniform(0.85, 1.05))


def _disc(layout: Layout, cy: float, cx: float, radius: float) -> tuple:
    """The fine pixels around a point: slices and offsets in metres; None where there are none."""
    lines = [
        slice(max(int((c - radius) / layout.step), 0), min(int((c + radius) / layout.step) + 2, n))
        for c, n in zip((cy, cx), layout.shape, strict=True)
    ]
    if any(line.stop <= line.start for line in lines):
        return None, None, None
    dy = (np.arange(lines[0].start, lines[0].stop) + 0.5)[:, None] * layout.step - cy
    dx = (np.arange(lines[1].start, lines[1].stop) + 0.5)[None, :] * layout.step - cx
    return tuple(lines), dy, dx
