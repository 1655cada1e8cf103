"""The parcels of a simulated scene: one function a kind, lengths in metres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bandweave.data.simulation.canvas import SUN_AZIMUTH, Layout, plant_bushes, plant_trees
from bandweave.data.simulation.noise import smooth_field


@dataclass(frozen=True)
class Parcel:
    """One Voronoi cell: its P fine pixels, in the order in which NumPy finds them.

    rows, cols  (P,) int      on the layout
    y, x        (P,) float    metres from the layout's corner
    edge        (P,) float    metres to the parcel's border
    rough       (P,) float    lumps of some metres; mean 0, variance about 1
    centre      (2,) float    y, x
    """

    layout: Layout
    rng: np.random.Generator
    rows: np.ndarray
    cols: np.ndarray
    y: np.ndarray
    x: np.ndarray
    edge: np.ndarray
    rough: np.ndarray
    centre: np.ndarray

    def paint(
        self,
        where: np.ndarray | slice,
        cover: str,
        material: str,
        height: float | np.ndarray,
        gain: float | np.ndarray = 1.0,
        thing: int | None = None,
    ) -> None:
        """`Layout.paint` on the parcel's pixels `where`."""
        at = self.rows[where], self.cols[where]
        self.layout.paint(at, cover, material, height, gain, thing)

    def spots(self, spacing: float) -> tuple[np.ndarray, np.ndarray]:
        """Random points y, x: one for each `spacing` square metres."""
        count = int(len(self.y) * self.layout.step**2 / spacing)
        chosen = self.rng.integers(0, len(self.y), count)
        return self.y[chosen], self.x[chosen]


def fill_parcel(
    layout: Layout,
    rng: np.random.Generator,
    kind: str,
    centre: np.ndarray,
    box: tuple[slice, slice],
    inside: np.ndarray,
    border: np.ndarray,
) -> None:
    """Paint a parcel: the pixels `inside` (h, w) of the layout's `box`, by its kind."""
    row, col = np.nonzero(inside)
    rows, cols = row + box[0].start, col + box[1].start
    extent = inside.shape[0] * layout.step, inside.shape[1] * layout.step
    coarse = smooth_field(rng, extent, 9.0, inside.shape)
    fine = smooth_field(rng, extent, 2.5, inside.shape)
    parcel = Parcel(
        layout,
        rng,
        rows,
        cols,
        (rows + 0.5) * layout.step,
        (cols + 0.5) * layout.step,
        border[inside],
        (0.8 * coarse + 0.6 * fine)[inside],
        centre,
    )
    _FILL[kind](parcel)
    if kind not in BUILT:
        hedge = (parcel.edge < 1.6) & (parcel.rough > -0.5)
        parcel.paint(hedge, "shrubs", "shrub", 1.8 + 0.5 * parcel.rough[hedge])


def _meadow(parcel: Parcel) -> None:
    parcel.paint(ALL, "grass", "grass", 0.1 + 0.1 * np.clip(parcel.rough, -1, 2))
    plant_trees(parcel.layout, parcel.rng, *parcel.spots(1500), (1.8, 5.0))


def _park(parcel: Parcel) -> None:
    parcel.paint(ALL, "grass", "grass", 0.1)
    parcel.paint(np.abs(parcel.rough) < 0.06, "pavement", "concrete", 0.0)
    plant_bushes(parcel.layout, parcel.rng, *parcel.spots(160))
    plant_trees(parcel.layout, parcel.rng, *parcel.spots(110), (1.8, 5.0))


def _crops(parcel: Parcel) -> None:
    """Rows of plants, with soil between them where they are young."""
    rng, rough = parcel.rng, parcel.rough
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2.4, 5.0)
    row = np.sin(2 * np.pi * (parcel.x * np.cos(angle) + parcel.y * np.sin(angle)) / pitch)
    field = parcel.layout.things
    parcel.paint(ALL, "crops", "crop", rng.uniform(0.3, 1.6) + 0.15 * rough, 1 + 0.05 * row)
    bare = row + 0.5 * rough > rng.uniform(0.6, 1.3)
    parcel.paint(bare, "crops", "soil", 0.1, thing=field)


def _fallow(parcel: Parcel) -> None:
    rough, field = parcel.rough, parcel.layout.things
    parcel.paint(ALL, "bare soil", "soil", 0.05 + 0.1 * np.abs(rough), 1 + 0.04 * rough)
    parcel.paint(rough > 1.25, "bare soil", "grass", 0.2, thing=field)  # weeds


def _forest(parcel: Parcel) -> None:
    parcel.paint(ALL, "shrubs", "shrub", 0.7 + 0.2 * parcel.rough, 0.8)
    plant_trees(parcel.layout, parcel.rng, *parcel.spots(11), (1.8, 4.6))


def _scrub(parcel: Parcel) -> None:
    parcel.paint(ALL, "grass", "grass", 0.15)
    bush = parcel.rough > -0.35
    lumps = parcel.rough[bush]
    tall = 0.8 + 0.7 * np.clip(lumps + 0.4, 0, 2)
    parcel.paint(bush, "shrubs", "shrub", tall, 0.94 + 0.05 * lumps)
    plant_trees(parcel.layout, parcel.rng, *parcel.spots(500), (1.5, 3.5))


def _houses(parcel: Parcel) -> None:
    """Gardens with small houses, most of them under pitched roofs of tiles."""
    rng, angle = parcel.rng, parcel.rng.uniform(0, np.pi / 2)
    parcel.paint(ALL, "grass", "grass", 0.05)
    lots = _lots(parcel, angle, (19.0, 22.0), (9.0, 14.0), (8.0, 11.0))
    beside = np.abs(lots.u - lots.half[lots.number, 0] + 2) < 1.6
    parcel.paint(beside & (lots.v > 0) & (parcel.edge > 3), "pavement", "concrete", 0.0)
    parcel.paint(parcel.rough > 1.7, "bare soil", "soil", 0.05)
    for number, mine in _buildings(parcel, lots):
        draw, eaves = rng.random(), rng.uniform(2.6, 7.0)
        if draw < 0.08:
            continue
        if draw < 0.24:
            material = rng.choice(["bitumen", "gravel"])
            parcel.paint(mine, "flat roof", material, eaves, rng.uniform(0.9, 1.1))
            continue
        ridge = eaves + 0.7 * (lots.half[number, 1] - np.abs(lots.v[mine]))
        # the side towards the sun is brighter: v grows to the south, turned by `angle`
        facing = np.cos(SUN_AZIMUTH - np.pi + angle) * np.sign(lots.v[mine])
        parcel.paint(mine, "tiled roof", "tile", ridge, 1 + 0.22 * facing)
    plant_trees(parcel.layout, rng, *parcel.spots(230), (1.6, 4.2))


def _works(parcel: Parcel) -> None:
    """Paved yards with halls."""
    rng, rough = parcel.rng, parcel.rough
    angle = rng.uniform(0, np.pi / 2)
    parcel.paint(ALL, "grass", "grass", 0.05)
    lots = _lots(parcel, angle, (37.0, 30.0), (19.0, 30.0), (13.0, 21.0))
    yard = parcel.edge > 5.0
    light = (rng.random(len(lots.half)) < 0.5)[lots.number]
    for cover, material, which in (("asphalt", "asphalt", ~light), ("pavement", "concrete", light)):
        ground = yard & which
        parcel.paint(ground, cover, material, 0.0, 1 + 0.03 * rough[ground])
    parcel.paint(yard & (rough > 1.5), "bare soil", "soil", 0.05)
    for _, mine in _buildings(parcel, lots):
        if rng.random() < 0.1:
            continue
        material = rng.choice(["bitumen", "gravel", "metal", "tile"], p=[0.4, 0.32, 0.18, 0.1])
        cover = "tiled roof" if material == "tile" else "flat roof"
        gain = rng.uniform(0.88, 1.1) + 0.02 * rough[mine]
        parcel.paint(mine, cover, material, rng.uniform(4.0, 13.0), gain)


@dataclass(frozen=True)
class _Lots:
    """Lots in rows: each pixel's lot, its place (m) from the lot's building, half its sides."""

    number: np.ndarray  # (P,)
    u: np.ndarray  # (P,)
    v: np.ndarray  # (P,)
    half: np.ndarray  # (lots, 2)


def _lots(
    parcel: Parcel,
    angle: float,
    pitch: tuple[float, float],
    length: tuple[float, float],
    width: tuple[float, float],
) -> _Lots:
    y, x = parcel.y - parcel.centre[0], parcel.x - parcel.centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    column, line = np.floor(along / pitch[0]).astype(int), np.floor(across / pitch[1]).astype(int)
    keys, lot = np.unique(column * 4096 + line, return_inverse=True)
    half = np.stack([parcel.rng.uniform(*side, len(keys)) / 2 for side in (length, width)], axis=1)
    room = np.clip(np.array(pitch) / 2 - half - 1.5, 0, None)
    shift = parcel.rng.uniform(-1, 1, (len(keys), 2)) * room
    u = along - (column + 0.5) * pitch[0] - shift[lot, 0]
    v = across - (line + 0.5) * pitch[1] - shift[lot, 1]
    return _Lots(lot, u, v, half)


def _buildings(parcel: Parcel, lots: _Lots) -> Iterator[tuple[int, np.ndarray]]:
    """The lots whose building stands whole, off the street: number, and the building's pixels."""
    half = lots.half[lots.number]
    pixels = np.flatnonzero((np.abs(lots.u) < half[:, 0]) & (np.abs(lots.v) < half[:, 1]))
    order = pixels[np.argsort(lots.number[pixels], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(lots.number[order])) + 1):
        if mine.size:
            number = lots.number[mine[0]]
            area = mine.size * parcel.layout.step**2
            if area > 0.93 * 4 * lots.half[number].prod() and parcel.edge[mine].min() > 6.5:
                yield number, mine


ALL = slice(None)
BUILT = ("houses", "works")
_FILL: dict[str, Callable[[Parcel], None]] = {
    "houses": _houses,
    "works": _works,
    "meadow": _meadow,
    "park": _park,
    "crops": _crops,
    "fallow": _fallow,
    "forest": _forest,
    "scrub": _scrub,
}
# Shuffled copies of this list are dealt to the cells, so that all kinds stand in every region.
PARCELS = (
    "houses", "meadow", "crops", "works", "forest",
    "houses", "fallow", "scrub", "park", "works",
)  # fmt: skip
