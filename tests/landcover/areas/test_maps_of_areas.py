"""Maps within polygons, without small patches, and as polygons."""

import logging
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import features
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as warp_points
from scipy.ndimage import label

from bandweave.data.match import describe_layers
from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import ClassInfo, Layer, Part, Scene
from bandweave.errors import ConfigError, FileError, GridMismatch, OutputError
from bandweave.landcover.areas.outlines import find_patches
from bandweave.landcover.areas.patches import merge_small_patches
from bandweave.landcover.baselines.predictor import MethodPredictor
from bandweave.landcover.mapping import map_scene
from bandweave.landcover.predict.net import Net
from bandweave.landcover.predict.pixels import PixelPredictor
from bandweave.landcover.predict.windows import WindowPredictor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window

UTM = CRS.from_epsg(32617)
TURNED = Affine(2, 0.5, 500_000, 0.5, -2, 4_000_000)
CLASSES = (
    ClassInfo(3, "water", "#0000ff"),
    ClassInfo(7, "grass", "#00cd00"),
    ClassInfo(12, "roof", "#ff8000"),
)


class MeanAround(torch.nn.Module):
    """Each band's mean over 3×3 pixels is a class's logit; `seen` counts windows."""

    def __init__(self, ratio=1):
        super().__init__()
        self.ratio, self.seen = ratio, 0

    def forward(self, layers):
        x = torch.nn.functional.avg_pool2d(layers["hsi"], 3, 1, 1)
        self.seen += len(x)
        finer = x.repeat_interleave(self.ratio, 2).repeat_interleave(self.ratio, 3)
        return SimpleNamespace(logits=finer)


class CountedSource(ArraySource):
    """Counts the pixels that are read."""

    read_pixels = 0

    def read_inside(self, window):
        self.read_pixels += window.height * window.width
        return super().read_inside(window)


def make_scene(*arrays, transform=None, crs=UTM):
    parts = []
    for number, array in enumerate(arrays):
        place = transform or from_origin(500_000 + 1000 * number, 4_000_000, 2, 2)
        grid = Grid(*array.shape[1:], place, crs)
        layer = Layer(CountedSource(array.astype(np.float32), grid))
        parts.append(Part(f"plot {number}", grid, {"hsi": layer}))
    return Scene("plots", tuple(parts), "hsi")


def make_run(scene, ratio=1):
    scaling = Scaling({"hsi": LayerScaling(np.zeros(3), np.ones(3))})
    model = MeanAround(ratio)

    def predictor(reference, **options):
        return WindowPredictor(Net(model, ["hsi"], scaling, reference, 3, 8, ratio, **options))

    return SimpleNamespace(
        predictor=predictor,
        model=model,
        files=(),
        classes=CLASSES,
        layers=describe_layers(scene),
        output_ratio=ratio,
        temperature=1.0,
        gives_probabilities=True,
        use_device=lambda device: None,
    )


def random_scene(height=40, width=60, seed=0, **options):
    array = np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)
    array[:, 4:9, 10:25] = np.nan
    return make_scene(array, **options)


def write_polygons(path, shapes, crs=UTM, layer=None):
    values = [np.arange(len(shapes))]
    kind = "Unknown" if len({shape.geom_type for shape in shapes}) > 1 else shapes[0].geom_type
    options = {"append": path.exists()} if layer else {}
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes, object)), values, ["id"], geometry_type=kind,
        crs=crs and crs.to_string(), layer=layer or path.stem, **options
    )  # fmt: skip
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.transform


def to_degrees(shape):
    def move(points):
        return np.column_stack(warp_points(UTM, "EPSG:4326", *points.T))

    return shapely.transform(shape, move)


# ------------------------------------------------------------------------------------------ within

AOI = shapely.Polygon([(500_021.13, 3_999_977), (500_071, 3_999_974.8), (500_050, 3_999_931.3)])


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("transform", [None, TURNED])
@pytest.mark.parametrize("degrees", [False, True])
def test_a_map_within_polygons_is_that_of_the_scene(tmp_path, caplog, ratio, transform, degrees):
    scene = random_scene(transform=transform)
    aoi = to_degrees(AOI) if degrees else AOI
    aoi = write_polygons(tmp_path / "aoi.gpkg", [aoi], CRS.from_epsg(4326) if degrees else UTM)
    run = make_run(scene, ratio)
    options = {"confidence": True, "quiet": True}
    whole = map_scene(run, scene, tmp_path / "whole.tif", **options)
    with caplog.at_level(logging.INFO, "bandweave"):
        part = map_scene(run, scene, tmp_path / "part.tif", within=aoi, **options)
    grid = scene.parts[0].grid.finer(ratio)
    inside = features.rasterize(
        [AOI], out_shape=(grid.height, grid.width), transform=grid.transform
    ).astype(bool)
    assert f"1 polygons hold {inside.sum():,} px; the map is cropped to " in caplog.text
    for one, other, hole in zip(whole, part, (0, np.nan), strict=True):
        expected, _ = read(one)
        found, place = read(other)
        col, row = (round(v) for v in ~grid.transform @ (place.c, place.f))
        rows, cols = slice(row, row + found.shape[0]), slice(col, col + found.shape[1])
        assert place.almost_equals(grid.crop(Window(row, col, 1, 1)).transform)
        np.testing.assert_array_equal(found, np.where(inside, expected, hole)[rows, cols])
        assert inside[rows, cols].sum() == inside.sum()
        assert found.size < expected.size / 2


def test_what_lies_outside_is_neither_read_nor_run(tmp_path):
    scene = random_scene(200, 300)
    run, source = make_run(scene), scene.parts[0].layers["hsi"].source
    left, top = 500_000 + 2 * 150, 4_000_000 - 2 * 100
    aoi = write_polygons(tmp_path / "a.gpkg", [shapely.box(left, top - 20, left + 20, top)])
    map_scene(run, scene, tmp_path / "map.tif", within=aoi, quiet=True)
    assert source.read_pixels <= 24 * 24
    assert run.model.seen <= 5 * 5


@pytest.mark.parametrize("reach", [0, 3])
def test_rows_without_a_wanted_pixel_are_not_read_by_classical_methods(reach):
    scene = random_scene()
    part, wanted = scene.parts[0], np.zeros((40, 60), bool)
    wanted[25:28, 20:30] = True
    source = part.layers["hsi"].source

    def describe(part):
        return lambda place: part.layers["hsi"].read(place)[0].transpose(1, 2, 0)

    fitted = SimpleNamespace(
        inputs=SimpleNamespace(
            ratio=1, describe=describe, places=lambda part, swath: part.grid.window.divide(10, 60)
        ),
        smoothing_reach=reach,
        options=SimpleNamespace(smooth="none"),
        logits=lambda values, classes: values,
    )
    predictor = MethodPredictor(fitted, "hsi", 3)
    every = np.concatenate([strip.logits for strip in predictor.strips(part)], axis=1)
    before = source.read_pixels
    strips = list(predictor.strips(part, wanted))
    assert source.read_pixels - before == 2 * (10 + 2 * reach) * 60  # for its data and its values
    assert [strip.window.row for strip in strips] == [0, 10, 20, 30]
    valid = np.concatenate([strip.valid for strip in strips])
    np.testing.assert_array_equal(valid, wanted)
    found = np.concatenate([strip.logits for strip in strips], axis=1)
    np.testing.assert_array_equal(found, np.where(wanted, every, 0))


def test_slabs_without_a_wanted_pixel_are_not_read_for_single_pixels():
    scene = random_scene(200, 60)
    part, wanted = scene.parts[0], np.zeros((200, 60), bool)
    wanted[150:153, 20:30] = True

    class Middle(torch.nn.Module):
        bytes_per_pixel = 0

        def pixels(self, layers):
            return None

        def forward(self, layers):
            return SimpleNamespace(logits=layers["hsi"][:, :, 2:3, 2:3])

    scaling = Scaling({"hsi": LayerScaling(np.zeros(3), np.ones(3))})
    net = Net(Middle(), ["hsi"], scaling, "hsi", 3, 5)
    predictor = PixelPredictor(net, memory=14 * 64 * 12)  # slabs of ten rows
    strips = list(predictor.strips(part, wanted))
    assert part.layers["hsi"].source.read_pixels <= 14 * 64 * 2
    np.testing.assert_array_equal(np.concatenate([strip.valid for strip in strips]), wanted)
    found = np.concatenate([strip.logits for strip in strips], axis=1)
    values = part.layers["hsi"].source.read(part.grid.window)[0]
    np.testing.assert_array_equal(found, np.where(wanted, values, 0))


def test_the_extent_ends_on_pixel_borders(tmp_path):
    scene = random_scene()
    exact = shapely.box(500_020, 3_999_960, 500_040, 3_999_980)
    for shape, shift, size in ((exact, 0, 10), (exact.buffer(0.1), 1, 12)):
        aoi = write_polygons(tmp_path / f"{size}.gpkg", [shape])
        map_scene(make_run(scene), scene, tmp_path / f"{size}.tif", within=aoi, quiet=True)
        values, place = read(tmp_path / f"{size}.tif")
        assert values.shape == (size, size)
        assert (place.c, place.f) == (500_020 - 2 * shift, 3_999_980 + 2 * shift)


def test_parts_that_polygons_do_not_touch_get_no_map(tmp_path, caplog):
    arrays = [np.random.default_rng(seed).normal(size=(3, 20, 30)) for seed in range(3)]
    scene = make_scene(*arrays)
    shapes = [shapely.box(x, 3_999_970, x + 20, 3_999_990) for x in (500_010, 502_010)]
    aoi = write_polygons(tmp_path / "aoi.gpkg", shapes)
    with caplog.at_level(logging.INFO, "bandweave"):
        paths = map_scene(
            make_run(scene), scene, tmp_path / "maps", within=aoi, quiet=True,
            polygons=tmp_path / "all.gpkg",
        )  # fmt: skip
    assert [path.name for path in paths] == ["plot_0.tif", "plot_2.tif", "map.vrt", "all.gpkg"]
    assert "2 polygons hold 200 px in 2 of 3 parts" in caplog.text
    parts = pyogrio.raw.read(tmp_path / "all.gpkg", columns=["part", "pixels"])[3]
    assert set(parts[1]) == {"plot 0", "plot 2"}
    assert parts[0].sum() == 200


def test_a_layer_of_several(tmp_path):
    scene, path = random_scene(), tmp_path / "aoi.gpkg"
    write_polygons(path, [shapely.box(500_020, 3_999_960, 500_040, 3_999_980)], layer="one")
    write_polygons(path, [shapely.box(500_020, 3_999_960, 500_024, 3_999_980)], layer="two")
    with pytest.raises(FileError, match="layers one, two; choose one"):
        map_scene(make_run(scene), scene, tmp_path / "m.tif", within=path, quiet=True)
    map_scene(make_run(scene), scene, tmp_path / "m.tif", within=f"{path}:two", quiet=True)
    assert read(tmp_path / "m.tif")[0].shape == (10, 2)


def test_polygons_that_say_nothing(tmp_path, caplog):
    scene, out = random_scene(), tmp_path / "map.tif"

    def refuse(error, match, within, scene=scene):
        with pytest.raises(error, match=match):
            map_scene(make_run(scene), scene, out, within=within, quiet=True)
        assert not out.exists()

    far = write_polygons(tmp_path / "far.gpkg", [to_degrees(shapely.box(6e5, 4e6, 6.1e5, 4.1e6))],
                         CRS.from_epsg(4326))  # fmt: skip
    refuse(GridMismatch, r"do not touch.*EPSG:4326.*600000.*EPSG:32617", far)
    beside = shapely.box(499_000, 3_999_900, 500_000, 4_000_000)
    refuse(GridMismatch, "do not touch", write_polygons(tmp_path / "b.gpkg", [beside]))
    speck = shapely.box(500_020.1, 3_999_979.1, 500_020.3, 3_999_979.3)
    speck = write_polygons(tmp_path / "speck.gpkg", [speck])
    refuse(GridMismatch, "no pixel's centre: a pixel is 2×2 m", speck)
    points = write_polygons(tmp_path / "points.gpkg", [shapely.Point(500_020, 3_999_980)])
    refuse(FileError, "no polygon among its 1 features", points)
    (tmp_path / "text.gpkg").write_text("no database")
    refuse(FileError, "cannot be read as vector data", tmp_path / "text.gpkg")
    refuse(FileError, "does not exist", tmp_path / "none.gpkg")
    refuse(FileError, "cannot be read as vector data: give a", __file__)
    aoi = write_polygons(tmp_path / "aoi.gpkg", [AOI])
    refuse(GridMismatch, r"no CRS.*EPSG:32617.*`crs:`", aoi, random_scene(crs=None))
    refuse(GridMismatch, "no transform", aoi, random_scene(transform=PIXELS))
    holes = shapely.box(500_024, 3_999_984, 500_040, 3_999_988)
    holes = write_polygons(tmp_path / "holes.gpkg", [holes])
    refuse(FileError, "no valid pixel within the polygons", holes)
    plain = write_polygons(tmp_path / "plain.gpkg", [AOI], crs=None)
    map_scene(make_run(scene), scene, out, within=plain, quiet=True)
    assert "states no CRS; it is read in the scene's, EPSG:32617" in caplog.text


# ----------------------------------------------------------------------------------------- patches


def count_patches(codes):
    """Sizes of the patches of each code but 0."""
    sizes = []
    for code in set(np.unique(codes)) - {0}:
        labels, number = label(codes == code)
        sizes += [(code, int((labels == each).sum())) for each in range(1, number + 1)]
    return Counter(sizes)


def test_small_patches_are_merged(tmp_path):
    codes = np.full((30, 40), 3, np.uint8)
    codes[:, 20:] = 7
    codes[5:7, 5:7] = 12  # 4 px within 3
    codes[10:13, 19:21] = 12  # 6 px between 3, the larger, and 7
    codes[20:24, 30:34] = 12  # 16 px
    codes[0, :25] = 0
    codes[28, 38], codes[27, 38], codes[29, 38], codes[28, 37], codes[28, 39] = 12, 0, 0, 0, 0
    expected = codes.copy()
    expected[5:7, 5:7] = 3
    expected[10:13, 19:21] = 7 if (codes == 7).sum() > (codes == 3).sum() else 3
    merge_small_patches(codes, 0, 7, tmp_path / "scratch")
    np.testing.assert_array_equal(codes, expected)  # also alone among pixels without data
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_map_on_the_disk_is_filtered_as_one_in_memory(tmp_path, dtype):
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 4, (150, 90)).repeat(8, 0).repeat(5, 1).astype(dtype)
    noise = rng.random(codes.shape)
    codes[noise < 0.1], codes[noise > 0.95] = 2, 0
    codes.tofile(tmp_path / "raw")
    on_disk = np.memmap(tmp_path / "raw", dtype, "r+", shape=codes.shape)
    merge_small_patches(on_disk, 0, 9, tmp_path / "scratch")
    expected = features.sieve(codes, 9, mask=codes != 0)
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "raw", dtype).reshape(codes.shape), expected
    )
    assert (expected != codes).sum() > 1000


@pytest.mark.parametrize("minimum", [0, -3, 2**31])
def test_impossible_minimum(tmp_path, minimum):
    scene = random_scene()
    with pytest.raises(ConfigError, match=f"the minimum is {minimum} px"):
        map_scene(make_run(scene), scene, tmp_path / "map.tif", minimum=minimum, quiet=True)


# ---------------------------------------------------------------------------------------- polygons


def write_codes(folder, codes):
    form = {"height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": codes.dtype}
    with rasterio.open(folder / "codes.tif", "w", nodata=0, **form) as file:
        file.write(codes, 1)
    return folder / "codes.tif"


def burn(patches, shape):
    """Codes of patches in pixels, and how often each pixel is in one."""
    codes, times = np.zeros(shape, np.uint8), np.zeros(shape, int)
    for patch in patches:
        outline = patch.outline()
        assert outline.is_valid
        assert outline.geom_type == "Polygon"
        own = features.rasterize([outline], out_shape=shape).astype(bool)
        assert own.sum() == patch.pixels == outline.area
        codes[own] = patch.code
        times += own
    return codes, times


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_patches_are_the_map_whatever_the_strips(tmp_path_factory, seed, height, width, classes):
    codes = np.random.default_rng(seed).integers(0, classes + 1, (height, width)).astype(np.uint8)
    path = write_codes(tmp_path_factory.mktemp("codes"), codes)
    whole = list(find_patches(path))
    assert Counter((patch.code, patch.pixels) for patch in whole) == count_patches(codes)
    for strip in (1, 2 * width, 3 * width):
        found = list(find_patches(path, strip=strip))
        burned, times = burn(found, codes.shape)
        np.testing.assert_array_equal(burned, codes)
        assert (times == (codes != 0)).all()
        one, other = (
            {(shapely.normalize(patch.outline()).wkt, patch.code, patch.pixels) for patch in each}
            for each in (whole, found)
        )
        assert one == other


@pytest.mark.parametrize("transform", [None, TURNED])
def test_polygons_of_a_map(tmp_path, caplog, transform):
    scene, out = random_scene(transform=transform), tmp_path / "map.tif"
    with caplog.at_level(logging.INFO, "bandweave"):
        paths = map_scene(
            make_run(scene), scene, out, within=write_polygons(tmp_path / "aoi.gpkg", [AOI]),
            minimum=5, polygons=tmp_path / "map.gpkg", confidence=True, quiet=True,
        )  # fmt: skip
    assert paths == [out, tmp_path / "map_confidence.tif", tmp_path / "map.gpkg"]
    meta, _, geometry, values = pyogrio.raw.read(tmp_path / "map.gpkg", layer="classes")
    table = dict(zip(meta["fields"], values, strict=True))
    shapes = shapely.from_wkb(geometry)
    assert CRS.from_user_input(meta["crs"]) == UTM
    assert f"{len(shapes)} polygons in {tmp_path / 'map.gpkg'}" in caplog.text
    with rasterio.open(out) as file:
        pairs = zip(shapes, table["code"].tolist(), strict=True)
        burned = features.rasterize(pairs, out_shape=file.shape, transform=file.transform)
        codes = file.read(1)
    np.testing.assert_array_equal(burned, codes)
    assert set(zip(table["code"].tolist(), table["class"], strict=True)) <= {
        (each.code, each.name) for each in CLASSES
    }
    pixel = abs(scene.parts[0].grid.transform.determinant)
    np.testing.assert_allclose(shapely.area(shapes), table["pixels"] * pixel)
    np.testing.assert_allclose(table["area_ha"], table["pixels"] * pixel / 1e4, rtol=2e-3)
    sure, _ = read(tmp_path / "map_confidence.tif")
    total = (table["confidence"] * table["pixels"]).sum()
    assert total == pytest.approx(np.nansum(sure.astype(np.float64)), rel=1e-6)
    assert not list(tmp_path.glob(".*"))


def test_polygons_without_a_place(tmp_path):
    scene = random_scene(transform=PIXELS, crs=None)
    map_scene(make_run(scene), scene, tmp_path / "m.tif", polygons=tmp_path / "m.gpkg", quiet=True)
    meta, _, geometry, values = pyogrio.raw.read(tmp_path / "m.gpkg")
    assert meta["crs"] is None or "Undefined" in str(meta["crs"])
    assert list(meta["fields"]) == ["code", "class", "pixels", "area_ha"]
    assert np.isnan(values[3]).all()
    assert shapely.area(shapely.from_wkb(geometry)).sum() == values[2].sum()


def test_polygons_that_cannot_be_written(tmp_path, monkeypatch):
    scene, out = random_scene(), tmp_path / "map.tif"
    with pytest.raises(ConfigError, match=r"as a GeoPackage; name it map\.shp\.gpkg"):
        map_scene(make_run(scene), scene, out, polygons="map.shp", quiet=True)
    (tmp_path / "map.gpkg").write_text("older")
    with pytest.raises(OutputError, match="exists; replace it with --overwrite"):
        map_scene(make_run(scene), scene, out, polygons=tmp_path / "map.gpkg", quiet=True)
    calls = []

    def fails(*rest, **options):
        calls.append(rest)
        raise pyogrio.errors.DataSourceError("database or disk is full: no space left")

    monkeypatch.setattr(pyogrio.raw, "write", fails)
    with pytest.raises(OutputError, match="disk is full"):
        map_scene(
            make_run(scene), scene, out, polygons=tmp_path / "map.gpkg", overwrite=True, quiet=True
        )
    assert calls
    assert [path.name for path in tmp_path.iterdir()] == ["map.gpkg"]
    assert (tmp_path / "map.gpkg").read_text() == "older"
