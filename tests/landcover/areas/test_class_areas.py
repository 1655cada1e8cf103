"""Areas of a map's classes: counted, and estimated from a sample that a scene file declares."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from pyogrio.raw import read as read_vector
from pyogrio.raw import write as write_vector
from rasterio.crs import CRS
from rasterio.transform import from_origin

import bandweave as bw
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.data.splits.splitting import split
from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.landcover.areas.class_areas import measure_areas
from bandweave.landcover.areas.estimate import estimate_areas
from bandweave.landcover.areas.sample import draw_sample
from bandweave.landcover.maps.files import ROWS
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.writing.raster import MapWriter, RasterForm

UTM = CRS.from_epsg(32617)
CLASSES = (ClassInfo(3, "water", "#0000ff"), ClassInfo(7, "grass", "#00cd00"))
STRATIFIED = "stratified by map class"


def part_of(labels, name="plot", size=20.0, crs=UTM, **more):
    height, width = labels.shape
    grid = Grid(height, width, from_origin(500_000, 4_000_000, size, size), crs)
    layer = Layer(ArraySource(np.zeros((1, height, width), np.float32), grid))
    return Part(name, grid, {"hsi": layer}, Labels(labels.astype(np.int16), **more))


def write_map(path, part, indices):
    codes = np.array([0, *(each.code for each in CLASSES)], np.uint8)[indices + 1]
    with MapWriter(path, part.grid, RasterForm(dtype="uint8", nodata=0)) as writer:
        writer.write(part.grid.window, codes)
    return path


@pytest.fixture
def mapped():
    rng = np.random.default_rng(0)
    indices = (rng.random((60, 90)) < 0.7).astype(int)
    indices[:5] = IGNORED
    return indices


@pytest.fixture
def sampled(mapped):
    """Labels at random places of each class: one in six is not what the map says."""
    rng = np.random.default_rng(1)
    labels = np.full(mapped.shape, IGNORED)
    for k in range(2):
        rows, cols = np.nonzero(mapped == k)
        chosen = rng.permutation(len(rows))[:60]
        labels[rows[chosen], cols[chosen]] = np.where(rng.random(60) < 1 / 6, 1 - k, k)
    return labels


def places(part, x, y):
    """Rows and columns of points, with their fractions."""
    left, top = part.grid.xy(0, 0)
    return (top - y) / 20, (x - left) / 20


def areas(scene, maps, own=None):
    return measure_areas(scene, maps, CLASSES, 1, own)


def test_a_declared_sample_gives_standard_errors(tmp_path, mapped, sampled):
    part = part_of(sampled)
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    found = areas(scene, [write_map(tmp_path / "m.tif", part, mapped)])
    known = sampled != IGNORED
    table = np.array(
        [[(known & (mapped == i) & (sampled == j)).sum() for j in range(2)] for i in range(2)]
    )
    hectares = np.array([(mapped == 0).sum(), (mapped == 1).sum()]) * 0.04
    expected = estimate_areas(table, hectares, ("water", "grass"))
    assert found.unit == "ha"
    assert found.mapped == pytest.approx(hectares, rel=2e-3)  # a metre of UTM is 0.9996 there
    assert found.estimate.sampled.tolist() == table.tolist()
    assert found.estimate.area == pytest.approx(expected.area, rel=2e-3)
    assert (found.estimate.area_error > 0).all()
    assert found.estimate.area.sum() == pytest.approx(found.mapped.sum())
    assert "120 sample units" in found.note
    assert list(found.rows()[0])[:3] == ["class", "mapped_ha", "estimated_ha"]


def test_without_a_declared_sample_there_is_no_standard_error(tmp_path, mapped, sampled):
    part = part_of(sampled)
    found = areas(
        Scene("s", (part,), "hsi", CLASSES), [write_map(tmp_path / "m.tif", part, mapped)]
    )
    assert found.estimate is None
    assert "no standard error" in found.note
    assert found.rows()[1] == {"class": "grass", "mapped_ha": found.mapped[1]}


def test_pixels_where_the_grid_has_no_place(tmp_path, mapped, sampled):
    part = part_of(sampled)
    grid = Grid(*mapped.shape, PIXELS, None)
    layer = Layer(ArraySource(np.zeros((1, *mapped.shape), np.float32), grid))
    part = replace(part, grid=grid, layers={"hsi": layer})
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    found = areas(scene, [write_map(tmp_path / "m.tif", part, mapped)])
    assert found.unit == "px"
    assert found.mapped.tolist() == [(mapped == 0).sum(), (mapped == 1).sum()]
    assert found.estimate is not None


def test_degrees_are_no_hectares(tmp_path, mapped, sampled):
    part = part_of(sampled)
    grid = Grid(*mapped.shape, from_origin(10, 60, 1e-3, 1e-3), CRS.from_epsg(4326))
    layer = Layer(ArraySource(np.zeros((1, *mapped.shape), np.float32), grid))
    part = replace(part, grid=grid, layers={"hsi": layer})
    found = areas(
        Scene("s", (part,), "hsi", CLASSES), [write_map(tmp_path / "m.tif", part, mapped)]
    )
    pixel = 111.41e3 * 1e-3 * 55.7e3 * 1e-3 / 1e4  # metres of a degree at 60° N
    assert found.mapped.sum() == pytest.approx((mapped >= 0).sum() * pixel, rel=0.01)


def test_parts_add_up(tmp_path, mapped, sampled):
    parts = [part_of(sampled, "a"), part_of(sampled, "b")]
    scene = Scene("s", tuple(parts), "hsi", CLASSES, sampling="simple random")
    maps = [write_map(tmp_path / f"{part.name}.tif", part, mapped) for part in parts]
    found = areas(scene, maps)
    assert found.estimate.sampled.sum() == 240
    assert "stratified afterwards" in found.note


def test_polygons_count_once(tmp_path, mapped):
    labels = np.full(mapped.shape, IGNORED)
    objects = np.zeros(mapped.shape, np.int32)
    for number, row in enumerate(range(6, 60, 3), 1):
        for col in (0, 40):
            k = int(mapped[row, col : col + 3].mean() > 0.5)
            labels[row, col : col + 3] = k
            objects[row, col : col + 3] = number if col == 0 else number + 100
    part = part_of(labels, objects=objects)
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    found = areas(scene, [write_map(tmp_path / "m.tif", part, mapped)])
    assert found.estimate.sampled.sum() == 36
    assert "36 units are polygons of several pixels" in found.note
    assert np.trace(found.estimate.sampled) == 36  # as each was given what most of it is mapped


def test_what_was_trained_on_is_no_sample(tmp_path, mapped, sampled):
    part = part_of(sampled)
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    path = write_map(tmp_path / "m.tif", part, mapped)
    found = areas(scene, [path], split(scene, "random", per_class=5, guard=0))
    assert found.estimate is None
    assert "trained on 10 of their pixels" in found.note


def test_the_test_labels_are_the_sample_where_labels_have_roles(tmp_path, mapped, sampled):
    given = np.where(sampled != IGNORED, TEST, 0).astype(np.uint8)
    rows, cols = np.nonzero(sampled == IGNORED)
    labels = sampled.copy()
    labels[rows[-40:], cols[-40:]] = mapped[rows[-40:], cols[-40:]]
    given[rows[-40:], cols[-40:]] = TRAIN
    part = part_of(labels, given=given)
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    path = write_map(tmp_path / "m.tif", part, mapped)
    found = areas(scene, [path], split(scene, "given", guard=0))
    assert found.estimate.sampled.sum() == 120


def test_a_class_with_one_unit_says_so(tmp_path, mapped, sampled):
    labels = np.where(mapped == 0, IGNORED, sampled)
    part = part_of(labels)
    scene = Scene("s", (part,), "hsi", CLASSES, sampling=STRATIFIED)
    found = areas(scene, [write_map(tmp_path / "m.tif", part, mapped)])
    assert found.estimate is None
    assert "'water'" in found.note
    assert "needs at least 2" in found.note


def test_other_classes_than_the_maps(tmp_path, mapped, sampled):
    part = part_of(sampled)
    other = (CLASSES[0], ClassInfo(8, "trees", "#00cd00"))
    scene = Scene("s", (part,), "hsi", other, sampling=STRATIFIED)
    found = areas(scene, [write_map(tmp_path / "m.tif", part, mapped)])
    assert found.estimate is None
    assert "other classes" in found.note


def test_points_of_a_scene_file(tmp_path, mapped, sampled):
    part = part_of(sampled)
    with MapWriter(
        tmp_path / "hsi.tif", part.grid, RasterForm(dtype="float32", nodata=np.nan)
    ) as writer:
        writer.write(part.grid.window, np.zeros(mapped.shape, np.float32))
    rows, cols = np.nonzero(sampled != IGNORED)
    x, y = part.grid.xy(rows + 0.3, cols + 0.6)
    names = np.array([CLASSES[k].name for k in sampled[rows, cols]], object)
    write_vector(
        tmp_path / "points.gpkg",
        shapely.to_wkb(shapely.points(x, y)),
        [names],
        ["class"],
        crs="EPSG:32617",
        geometry_type="Point",
    )
    file = {
        "layers": {"hsi": "hsi.tif"},
        "labels": {"path": "points.gpkg", "field": "class", "sampling": STRATIFIED},
        "classes": {"water": "water", "grass": "grass"},
    }
    scene = bw.open_scene(file, tmp_path)
    assert scene.sampling == STRATIFIED
    classes = tuple(
        replace(one, code=own.code) for one, own in zip(CLASSES, scene.classes, strict=True)
    )
    assert (scene.parts[0].labels.values == sampled).all()
    codes = np.array([0, *(each.code for each in classes)], np.uint8)[mapped + 1]
    with MapWriter(tmp_path / "m.tif", part.grid, RasterForm(dtype="uint8", nodata=0)) as writer:
        writer.write(part.grid.window, codes)
    found = measure_areas(scene, [tmp_path / "m.tif"], scene.classes, 1, None)
    assert found.estimate.sampled.sum() == 120
    assert "polygons" not in found.note


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"path": "a.tif", "sampling": "by taste"}, "labels.sampling"),
        ({"train": {"path": "a.tif", "sampling": STRATIFIED}}, "not trained on"),
    ],
)
def test_designs_that_are_refused(tmp_path, labels, said):
    with pytest.raises(ConfigError, match=said):
        bw.open_scene({"layers": {"hsi": "hsi.tif"}, "labels": labels}, tmp_path)


def test_a_sample_is_drawn_within_each_class_and_comes_back(tmp_path, mapped):
    part = part_of(mapped)
    path = write_map(tmp_path / "map.tif", part, mapped)
    points = tmp_path / "points.gpkg"
    assert draw_sample(path, points, 30, seed=1) == {3: 30, 7: 30}
    again = tmp_path / "again.geojson"
    draw_sample(path, again, 30, seed=1)
    (_, _, first, fields), (_, _, second, _) = read_vector(points), read_vector(again)
    assert shapely.from_wkb(first).tolist() == shapely.from_wkb(second).tolist()
    assert fields[0].tolist() == list(range(1, 61))
    x, y = np.transpose([point.coords[0] for point in shapely.from_wkb(first)])
    rows, cols = places(part, x, y)
    assert len({*zip(rows, cols, strict=True)}) == 60
    assert (rows % 1 == 0.5).all()
    drawn = mapped[rows.astype(int), cols.astype(int)]
    assert np.bincount(drawn).tolist() == [30, 30]
    assert (np.diff(drawn) != 0).sum() > 10  # in no order that tells the class


def test_every_pixel_is_as_likely(tmp_path):
    mapped = np.zeros((ROWS + 20, 2), int)
    path = write_map(tmp_path / "map.tif", part_of(mapped), mapped)
    seen = np.zeros(mapped.shape)
    for seed in range(40):
        draw_sample(path, tmp_path / "p.geojson", 200, seed=seed, overwrite=True)
        points = shapely.from_wkb(read_vector(tmp_path / "p.geojson")[2])
        x, y = np.transpose([point.coords[0] for point in points])
        rows, cols = places(part_of(mapped), x, y)
        seen[rows.astype(int), cols.astype(int)] += 1
    below = seen[ROWS:].mean()
    assert below == pytest.approx(seen[:ROWS].mean(), rel=0.2)  # across the pieces of the file


def test_a_small_class_is_drawn_whole(tmp_path, caplog):
    mapped = np.zeros((9, 9), int)
    mapped[0, :3] = 1
    path = write_map(tmp_path / "map.tif", part_of(mapped), mapped)
    assert draw_sample(path, tmp_path / "p.gpkg", 10) == {3: 10, 7: 3}
    assert "covers 3 pixels, not 10" in caplog.text


def test_what_no_sample_can_be_drawn_from(tmp_path, mapped):
    part = part_of(mapped)
    path = write_map(tmp_path / "map.tif", part, mapped)
    with pytest.raises(ConfigError, match="2 at least"):
        draw_sample(path, tmp_path / "p.gpkg", 1)
    with pytest.raises(ConfigError, match="seed is -1"):
        draw_sample(path, tmp_path / "p.gpkg", seed=-1)
    with pytest.raises(ConfigError, match=r"\.gpkg"):
        draw_sample(path, tmp_path / "p.shp")
    with MapWriter(
        tmp_path / "f.tif", part.grid, RasterForm(dtype="float32", nodata=np.nan)
    ) as writer:
        writer.write(part.grid.window, np.zeros(mapped.shape, np.float32))
    with pytest.raises(FileError, match="whole numbers"):
        draw_sample(tmp_path / "f.tif", tmp_path / "p.gpkg")
    with pytest.raises(FileError):
        draw_sample(tmp_path / "none.tif", tmp_path / "p.gpkg")
    placeless = replace(part, grid=Grid(*mapped.shape, PIXELS, None))
    with pytest.raises(GridMismatch, match="no place"):
        draw_sample(write_map(tmp_path / "n.tif", placeless, mapped), tmp_path / "p.gpkg")
    assert not list(tmp_path.glob("*.gpkg"))


@pytest.mark.parametrize("numbered", [False, True])
def test_a_sample_that_names_classes_in_another_order(tmp_path, mapped, sampled, numbered):
    """Labels that hold names have no codes of their own: 'Grass' is 1 there, and 7 on the map."""
    codes = (1, 2) if numbered else (7, 3)
    own = (ClassInfo(codes[0], "Grass", "#111111"), ClassInfo(codes[1], "water", "#222222"))
    swapped = part_of(np.where(sampled == IGNORED, IGNORED, 1 - sampled))
    scene = Scene("s", (swapped,), "hsi", own, sampling=STRATIFIED, numbered=numbered)
    as_mapped = Scene("s", (part_of(sampled),), "hsi", CLASSES, sampling=STRATIFIED)
    path = write_map(tmp_path / "m.tif", swapped, mapped)
    found, expected = (areas(each, [path]).estimate for each in (scene, as_mapped))
    assert found.sampled.tolist() == expected.sampled.tolist()
