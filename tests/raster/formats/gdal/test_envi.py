"""ENVI headers as people have them: bad bands, factors, marks, encodings, endings, sizes."""

import numpy as np
import pytest
import rasterio

from bandweave.data.match import describe_layers, match_layers
from bandweave.data.scenefile.open import open_scene
from bandweave.errors import FileError, SceneMismatch
from bandweave.raster.open import open_source

CUBE = np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6) + 1
WAVELENGTHS = [400.0, 500.0, 600.0, 700.0, 800.0]


def read(source):
    return source.read(source.grid.window)[0]


def scene_of(path, **layer):
    return open_scene({"layers": {"hsi": {"path": str(path), **layer}}})


def test_bad_bands_are_left_out_and_said(write_envi):
    path = write_envi("a.hdr", CUBE, WAVELENGTHS, extra="bbl = {1,1,0,0,1}")
    scene = scene_of(path)
    assert scene.layers["hsi"].info.wavelengths == (400, 500, 800)
    np.testing.assert_array_equal(read(scene.parts[0].layers["hsi"].source), CUBE[[0, 1, 4]])
    assert any("2 of 5 bands left out" in note and "3-4" in note for note in scene.notes)


@pytest.mark.parametrize(
    "tag",
    [{"bbl": "1,1,0,0,1"}, {"BBL": "{1 1 0 0 1}"}, {"good_wavelengths": "[1, 1, 0, 0, 1]"}],
)
def test_bad_bands_in_the_tags_of_other_formats(write_geotiff, tag):
    path = write_geotiff("a.tif", CUBE)
    with rasterio.open(path, "r+") as file:
        file.update_tags(**tag)
    source = open_source(path)
    np.testing.assert_array_equal(read(source), CUBE[[0, 1, 4]])
    assert source.info.numbers == (1, 2, 5)
    assert "2 of 5 bands left out" in source.notes[0]


def test_bands_that_the_user_names_overrule_the_list_of_bad_ones(write_envi):
    path = write_envi("a.hdr", CUBE, extra="bbl = {1,1,0,0,1}")
    np.testing.assert_array_equal(read(open_source(path, bands=[3, 1])), CUBE[[2, 0]])


@pytest.mark.parametrize("bbl", ["{1,1}", "{0,0,0,0,0}", "{a,b,c,d,e}"])
def test_a_list_of_bad_bands_that_cannot_be_meant_is_ignored_and_said(write_envi, bbl):
    source = open_source(write_envi("a.hdr", CUBE, extra=f"bbl = {bbl}"))
    assert source.bands == 5
    assert "bbl" in source.notes[0]


def test_a_run_knows_which_bands_of_a_file_it_has(write_envi):
    some = scene_of(write_envi("a.hdr", CUBE, extra="bbl = {1,1,0,0,1}"))
    others = scene_of(write_envi("b.hdr", CUBE, extra="bbl = {1,0,0,1,1}"))
    run = describe_layers(some)
    assert match_layers(run, some) == {"hsi": None}
    with pytest.raises(SceneMismatch, match=r"bands 1, 4, 5 of its file, in the run 1, 2, 5"):
        match_layers(run, others)


def test_the_reflectance_scale_factor_makes_two_scenes_agree(write_envi):
    whole = (CUBE * 10).astype(np.int16)
    integers = scene_of(
        write_envi("a.hdr", whole, extra="reflectance scale factor = 10000\ndata ignore value = 10")
    )
    floats = scene_of(write_envi("b.hdr", whole.astype(np.float32) / 10_000))
    values, valid = integers.parts[0].layers["hsi"].source.read(integers.parts[0].grid.window)
    np.testing.assert_allclose(values[:, 1:], read(floats.parts[0].layers["hsi"].source)[:, 1:])
    assert np.isnan(
        integers.parts[0].layers["hsi"].source.read_nan(integers.parts[0].grid.window)[0, 0, 0]
    )
    assert valid.all()
    assert any("10000" in note for note in integers.notes)
    assert match_layers(describe_layers(floats), integers) == {"hsi": None}


def test_a_run_from_before_the_factor_was_applied_is_not_given_other_values(write_envi):
    scene = scene_of(
        write_envi("a.hdr", CUBE.astype(np.int16), extra="reflectance scale factor = 10000")
    )
    run = describe_layers(scene)
    del run["hsi"]["factor"], run["hsi"]["numbers"]
    with pytest.raises(SceneMismatch, match=r"add `scale: 10000`"):
        match_layers(run, scene)


def test_gains_of_the_bands_go_before_the_factor(write_envi):
    extra = "data gain values = {2,2,2,2,2}\nreflectance scale factor = 10000"
    source = open_source(write_envi("a.hdr", CUBE, extra=extra))
    np.testing.assert_allclose(read(source), CUBE * 2)
    assert "ignored" in source.notes[0]


@pytest.mark.parametrize("ending", ["", ".rfl", ".cub", ".ref", ".dat", ".RFL", ".l1b", ".v2.bin"])
@pytest.mark.parametrize("opened", ["header", "data"])
def test_data_of_any_ending_is_found(write_envi, ending, opened):
    header = write_envi("a.hdr", CUBE)
    data = header.with_name(f"a{ending}")
    header.with_suffix(".img").rename(data)
    if opened == "data" and ending == ".v2.bin":
        header.rename(f"{data}.hdr")  # GDAL's own rule: x.hdr or x.ending.hdr
    np.testing.assert_array_equal(read(open_source(header if opened == "header" else data)), CUBE)


def test_a_header_named_after_the_whole_data_file(write_envi):
    header = write_envi("a.hdr", CUBE)
    header.with_suffix(".img").rename(header.with_name("a.xyz"))
    renamed = header.rename(header.with_name("a.xyz.hdr"))
    np.testing.assert_array_equal(read(open_source(renamed)), CUBE)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b"\xef\xbb\xbf"), ("utf-16", b""), ("latin-1", b""), ("utf-8", b"")],
)
def test_headers_in_any_encoding(write_envi, encoding, mark):
    header = write_envi(
        "a.hdr", CUBE, WAVELENGTHS, extra="band names = {été, ü, c, d, e}\nbbl = {1,1,1,1,0}"
    )
    text = header.read_text(encoding="utf-8")
    header.write_bytes(mark + text.replace("\n", "\r\n").encode(encoding))
    source = open_source(header)
    np.testing.assert_array_equal(read(source), CUBE[:4])
    assert source.info.wavelengths == (400, 500, 600, 700)
    assert source.info.names is not None
    assert source.info.names[0].startswith("été")


@pytest.mark.parametrize(("change", "words"), [(-4, "truncated"), (4, "longer")])
def test_data_of_another_size_than_the_header_says_is_refused(write_envi, change, words):
    header = write_envi("a.hdr", CUBE)
    data = header.with_suffix(".img")
    raw = data.read_bytes()
    data.write_bytes(raw[:change] if change < 0 else raw + b"\0" * change)
    with pytest.raises(FileError, match=rf"{words}.*480 bytes.*{480 + change}"):
        open_source(header)
    with pytest.raises(FileError, match=words):
        open_source(data)


@pytest.mark.parametrize(
    "line", ["samples = -6", "lines = x", "data type = 99", "header offset = -8"]
)
def test_impossible_headers_are_refused_in_their_words(write_envi, line):
    header = write_envi("a.hdr", CUBE)
    key = line.split(" =")[0]
    lines = [line if old.startswith(key) else old for old in header.read_text().splitlines()]
    header.write_text("\n".join(lines))
    header.with_suffix(".img").rename(header.with_name("a.unusual"))
    with pytest.raises(FileError, match=r"a\.hdr"):
        open_source(header)
