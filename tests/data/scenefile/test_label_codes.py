"""Label files as people have them: names in sidecars, colours, one band a class, strange codes."""

import numpy as np
import pytest
import shapely

from bandweave.cli.main import main
from bandweave.data.match import with_classes
from bandweave.data.palette import colors
from bandweave.data.scene import ClassInfo
from bandweave.data.scenefile.open import open_scene
from bandweave.data.splits.splitting import split
from bandweave.errors import LabelError, SceneMismatch
from bandweave.landcover.maps.writing import name_files
from bandweave.raster.writing.style import aux_xml

CODES = np.array([[1, 2, 5, 5], [1, 2, 2, 0], [1, 1, 5, 0]], np.uint8)
NAMES = {1: "water, deep", 2: "forêt", 5: "草地"}
COLORS = {1: "#0a141e", 2: "#ff0000", 5: "#00ff80"}


@pytest.fixture
def scene_with(write_geotiff):
    """A scene with these labels, and what its file says more."""
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 4), np.float32)))

    def open_with(values, labels=None, dtype=None, name="labels.tif", **more):
        values = np.asarray(values, dtype) if dtype else np.asarray(values)
        path = str(write_geotiff(name, values))
        entry = {"path": path, **(labels or {})}
        return open_scene({"layers": {"a": grid}, "labels": entry, **more})

    return open_with


def found(scene):
    return {one.code: (one.name, one.color) for one in scene.classes}


# ------------------------------------------------------------------ names that the file has itself


def table(usages=True, scale=1):
    heads = [("VALUE", 5), ("Class_Name", 2), ("Red", 6), ("Green", 7), ("Blue", 8)]
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>2</Type>'
        f"<Usage>{usage if usages else 0}</Usage></FieldDefn>"
        for i, (name, usage) in enumerate(heads)
    )
    rows = ""
    for i, (code, name) in enumerate(NAMES.items()):
        rgb = [int(COLORS[code][k : k + 2], 16) * scale for k in (1, 3, 5)]
        cells = "".join(f"<F>{cell}</F>" for cell in (code, name, *rgb))
        rows += f'<Row index="{i}">{cells}</Row>'
    return f"<GDALRasterAttributeTable>{fields}{rows}</GDALRasterAttributeTable>"


@pytest.mark.parametrize("inside", [table(), table(usages=False)])
def test_names_and_colours_come_from_the_attribute_table(scene_with, tmp_path, inside):
    (tmp_path / "labels.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{inside}</PAMRasterBand></PAMDataset>', "utf-8"
    )
    scene = scene_with(CODES)
    assert found(scene) == {code: (NAMES[code], COLORS[code]) for code in NAMES}


def test_names_come_from_a_list_of_categories(scene_with, tmp_path):
    names = "".join(f"<Category>{NAMES.get(code, '')}</Category>" for code in range(6))
    (tmp_path / "labels.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames>'
        "</PAMRasterBand></PAMDataset>",
        "utf-8",
    )
    assert {code: name for code, (name, _) in found(scene_with(CODES)).items()} == NAMES


def test_our_own_sidecar_gives_the_same_names(scene_with, tmp_path):
    classes = [ClassInfo(code, NAMES[code], COLORS[code]) for code in NAMES]
    (tmp_path / "labels.tif.aux.xml").write_text(aux_xml(classes), "utf-8")
    assert found(scene_with(CODES)) == {code: (NAMES[code], COLORS[code]) for code in NAMES}


def test_names_of_the_scene_file_go_before(scene_with, tmp_path):
    (tmp_path / "labels.tif.aux.xml").write_text(
        f"<PAMDataset><PAMRasterBand>{table()}</PAMRasterBand></PAMDataset>", "utf-8"
    )
    scene = scene_with(CODES, classes={1: "a", 2: "b", 5: "c"}, ignore=[0])
    assert [one.name for one in scene.classes] == ["a", "b", "c"]


def test_an_envi_classification_names_its_classes(write_envi, write_geotiff):
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 4), np.float32)))
    extra = (
        "classes = 6\nclass names = {Unclassified, water, forest, x, y, grass}\n"
        "class lookup = {0,0,0, 10,20,30, 255,0,0, 1,1,1, 2,2,2, 0,255,128}"
    )
    path = str(write_envi("l.hdr", CODES[None], extra=extra))
    scene = open_scene({"layers": {"a": grid}, "labels": path})
    assert found(scene) == {
        1: ("water", "#0a141e"),
        2: ("forest", "#ff0000"),
        5: ("grass", "#00ff80"),
    }


# ------------------------------------------------------------------------------ colours and bands


def painted(colors_of=COLORS):
    rgb = np.zeros((3, 3, 4), np.uint8)
    for code, color in colors_of.items():
        for band in range(3):
            rgb[band][code == CODES] = int(color[1 + 2 * band : 3 + 2 * band], 16)
    return rgb


def test_labels_that_are_colours(scene_with):
    classes = {code: {"name": f"c{code}", "color": COLORS[code]} for code in NAMES}
    scene = scene_with(painted(), classes=classes)
    expected = np.select([CODES == 1, CODES == 2, CODES == 5], [0, 1, 2], -1)
    np.testing.assert_array_equal(scene.parts[0].labels.values, expected)


def test_a_colour_without_a_class_is_named_with_its_pixels(scene_with):
    classes = {1: {"name": "a", "color": COLORS[1]}, 2: {"name": "b", "color": COLORS[2]}}
    with pytest.raises(LabelError, match=r"#00ff80 \(3 px\)"):
        scene_with(painted(), classes=classes)
    scene = scene_with(painted(), name="b.tif", classes=classes, others="ignore")
    assert (scene.parts[0].labels.values == -1).sum() == 5


def test_colours_without_classes_are_asked_about(scene_with):
    with pytest.raises(LabelError, match=r"3 bands of 3 colours \(.*#ff0000.*`classes:"):
        scene_with(painted())


def test_an_image_given_as_labels_is_asked_about(write_geotiff):
    noise = np.random.default_rng(0).integers(0, 255, (3, 60, 80)).astype(np.uint8)
    image = str(write_geotiff("image.tif", noise))
    classes = {1: {"name": "a", "color": "#010203"}}
    with pytest.raises(LabelError, match="is it an image"):
        open_scene({"layers": {"a": image}, "labels": image, "classes": classes})


@pytest.mark.parametrize("one", [1, 255])
def test_a_band_for_each_class(scene_with, one):
    bands = np.stack([np.where(code == CODES, one, 0) for code in (1, 2, 5)]).astype(np.uint8)
    scene = scene_with(bands, classes={1: "a", 2: "b", 3: "c"})
    expected = np.select([CODES == 1, CODES == 2, CODES == 5], [0, 1, 2], -1)
    np.testing.assert_array_equal(scene.parts[0].labels.values, expected)


def test_bands_of_which_two_are_one_at_a_pixel_are_refused(scene_with):
    with pytest.raises(LabelError, match="one 1 a pixel"):
        scene_with(np.ones((3, 3, 4), np.uint8), classes={1: "a", 2: "b", 3: "c"})


def test_bands_of_one_are_classes_even_where_these_have_colours(scene_with):
    bands = np.stack([code == CODES for code in (1, 2, 5)]).astype(np.uint8)
    classes = {code: {"name": f"c{code}", "color": COLORS[code]} for code in NAMES}
    assert scene_with(bands, classes=classes).parts[0].labels.values[0].tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("opaque", [True, False])
def test_a_fourth_band_says_where_there_is_no_label(scene_with, dtype, opaque):
    seen = np.full((1, 3, 4), 255, np.uint8)
    seen[0, 0, 0] = 255 if opaque else 0
    classes = {code: {"name": f"c{code}", "color": COLORS[code]} for code in NAMES}
    scene = scene_with(np.concatenate([painted(), seen]), dtype=dtype, classes=classes)
    assert scene.parts[0].labels.values[0].tolist() == [0 if opaque else -1, 1, 2, 2]


def test_colours_may_be_the_codes(scene_with):
    scene = scene_with(painted(), classes={COLORS[code].upper(): NAMES[code] for code in NAMES})
    assert [(one.name, one.color) for one in scene.classes] == [
        (NAMES[code], COLORS[code]) for code in NAMES
    ]
    assert scene.parts[0].labels.values[0].tolist() == [0, 1, 2, 2]


def test_numbers_beyond_colours_are_no_colours(scene_with):
    with pytest.raises(LabelError, match="holds 0 to 4000, and colours are of 0 to 255"):
        scene_with(
            painted().astype(np.uint16) * 16 // 255 * 250,
            classes={1: {"name": "a", "color": "#000001"}},
        )


def test_the_axis_of_the_bands_can_be_stated(write_geotiff, tmp_path):
    grid = str(write_geotiff("grid.tif", np.ones((1, 3, 4), np.float32)))
    np.save(tmp_path / "l.npy", np.moveaxis(painted(), 0, -1))
    classes = {code: {"name": f"c{code}", "color": COLORS[code]} for code in NAMES}
    labels = {"path": str(tmp_path / "l.npy"), "axis": 2}
    scene = open_scene({"layers": {"a": grid}, "labels": labels, "classes": classes})
    assert scene.parts[0].labels.values[0].tolist() == [0, 1, 2, 2]


# ---------------------------------------------------------------------------------- strange codes


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint32", 4294967295),
        ("uint32", 4000000001),
        ("int32", -2147483648),
        ("int32", 20220101),
        ("float64", 2.0**32),
        ("int64", 2**40),
        ("int64", 2**63 - 1),
        ("int64", -(2**63)),
        ("uint64", 2**64 - 1),
    ],
)
def test_codes_that_are_too_large_are_told_as_such(scene_with, dtype, value):
    codes = CODES.astype(dtype)
    codes[0, 0] = value
    with pytest.raises(LabelError, match=rf"holds {int(value)}, .*add `nodata: {int(value)}`"):
        scene_with(codes)
    labels = {"nodata": float(value)}
    assert scene_with(codes, labels, name="b.tif").parts[0].labels.values[0, 0] == -1


def test_polygons_that_name_classes_by_name_are_those_classes(tmp_path, write_geotiff):
    import pyogrio

    squares = [shapely.box(500_000 + i, 3_999_997, 500_001 + i, 4_000_000) for i in range(3)]
    pyogrio.raw.write(
        str(tmp_path / "p.gpkg"),
        shapely.to_wkb(squares),
        [np.array(["dry", "Water", "dry"], object)],
        ["class"],
        geometry_type="Polygon",
        crs="EPSG:32617",
    )
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 4), np.float32)))
    labels = {"path": str(tmp_path / "p.gpkg"), "field": "class"}
    scene = open_scene({"layers": {"a": grid}, "labels": labels, "classes": {7: "water", 3: "dry"}})
    assert [one.code for one in scene.classes] == [7, 3]
    np.testing.assert_array_equal(scene.parts[0].labels.values[0], [1, 0, 1, -1])


def test_numbers_no_code_can_be_are_told_in_a_form_that_yaml_reads(scene_with):
    codes = CODES.astype(np.float32)
    codes[0, 0] = np.finfo(np.float32).min
    with pytest.raises(LabelError, match=r"add `nodata: -3\.40282346638528\d+e\+38`"):
        scene_with(codes)


def test_fractions_are_no_codes_and_nan_is_no_label(scene_with):
    codes = CODES.astype(np.float32)
    codes[0, 0] = 3.5
    with pytest.raises(LabelError, match=r"holds 3\.5, and class codes are whole numbers"):
        scene_with(codes)
    codes[0, 0] = np.nan
    assert scene_with(codes, name="b.tif").parts[0].labels.values[0, 0] == -1


def test_a_code_that_fits_no_map_is_numbered_and_said(scene_with):
    codes = CODES.astype(np.int32)
    codes[0, 0] = 310101
    scene = scene_with(codes, classes={310101: "paddy", 1: "a", 2: "b", 5: "c"}, ignore=0)
    assert [one.code for one in scene.classes] == [1, 2, 3, 4]
    assert any("code 310101 does not fit a map" in note for note in scene.notes)


def test_a_code_below_0_is_asked_about_before_anything_is_trained(scene_with):
    codes = CODES.astype(np.int16)
    codes[0, 0] = -1
    scene = scene_with(codes)
    assert any("add `ignore: [-1]`" in note for note in scene.notes)
    with pytest.raises(LabelError, match=r"code -1 \(1 px\) is below 0"):
        split(scene, "random")
    assert not scene_with(codes, name="b.tif", ignore=[-1]).doubt


def test_a_name_that_is_near_a_class_is_guessed(tmp_path, write_geotiff):
    path = write_squares(tmp_path / "p.gpkg", ["dry", "wter", "dry"])
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 4), np.float32)))
    labels = {"path": path, "field": "class"}
    with pytest.raises(LabelError, match=r"code wter \(3 px\).*did you mean 'water' by 'wter'"):
        open_scene({"layers": {"a": grid}, "labels": labels, "classes": {7: "water", 3: "dry"}})


def write_squares(path, names):
    """Polygons of 1 by 3 px from the left of the grid."""
    import pyogrio

    squares = [
        shapely.box(500_000 + i, 3_999_997, 500_001 + i, 4_000_000) for i in range(len(names))
    ]
    pyogrio.raw.write(
        str(path),
        shapely.to_wkb(squares),
        [np.array(names, object if isinstance(names[0], str) else np.int32)],
        ["class"],
        geometry_type="Polygon",
        crs="EPSG:32617",
    )
    return str(path)


# ---------------------------------------------------------------------------- classes without end


def test_colours_do_not_end_and_do_not_repeat():
    endless = colors(["#2bce48", "#0075dc"])
    chosen = [next(endless) for _ in range(20_000)]
    assert len(set(chosen)) == 20_000
    assert not {"#2bce48", "#0075dc"} & set(chosen)


def test_thousands_of_classes_open_and_are_asked_about(write_geotiff):
    grid = str(write_geotiff("grid.tif", np.ones((1, 80, 80), np.float32)))
    path = str(write_geotiff("ids.tif", np.arange(6400, dtype=np.uint16).reshape(80, 80)))
    scene = open_scene({"layers": {"a": grid}, "labels": path})
    assert len(scene.classes) == 6399
    with pytest.raises(LabelError, match="6399 classes in 6399 px: does the raster hold"):
        split(scene, "random")
    assert any("identifiers" in note for note in scene.notes)


@pytest.mark.parametrize("kind", [str, int])
def test_a_field_of_identifiers_is_asked_about_before_anything_is_trained(
    tmp_path, write_geotiff, kind
):
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 20), np.float32)))
    names = [kind(100 + i) if kind is int else f"tree {i}" for i in range(20)]
    labels = {"path": write_squares(tmp_path / "p.gpkg", names), "field": "class"}
    scene = open_scene({"layers": {"a": grid}, "labels": labels})
    with pytest.raises(LabelError, match="20 classes in 20 polygons: does the field 'class' hold"):
        split(scene, "objects")
    named = open_scene(
        {"layers": {"a": grid}, "labels": labels, "classes": {n: f"n{n}" for n in names}}
    )
    assert not named.doubt


def test_a_few_polygons_of_a_few_classes_are_not_asked_about(tmp_path, write_geotiff):
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 20), np.float32)))
    names = [f"species {i}" for i in range(9)]
    labels = {"path": write_squares(tmp_path / "p.gpkg", names), "field": "class"}
    assert not open_scene({"layers": {"a": grid}, "labels": labels}).doubt


def test_thousands_of_classes_of_polygons_open(tmp_path, write_geotiff):
    grid = str(write_geotiff("grid.tif", np.ones((1, 3, 5000), np.float32)))
    path = write_squares(tmp_path / "p.gpkg", [f"id {i}" for i in range(5000)])
    scene = open_scene({"layers": {"a": grid}, "labels": {"path": path, "field": "class"}})
    assert len({one.color for one in scene.classes}) == len(scene.classes) == 5000


def test_more_classes_than_indices_are_refused(write_geotiff):
    grid = str(write_geotiff("grid.tif", np.ones((1, 200, 200), np.float32)))
    path = str(write_geotiff("ids.tif", np.arange(40_000, dtype=np.uint16).reshape(200, 200)))
    with pytest.raises(LabelError, match="39999 classes, and 32767 at most"):
        open_scene({"layers": {"a": grid}, "labels": path})


# ----------------------------------------------------------- a run's classes, renamed or reordered


def test_names_colours_and_order_of_classes_may_change_after_training(scene_with):
    run = (ClassInfo(1, "a", "#111111"), ClassInfo(2, "b", "#222222"), ClassInfo(5, "c", "#333333"))
    scene = scene_with(CODES, classes={5: "see", 1: "a", 2: "b"}, ignore=[0])
    adopted = with_classes(scene, run)
    assert adopted.classes == run
    expected = np.select([CODES == 1, CODES == 2, CODES == 5], [0, 1, 2], -1)
    np.testing.assert_array_equal(adopted.parts[0].labels.values, expected)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({1: "a", 2: "b", 5: "c", 9: "d"}, "9 'd' is none of the run's classes"),
        ({1: "x", 2: "y", 5: "c"}, "names differ for more than half of 1 x, 2 y, 5 c"),
        ({1: "b", 2: "a", 5: "c"}, "1 'b' has the code of 'a' and the name of 2"),
    ],
)
def test_classes_that_are_others_are_refused(scene_with, classes, told):
    run = (ClassInfo(1, "a", "#111111"), ClassInfo(2, "b", "#222222"), ClassInfo(5, "c", "#333333"))
    with pytest.raises(SceneMismatch, match=told):
        with_classes(scene_with(CODES, classes=classes, ignore=[0]), run)


# --------------------------------------------------------------------------------- names of parts


def test_maps_of_parts_have_names_of_their_own(tmp_path, write_geotiff):
    names = ["x#y", "x%y", "x:y", "X_y", "x_y-2"]
    for name in names:
        write_geotiff(f"{name}.tif", np.ones((1, 3, 4), np.float32))
    layers = {"a": str(tmp_path / "{part}.tif")}
    scene = open_scene({"layers": layers, "parts": names})
    mapped = name_files(scene)
    assert len({name.casefold() for name in mapped}) == len(names)


@pytest.mark.parametrize("parts", [[], ["x" * 300], ["a/../b"], ["a\tb"], [""]])
def test_parts_that_no_file_can_be_named_after_are_refused(tmp_path, parts, capsys):
    import yaml

    content = {"layers": {"a": "{part}.tif"}, "parts": parts}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    assert main(["scenes", "check", str(tmp_path / "s.yaml")]) == 1
    assert "parts" in capsys.readouterr().out


def test_numbers_of_classes_that_labels_name_mean_nothing_beside_the_names(tmp_path, write_geotiff):
    run = (ClassInfo(1, "water", "#111111"), ClassInfo(2, "dry", "#222222"))
    grid = str(write_geotiff("grid.tif", np.ones((2, 3, 4), np.float32)))
    labels = {"path": write_squares(tmp_path / "p.gpkg", ["dry", "water"]), "field": "class"}
    scene = open_scene({"layers": {"a": grid}, "labels": labels})
    assert [(one.code, one.name) for one in scene.classes] == [(1, "dry"), (2, "water")]
    adopted = with_classes(scene, run)
    assert adopted.parts[0].labels.values[0].tolist() == [1, 0, -1, -1]
    renamed = {"dry": "arid", "water": "water"}
    scene = open_scene({"layers": {"a": grid}, "labels": labels, "classes": renamed})
    trained = (ClassInfo(1, "dry", "#111111"), ClassInfo(2, "water", "#222222"))
    assert with_classes(scene, trained).parts[0].labels.values[0].tolist() == [0, 1, -1, -1]
    with pytest.raises(SceneMismatch, match="'arid' is none of the run's classes"):
        with_classes(scene, run)
