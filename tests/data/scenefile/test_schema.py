"""Scene files: what they may say, and what a wrong one is told."""

from pathlib import Path

import pytest

from bandweave.data.scenefile.schema import ClassFile, LabelFile, LabelFiles, read_scene_file
from bandweave.errors import ConfigError, FileError

FULL = """
grid: hsi
layers:
  hsi:   {path: cube.hdr}
  lidar: {path: dsm.tif, warp: bilinear}
  rgb:   {path: rgb.mat, key: rgbImg, ratio: 4, nodata: 0}
labels:
  train: {path: crowns.gpkg, field: species, join: {csv: field.csv, on: id}, all_touched: false}
  test:  {path: TSLabel.tif}
classes: {1: {name: healthy grass, color: "#00cd00"}, 2: stressed grass}
ignore: [0]
crs: EPSG:32617
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scene.yaml"
    path.write_text(text)
    return path


def test_every_key_of_the_guide_is_read(tmp_path):
    file = read_scene_file(write(tmp_path, FULL))
    assert file.layers["hsi"].path == (str(tmp_path / "cube.hdr"),)
    assert (file.layers["rgb"].ratio, file.layers["rgb"].nodata) == (4, 0.0)
    assert isinstance(file.labels, LabelFiles)
    assert file.labels.train.join.on == "id"  # YAML 1.1 would read the key `on` as true
    assert file.classes == {
        1: ClassFile("healthy grass", "#00cd00"),
        2: ClassFile("stressed grass"),
    }
    assert file.ignore == (0,)


def test_short_forms():
    file = read_scene_file({"layers": {"hsi": "a.tif"}, "labels": "b.tif", "classes": ["x", "y"]})
    assert file.grid == "hsi"
    assert isinstance(file.labels, LabelFile)
    assert file.classes == {1: ClassFile("x"), 2: ClassFile("y")}
    polygons = {"path": "c.gpkg", "field": "taxon"}
    file = read_scene_file({"layers": {"hsi": "a.tif"}, "labels": polygons, "classes": ["x", "y"]})
    assert file.classes == {"x": ClassFile("x"), "y": ClassFile("y")}


def test_words_that_yaml_1_1_takes_for_booleans_stay_words(tmp_path):
    text = "layers: {hsi: a.tif}\nclasses: {NO: Norway spruce, y: yew}\n"
    assert list(read_scene_file(write(tmp_path, text)).classes) == ["NO", "y"]


def test_paths_take_environment_variables_and_the_files_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BANDWEAVE_TEST_FOLDER", "/data")
    monkeypatch.delenv("BANDWEAVE_TEST_UNSET", raising=False)
    text = "layers:\n  a: ${BANDWEAVE_TEST_FOLDER}/x.tif\n  b: ../y.tif\ngrid: a"
    file = read_scene_file(write(tmp_path, text))
    assert file.layers["a"].path == ("/data/x.tif",)
    assert file.layers["b"].path == (str(tmp_path.parent / "y.tif"),)
    with pytest.raises(ConfigError, match=r"layers\.a\.path.*BANDWEAVE_TEST_UNSET is not set"):
        read_scene_file({"layers": {"a": "$BANDWEAVE_TEST_UNSET/x.tif"}})


LAYER = {"hsi": {"path": "a.tif"}}
TWO = {"hsi": "a.tif", "sar": "b.tif"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layrs": LAYER}, r"scene: layrs: no such option; did you mean 'layers'\?"),
        (
            {"layers": {"hsi": {"path": "a", "ration": 4}}},
            r"layers\.hsi\.ration: no such option; did you mean 'ratio'",
        ),
        ({"layers": {"hsi": {"path": 3}}}, r"layers\.hsi\.path: expected text, got 3"),
        ({"layers": {"hsi": {"key": "x"}}}, r"scene: layers\.hsi\.path: missing; expected text"),
        ({"layers": {"hsi": ""}}, r"layers\.hsi\.path: is empty"),
        ({"layers": {"hsi": 5}}, r"layers\.hsi: expected a mapping of options, got 5"),
        ({"layers": {"hsi": []}}, r"layers\.hsi\.path: is an empty list"),
        ({"layers": {"hsi": {"path": []}}}, "an empty list"),
        (
            {"layers": {"hsi": {"path": "a", "ratio": 2.5}}},
            r"ratio: expected a whole number, got 2\.5",
        ),
        ({"layers": {"hsi": {"path": "a", "bands": [0]}}}, "bands are counted from 1"),
        (
            {"layers": {"hsi": {"path": "a", "nodata": "none"}}},
            "nodata: expected a number or null, got 'none'",
        ),
        ({"layers": {"hsi": {"path": "a", "ratio": 2}}}, "is the grid"),
        ({"layers": {**TWO, "sar": {"path": "b", "ratio": 0}}, "grid": "hsi"}, "0 is less than 1"),
        (
            {"layers": {**TWO, "sar": {"path": "b", "warp": "bilinar"}}, "grid": "hsi"},
            "mean 'bilinear'",
        ),
        ({"layers": {"a b": "c"}}, "letters, digits"),
        ({"layers": {}}, "at least one layer"),
        ({"layers": TWO}, "`grid` is missing: which layer's"),
        ({"layers": TWO, "grid": "hs"}, r"no layer is named 'hs'; did you mean 'hsi'"),
        ({"layers": LAYER, "labels": {"trian": "a"}}, r"labels\.trian: no such option"),
        ({"layers": LAYER, "labels": {"train": "a", "tset": "b"}}, r"labels\.tset: .* mean 'test'"),
        (
            {"layers": LAYER, "labels": {"path": "a", "join": {"csv": "b", "on": "id"}}},
            "needs `field`",
        ),
        ({"layers": LAYER, "classes": ["x", "x"]}, "two have the name 'x'"),
        ({"layers": LAYER, "classes": {True: "x"}}, "put the code in quotes"),
        ({"layers": LAYER, "classes": {1: {"name": "x", "color": None}}}, "put it in quotes"),
        ({"layers": LAYER, "classes": {1: {"name": "x", "color": "green"}}}, "#rrggbb"),
        ({"layers": LAYER, "classes": {1: "x"}, "ignore": [1]}, "also in `ignore`"),
        ({"layers": LAYER, "others": "ignore"}, "needs `classes`"),
        ({"layers": LAYER, "ignore": 1.5}, "ignore: expected a whole number or text, got 1.5"),
        ({"layers": LAYER, "parts": ["a"]}, r"holds \{part\}"),
        (
            {"layers": {"hsi": "{part}.tif", "sar": "b.tif"}, "grid": "hsi"},
            r"layers\.sar\.path: holds no \{part\}",
        ),
    ],
)
def test_wrong_content_is_named_with_its_place(content, message):
    with pytest.raises(ConfigError, match=message):
        read_scene_file(content)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("- a\n- b\n", ConfigError, r"got \['a', 'b'\] \(list\)"),
        ("", ConfigError, r"scene\.yaml: layers: missing; expected a mapping"),
        ("layers: {a: b\n", ConfigError, r"scene\.yaml, line \d"),
        ("layers: {a: {part}.tif}\n", ConfigError, "needs quotes"),
        (
            "layers: {a: x.tif}\nlayers: {a: y.tif}\n",
            ConfigError,
            "line 2, column 1: broken YAML: the key 'layers' stands twice",
        ),
        ("layers:\n  a: x.tif\n  a: y.tif\n", ConfigError, r"line 3, .* the key 'a' stands twice"),
    ],
)
def test_text_that_is_no_scene(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        read_scene_file(write(tmp_path, text))


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_scene_file(tmp_path / "none.yaml")
    binary = tmp_path / "scene.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FileError, match="not a YAML text file"):
        read_scene_file(binary)
    with pytest.raises(FileError, match="cannot be read"):
        read_scene_file(tmp_path)
    with pytest.raises(ConfigError, match="a path or a dict"):
        read_scene_file(3)
