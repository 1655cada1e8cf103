"""Vector files and tables as people have them."""

import json
import struct

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.cli.main import main
from bandweave.data.scenefile.open import open_scene
from bandweave.errors import BandweaveError, FileError, GridMismatch, LabelError
from bandweave.raster.grid import Grid
from bandweave.raster.polygons import burn, read_polygons
from bandweave.raster.reader import VectorReader
from bandweave.raster.readers import recognise
from bandweave.raster.vectors import pick_usable_parts, read_table

LEFT, TOP = 500_000.0, 4_000_000.0
SQUARES = [shapely.box(LEFT + 6 * i, TOP - 20, LEFT + 6 * i + 5, TOP - 5) for i in range(4)]
NAMES = ["épicéa", "oak", "épicéa", "oak"]


def write_vector(path, shapes=SQUARES, names=NAMES, crs="EPSG:32617", **options):
    pyogrio.raw.write(
        str(path),
        shapely.to_wkb(np.array(shapes, object)),
        [np.array([f"k{i}" for i in range(len(shapes))], object), np.array(names, object)],
        ["id", "species"],
        geometry_type="Unknown" if path.suffix == ".geojson" else "Polygon",
        crs=crs,
        **options,
    )
    return path


def geojson(path, shapes, **more):
    features = [
        {
            "type": "Feature",
            "properties": {"species": f"s{i % 2}"},
            "geometry": json.loads(shapely.to_geojson(shape)),
        }
        for i, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


@pytest.fixture
def layer(write_geotiff):
    return {"a": str(write_geotiff("grid.tif", np.ones((2, 30, 30), np.float32)))}


# ------------------------------------------------------------------------------------ encodings


def test_a_cpg_that_is_wrong_is_one_line_and_encoding_reads_it(tmp_path, layer):
    path = write_vector(tmp_path / "a.shp", encoding="ISO-8859-1")
    path.with_suffix(".cpg").write_text("UTF-8")
    labels = {"path": str(path), "field": "species"}
    with pytest.raises(FileError, match=r"a\.shp: its text is not in UTF-8.*`encoding: latin1`"):
        open_scene({"layers": layer, "labels": labels})
    scene = open_scene({"layers": layer, "labels": {**labels, "encoding": "latin1"}})
    assert {one.name for one in scene.classes} == {"épicéa", "oak"}


def test_an_encoding_that_does_not_exist_is_named(tmp_path):
    path = write_vector(tmp_path / "a.shp", names=["a", "b", "c", "d"])
    with pytest.raises(FileError, match="latin99"):
        recognise(path, VectorReader).read(path, encoding="latin99")


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", ","),
        ("utf-8-sig", ";"),
        ("utf-16", "\t"),
        ("utf-16-le", ";"),
        ("cp1252", ";"),
        ("cp1252", "|"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_joins_of_any_delimiter_and_encoding(tmp_path, layer, encoding, mark, end):
    path = write_vector(tmp_path / "a.gpkg")
    lines = [(" id ", "Arbre (fr)", "height"), *((f"k{i}", NAMES[i], '"1,5"') for i in range(4))]
    table = end.join(mark.join(line) for line in lines) + end
    (tmp_path / "join.csv").write_bytes(table.encode(encoding))
    join = {"csv": str(tmp_path / "join.csv"), "on": "id"}
    labels = {"path": str(path), "field": "Arbre (fr)", "join": join}
    scene = open_scene({"layers": layer, "labels": labels})
    assert {one.name for one in scene.classes} == {"épicéa", "oak"}


def test_a_column_that_lacks_is_answered_with_those_there_are(tmp_path):
    (tmp_path / "join.csv").write_text("ident;species\nk0;oak\n")
    write_vector(tmp_path / "a.gpkg")
    join = {"csv": str(tmp_path / "join.csv"), "on": "id"}
    with pytest.raises(LabelError, match=r"no column 'id' to join on; it has ident, species"):
        read_polygons(tmp_path / "a.gpkg", "species", join=join)


def test_quoted_delimiters_are_text(tmp_path):
    (tmp_path / "a.csv").write_text('id,name\n1,"water, deep"\n')
    assert read_table(tmp_path / "a.csv", "id").rows == [{"id": "1", "name": "water, deep"}]


# ---------------------------------------------------------------------------------- coordinates


@pytest.mark.parametrize(
    "stated",
    [{}, {"crs": {"type": "name", "properties": {"name": "OGC:CRS84"}}}],
)
def test_geojson_in_metres_is_asked_for_its_crs(tmp_path, layer, stated):
    path = geojson(tmp_path / "a.geojson", SQUARES, **stated)
    labels = {"path": str(path), "field": "species"}
    with pytest.raises(FileError, match=r"a\.geojson: its coordinates begin at x 500000.*`crs:`"):
        open_scene({"layers": layer, "labels": labels})
    scene = open_scene({"layers": layer, "labels": {**labels, "crs": "EPSG:32617"}})
    assert len(scene.classes) == 2


def test_a_projection_file_that_is_cut_is_named(tmp_path, layer, capsys):
    path = write_vector(tmp_path / "a.shp", names=["a", "b", "a", "b"])
    prj = path.with_suffix(".prj")
    prj.write_text(prj.read_text()[:21])
    with pytest.raises(FileError, match=r"a\.prj is damaged"):
        open_scene({"layers": layer, "labels": {"path": str(path), "field": "species"}})
    assert main(["info", str(path)]) == 2
    assert "a.prj is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_geometries_that_are_not_finite_are_left_out(tmp_path, value):
    broken = shapely.Polygon([(LEFT, TOP), (LEFT + 5, value), (LEFT + 5, TOP - 5)])
    path = write_vector(tmp_path / "a.gpkg", [*SQUARES[:3], broken])
    polygons = read_polygons(path, "species")
    assert (len(polygons.codes), polygons.counts["unusable"]) == (3, 1)


def test_polygons_in_collections_are_used(tmp_path, layer):
    line = shapely.LineString([(LEFT, TOP), (LEFT + 1, TOP)])
    inner = shapely.GeometryCollection([SQUARES[1], line])
    shapes = [shapely.GeometryCollection([inner, shapely.Point(LEFT, TOP)]), SQUARES[2], line]
    crs = {"type": "name", "properties": {"name": "EPSG:32617"}}
    path = geojson(tmp_path / "a.geojson", shapes, crs=crs)
    polygons = read_polygons(path, "species")
    assert polygons.counts["unusable"] == 1
    assert polygons.shapes[0].area == SQUARES[1].area


def test_collections_of_points_are_points():
    collection = shapely.GeometryCollection([shapely.Point(1, 2), shapely.MultiPoint([(3, 4)])])
    assert len(pick_usable_parts(collection)[0].geoms) == 2
    line = shapely.GeometryCollection([shapely.LineString([(0, 0), (1, 1)])])
    assert pick_usable_parts(line) == (None, 1)


def test_polygons_a_turn_of_the_earth_away_are_found(tmp_path):
    west = geojson(tmp_path / "a.geojson", [shapely.box(-179.9, 0.1, -179.5, 0.5)])
    grid = Grid(10, 10, _degrees(), CRS.from_epsg(4326))
    burned = burn(read_polygons(west, "species"), grid)
    assert burned.counts["polygons"] == 1


def _degrees():

    return Affine(0.1, 0, 179.8, 0, -0.1, 1.0)


def test_a_polygon_that_crosses_the_dateline_uncut_is_refused(tmp_path):
    path = geojson(tmp_path / "a.geojson", [shapely.box(-179.9, 0.1, 179.9, 0.5)])
    with pytest.raises(GridMismatch, match="dateline"):
        burn(read_polygons(path, "species"), Grid(10, 10, _degrees(), CRS.from_epsg(4326)))


# --------------------------------------------------------------------------- other files, damage


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.kml"])
def test_a_description_of_another_source_is_refused_under_any_name(tmp_path, layer, name):
    (tmp_path / name).write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="p"><SrcDataSource>/vsicurl/http://127.0.0.1:9/p.json'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(FileError, match="cannot be read as vector data"):
        open_scene({"layers": layer, "labels": {"path": str(tmp_path / name), "field": "species"}})


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {
        suffix: write_vector(folder / f"a{suffix}", names=["a", "b", "a", "b"]).read_bytes()
        for suffix in (".gpkg", ".geojson", ".fgb", ".shp")
    }


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_of_ours(whole_files, tmp_path, suffix, data):
    raw = bytearray(whole_files[suffix])
    raw = raw[: data.draw(st.integers(1, len(raw)))] if data.draw(st.booleans()) else raw
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw)
    told = "a."
    try:
        burn(read_polygons(path, "species"), Grid(9, 9, _degrees(), CRS.from_epsg(4326)))
    except BandweaveError as error:
        told = str(error)
    assert "\n" not in told


# ------------------------------------------------------------------------------- text of tables


@pytest.mark.parametrize(
    ("written", "said", "told"),
    [
        ("UTF-8", None, ""),  # the sidecar is lost
        ("UTF-8", "65001", ""),  # Windows' number for UTF-8
        ("UTF-8", "NONSENSE-99", ""),
        ("UTF-8", "ISO-8859-1", ""),  # wrong, and the text says so
        ("ISO-8859-1", "1252", ""),
        ("ISO-8859-1", None, "no encoding is said"),
        ("ISO-8859-1", "NONSENSE-99", "'NONSENSE-99', which is no encoding"),
    ],
)
def test_text_is_read_right_whatever_its_sidecar_says(tmp_path, written, said, told):
    path = write_vector(tmp_path / "a.shp", encoding=written)
    path.with_suffix(".cpg").unlink()
    if said is not None:
        path.with_suffix(".cpg").write_text(said)
    polygons = read_polygons(path, "species")
    assert polygons.codes[0] == "épicéa"
    assert told in " ".join(polygons.notes)
    assert bool(polygons.notes) == bool(told)


def joined(tmp_path, table, field="species", written="utf-8", **more):
    path = write_vector(tmp_path / "a.gpkg", names=["a", "b", "c", "d"])
    (tmp_path / "join.csv").write_bytes(table.encode(written))
    return read_polygons(path, field, join={"csv": str(tmp_path / "join.csv"), "on": "id", **more})


@pytest.mark.parametrize(
    "table",
    [
        "sep=;\r\nid;Art\r\nk0;7\r\n",  # Excel
        "\n\nid;Art\nk0;7\n",
        "id;Art\rk0;7\r",
        'id,"Art"\nk0,7.0\n',
        "id;Art\nk0;7,0\n",
        "id;Art;\nk0;7;\n",
        '"id";"Art";"more\nlines"\nk0;7;1\n',
    ],
)
def test_tables_as_programs_write_them(tmp_path, table):
    assert joined(tmp_path, table, "Art").codes == (7,)


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-16"])
def test_tables_of_wide_letters(tmp_path, encoding):
    assert joined(tmp_path, "id\tspecies\nk0\tépicéa\n", written=encoding).codes == ("épicéa",)


def test_letters_that_are_guessed_are_said_and_can_be_stated(tmp_path):
    table = "id;species\nk0;草地\n"
    guessed = joined(tmp_path, table, written="gbk")
    assert "not in UTF-8; read as Windows-1252" in guessed.notes[0]
    stated = joined(tmp_path, table, written="gbk", encoding="gbk")
    assert (stated.codes, stated.notes) == (("草地",), ())


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("id,height,species\nk0,1,5,oak\n", "row 2: 4 values for 3 columns"),
        ("id;id;species\nk0;k0;oak\n", "2 columns of the name 'id'"),
        ("id;species;species\nk0;oak;fir\n", "2 columns of the name 'species'"),
        ("ID;species\nk0;oak\n", "no column 'id' to join on; it has ID, species; did you mean"),
        ("id;species\nq7;oak\n", "no 'id' of .*k0, k1, k2, .*of the table .q7"),
        ('id;species\nk0;"oak\nk1;fir\n', "cannot be read as a CSV table"),
        ("id species\nk0 oak\n", "'id species', has neither the column 'id' nor a comma"),
        ("PK\3\4", "a spreadsheet or an archive"),
        ("", "cannot be read as a CSV table"),
    ],
)
def test_tables_that_cannot_be_joined_say_why(tmp_path, table, told):
    with pytest.raises((FileError, LabelError), match=told) as caught:
        joined(tmp_path, table)
    assert "\n" not in str(caught.value)


def test_a_class_column_that_lacks_is_answered_with_those_of_both(tmp_path):
    with pytest.raises(LabelError, match="no column 'specie'; it has id, Art, species; did you"):
        joined(tmp_path, "id;Art\nk0;oak\n", "specie")


@pytest.mark.parametrize("encoding", ["foo", "rot13", "utf-8"])
def test_a_table_that_is_not_in_its_encoding(tmp_path, encoding):
    with pytest.raises(FileError, match=f"`encoding: {encoding}`"):
        joined(tmp_path, "id;species\nk0;é\n", written="latin1", encoding=encoding)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("7", 7),
        ("7.0", 7),
        ("+7", 7),
        ("-7", -7),
        ("+-7", "+-7"),
        ("1,000", "1,000"),
        ("3,5", "3,5"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_codes_in_text(tmp_path, text, code):
    assert joined(tmp_path, f"id;species\nk0;{text}\n").codes == (code,)


def test_a_key_with_noughts_before_it_is_another(tmp_path):
    table = "id;species\nk0;oak\n007;fir\n7;ash\n"
    assert joined(tmp_path, table).counts["repeated_rows"] == 0


# --------------------------------------------------------------------------- around the dateline


@pytest.mark.parametrize("west", [-179.9, 180.1])
def test_polygons_cut_at_the_dateline_are_burned_on_both_sides(tmp_path, west):
    east_piece = shapely.box(179.8, 0.1, 180.0, 0.5)
    west_piece = shapely.box(west - 0.1, 0.1, west + 0.1, 0.5)
    path = geojson(tmp_path / "a.geojson", [shapely.MultiPolygon([east_piece, west_piece])])
    burned = burn(read_polygons(path, "species"), Grid(10, 10, _degrees(), CRS.from_epsg(4326)))
    assert (burned.objects > 0).any(axis=0).tolist() == [True] * 4 + [False] * 6


def test_polygons_over_the_whole_earth_are_burned(tmp_path):
    south = shapely.Polygon([(-180, -90), (180, -90), (180, -70), (0, -60), (-180, -70)])
    path = geojson(tmp_path / "a.geojson", [south])
    grid = Grid(18, 36, Affine(10, 0, -180, 0, -10, 90), CRS.from_epsg(4326))
    burned = burn(read_polygons(path, "species"), grid)
    assert (burned.objects[-2:] == 1).all()
    assert not burned.objects[:14].any()


def test_a_polygon_over_the_dateline_lies_right_on_a_projected_grid(tmp_path):
    path = geojson(tmp_path / "a.geojson", [shapely.box(179.99, -16.01, 180.01, -16.0)])
    grid = Grid(40, 60, Affine(100, 0, 818_500, 0, -100, 8_231_500), CRS.from_epsg(32760))
    burned = burn(read_polygons(path, "species"), grid)
    assert burned.counts["polygons"] == 1
    assert 200 < (burned.objects > 0).sum() < 270  # 2.1 km by 1.1 km


# ----------------------------------------------------------------------- geometries, right already


def test_strange_geometries_are_used_or_counted(tmp_path):
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    path = geojson(tmp_path / "a.geojson", [SQUARES[0], bow_tie, shapely.Polygon()])
    content = json.loads(path.read_text())
    nothing = {"type": "Feature", "properties": {"species": "x"}, "geometry": None}
    path.write_text(json.dumps({**content, "features": [*content["features"], nothing]}))
    polygons = read_polygons(path, "species", crs=CRS.from_epsg(32617))
    assert (polygons.counts["read"], polygons.counts["unusable"]) == (4, 2)
    assert polygons.shapes[1].area == 2.0


def test_curves_become_polygons(tmp_path):
    points = [(0, 0), (1, 1), (2, 0), (1, -1), (0, 0)]
    arc = struct.pack("<BII", 1, 8, len(points)) + b"".join(struct.pack("<2d", *p) for p in points)
    circle = struct.pack("<BII", 1, 10, 1) + arc  # a curve polygon of one circular string
    path = tmp_path / "a.gpkg"
    pyogrio.raw.write(
        str(path),
        np.array([circle], object),
        [np.array(["oak"], object)],
        ["species"],
        geometry_type="Unknown",
        crs="EPSG:32617",
    )
    polygons = read_polygons(path, "species")
    assert polygons.shapes[0].area == pytest.approx(np.pi, rel=0.01)


def test_the_pieces_of_collections_that_are_left_out_are_counted(tmp_path):
    line = shapely.LineString([(LEFT, TOP), (LEFT + 1, TOP)])
    collection = shapely.GeometryCollection([SQUARES[0], SQUARES[2], line, shapely.Point(0, 0)])
    crs = {"type": "name", "properties": {"name": "EPSG:32617"}}
    path = geojson(tmp_path / "a.geojson", [collection], crs=crs)
    polygons = read_polygons(path, "species")
    assert polygons.shapes[0].area == 2 * SQUARES[0].area
    assert polygons.notes == ("2 lines, or points beside polygons, in collections left out",)
