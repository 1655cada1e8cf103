"""Opening scenes from raster files: grids that fit, grids that do not, labels, parts."""

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io
from rasterio.transform import from_origin

from bandweave.data.scene import IGNORED
from bandweave.data.scenefile.open import open_scene
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.errors import ConfigError, FileError, GridMismatch, LabelError, SceneMismatch

EAST, NORTH = 500000.0, 4000000.0


def write_tif(path: Path, values, pixel=2.0, origin=(EAST, NORTH), crs="EPSG:32617", **profile):
    """A small GeoTIFF of (H, W) or (bands, H, W); no georeference with pixel=None."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if pixel is None else {"transform": from_origin(*origin, pixel, pixel), "crs": crs}
    count, height, width = values.shape
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=values.dtype.name, **place, **profile
    ) as file:
        file.write(values)
    return path


@pytest.fixture
def folder(tmp_path):
    """A scene of 6×8 px: hsi of 5 bands, lidar on the same grid, rgb twice as fine, labels."""
    rng = np.random.default_rng(0)
    write_tif(tmp_path / "hsi.tif", rng.normal(size=(5, 6, 8)).astype("float32"))
    write_tif(tmp_path / "lidar.tif", rng.normal(size=(6, 8)).astype("float32"))
    write_tif(tmp_path / "rgb.tif", rng.integers(0, 255, (3, 12, 16)).astype("uint8"), pixel=1.0)
    labels = np.zeros((6, 8), np.uint8)
    labels[:2], labels[4:, :4], labels[4:, 6:] = 1, 2, 7
    write_tif(tmp_path / "labels.tif", labels)
    return tmp_path


HSI = {"hsi": "hsi.tif"}


def test_layers_labels_and_classes(folder):
    scene = open_scene(
        {
            "name": "town",
            "grid": "hsi",
            "layers": {
                "hsi": "hsi.tif",
                "lidar": "lidar.tif",
                "rgb": {"path": "rgb.tif", "ratio": 2},
            },
            "labels": "labels.tif",
            "classes": {7: {"name": "road", "color": "#FF0000"}, 1: "grass", 2: "tree"},
            "ignore": 0,
        },
        folder,
    )
    (part,) = scene.parts
    assert (part.name, part.grid.height, part.grid.width) == ("town", 6, 8)
    assert part.grid.crs.to_epsg() == 32617
    assert {name: (info.bands, info.ratio) for name, info in scene.layers.items()} == {
        "hsi": (5, 1),
        "lidar": (1, 1),
        "rgb": (3, 2),
    }
    assert [(c.code, c.name) for c in scene.classes] == [(7, "road"), (1, "grass"), (2, "tree")]
    assert scene.classes[0].color == "#ff0000"
    assert len({c.color for c in scene.classes}) == 3
    values = part.labels.values
    assert values.dtype == np.int16
    assert (values[0] == 1).all()  # code 1 is the second class
    assert (values[5, :4] == 2).all()
    assert (values[5, 6:] == 0).all()
    assert (values[3] == IGNORED).all()
    assert part.labels.objects is None
    assert part.labels.given is None


def test_a_scene_file_is_its_origin_and_its_folder_opens_too(folder):
    (folder / "scene.yaml").write_text("layers: {hsi: hsi.tif}\nlabels: labels.tif\n")
    scene = open_scene(folder / "scene.yaml")
    assert scene.origin == str(folder / "scene.yaml")
    assert open_scene(folder).origin == scene.origin
    assert open_scene(scene.origin).name == "scene"


def test_classes_that_are_not_given_are_made_from_the_codes(folder):
    scene = open_scene({"layers": HSI, "labels": "labels.tif"}, folder)
    assert [(c.code, c.name) for c in scene.classes] == [
        (1, "class 1"),
        (2, "class 2"),
        (7, "class 7"),
    ]
    assert any("made 3 from the codes" in note for note in scene.notes)
    assert any("code 0 (20 px) taken as no label" in note for note in scene.notes)


def test_a_code_that_no_class_names_is_an_error_with_its_count(folder):
    content = {"layers": HSI, "labels": "labels.tif", "classes": {1: "a", 2: "b"}}
    with pytest.raises(LabelError, match=r"0 \(20 px\), 7 \(4 px\).*`ignore: \[0\]`"):
        open_scene(content, folder)
    scene = open_scene({**content, "others": "ignore"}, folder)
    assert any("others ignored: codes 0 (20 px), 7 (4 px)" in note for note in scene.notes)


def test_an_absent_class_is_kept_and_noted(folder):
    classes = {1: "a", 2: "b", 3: "snow", 7: "c"}
    scene = open_scene(
        {"layers": HSI, "labels": "labels.tif", "classes": classes, "ignore": 0}, folder
    )
    assert len(scene.classes) == 4
    assert "class 'snow' (code 3) has no pixel: absent" in scene.notes


def test_labels_without_a_labelled_pixel_are_noted(folder):
    write_tif(folder / "empty.tif", np.zeros((6, 8), np.uint8))
    scene = open_scene({"layers": HSI, "labels": "empty.tif"}, folder)
    assert "the labels hold no labelled pixel" in scene.notes
    assert scene.classes == ()


def test_a_scene_needs_no_labels(folder):
    scene = open_scene({"layers": HSI, "classes": ["a", "b"]}, folder)
    assert scene.parts[0].labels is None
    assert [c.name for c in scene.classes] == ["a", "b"]


def test_labels_finer_than_the_grid(folder):
    fine = np.repeat(np.repeat(np.arange(48).reshape(6, 8) % 3, 2, 0), 2, 1).astype("uint8")
    write_tif(folder / "fine.tif", fine, pixel=1.0)
    scene = open_scene({"layers": HSI, "labels": "fine.tif"}, folder)
    assert scene.label_ratio == 2
    assert scene.parts[0].labels.values.shape == (12, 16)
    assert any("2 times finer than the grid" in note for note in scene.notes)
    with pytest.raises(GridMismatch, match=r"2 times as fine .* not 3 times"):
        open_scene({"layers": HSI, "labels": {"path": "fine.tif", "ratio": 3}}, folder)


def test_masks_give_roles(folder):
    train, test = np.zeros((2, 6, 8), np.uint8)
    train[:2], test[3:] = 1, 2
    write_tif(folder / "tr.tif", train)
    write_tif(folder / "te.tif", test)
    content = {"layers": HSI, "labels": {"train": "tr.tif", "test": "te.tif"}, "ignore": 0}
    labels = open_scene(content, folder).parts[0].labels
    assert (labels.given == TRAIN).sum() == 16
    assert (labels.given == TEST).sum() == 24
    assert ((labels.given == 0) == (labels.values == IGNORED)).all()
    train[3, :5] = 1
    write_tif(folder / "tr.tif", train)
    with pytest.raises(LabelError, match=r"5 pixels are both in labels\.train and in labels\.test"):
        open_scene(content, folder)


def test_wrong_label_files(folder):
    write_tif(folder / "half.tif", np.full((6, 8), 1.5, np.float32))
    with pytest.raises(LabelError, match=r"holds 1\.5, and class codes are whole numbers"):
        open_scene({"layers": HSI, "labels": "half.tif"}, folder)
    with pytest.raises(LabelError, match="has 3 bands"):
        open_scene({"layers": HSI, "labels": "rgb.tif"}, folder)
    write_tif(folder / "odd.tif", np.zeros((5, 8), np.uint8))
    with pytest.raises(GridMismatch, match=r"5×8 px at 2 m.*6×8 px at 2 m.*`warp: nearest`"):
        open_scene({"layers": HSI, "labels": "odd.tif"}, folder)
    with pytest.raises(ConfigError, match="2 rasters"):
        open_scene({"layers": HSI, "labels": ["labels.tif", "odd.tif"]}, folder)
    with pytest.raises(FileError, match=r"none\.tif"):
        open_scene({"layers": HSI, "labels": "none.tif"}, folder)


def test_label_holes_are_no_label(folder):
    values = np.ones((6, 8), np.float32)
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, 9
    write_tif(folder / "holes.tif", values, nodata=9)
    labels = open_scene({"layers": HSI, "labels": "holes.tif"}, folder).parts[0].labels
    assert (labels.values == IGNORED).sum() == 3


# ------------------------------------------------------------------------------------------- grids


def layers(folder, **other):
    return open_scene({"grid": "hsi", "layers": {**HSI, "b": other}}, folder)


def test_a_finer_layer_needs_a_word(folder):
    with pytest.raises(GridMismatch, match=r"12×16 px at 1 m.*6×8 px at 2 m.*`ratio: 2`.*`warp"):
        layers(folder, path="rgb.tif")
    with pytest.raises(GridMismatch, match="2 times finer, not 4"):
        layers(folder, path="rgb.tif", ratio=4)
    with pytest.raises(GridMismatch, match="leave out `ratio: 2`"):
        layers(folder, path="lidar.tif", ratio=2)


def test_another_place_size_or_crs_is_an_error(folder):
    values = np.ones((6, 8), np.float32)
    write_tif(folder / "aside.tif", values, origin=(EAST + 1.0, NORTH))
    with pytest.raises(GridMismatch, match=r"0\.5 of its pixels off.*`warp: bilinear`"):
        layers(folder, path="aside.tif")
    write_tif(folder / "zone.tif", values, crs="EPSG:32618")
    with pytest.raises(GridMismatch, match="another CRS"):
        layers(folder, path="zone.tif")
    write_tif(folder / "small.tif", values[:4])
    with pytest.raises(GridMismatch, match=r"4×8 px at 2 m.*6×8 px at 2 m"):
        layers(folder, path="small.tif")


def test_another_place_is_no_matter_of_warping(folder):
    write_tif(folder / "far.tif", np.ones((6, 8), np.float32), origin=(EAST + 5000, NORTH))
    for warp in ({}, {"warp": "bilinear"}):
        with pytest.raises(GridMismatch, match=r"'b' covers x 505000 to 505016.*do not overlap"):
            layers(folder, path="far.tif", **warp)
    write_tif(folder / "zone.tif", np.ones((6, 8), np.float32), crs="EPSG:32633")
    with pytest.raises(GridMismatch, match=r"layer 'b'.*do not overlap"):
        layers(folder, path="zone.tif", warp="bilinear")


def test_warped_layers_lie_on_the_grid_or_finer(folder):
    ramp = np.add.outer(np.zeros(12), np.arange(0.5, 14, 1.0)).astype("float32")  # x in metres
    write_tif(folder / "ramp.tif", ramp, pixel=1.0, origin=(EAST + 0.5, NORTH))
    scene = layers(folder, path="ramp.tif", warp="bilinear")
    values, valid = scene.parts[0].layers["b"].read(scene.parts[0].grid.window)
    assert values.shape == (1, 6, 8)
    assert valid[:, 1:7].all()
    assert not valid[:, 7].any()  # the file ends before it
    np.testing.assert_allclose(np.diff(values[0][:, 1:6], axis=1), 2, atol=1e-4)
    assert any("'b' warped from 12×14 px at 1 m" in note for note in scene.notes)
    finer = layers(folder, path="ramp.tif", warp="bilinear", ratio=2)
    assert finer.layers["b"].ratio == 2
    values, _ = finer.parts[0].layers["b"].read(finer.parts[0].grid.window)
    np.testing.assert_allclose(np.diff(values[0][:, 2:13], axis=1), 1, atol=1e-4)


def test_labels_are_warped_when_asked(folder):
    coarse = np.array([[1, 2], [0, 3]], np.uint8)
    write_tif(folder / "coarse.tif", coarse, pixel=8.0, origin=(EAST, NORTH))
    content = {"layers": HSI, "labels": {"path": "coarse.tif", "warp": "nearest"}, "ignore": 0}
    values = open_scene(content, folder).parts[0].labels.values
    assert (values[:4, :4] == 0).all()
    assert (values[:4, 4:] == 1).all()
    assert (values[4:, :4] == IGNORED).all()
    assert (values[4:, 4:] == 2).all()


def test_crs_is_assigned_where_there_is_none_and_never_warps(folder):
    write_tif(folder / "bare.tif", np.ones((6, 8), np.float32), crs=None)
    scene = open_scene({"layers": {"hsi": "bare.tif"}, "crs": "EPSG:32617"}, folder)
    assert scene.parts[0].grid.crs.to_epsg() == 32617
    assert "layer 'hsi' has no CRS: EPSG:32617 assigned" in scene.notes
    with pytest.raises(GridMismatch, match=r"EPSG:32617.*EPSG:32618.*never warps"):
        open_scene({"layers": {"hsi": {"path": "hsi.tif", "crs": "EPSG:32618"}}}, folder)
    with pytest.raises(ConfigError, match="names no CRS"):
        open_scene({"layers": {"hsi": {"path": "bare.tif", "crs": "EPSG:nine"}}}, folder)


def test_a_grid_without_a_place_takes_that_of_a_layer_of_its_shape(folder):
    cube = np.random.default_rng(1).normal(size=(6, 8, 5)).astype("float32")
    scipy.io.savemat(folder / "cube.mat", {"cube": cube, "gt": np.ones((6, 8), np.uint8)})
    scene = open_scene(
        {
            "grid": "cube",
            "layers": {
                "cube": {"path": "cube.mat", "key": "cube"},
                "rgb": {"path": "rgb.tif", "ratio": 2},
            },
            "labels": {"path": "cube.mat", "key": "gt"},
        },
        folder,
    )
    (part,) = scene.parts
    assert part.grid.transform == from_origin(EAST, NORTH, 2.0, 2.0)
    assert part.grid.crs.to_epsg() == 32617
    assert any("took that of 'rgb'" in note for note in scene.notes)
    values, valid = part.layers["cube"].read(part.grid.window)
    assert valid.all()
    np.testing.assert_array_equal(values, cube.transpose(2, 0, 1))


def test_layers_without_any_place_are_compared_by_shape(folder):
    write_tif(folder / "one.tif", np.ones((6, 8), np.float32), pixel=None)
    write_tif(folder / "two.tif", np.ones((12, 16), np.float32), pixel=None)
    content = {"grid": "a", "layers": {"a": "one.tif", "b": {"path": "two.tif", "ratio": 2}}}
    assert open_scene(content, folder).layers["b"].ratio == 2
    content["layers"]["b"] = {"path": "two.tif", "warp": "bilinear"}
    with pytest.raises(GridMismatch, match="no transform"):
        open_scene(content, folder)


def test_a_folder_with_a_benchmarks_files_opens(tmp_path):
    scipy.io.savemat(tmp_path / "PaviaU.mat", {"paviaU": np.ones((610, 340, 103), np.uint8)})
    codes = np.ones((610, 340), np.uint8)
    scipy.io.savemat(tmp_path / "PaviaU_gt.mat", {"paviaU_gt": codes})
    assert open_scene(tmp_path).name == "pavia_university"
    (tmp_path / "PaviaU_gt.mat").unlink()
    with pytest.raises(FileError, match="neither"):
        open_scene(tmp_path)


def test_scale_and_bands(folder):
    content = {"layers": {"hsi": {"path": "hsi.tif", "bands": [3, 1], "scale": 2, "offset": 1}}}
    scene = open_scene(content, folder)
    read, _ = scene.parts[0].layers["hsi"].read(scene.parts[0].grid.window)
    with rasterio.open(folder / "hsi.tif") as file:
        np.testing.assert_allclose(read, file.read([3, 1]) * 2 + 1, rtol=1e-6)
    assert scene.layers["hsi"].info.scales == (2.0, 2.0)


def test_a_scene_one_pixel_wide(tmp_path):
    write_tif(tmp_path / "line.tif", np.ones((3, 9, 1), np.float32))
    write_tif(tmp_path / "labels.tif", np.ones((9, 1), np.uint8))
    scene = open_scene({"layers": {"hsi": "line.tif"}, "labels": "labels.tif"}, tmp_path)
    assert scene.parts[0].labels.values.shape == (9, 1)


def test_files_that_are_missing_or_no_raster(folder):
    with pytest.raises(FileError, match=r"hsl\.tif does not exist; did you mean hsi\.tif\?"):
        open_scene({"layers": {"hsi": "hsl.tif"}}, folder)
    (folder / "text.tif").write_text("not a raster\n")
    with pytest.raises(FileError, match="not a TIFF"):
        open_scene({"layers": {"hsi": "text.tif"}}, folder)
    with pytest.raises(FileError, match=r"neither scene\.yaml nor all files of a known benchmark"):
        open_scene(folder)


def test_notes_are_logged(folder, caplog):
    with caplog.at_level(logging.INFO, logger="bandweave"):
        scene = open_scene({"layers": HSI, "labels": "labels.tif"}, folder)
    assert scene.notes
    assert all(
        any(note in record.getMessage() for record in caplog.records) for note in scene.notes
    )


# ------------------------------------------------------------------------------------------- parts


@pytest.fixture
def plots(tmp_path):
    """Plots p2 and p10 of other sizes and places, with hsi, rgb (ratio 2) and labels for p2."""
    rng = np.random.default_rng(0)
    for name, (height, width), east in (("p2", (4, 5), EAST), ("p10", (3, 3), EAST + 1000)):
        cube = rng.normal(size=(3, height, width)).astype("float32")
        write_tif(tmp_path / "HSI" / f"{name}.tif", cube, origin=(east, NORTH))
        rgb = rng.integers(0, 255, (3, 2 * height, 2 * width)).astype("uint8")
        write_tif(tmp_path / "RGB" / name / f"{name}_rgb.tif", rgb, 1.0, origin=(east, NORTH))
    write_tif(tmp_path / "labels_p2.tif", np.ones((4, 5), np.uint8))
    return tmp_path


PLOTS = {
    "grid": "hsi",
    "layers": {
        "hsi": "HSI/{part}.tif",
        "rgb": {"path": "RGB/{part}/{part}_rgb.tif", "ratio": 2},
    },
    "labels": "labels_{part}.tif",
}


def test_parts_are_found_by_their_pattern(plots):
    scene = open_scene(PLOTS, plots)
    assert [part.name for part in scene.parts] == ["p2", "p10"]  # natural order
    assert [(part.grid.height, part.grid.width) for part in scene.parts] == [(4, 5), (3, 3)]
    assert (scene.parts[0].labels.values == 0).all()
    assert (scene.parts[1].labels.values == IGNORED).all()
    assert any("part 'p10' has no file labels_p10.tif" in note for note in scene.notes)
    assert [part.name for part in open_scene({**PLOTS, "parts": ["p10"]}, plots).parts] == ["p10"]


def test_a_part_without_a_layer_is_named(plots):
    (plots / "RGB/p10/p10_rgb.tif").unlink()
    with pytest.raises(FileError, match=r"part 'p10' has no file .*p10_rgb\.tif for layer 'rgb'"):
        open_scene(PLOTS, plots)
    assert len(open_scene({**PLOTS, "parts": ["p2"]}, plots).parts) == 1
    with pytest.raises(FileError, match="part 'p3' has no file"):
        open_scene({**PLOTS, "parts": ["p3"]}, plots)


def test_no_part_at_all(tmp_path):
    with pytest.raises(FileError, match=r"no file matches .*\{part\}\.tif"):
        open_scene({"layers": {"hsi": "{part}.tif"}}, tmp_path)


def test_parts_share_their_layers(plots):
    write_tif(plots / "HSI/p10.tif", np.ones((4, 3, 3), np.float32), origin=(EAST + 1000, NORTH))
    with pytest.raises(SceneMismatch, match="4 bands in part 'p10' and 3 in part 'p2'"):
        open_scene(PLOTS, plots)


def test_a_mismatch_names_its_part(plots):
    write_tif(plots / "HSI/p10.tif", np.ones((3, 5, 3), np.float32), origin=(EAST + 1000, NORTH))
    with pytest.raises(GridMismatch, match=r"part 'p10': layer 'rgb'.*6×6 px"):
        open_scene(PLOTS, plots)
