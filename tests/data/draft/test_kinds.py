"""Every draft of a scene file passes the check that it tells its user to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io
from rasterio.transform import from_origin

from bandweave.cli.main import main
from bandweave.data.check.scene import PROBLEM, check_scene
from bandweave.data.draft.write import draft_scene
from bandweave.yaml_files import parse_yaml

EAST, NORTH = 500000.0, 4000000.0
HEIGHT, WIDTH = 24, 32
UTM = "EPSG:32617"


def write_tif(path: Path, values, pixel=2.0, origin=(EAST, NORTH), crs=UTM, names=(), **profile):
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    place = {"transform": from_origin(*origin, pixel, pixel), "crs": crs}
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=values.dtype.name, **place, **profile
    ) as file:
        file.write(values)
        if names:
            file.descriptions = names
    return path


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(10, 2, shape).astype("float32")


def counts(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 3000, shape, np.uint16)


def stripes(codes, height=HEIGHT, width=WIDTH, dtype=np.uint8):
    """Labels of one code a group of columns."""
    return np.tile(np.repeat(np.array(codes, dtype), -(-width // len(codes)))[:width], (height, 1))


def write_features(path: Path, geometries, properties, crs="urn:ogc:def:crs:EPSG::32617"):
    features = [
        {"type": "Feature", "properties": own, "geometry": geometry}
        for geometry, own in zip(geometries, properties, strict=True)
    ]
    named = {"type": "name", "properties": {"name": crs}}
    collection = {"type": "FeatureCollection", "crs": named, "features": features}
    path.write_text(json.dumps(collection))
    return path


def square(west, north, size=4.0):
    ring = [(west, north), (west + size, north), (west + size, north - size), (west, north - size)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


# ------------------------------------------------------------------------------------------- inputs


def hyperspectral_and_label_raster(folder):
    labels = stripes([0, 1, 2, 3])
    return [
        write_tif(folder / "cube.tif", floats(40, HEIGHT, WIDTH)),
        write_tif(folder / "labels.tif", labels),
    ]


def flood_chip(folder):
    radar = floats(2, HEIGHT, WIDTH) - 25
    radar[:, :3, :5] = np.nan
    codes = stripes([0, 1, 1, 0], dtype=np.int16)
    codes[:4, :6] = -1
    degrees = {"pixel": 8.98e-05, "origin": (-8.5, 30.0), "crs": "EPSG:4326"}
    optical = counts(13, HEIGHT, WIDTH).astype(np.int16)
    return [
        write_tif(folder / "Spain_1_S1Hand.tif", radar, names=("VV", "VH"), **degrees),
        write_tif(folder / "Spain_1_S2Hand.tif", optical, **degrees),
        write_tif(folder / "Spain_1_LabelHand.tif", codes, **degrees),
    ]


def polygons_partly_outside(folder):
    """Three taxa in the data, two beside it, one so small that it owns no pixel."""
    shapes, own = [], []
    for i in range(24):
        taxon = ("oak", "pine", "elm", "fir", "ash", "yew")[i % 6]
        away = 5000.0 if taxon in ("fir", "ash") else 0.0
        size = 0.2 if taxon == "yew" else 4.0
        shapes.append(square(EAST + 4 * (i % 12) + away + 0.1, NORTH - 8 * (i // 12) + 2, size))
        own.append({"taxon": taxon, "height": 1.5 * i, "tree": f"t{i}"})
    return [
        write_tif(folder / "cube.tif", floats(36, HEIGHT, WIDTH)),
        write_features(folder / "crowns.geojson", shapes, own),
    ]


def points(folder):
    shapes, own = [], []
    for i in range(30):
        place = [EAST + 1 + 2 * (7 * i % 40), NORTH - 1 - 2 * (5 * i % 24)]
        shapes.append({"type": "Point", "coordinates": place})
        own.append({"id": i + 1, "landuse": ("field", "wood", "road")[i % 3]})
    return [
        write_tif(folder / "ms.tif", counts(6, HEIGHT, WIDTH)),
        write_features(folder / "points.geojson", shapes, own),
    ]


def masks_and_a_cube_twice(folder):
    truth = stripes([0, 1, 2, 3, 4])
    train, test = truth.copy(), truth.copy()
    train[::2], test[1::2] = 0, 0
    cube = counts(HEIGHT, WIDTH, 48)
    arrays = {"hsi": cube, "data": cube, "gt_train": train, "gt_test": test}
    scipy.io.savemat(folder / "town.mat", arrays)
    return [folder / "town.mat"]


def several_parts(folder):
    files = []
    for number, name in enumerate(("north", "south", "west")):
        origin = (EAST + 1000 * number, NORTH)
        cube = floats(10, HEIGHT, WIDTH, seed=number)
        height = floats(HEIGHT, WIDTH, seed=9 + number)
        labels = stripes([0, 1, 2, 3] if name != "west" else [0, 2, 3, 5])
        files.append(write_tif(folder / "ms" / f"{name}.tif", cube, origin=origin))
        files.append(write_tif(folder / "dsm" / f"{name}.tif", height, origin=origin))
        files.append(write_tif(folder / "labels" / f"{name}.tif", labels, origin=origin))
    return files


def one_file_a_band(folder):
    scene = "LC08_L2SP_193027_20200807_20200916_02_T1"
    bands = [
        write_tif(folder / f"{scene}_SR_B{i}.TIF", counts(HEIGHT, WIDTH, seed=i), nodata=0)
        for i in range(1, 8)
    ]
    quality = np.full((HEIGHT, WIDTH), 21824, np.uint16)
    quality[:3] = 22280
    thermal = counts(HEIGHT, WIDTH, seed=10)
    return [
        *bands,
        write_tif(folder / f"{scene}_ST_B10.TIF", thermal, nodata=0),
        write_tif(folder / f"{scene}_QA_PIXEL.TIF", quality, nodata=1),
    ]


def floats_with_holes(folder):
    values = floats(5, HEIGHT, WIDTH)
    values[:, :5, :7], values[:, 12, 20] = np.nan, np.nan
    labels = stripes([1, 2, 3, 4])
    return [
        write_tif(folder / "rededge.tif", values),
        write_tif(folder / "gt.tif", labels),
    ]


def degrees(folder):
    place = {"pixel": 0.0001, "origin": (11.0, 47.0), "crs": "EPSG:4326"}
    shapes = [square(11.0 + 0.0004 * i, 47.0 - 0.0002, 0.0004) for i in range(8)]
    own = [{"class": i % 2 + 1} for i in range(8)]
    return [
        write_tif(folder / "s2.tif", counts(4, HEIGHT, WIDTH), **place),
        write_features(folder / "fields.geojson", shapes, own, "urn:ogc:def:crs:OGC:1.3:CRS84"),
    ]


def a_folder(folder):
    files = hyperspectral_and_label_raster(folder / "flight")
    write_tif(folder / "flight" / "lidar" / "dsm.tif", floats(HEIGHT, WIDTH))
    (folder / "flight" / "readme.txt").write_text("of the flight")
    (folder / "flight" / "cube.tif.aux.xml").write_text("<PAMDataset/>")
    return [files[0].parent]


def arrays_without_a_place(folder):
    np.save(folder / "cube.npy", floats(HEIGHT, WIDTH, 33))
    np.save(folder / "labels.npy", stripes([0, 1, 2, 255]))
    return [folder / "cube.npy", folder / "labels.npy"]


def labels_of_another_place(folder):
    """A label raster that begins outside of the data, and a class that only lies there."""
    labels = stripes([7, 1, 2, 3], width=48)
    labels[:, 16:] = stripes([1, 2, 3])
    return [
        write_tif(folder / "cube.tif", floats(40, HEIGHT, WIDTH)),
        write_tif(folder / "labels.tif", labels, origin=(EAST - 40, NORTH), nodata=0),
    ]


def parts_with_a_label_file_each_but_one(folder):
    files = several_parts(folder)
    (folder / "labels" / "west.tif").unlink()
    return [file for file in files if file.exists()]


def parts_without_a_layer_or_beside_those_named(folder):
    """A part without a height, and one whose files lie there and are not named."""
    files = several_parts(folder)
    (folder / "dsm" / "west.tif").unlink()
    write_tif(folder / "ms" / "east.tif", floats(10, HEIGHT, WIDTH), origin=(EAST + 9000, NORTH))
    return [file for file in files if file.exists()]


def polygons_of_another_place(folder):
    shapes = [square(EAST + 5000 + 8 * i, NORTH) for i in range(8)]
    return [
        write_tif(folder / "cube.tif", floats(36, HEIGHT, WIDTH)),
        write_features(
            folder / "crowns.geojson", shapes, [{"species": "ab"[i % 2]} for i in range(8)]
        ),
    ]


def a_class_in_a_hole_alone(folder):
    values = floats(40, HEIGHT, WIDTH)
    values[:, :, :8] = np.nan
    labels = stripes([9, 1, 2, 3])
    labels[2:, :8] = 0
    return [write_tif(folder / "cube.tif", values), write_tif(folder / "gt.tif", labels)]


def photograph_and_height(folder):
    labels = stripes([0, 1, 2], 4 * HEIGHT, 4 * WIDTH)
    photo = np.random.default_rng(0).integers(0, 255, (3, 4 * HEIGHT, 4 * WIDTH), np.uint8)
    return [
        write_tif(folder / "ortho.tif", photo, pixel=0.5),
        write_tif(folder / "chm.tif", floats(HEIGHT, WIDTH)),
        write_tif(folder / "classes.tif", labels, pixel=0.5),
    ]


def height_and_labels_with_nodata(folder):
    labels = stripes([0, 1, 2])
    labels[:, 0] = 255
    return [
        write_tif(folder / "dsm.tif", floats(HEIGHT, WIDTH)),
        write_tif(folder / "labels.tif", labels, nodata=255),
    ]


# Each with the classes that its draft is to name.
KINDS: dict[Callable[[Path], list[Path]], list[int | str]] = {
    hyperspectral_and_label_raster: [1, 2, 3],
    flood_chip: [0, 1],
    polygons_partly_outside: ["elm", "oak", "pine"],
    points: ["field", "road", "wood"],
    masks_and_a_cube_twice: [1, 2, 3, 4],
    several_parts: [1, 2, 3, 5],
    one_file_a_band: [],
    floats_with_holes: [1, 2, 3, 4],
    degrees: [1, 2],
    a_folder: [1, 2, 3],
    arrays_without_a_place: [1, 2],
    labels_of_another_place: [1, 2, 3],
    parts_with_a_label_file_each_but_one: [1, 2, 3],
    parts_without_a_layer_or_beside_those_named: [1, 2, 3],
    polygons_of_another_place: [],
    a_class_in_a_hole_alone: [1, 2, 3],
    photograph_and_height: [1, 2],
    height_and_labels_with_nodata: [1, 2],
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_draft_passes_its_own_check(tmp_path, capsys, kind):
    files = kind(tmp_path)
    out = tmp_path / "scene.yaml"
    assert main(["scenes", "make", *map(str, files), "--out", str(out)]) == 0
    status = main(["scenes", "check", str(out)])
    found = capsys.readouterr()
    assert [line for line in found.out.splitlines() if line.startswith(PROBLEM)] == []
    assert (status, found.err) == (0, "")
    assert list(parse_yaml(out.read_text()).get("classes", ())) == KINDS[kind]


def test_what_a_draft_leaves_out_is_said(tmp_path):
    text = draft_scene(one_file_a_band(tmp_path), tmp_path)
    assert "_QA_PIXEL.TIF, flags of the pixels' quality by its name" in text
    assert list(parse_yaml(text)["layers"]) == ["ms", "thermal"]
    text = draft_scene(polygons_of_another_place(tmp_path), tmp_path)
    assert "# labels left out: none has a pixel where the layers have data" in text
    assert '#   path: "crowns.geojson"' in text
    text = draft_scene(parts_without_a_layer_or_beside_those_named(tmp_path), tmp_path)
    assert 'parts: ["north", "south"]  # without a file of each layer: west' in text


def test_a_class_that_lies_in_a_hole_is_a_problem(tmp_path):
    cube, labels = a_class_in_a_hole_alone(tmp_path)
    scene = {"layers": {"hsi": str(cube)}, "labels": str(labels)}
    (line,) = (line for line in check_scene(scene) if line.startswith(PROBLEM))
    assert line == "problem: class 9 'class 9': all of its 16 px lie where 'hsi' has no data"
