"""Pictures of simulated scenes, and the facts that captions are made of.

A picture is a square piece of a scene, of 7 to 64 px, brought to SIDE×SIDE. It is a composite of
three bands, principal or random components of all bands (as a model's learnt projection is at its
start), a height map, or a mixture of bands and height.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from bandweave.data.simulation.scene import simulated_scene

SIDE = 48  # px of a picture
CROPS = (7, 64)  # px of a scene
SCENE = {"height": 160, "width": 160, "bands": 36, "labelled": 1.0}
PIXELS = (1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 4.0)  # m
COMPOSITES = {  # nm of red, green and blue
    "true": (640, 550, 470),
    "false": (860, 640, 550),
    "shortwave": (2200, 1600, 660),
    "grey": (640, 640, 640),
}
KINDS = {  # the share of each among all pictures
    "true": 0.26, "false": 0.2, "shortwave": 0.05, "grey": 0.04, "components": 0.12,
    "projected": 0.07, "height": 0.1, "height projected": 0.08, "fused": 0.08,
}  # fmt: skip
FACTS = np.dtype(
    [
        ("kind", np.uint8),
        ("shares", np.float32, 10),  # of the classes
        ("centre", np.int8),  # class of the middle, -1 where several meet
        ("height", np.float32),  # m above ground: 95th percentile
        ("texture", np.float32),  # deviation of the brightness, by its mean
        ("side", np.float32),  # m
    ]
)


def draw(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 3, SIDE, SIDE) uint8 of the scene of that seed, and their FACTS."""
    rng = np.random.default_rng([seed, 7])
    scene = simulated_scene(seed, pixel=float(rng.choice(PIXELS)), **SCENE)
    (part,) = scene.parts
    cube, _ = part.layers["hsi"].source.read(part.grid.window)
    height = part.layers["lidar"].source.read(part.grid.window)[0][0]
    nm = np.array(part.layers["hsi"].source.info.wavelengths)
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    facts = np.zeros(count, FACTS)
    painter = Painter(cube, height, nm)
    names, shares = list(KINDS), np.array(list(KINDS.values()))
    for number in range(count):
        kind = int(rng.choice(len(names), p=shares / shares.sum()))
        box = _place(part.labels.values, rng)
        picture = painter.paint(names[kind], box, rng)
        images[number] = _resized(picture, rng)
        facts[number] = _describe(part, cube, height, box, kind)
    return images, facts


class Painter:
    """Paints pieces of one scene: (3, h, w) in 0..1."""

    def __init__(self, cube: np.ndarray, height: np.ndarray, nm: np.ndarray) -> None:
        flat = cube.reshape(len(cube), -1)
        mean, std = flat.mean(1)[:, None, None], flat.std(1)[:, None, None]
        self.cube, self.height = cube, height
        self.scaled = (cube - mean) / std
        self.tall = (height - height.mean()) / height.std()
        self.bands = {
            name: [int(np.abs(nm - each).argmin()) for each in wanted]
            for name, wanted in COMPOSITES.items()
        }
        self.ends = np.percentile(flat, [1, 99], axis=1)  # (2, bands)
        variances, vectors = np.linalg.eigh(np.cov(self.scaled.reshape(len(cube), -1)))
        axes = vectors[:, ::-1][:, :3].T / np.sqrt(variances[::-1][:3, None])
        largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
        self.components = axes * np.sign(largest)  # as FixedProjection turns them

    def paint(self, kind: str, box: tuple[slice, slice], rng: np.random.Generator) -> np.ndarray:
        here = (slice(None), *box)
        if kind in COMPOSITES:
            picture = self._composite(kind, here, rng)
        elif kind == "components":
            picture = _squashed(np.tensordot(self.components, self.scaled[here], 1))
        elif kind == "projected":
            picture = _squashed(self._projected(self.scaled[here], rng))
        elif kind == "height":
            grey = self.height[box] / rng.uniform(9, 22)
            picture = np.repeat(grey[None], 3, 0) if rng.random() < 0.5 else _ramp(grey)
        elif kind == "height projected":
            picture = _squashed(self._projected(self.tall[box][None], rng))
        else:  # fused
            picture = self._composite(str(rng.choice(["true", "false"])), here, rng)
            picture[rng.integers(3)] = self.height[box] / rng.uniform(9, 22)
            picture = picture[rng.permutation(3)]
        return np.clip(picture, 0, 1).astype(np.float32)

    def _composite(self, kind: str, here: tuple, rng: np.random.Generator) -> np.ndarray:
        bands = self.bands[kind]
        low, high = self.ends[:, bands, None, None]
        picture = (self.cube[here][bands] - low) / (high - low)
        return np.clip(picture * rng.uniform(0.8, 1.2), 0, 1) ** rng.uniform(0.55, 1.0)

    @staticmethod
    def _projected(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        weight = rng.normal(size=(3, len(values))) / np.sqrt(len(values))
        offset = rng.normal(0, 0.3, (3, 1, 1))
        return np.exp(rng.uniform(-0.7, 1.4)) * np.tensordot(weight, values, 1) + offset


def _squashed(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _ramp(grey: np.ndarray) -> np.ndarray:
    """Height in colours, from blue over green to red."""
    return np.stack([2 * grey - 0.6, 1.2 - np.abs(2.4 * grey - 1.2), 1 - 2 * grey])


def _place(labels: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """A piece around a pixel of a class that is drawn first, so that rare classes are seen."""
    rows, columns = np.nonzero(labels == rng.choice(np.unique(labels)))
    chosen = rng.integers(len(rows))
    side = int(np.exp(rng.uniform(np.log(CROPS[0]), np.log(CROPS[1] + 1))))
    start = [
        int(np.clip(middle - side // 2, 0, size - side))
        for middle, size in zip((rows[chosen], columns[chosen]), labels.shape, strict=True)
    ]
    return slice(start[0], start[0] + side), slice(start[1], start[1] + side)


def _resized(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """To SIDE×SIDE as a model resizes; turned or mirrored at random."""
    image = torch.from_numpy(np.ascontiguousarray(picture))[None]
    image = F.interpolate(image, (SIDE, SIDE), mode="bicubic", antialias=True)[0].clamp(0, 1)
    image = torch.rot90(image, int(rng.integers(4)), (1, 2))
    image = image.flip(2) if rng.random() < 0.5 else image
    return (image * 255).round().byte().numpy()


def _describe(part, cube, height, box, kind) -> tuple:
    labels = part.labels.values[box]
    side = labels.shape[0]
    middle = labels[side // 2 - 1 : side // 2 + 2, side // 2 - 1 : side // 2 + 2]
    centre = int(middle[1, 1])
    brightness = cube[(slice(None), *box)][:8].mean(0)  # visible bands
    return (
        kind,
        np.bincount(labels.ravel(), minlength=10) / labels.size,
        centre if (middle == centre).mean() > 0.7 else -1,
        float(np.percentile(height[box], 95)),
        float(brightness.std() / brightness.mean()),
        side * part.grid.transform.a,
    )
