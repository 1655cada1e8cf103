"""Every land-cover model trains, maps and opens again, on small scenes of one to three layers."""

from dataclasses import fields

import numpy as np
import pytest

import bandweave as bw
from bandweave.data.scene import ClassInfo, Labels, Layer, Part, Scene
from bandweave.landcover.predict.classify import predict_classes
from bandweave.models import LAND_COVER
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid

SIZE = 7, 9  # px
LAYERS = {  # bands, and how many times finer
    "one band": {"pan": (1, 1)},
    "two layers": {"hsi": (12, 1), "lidar": (1, 1)},
    "three layers": {"hsi": (5, 1), "sar": (2, 1), "rgb": (3, 2)},
}
SMALL = {"width": 8, "depth": 1, "state": 2, "heads": 2, "hidden": 4}
NETS = {preset.model: name for name, preset in LAND_COVER.items()}  # the smallest of each


def make_scene(layers):
    rng = np.random.default_rng(0)
    grid = Grid(*SIZE, PIXELS)
    read = {}
    for name, (bands, ratio) in layers.items():
        values = rng.normal(size=(bands, SIZE[0] * ratio, SIZE[1] * ratio)).astype(np.float32)
        read[name] = Layer(ArraySource(values, grid.finer(ratio) if ratio > 1 else grid), ratio)
    labels = Labels(rng.integers(-1, 3, SIZE).astype(np.int16), 1)
    infos = tuple(ClassInfo(i + 1, name, "#000000") for i, name in enumerate(("a", "tree", "roof")))
    return Scene("tiny", (Part("part", grid, read, labels),), next(iter(layers)), infos)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", NETS.values())
def test_it_trains_maps_and_opens_again(name, layers, tmp_path):
    scene = make_scene(LAYERS[layers])
    config = LAND_COVER[name].config
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    small = {key: value for key, value in SMALL.items() if type(known.get(key)) is type(value)}
    split = bw.split(scene, "all")
    run = bw.train(scene, split, name, tmp_path / "run", steps=2, batch=3, quiet=True, **small)
    maps = [
        predict_classes(each.predictor(scene.reference), scene.parts[0], each.output_ratio)
        for each in (run, bw.Run.open(tmp_path / "run"))
    ]
    assert maps[0].shape == SIZE
    assert set(np.unique(maps[0])) <= {0, 1, 2}
    np.testing.assert_array_equal(*maps)
