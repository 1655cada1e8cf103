"""Files whose rows go from south to north: labels, map, sample and areas lie where they belong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import Affine

from bandweave.data.check.scene import PROBLEM, check_scene
from bandweave.data.scenefile.open import open_scene

HEIGHT, WIDTH = 48, 64
EAST, NORTH, PIXEL = 676000.0, 5338000.0, 2.0
SOUTH = NORTH - HEIGHT * PIXEL
PLACES = {
    "north": Affine(PIXEL, 0, EAST, 0, -PIXEL, NORTH),
    "south": Affine(PIXEL, 0, EAST, 0, PIXEL, SOUTH),  # the first row is the southernmost
}


def mirrored(y: float) -> float:
    """Where a place of one scene lies in the other."""
    return NORTH + SOUTH - y


def write_layer(path: Path, values: np.ndarray, side: str) -> str:
    profile = {"transform": PLACES[side], "crs": "EPSG:32632", "dtype": values.dtype.name}
    with rasterio.open(path, "w", "GTiff", WIDTH, HEIGHT, len(values), **profile) as file:
        file.write(values)
    return str(path)


def write_polygons(path: Path, side: str) -> str:
    """Fields along the first rows and a strip in the middle: no mirror image of themselves."""
    features = []
    for number, (row, col, rows, cols) in enumerate(
        ((0, 0, 10, 20), (3, 30, 9, 30), (20, 8, 6, 40))
    ):
        top, bottom = NORTH - PIXEL * row, NORTH - PIXEL * (row + rows)
        if side == "south":
            top, bottom = mirrored(top), mirrored(bottom)
        left, right = EAST + PIXEL * col, EAST + PIXEL * (col + cols)
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        properties = {"class": number + 1}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return str(path)


@pytest.fixture
def scenes(scene_file, tmp_path) -> dict[str, Path]:
    """The same rows and columns twice, placed from north to south and from south to north."""
    first = open_scene(scene_file)
    part = first.parts[0]
    assert (part.grid.height, part.grid.width) == (HEIGHT, WIDTH)
    content = yaml.safe_load(scene_file.read_text())
    found = {}
    for side in PLACES:
        folder = tmp_path / side
        folder.mkdir()
        for name, layer in part.layers.items():
            values = layer.read(part.grid.window)[0]
            own = {"path": write_layer(folder / f"{name}.tif", values, side)}
            content["layers"][name] = {**content["layers"][name], **own}
        content["layers"]["hsi"]["wavelengths"] = list(first.layers["hsi"].info.wavelengths)
        labels = write_polygons(folder / "fields.geojson", side)
        content["labels"] = {"path": labels, "field": "class"}
        found[side] = folder / "scene.yaml"
        found[side].write_text(yaml.safe_dump(content, sort_keys=False))
    return found


def test_polygons_own_the_same_pixels(scenes):
    north, south = (open_scene(scenes[side]).parts[0].labels.values for side in PLACES)
    assert (north >= 0).sum() == 200 + 270 + 240
    assert not np.array_equal(north, north[::-1])
    np.testing.assert_array_equal(south, north)


def test_check_says_the_same(scenes):
    north, south = (check_scene(scenes[side]) for side in PLACES)
    assert south == north
    assert not any(
        "shift" in line or "beside" in line for line in south if line.startswith(PROBLEM)
    )


def test_maps_samples_and_areas(call, scenes, run_copy):
    codes, areas = {}, {}
    for side, scene in scenes.items():
        made = run_copy / "map.tif"
        made.unlink(missing_ok=True)
        assert call("map", run_copy, scene, made, "--quiet", "--overwrite").status == 0
        with rasterio.open(made) as file:
            assert (file.width, file.height) == (WIDTH, HEIGHT)
            rows, cols = np.mgrid[:HEIGHT, :WIDTH] + 0.5
            x, y = EAST + PIXEL * cols, NORTH - PIXEL * rows
            y = y if side == "north" else mirrored(y)
            places = zip(x.ravel(), y.ravel(), strict=True)
            codes[side] = np.reshape([value[0] for value in file.sample(places)], (HEIGHT, WIDTH))
            points = run_copy / f"{side}.geojson"
            assert call("sample", made, points, "--per-class", "9").status == 0
            features = json.loads(points.read_text())["features"]
            assert len(features) > 9
            for feature in features:
                x, y = feature["geometry"]["coordinates"]
                code = int(next(file.sample([(x, y)]))[0])
                feature["properties"]["class"] = code if feature["properties"]["unit"] % 4 else 3
            content = json.loads(points.read_text()) | {"features": features}
            points.write_text(json.dumps(content))
        content = yaml.safe_load(scene.read_text())
        content["labels"] |= {"path": str(points), "sampling": "stratified by map class"}
        scene.write_text(yaml.safe_dump(content, sort_keys=False))
        assert call("report", run_copy, scene, "--quiet").status == 0
        rows = list(csv.reader((run_copy / "areas.csv").read_text().splitlines()))[1:]
        areas[side] = np.array([[float(value or "nan") for value in row[1:]] for row in rows])
    assert len(np.unique(codes["north"])) > 1
    assert not np.array_equal(codes["north"], codes["north"][::-1])
    np.testing.assert_array_equal(codes["south"], codes["north"])
    mapped, users = areas["north"][:, 0], areas["north"][:, 5]
    assert mapped.sum() == pytest.approx(HEIGHT * WIDTH * PIXEL**2 / 1e4, rel=0.01)  # ha
    assert ((users > 0) & (users < 1)).any(), "the map is wrong in places"
    np.testing.assert_allclose(areas["south"], areas["north"], rtol=1e-5)
