"""Labels from polygons: fields, joins, overlaps, roles; and the colours of classes."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.data.check.labels import look_at_labels
from bandweave.data.palette import colors
from bandweave.data.scene import IGNORED
from bandweave.data.scenefile.open import open_scene
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.errors import ConfigError, GridMismatch, LabelError

EAST, NORTH = 500000.0, 4000000.0


def square(left, top, width, height=None, **properties):
    """A rectangle in metres right of and below the grid's corner."""
    height = width if height is None else height
    west, north = EAST + left, NORTH - top
    ring = [(west, north), (west + width, north), (west + width, north - height)]
    ring = [*ring, (west, north - height), ring[0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def write_polygons(path: Path, *squares, crs="urn:ogc:def:crs:EPSG::32617"):
    named = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    path.write_text(json.dumps({"type": "FeatureCollection", **named, "features": squares}))
    return path


@pytest.fixture
def folder(tmp_path):
    """A grid of 10×12 px at 1 m, and crowns with ids and a species."""
    values = np.ones((2, 10, 12), np.float32)
    place = {"transform": from_origin(EAST, NORTH, 1.0, 1.0), "crs": "EPSG:32617"}
    with rasterio.open(
        tmp_path / "hsi.tif", "w", "GTiff", 12, 10, 2, dtype="float32", **place
    ) as file:
        file.write(values)
    write_polygons(
        tmp_path / "crowns.geojson",
        square(0, 0, 4, species="oak", id="a"),
        square(3, 0, 2, species="pine", id="b"),  # 1×2 m in the oak
        square(8, 6, 3, species="fir", id="c"),
        square(6, 6, 0.2, species="oak", id="d"),  # holds no pixel's centre
        square(90, 0, 3, species="oak", id="e"),  # outside
        square(6, 0, 2, species=None, id="f"),
    )
    return tmp_path


def scene_of(folder, classes=None, **labels):
    content = {"layers": {"hsi": "hsi.tif"}, "labels": {"path": "crowns.geojson", **labels}}
    return open_scene(content if classes is None else {**content, **classes}, folder)


def point(col, row, **properties):
    place = {"type": "Point", "coordinates": [EAST + col + 0.5, NORTH - row - 0.5]}
    return {"type": "Feature", "properties": properties, "geometry": place}


POINTS = (
    point(0, 0, species="oak"),
    point(1, 0, species="oak"),
    point(5, 5, species="pine"),
    point(5, 5, species="oak"),
)


@pytest.mark.parametrize(
    ("features", "overlap", "words", "counted"),
    [
        (
            POINTS,
            "smallest",
            [
                "4 points read",
                "points own the pixel they lie in; 1 px in several: the last point's",
            ],
            "3 points",
        ),
        (POINTS, "first", ["1 px in several: the first point's in the file"], "2 points"),
        (
            (square(0, 0, 2, species="oak"), square(4, 4, 2, species="pine")),
            "smallest",
            ["2 polygons read", "polygons own pixels whose centre they hold", "smallest polygon's"],
            "1 polygon",
        ),
        (
            (square(0, 0, 2, species="oak"), point(5, 5, species="pine")),
            "ignore",
            ["2 shapes read", "hold, points the one they lie in; 0 px in several: nobody's"],
            "1 shape",
        ),
    ],
)
def test_points_are_not_called_polygons(folder, features, overlap, words, counted):
    write_polygons(folder / "crowns.geojson", *features)
    scene = scene_of(folder, field="species", overlap=overlap)
    notes = " ".join(scene.notes)
    for each in words:
        assert each in notes
    lines = [finding.text for finding in look_at_labels(scene, None)]
    assert any("'oak'" in line and line.endswith(counted) for line in lines)


def test_several_points_in_a_pixel_are_the_last_ones(folder):
    write_polygons(folder / "crowns.geojson", *POINTS)
    for overlap, name in (("smallest", "oak"), ("largest", "oak"), ("first", "pine")):
        scene = scene_of(folder, field="species", overlap=overlap)
        assert scene.classes[scene.parts[0].labels.values[5, 5]].name == name


def test_points_of_one_side_and_polygons_of_the_other_are_shapes(folder):
    write_polygons(folder / "train.geojson", square(0, 0, 3, kind=1), square(4, 0, 2, kind=2))
    write_polygons(folder / "test.geojson", point(0, 5, kind=1), point(4, 5, kind=2))
    sides = {side: {"path": f"{side}.geojson", "field": "kind"} for side in ("train", "test")}
    content = {"layers": {"hsi": "hsi.tif"}, "labels": sides}
    scene = open_scene(content, folder)
    assert scene.parts[0].labels.shapes == "shapes"
    notes = " ".join(scene.notes)
    assert "2 polygons read" in notes
    assert "2 points read" in notes


def test_polygons_become_labels_and_objects(folder):
    scene = scene_of(folder, field="species")
    assert [(c.code, c.name) for c in scene.classes] == [(1, "fir"), (2, "oak"), (3, "pine")]
    labels = scene.parts[0].labels
    assert (labels.values == 0).sum() == 9
    assert (labels.values == 1).sum() == 14
    assert (labels.values == 2).sum() == 4  # the smaller owns what both hold
    assert labels.objects.dtype == np.int32
    assert ((labels.objects > 0) == (labels.values != IGNORED)).all()
    assert len(np.unique(labels.objects)) == 4
    (note,) = [note for note in scene.notes if "polygons read" in note]
    assert "6 polygons read" in note
    assert "1 without a value of 'species'" in note
    assert "1 outside the scene" in note
    assert "1 without a pixel" in note
    assert "3 with pixels" in note
    assert any("2 px in several: the smallest polygon's" in note for note in scene.notes)


@pytest.mark.parametrize(
    ("rule", "oak", "pine"),
    [("smallest", 14, 4), ("largest", 16, 2), ("first", 16, 2), ("last", 14, 4), ("ignore", 14, 2)],
)
def test_overlap_rules(folder, rule, oak, pine):
    values = scene_of(folder, field="species", overlap=rule).parts[0].labels.values
    assert ((values == 1).sum(), (values == 2).sum()) == (oak, pine)


def test_labels_may_be_finer_than_the_grid(folder):
    scene = scene_of(folder, field="species", ratio=5)
    assert scene.label_ratio == 5
    labels = scene.parts[0].labels
    assert labels.values.shape == (50, 60)
    assert (labels.values == 0).sum() == 9 * 25
    assert len(np.unique(labels.objects)) == 5  # the crown of 0.2 m has a pixel now


def test_chosen_classes_and_others(folder):
    classes = {"oak": {"name": "Quercus", "color": "#112233"}, "pine": "Pinus"}
    with pytest.raises(LabelError, match=r"code fir \(9 px\), which `classes` does not name"):
        scene_of(folder, {"classes": classes}, field="species")
    scene = scene_of(folder, {"classes": classes, "others": "ignore"}, field="species")
    assert [(c.code, c.name) for c in scene.classes] == [(1, "Quercus"), (2, "Pinus")]
    assert scene.classes[0].color == "#112233"
    labels = scene.parts[0].labels
    assert set(np.unique(labels.values)) == {IGNORED, 0, 1}
    assert (labels.objects[labels.values == IGNORED] == 0).all()
    ignored = scene_of(folder, {"classes": classes, "ignore": ["fir"]}, field="species")
    assert (ignored.parts[0].labels.values == labels.values).all()


def test_a_table_gives_the_class(folder):
    (folder / "field.csv").write_text("id,taxon\na,QURU\nb,PIPA\nb,QURU\nc,\n")
    join = {"csv": "field.csv", "on": "id"}
    scene = scene_of(folder, field="taxon", join=join)
    assert [c.name for c in scene.classes] == ["PIPA", "QURU"]
    assert any("3 without a row in the CSV, 1 without a value" in note for note in scene.notes)
    assert any("1 repeated rows" in note for note in scene.notes)
    with pytest.raises(LabelError, match="no column 'ident'"):
        scene_of(folder, field="taxon", join={"csv": "field.csv", "on": "ident"})


def test_polygons_train_and_test(folder):
    write_polygons(folder / "train.geojson", square(0, 0, 3, kind=1), square(4, 0, 2, kind=2))
    write_polygons(folder / "test.geojson", square(0, 5, 3, kind=1), square(4, 5, 2, kind=2))
    content = {
        "layers": {"hsi": "hsi.tif"},
        "labels": {
            "train": {"path": "train.geojson", "field": "kind"},
            "test": {"path": "test.geojson", "field": "kind"},
        },
        "classes": {1: "grass", 2: "tree"},
    }
    scene = open_scene(content, folder)
    labels = scene.parts[0].labels
    assert (labels.given == TRAIN).sum() == 13
    assert (labels.given == TEST).sum() == 13
    assert len(np.unique(labels.objects)) == 5  # 0, and four polygons
    assert set(np.unique(labels.objects[labels.given == TRAIN])).isdisjoint(
        np.unique(labels.objects[labels.given == TEST])
    )
    write_polygons(folder / "test.geojson", square(2, 2, 2, kind=1))
    with pytest.raises(LabelError, match="1 pixel is both"):
        open_scene(content, folder)


def test_polygons_of_another_crs_are_brought_to_the_grid(folder):
    from rasterio.warp import transform_geom

    feature = square(0, 0, 4, species="oak")
    feature["geometry"] = transform_geom(
        "EPSG:32617", "OGC:CRS84", feature["geometry"], precision=12
    )
    write_polygons(folder / "crowns.geojson", feature, crs=None)
    labels = scene_of(folder, field="species").parts[0].labels
    assert (labels.values == 0).sum() == 16


def test_errors_of_polygon_labels(folder):
    with pytest.raises(ConfigError, match="polygons and points need `field`"):
        scene_of(folder)
    with pytest.raises(LabelError, match=r"no field 'specie'.*species"):
        scene_of(folder, field="specie")
    bare = folder / "bare.tif"
    with rasterio.open(bare, "w", "GTiff", 12, 10, 1, dtype="uint8") as file:
        file.write(np.ones((1, 10, 12), np.uint8))
    with pytest.raises(GridMismatch, match="no transform"):
        open_scene(
            {"layers": {"b": "bare.tif"}, "labels": {"path": "crowns.geojson", "field": "id"}},
            folder,
        )


def test_colors_are_distinct_and_spare_those_taken():
    first = list(itertools.islice(colors(["#2BCE48"]), 200))
    assert len(set(first)) == 200
    assert "#2bce48" not in first
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in first)


# --------------------------------------------------------------------------------------- real data

DATA = os.environ.get("BANDWEAVE_DATA", "")
EXAMPLES = Path(__file__).parents[3] / "examples" / "scenes"


def example(name, data):
    if not (Path(DATA) / data).is_dir() or not DATA:
        pytest.skip(f"BANDWEAVE_DATA names no folder with {data}")
    return open_scene(EXAMPLES / f"{name}.yaml")


def test_houston2018_crop():
    scene = example("houston2018-crop", "houston2018-crop")
    (part,) = scene.parts
    assert (part.grid.height, part.grid.width) == (128, 128)
    assert scene.label_ratio == 4
    assert (scene.layers["hsi"].bands, scene.layers["rgb"].ratio) == (48, 4)
    assert [c.code for c in scene.classes] == [1, 2, 3, 5, 6, 7, 9, 10, 11, 12]
    assert (part.labels.values != IGNORED).sum() == 95974
    _, valid = part.layers["rgb"].read(part.grid.window)
    assert 0 < (~valid).sum() < valid.size / 4  # the black patch


def test_idtrees2020():
    scene = example("idtrees2020", "idtrees2020")
    assert len(scene.parts) == 59
    assert {name: (i.bands, i.ratio) for name, i in scene.layers.items()} == {
        "hsi": (369, 1),
        "chm": (1, 1),
        "rgb": (3, 10),
    }
    assert len(scene.classes) == 8
    values = np.concatenate([part.labels.values.ravel() for part in scene.parts])
    assert (np.bincount(values[values >= 0], minlength=8) > 300).all()
    notes = " ".join(scene.notes)
    assert "1215 polygons read, 67 without a row" in notes
    assert "outside the scene" in notes
    assert all(part.labels.objects is not None for part in scene.parts)


def test_houston2013_masks_have_the_contests_supports():
    scene = example("houston2013", "houston2013")
    (part,) = scene.parts
    assert part.grid.crs.to_epsg() == 32615
    assert (part.labels.given == TRAIN).sum() == 2832
    assert (part.labels.given == TEST).sum() == 12197
    assert len(scene.classes) == 15
    assert not any("absent" in note for note in scene.notes)


def test_landsat8_chip_has_one_file_a_band_and_a_warped_pan():
    scene = example("landsat8-chip", "landsat8-chip")
    (part,) = scene.parts
    assert (scene.layers["ms"].bands, scene.layers["pan"].ratio) == (8, 2)
    assert scene.layers["ms"].info.wavelengths[0] == 443
    values, valid = part.layers["pan"].read(part.grid.window)
    assert values.shape == (1, 82, 82)
    assert valid.mean() > 0.95
    assert any("'pan' warped" in note for note in scene.notes)
