import collections

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import features
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import ConfigError, FileError, GridMismatch, LabelError
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.open import open_source
from bandweave.raster.polygons import OVERLAPS, Polygons, burn, read_polygons

UTM = CRS.from_epsg(32617)
GRID = Grid(10, 12, Affine(1, 0, 500_000, 0, -1, 4_000_010), UTM)  # y from 0 to 10 above 4 000 000


def box(left, bottom, right, top):
    return shapely.box(500_000 + left, 4_000_000 + bottom, 500_000 + right, 4_000_000 + top)


def write(path, shapes, crs="EPSG:32617", **fields):
    names = list(fields)
    pyogrio.raw.write(
        path,
        np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object),
        [np.array(fields[name]) for name in names],
        names,
        geometry_type="Unknown" if path.suffix != ".shp" else "Polygon",
        crs=crs,
    )
    return path


def made(shapes, codes, crs=UTM):
    files = np.zeros(len(shapes), int)
    return Polygons(np.array(shapes, object), tuple(codes), files, (crs,), {})


@pytest.mark.parametrize("name", ["a.shp", "a.geojson", "a.gpkg"])
def test_formats(tmp_path, name):
    crs = "EPSG:4326" if name == "a.geojson" else "EPSG:32617"
    shapes = [box(0, 0, 3, 4), box(5, 5, 9, 9)]
    if crs == "EPSG:4326":
        from rasterio.warp import transform

        def degrees(points):
            return np.column_stack(transform(UTM, crs, points[:, 0], points[:, 1]))

        shapes = list(shapely.transform(shapes, degrees))
    path = write(tmp_path / name, shapes, crs, species=["oak", "pine"], id=[1, 2])
    polygons = read_polygons(path, "species")
    assert polygons.codes == ("oak", "pine")
    burned = burn(polygons, GRID)
    expected = np.zeros((10, 12), np.int32)
    expected[6:, :3], expected[1:5, 5:9] = 1, 2
    np.testing.assert_array_equal(burned.objects, expected)
    values = burned.values({"oak": 0, "pine": 3})
    assert values.dtype == np.int16
    np.testing.assert_array_equal(np.unique(values), [-1, 0, 3])
    np.testing.assert_array_equal(values == 3, expected == 2)
    np.testing.assert_array_equal(burned.values({"oak": 0}) == -1, expected != 1)


SMALL, LARGE = box(2, 2, 5, 5), box(0, 0, 8, 8)


@pytest.mark.parametrize(
    ("overlap", "owner"),
    [("smallest", 1), ("largest", 2), ("first", 1), ("last", 2), ("ignore", None)],
)
def test_overlaps(overlap, owner):
    burned = burn(made([SMALL, LARGE], ["small", "large"]), GRID, overlap=overlap)
    assert burned.counts["overlapped_pixels"] == 9
    inner = burned.objects[5:8, 2:5]
    if owner is None:
        assert (inner == 0).all()
        assert burned.codes == ("large",)
    else:
        name = ("small", "large")[owner - 1]
        assert {burned.codes[i - 1] for i in inner.ravel()} == {name}
    hidden = overlap in ("largest", "last", "ignore")  # the small one has nothing else
    assert burned.counts["without_pixels"] == int(hidden)
    assert burned.numbers == ((1,) if hidden else (0, 1))


def test_touching_polygons_share_no_pixel():
    burned = burn(made([box(0, 0, 4, 4), box(4, 0, 8, 4)], [1, 2]), GRID)
    assert burned.counts["overlapped_pixels"] == 0
    assert (burned.objects[6:, :8] == [1, 1, 1, 1, 2, 2, 2, 2]).all()


def test_all_touched():
    sliver = made([box(1.6, 1.6, 3.4, 3.4)], ["a"])
    assert (burn(sliver, GRID).objects > 0).sum() == 1
    assert (burn(sliver, GRID, all_touched=True).objects > 0).sum() == 9
    tiny = made([box(0.1, 0.1, 0.2, 0.2)], ["a"])
    assert burn(tiny, GRID).counts["without_pixels"] == 1
    assert burn(tiny, GRID, all_touched=True).counts["polygons"] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(-8, 32), st.integers(-8, 28)), min_size=3, max_size=6),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(OVERLAPS),
    st.booleans(),
)
def test_every_pixel_has_the_owner_the_rule_names(rings, overlap, all_touched):
    """Against each polygon burned alone."""
    shapes = [
        shapely.transform(
            shapely.convex_hull(shapely.MultiPoint(ring)), lambda p: p / 2 + [500_000, 4_000_000]
        )
        for ring in rings
    ]
    shapes = [shape for shape in shapes if shape.geom_type == "Polygon"]
    burned = burn(made(shapes, range(len(shapes))), GRID, overlap=overlap, all_touched=all_touched)
    alone = [
        features.rasterize(
            [shape], out_shape=(10, 12), transform=GRID.transform, all_touched=all_touched
        )
        for shape in shapes
    ]
    area = [shape.area for shape in shapes]
    several = 0
    for row, col in np.ndindex(10, 12):
        owners = [i for i, mask in enumerate(alone) if mask[row, col]]
        several += len(owners) > 1
        found = burned.objects[row, col]
        if not owners or (overlap == "ignore" and len(owners) > 1):
            assert found == 0
            continue
        number = burned.numbers[found - 1]
        assert found > 0
        assert burned.codes[found - 1] == number
        assert number in owners
        match overlap:
            case "smallest":
                assert area[number] == pytest.approx(min(area[i] for i in owners))
            case "largest":
                assert area[number] == pytest.approx(max(area[i] for i in owners))
            case "first":
                assert number == owners[0]
            case "last":
                assert number == owners[-1]
    counts = burned.counts
    assert counts["overlapped_pixels"] == several
    assert counts["polygons"] + counts["outside"] + counts["without_pixels"] == len(shapes)
    assert sorted(set(burned.objects.ravel()) - {0}) == list(range(1, counts["polygons"] + 1))


def test_a_join_counts_what_has_no_row(tmp_path):
    (tmp_path / "t.csv").write_text(
        "tree,species\n1,oak\n2,pine\n2,oak\n4,\n", encoding="utf-8-sig"
    )
    shapes = [box(0, 0, 2, 2), box(3, 0, 5, 2), box(6, 0, 8, 2), box(9, 0, 11, 2)]
    path = write(tmp_path / "a.gpkg", shapes, tree=[1.0, 2.0, 3.0, 4.0], site=["A", "B", "C", "D"])
    join = {"csv": str(tmp_path / "t.csv"), "on": "tree"}
    polygons = read_polygons(path, "species", join=join)
    assert polygons.codes == ("oak", "pine")
    assert polygons.counts == {
        "read": 4,
        "unusable": 0,
        "without_row": 1,
        "without_code": 1,
        "repeated_rows": 1,
    }
    assert read_polygons(path, "site", join=join).codes == ("A", "B", "D")


def test_codes_and_geometries(tmp_path):
    bow = shapely.Polygon(
        [(500_000, 4_000_000), (500_004, 4_000_004), (500_004, 4_000_000), (500_000, 4_000_004)]
    )
    shapes = [
        box(0, 5, 2, 7),
        bow,
        shapely.LineString([(500_000, 4_000_001), (500_003, 4_000_001)]),
        None,
        shapely.MultiPolygon([box(5, 5, 6, 6), box(8, 8, 9, 9)]),
    ]
    path = write(tmp_path / "a.gpkg", shapes, code=[1.0, 2.5, 3.0, 4.0, 12.0])
    polygons = read_polygons(path, "code")
    assert polygons.codes == (1, "2.5", 12)
    assert polygons.counts["unusable"] == 2
    burned = burn(polygons, GRID)
    assert burned.counts["polygons"] == 3
    assert (burned.objects == burned.codes.index(12) + 1).sum() == 2
    text = write(tmp_path / "b.gpkg", shapes[:2], code=["07", " "])
    assert read_polygons(text, "code").codes == (7,)


def test_points_own_their_pixel_even_inside_a_polygon(tmp_path):
    x, y = 500_000, 4_000_000  # of GRID's lower left corner
    shapes = [
        box(0, 0, 4, 4),
        shapely.Point(x + 1.1, y + 2.9),
        shapely.MultiPoint([(x + 6.5, y + 6.5), (x + 8.5, y + 0.5)]),
        shapely.Point(x + 99, y),
    ]
    burned = burn(
        read_polygons(write(tmp_path / "a.gpkg", shapes, code=["p", "q", "r", "s"]), "code"), GRID
    )
    assert burned.codes == ("p", "q", "r")
    assert burned.counts["outside"] == 1
    q, r = (np.argwhere(burned.objects == number).tolist() for number in (2, 3))
    assert q == [[GRID.height - 3, 1]]
    assert r == [[GRID.height - 7, 6], [GRID.height - 1, 8]]
    assert (burned.objects == 1).sum() == 15


def test_several_files_in_their_own_crs(tmp_path):
    from rasterio.warp import transform

    one = write(tmp_path / "1.gpkg", [box(0, 0, 3, 3)], code=["a"])

    def far(points):
        return np.column_stack(transform(UTM, "EPSG:32618", points[:, 0], points[:, 1]))

    two = write(
        tmp_path / "2.gpkg", [shapely.transform(box(5, 5, 9, 9), far)], "EPSG:32618", code=["b"]
    )
    burned = burn(read_polygons([one, two], "code"), GRID)
    assert burned.codes == ("a", "b")
    assert (burned.objects[1:5, 5:9] == 2).all()


def test_a_layer_of_several(tmp_path):
    path = tmp_path / "a.gpkg"
    for name in ("trees", "roads"):
        pyogrio.raw.write(
            path,
            np.array([shapely.to_wkb(box(0, 0, 1, 1))], object),
            [np.array([name])],
            ["code"],
            layer=name,
            geometry_type="Polygon",
            crs="EPSG:32617",
            append=path.exists(),
        )
    with pytest.raises(FileError, match="layers trees, roads; choose one"):
        read_polygons(path, "code")
    assert read_polygons(path, "code", layer="trees").codes == ("trees",)
    with pytest.raises(FileError, match="cannot be read"):
        read_polygons(path, "code", layer="rivers")


def test_nothing_near_is_no_error():
    burned = burn(made([box(100, 100, 110, 110)], ["a"]), GRID)
    assert burned.counts == {
        "polygons": 0,
        "outside": 1,
        "without_pixels": 0,
        "overlapped_pixels": 0,
    }
    assert not burned.objects.any()
    assert (burn(made([], []), GRID).values({}) == -1).all()


def test_what_cannot_be_read(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], code=["a"])
    (tmp_path / "text.shp").write_text("no shapes here")
    (tmp_path / "t.csv").write_text("id,species\n1,oak\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FileError, match=r"none\.shp does not exist"):
        read_polygons(tmp_path / "none.shp", "code")
    with pytest.raises(FileError, match=r"text\.shp cannot be read as vector data"):
        read_polygons(tmp_path / "text.shp", "code")
    with pytest.raises(LabelError, match="no field 'species'; it has code"):
        read_polygons(path, "species")
    with pytest.raises(LabelError, match="no column 'tree' to join on; it has id, species"):
        read_polygons(path, "species", join={"csv": str(tmp_path / "t.csv"), "on": "tree"})
    with pytest.raises(LabelError, match="no field 'id'; it has code"):
        read_polygons(path, "species", join={"csv": str(tmp_path / "t.csv"), "on": "id"})
    with pytest.raises(FileError, match=r"binary\.csv cannot be read"):
        read_polygons(path, "species", join={"csv": str(tmp_path / "binary.csv"), "on": "id"})
    with pytest.raises(ConfigError, match="it takes `csv` and `on`"):
        read_polygons(path, "species", join={"csv": "t.csv"})


def test_what_cannot_be_burned():
    polygons = made([SMALL], ["a"])
    with pytest.raises(GridMismatch, match=r"the grid \(3×3 px\) has no transform"):
        burn(polygons, Grid(3, 3, PIXELS))
    with pytest.raises(ConfigError, match="'biggest'; it is one of smallest, largest"):
        burn(polygons, GRID, overlap="biggest")
    bare = Grid(10, 12, GRID.transform)
    assert burn(polygons, bare).counts["polygons"] == 1
    with pytest.raises(GridMismatch, match="state it with `crs:`"):
        burn(made([shapely.box(-81, 36, -80, 37)], ["a"], CRS.from_epsg(4326)), bare)


def test_idtrees_crowns(real_data):
    folder = real_data("idtrees2020")
    polygons = read_polygons(
        sorted(folder.glob("ITC/*.shp")),
        "taxonID",
        join={"csv": str(folder / "Field" / "train_data.csv"), "on": "indvdID"},
    )
    assert polygons.counts["read"] == 1215
    assert polygons.counts["without_row"] == 67
    assert len(set(polygons.codes)) > 20
    total: collections.Counter[str] = collections.Counter()
    for path in sorted(folder.glob("CHM/*.tif")):
        total.update(burn(polygons, open_source(path).grid).counts)
    assert total["polygons"] > 700
    assert total["overlapped_pixels"] > 1000
