"""Drafts of scene files, and findings on scenes: what users are told of their own files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io
import yaml
from rasterio.transform import from_origin

from bandweave.data.check.labels import look_at_labels
from bandweave.data.check.scene import PROBLEM, check_scene
from bandweave.data.draft.write import draft_scene
from bandweave.data.scenefile.open import open_scene
from bandweave.data.scenefile.schema import read_scene_file
from bandweave.errors import FileError

EAST, NORTH = 500000.0, 4000000.0
RNG = np.random.default_rng(0)


def write_tif(path: Path, values, pixel=2.0, origin=(EAST, NORTH), crs="EPSG:32617", **profile):
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    place = {"transform": from_origin(*origin, pixel, pixel), "crs": crs}
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=values.dtype.name, **place, **profile
    ) as file:
        file.write(values)
    return path


def floats(*shape):
    return RNG.normal(size=shape).astype("float32")


def drafted(folder, files):
    """The draft's text, its content, and the scene that it opens."""
    text = draft_scene(files, folder)
    (folder / "draft.yaml").write_text(text)
    return text, yaml.safe_load(text), open_scene(folder / "draft.yaml")


def test_layers_of_three_sensors_and_labels(tmp_path):
    labels = np.repeat(np.arange(3, dtype=np.uint8), 16).reshape(6, 8)
    files = [
        write_tif(tmp_path / "labels.tif", labels),
        write_tif(tmp_path / "dsm.tif", floats(6, 8)),
        write_tif(tmp_path / "cube.tif", floats(40, 6, 8)),
        write_tif(tmp_path / "photo.tif", RNG.integers(0, 255, (3, 24, 32), np.uint8), pixel=0.5),
        write_tif(tmp_path / "aside.tif", floats(2, 6, 8), origin=(EAST + 1, NORTH)),
    ]
    text, content, scene = drafted(tmp_path, files)
    assert content["grid"] == "hsi"
    assert content["layers"] == {
        "hsi": {"path": "cube.tif"},
        "rgb": {"path": "photo.tif", "ratio": 4},
        "ms": {"path": "aside.tif", "warp": "bilinear"},
        "lidar": {"path": "dsm.tif"},
    }
    assert content["ignore"] == [0]
    assert content["classes"] == {1: "class 1", 2: "class 2"}
    assert "16 px; give it its name" in text
    assert list(scene.layers) == ["hsi", "rgb", "ms", "lidar"]
    assert (scene.parts[0].labels.values >= 0).sum() == 32


def test_one_file_a_band(tmp_path):
    bands = [
        write_tif(tmp_path / f"L8_B{i}.tif", RNG.integers(0, 999, (6, 8), np.int16))
        for i in (10, 2, 1)
    ]
    pan = RNG.integers(0, 999, (12, 16), np.int16)
    pan = write_tif(tmp_path / "L8_B8.tif", pan, pixel=1.0, origin=(EAST - 0.5, NORTH))
    _, content, scene = drafted(tmp_path, [*bands, pan])
    assert content["layers"]["ms"]["path"] == ["L8_B1.tif", "L8_B2.tif", "L8_B10.tif"]
    assert content["layers"]["pan"] == {"path": "L8_B8.tif", "warp": "bilinear", "ratio": 2}
    assert scene.layers["pan"].ratio == 2


@pytest.mark.parametrize("pattern", ["HSI/{}.tif", "{}/hsi.tif", "tiles/hsi_{}_v1.tif"])
def test_many_places_are_parts(tmp_path, pattern):
    files = [
        write_tif(tmp_path / pattern.format(name), floats(5, 4, 4), origin=(east, NORTH))
        for name, east in (("p1", EAST), ("p2", EAST + 100), ("p12", EAST + 200))
    ]
    _, content, scene = drafted(tmp_path, files)
    assert content["parts"] == "all"
    assert content["layers"]["ms"]["path"] == pattern.format("{part}")
    assert [part.name for part in scene.parts] == ["p1", "p2", "p12"]


def test_masks_of_training_and_test_in_one_matlab_file(tmp_path):
    masks = np.zeros((2, 6, 8), np.uint8)
    masks[0, :2], masks[1, 3:] = 1, 2
    cube = RNG.normal(size=(6, 8, 33))
    arrays = {"cube": cube, "gt_tr": masks[0], "gt_te": masks[1], "note": np.ones((1, 4))}
    scipy.io.savemat(tmp_path / "town.mat", arrays)
    _, content, scene = drafted(tmp_path, [tmp_path / "town.mat"])
    assert content["labels"] == {
        "train": {"path": "town.mat", "key": "gt_tr"},
        "test": {"path": "town.mat", "key": "gt_te"},
    }
    assert scene.layers["hsi"].bands == 33
    assert (scene.parts[0].labels.given == 3).sum() == 24


def test_polygons_and_the_table_that_names_them(tmp_path):
    features = []
    for i in range(6):
        west = EAST + 2 * i
        ring = [(west, NORTH), (west + 2, NORTH), (west + 2, NORTH - 4), (west, NORTH - 4)]
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        properties = {"tree": f"t{i}", "note": "x"}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32617"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "crowns.geojson").write_text(json.dumps(collection))
    rows = [f"t{i},{'oak' if i % 2 else 'pine'},{i}" for i in range(6)]
    (tmp_path / "field.csv").write_text("\n".join(["tree,species,girth", *rows]))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    files = [write_tif(tmp_path / "cube.tif", floats(40, 6, 8))]
    files += [tmp_path / name for name in ("crowns.geojson", "field.csv", "other.csv")]
    _, content, scene = drafted(tmp_path, files)
    assert content["labels"]["field"] == "species"
    assert content["labels"]["join"]["csv"] == "field.csv"
    assert [c.name for c in scene.classes] == ["oak", "pine"]
    assert (scene.parts[0].labels.values >= 0).sum() == 12


def test_a_folder_stands_for_the_files_in_it(tmp_path):
    folder = tmp_path / "flight"
    cube = write_tif(folder / "cube.tif", floats(40, 6, 8))
    dsm = write_tif(folder / "lidar" / "dsm.tif", floats(6, 8))
    for name in ("scene.yaml", ".hidden.tif", "cube.tif.aux.xml", "notes.txt"):
        (folder / name).write_text("no raster")
    text, content, _ = drafted(tmp_path, [folder])
    assert content["layers"] == {
        "hsi": {"path": "flight/cube.tif"},
        "lidar": {"path": "flight/lidar/dsm.tif"},
    }
    assert "left out" not in text
    assert text == draft_scene([cube, dsm], tmp_path)


def test_files_without_labels_or_of_no_use(tmp_path):
    (tmp_path / "text.tif").write_text("no raster")
    cube = write_tif(tmp_path / "cube.tif", floats(40, 6, 8))
    text, content, scene = drafted(tmp_path, [cube, tmp_path / "text.tif"])
    assert "labels" not in content
    assert "no labels among the files" in text
    assert "# left out:" in text
    assert scene.classes == ()
    with pytest.raises(FileError, match=r"none of the 1 files can be a layer.*not a TIFF"):
        draft_scene([tmp_path / "text.tif"])
    with pytest.raises(FileError, match="does not exist"):
        draft_scene([tmp_path / "none.tif"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="is a folder without files that a scene can be made of"):
        draft_scene([tmp_path / "empty"])


def test_a_layer_that_fits_nowhere_is_left_out_and_said_so(tmp_path):
    np.save(tmp_path / "odd.npy", floats(7, 9))
    cube = write_tif(tmp_path / "cube.tif", floats(40, 6, 8))
    text, content, _ = drafted(tmp_path, [cube, tmp_path / "odd.npy"])
    assert list(content["layers"]) == ["hsi"]
    assert "lidar left out" in text
    assert "does not fit" in text


# ---------------------------------------------------------------------------------------- findings


def test_findings_on_a_sound_scene(tmp_path):
    cube = floats(3, 6, 8)
    cube[:, 0, :4] = np.nan
    write_tif(tmp_path / "cube.tif", cube)
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4], labels[5] = 1, 2
    write_tif(tmp_path / "labels.tif", labels)
    scene = {"layers": {"hsi": "cube.tif"}, "labels": "labels.tif", "ignore": 0}
    found = check_scene(open_scene(scene, tmp_path))
    assert not any(line.startswith(PROBLEM) for line in found)
    text = "\n".join(found)
    assert "6×8 px at 2 m, EPSG:32617" in text
    assert "layer 'hsi': 3 bands of float32, 8.3 % without data" in text
    assert "class 1 'class 1': 16 px" in text
    assert "24 of 48 px labelled" in text


def test_findings_on_a_scene_with_problems(tmp_path):
    cube = floats(4, 6, 8)
    cube[1], cube[2], cube[:, :3] = 5, np.inf, np.nan
    write_tif(tmp_path / "cube.tif", cube)
    write_tif(tmp_path / "empty.tif", np.full((6, 8), -9, np.float32), nodata=-9)
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4] = 1
    write_tif(tmp_path / "labels.tif", labels)
    scene = {
        "grid": "hsi",
        "layers": {"hsi": "cube.tif", "sar": "empty.tif"},
        "labels": "labels.tif",
        "classes": {1: "grass", 2: "snow"},
        "ignore": 0,
    }
    problems = [
        line for line in check_scene(open_scene(scene, tmp_path)) if line.startswith(PROBLEM)
    ]
    assert problems == [
        "problem: layer 'hsi': no data in band 3 (from 1); add to layer 'hsi': `bands: [1, 4]`",
        "problem: layer 'hsi': one value only in band 2 (from 1); "
        "add to layer 'hsi': `bands: [1, 4]`",
        "problem: layer 'sar' has no data at all; is `nodata` right?",
        "problem: class 2 'snow' has no pixel",
        "problem: 8 labelled px lie where 'hsi' has no data (50 % of the labelled); left out",
    ]


def test_findings_on_parts_that_share_ground_or_hold_nothing(tmp_path):
    for name, east in (("a", EAST), ("b", EAST + 6), ("c", EAST + 12)):
        values = np.full((2, 4, 4), np.nan, np.float32) if name == "c" else floats(2, 4, 4)
        write_tif(tmp_path / f"{name}.tif", values, origin=(east, NORTH))
    found = check_scene(open_scene({"layers": {"ms": "{part}.tif"}}, tmp_path))
    assert "problem: layer 'ms' has no data in part c" in found
    shared = [line for line in found if "of ground" in line]
    assert len(shared) == 2
    assert "parts 'a' and 'b' share 2×8 m" in shared[0]


def test_a_scene_that_does_not_open_is_a_problem(tmp_path):
    (tmp_path / "scene.yaml").write_text("layers: {hsi: none.tif}\n")
    (finding,) = check_scene(tmp_path / "scene.yaml")
    assert finding.startswith(f"{PROBLEM}")
    assert "none.tif does not exist" in finding


def test_a_truncated_file_is_a_problem(tmp_path):
    path = write_tif(tmp_path / "cube.tif", floats(4, 64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = check_scene({"layers": {"hsi": str(path)}})
    assert any(line.startswith(PROBLEM) for line in found)


# --------------------------------------------------------------------------------------- real data

DATA = Path(os.environ.get("BANDWEAVE_DATA", "."))


@pytest.mark.parametrize(
    ("folder", "layers", "classes", "parts"),
    [
        ("houston2018-crop/*", ["hsi", "rgb"], 12, 1),
        ("houston2013/*", ["lidar"], 15, 1),
        ("landsat8-chip/*", ["ms", "pan"], 0, 1),
        ("idtrees2020/*/*", ["hsi", "rgb", "lidar"], 29, 59),
    ],
)
def test_real_files(tmp_path, folder, layers, classes, parts):
    files = sorted(DATA.glob(folder))
    if not os.environ.get("BANDWEAVE_DATA") or not files:
        pytest.skip(f"BANDWEAVE_DATA names no folder with {folder}")
    _, _, scene = drafted(tmp_path, files)
    assert list(scene.layers) == layers
    assert len(scene.classes) == classes
    assert len(scene.parts) == parts
    if parts == 1:
        findings = check_scene(tmp_path / "draft.yaml")
    else:  # of 59 places the labels alone: layers and shifts take a quarter of a minute
        findings = look_at_labels(scene, read_scene_file(tmp_path / "draft.yaml"))
    assert not any("has no pixel" in str(line) for line in findings)


# ----------------------------------------------------------------------- what a draft decides alone


def test_a_flood_chip(tmp_path):
    radar = floats(2, 12, 16)
    write_tif(tmp_path / "chip_S1Hand_x.tif", radar)
    with rasterio.open(tmp_path / "chip_S1Hand_x.tif", "r+") as file:
        file.descriptions = ("VV", "VH")
    write_tif(tmp_path / "optics.tif", RNG.integers(1, 9000, (13, 12, 16), np.int16))
    codes = np.tile(np.int16([-1, 0, 1, 1]), (12, 4))
    write_tif(tmp_path / "LabelHand.tif", codes)
    text, content, scene = drafted(tmp_path, sorted(tmp_path.glob("*.tif")))
    assert list(content["layers"]) == ["ms", "sar"]
    assert content["ignore"] == [-1]
    assert content["classes"] == {0: "class 0", 1: "class 1"}
    assert "so that 0 is a class: is it?" in text
    assert not any(line.startswith(PROBLEM) for line in check_scene(tmp_path / "draft.yaml"))
    assert len(scene.classes) == 2


def test_the_same_cube_twice_in_a_file_is_one_layer(tmp_path):
    cube = floats(6, 8, 33)
    scipy.io.savemat(tmp_path / "town.mat", {"cube": cube, "copy": cube, "other": cube + 1})
    text, content, _ = drafted(tmp_path, [tmp_path / "town.mat"])
    assert len(content["layers"]) == 2
    assert "holds the same values as" in text


def test_points_are_called_points(tmp_path):
    features = []
    for i, name in enumerate(["oak", "oak", "pine", "pine", "oak"]):
        place = {"type": "Point", "coordinates": [EAST + 2 * i + 0.5, NORTH - 0.5]}
        features.append({"type": "Feature", "properties": {"species": name}, "geometry": place})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32617"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "trees.geojson").write_text(json.dumps(collection))
    cube = write_tif(tmp_path / "cube.tif", floats(40, 6, 8))
    text, content, _ = drafted(tmp_path, [cube, tmp_path / "trees.geojson"])
    assert content["labels"]["overlap"] == "last"
    assert "all_touched" not in content["labels"]
    assert content["classes"] == {"oak": "oak", "pine": "pine"}
    assert '"oak": "oak"  # 3 points' in text
    assert '"pine": "pine"  # 2 points' in text
    assert "polygon" not in text
    assert not any(line.startswith(PROBLEM) for line in check_scene(tmp_path / "draft.yaml"))


def test_polygons_outside_of_the_data_are_no_classes(tmp_path):
    features = []
    for i, name in enumerate(["oak", "oak", "pine", "pine", "elm", "elm"]):
        west = EAST + 4 * i + (5000 if name == "elm" else 0)
        ring = [(west, NORTH), (west + 4, NORTH), (west + 4, NORTH - 4), (west, NORTH - 4)]
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        features.append({"type": "Feature", "properties": {"species": name}, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32617"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "crowns.geojson").write_text(json.dumps(collection))
    cube = write_tif(tmp_path / "cube.tif", floats(40, 6, 8))
    text, content, _ = drafted(tmp_path, [cube, tmp_path / "crowns.geojson"])
    assert content["classes"] == {"oak": "oak", "pine": "pine"}
    assert "without a pixel here: elm" in text
    assert not any(line.startswith(PROBLEM) for line in check_scene(tmp_path / "draft.yaml"))


@pytest.mark.parametrize(("code", "ignored"), [(-1, [-1]), (-9999, [-9999]), (255, [0, 255])])
def test_codes_of_no_label_in_any_part_are_ignored(tmp_path, code, ignored):
    files = []
    for number, name in enumerate("abc"):
        place = (EAST + 1000 * number, NORTH)
        labels = np.repeat(np.arange(3, dtype=np.int16), 16).reshape(6, 8)
        if name == "b":
            labels[:, :2] = code
        files.append(write_tif(tmp_path / f"cube/{name}.tif", floats(4, 6, 8), origin=place))
        files.append(write_tif(tmp_path / f"labels/{name}.tif", labels, origin=place))
    _, content, scene = drafted(tmp_path, files)
    assert content["ignore"] == ignored
    assert code not in [info.code for info in scene.classes]
    assert [info.code for info in scene.classes] == [c for c in (0, 1, 2) if c not in ignored]
    assert not [x for x in check_scene(tmp_path / "draft.yaml") if x.startswith(PROBLEM)]
