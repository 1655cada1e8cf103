import errno
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from rasterio.crs import CRS
from rasterio.transform import from_origin

from bandweave.data.match import describe_layers
from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import ClassInfo, Layer, Part, Scene
from bandweave.errors import ConfigError, FileError, OutputError, RunError, SceneMismatch
from bandweave.landcover.mapping import map_scene
from bandweave.landcover.predict.net import Net
from bandweave.landcover.predict.windows import WindowPredictor
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.source import BandInfo
from bandweave.raster.writing.raster import MapWriter

UTM = CRS.from_epsg(32617)
CLASSES = (
    ClassInfo(3, "water", "#0000ff"),
    ClassInfo(7, "stressed grass", "#00cd00"),
    ClassInfo(12, "roof & wall", "#ff8000"),
)


class Answer(NamedTuple):
    logits: torch.Tensor


class BandAsLogit(torch.nn.Module):
    """Each band of the layer is a class's logit."""

    def __init__(self, ratio=1):
        super().__init__()
        self.ratio = ratio

    def forward(self, layers):
        x = layers["hsi"]
        return Answer(x.repeat_interleave(self.ratio, 2).repeat_interleave(self.ratio, 3))


def make_scene(*arrays, left=(), crs=UTM, wavelengths=(500.0, 600.0, 700.0)):
    parts = []
    for number, array in enumerate(arrays):
        corner = left[number] if left else 500_000 + 100 * number
        grid = Grid(*array.shape[1:], from_origin(corner, 4_000_000, 2, 2), crs)
        info = BandInfo(wavelengths=wavelengths)
        layer = Layer(ArraySource(array.astype(np.float32), grid, info=info))
        parts.append(Part(f"plot {number}", grid, {"hsi": layer}))
    return Scene("plots", tuple(parts), "hsi")


def make_run(scene, classes=CLASSES, ratio=1):
    bands = len(classes)
    scaling = Scaling({"hsi": LayerScaling(np.zeros(bands), np.ones(bands))})

    def predictor(reference, **options):
        model = BandAsLogit(ratio)
        return WindowPredictor(Net(model, ["hsi"], scaling, reference, bands, 8, ratio, **options))

    return SimpleNamespace(
        predictor=predictor,
        files=(),
        classes=classes,
        layers=describe_layers(scene),
        output_ratio=ratio,
        temperature=1.0,
        gives_probabilities=True,
        use_device=lambda device: None,
    )


def random_logits(height=20, width=30, bands=3, holes=True, seed=0):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(bands, height, width)).astype(np.float32)
    if holes:
        array[:, 4:9, 10:25] = np.nan
    return array


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_map_with_confidence_and_probabilities(tmp_path):
    array = random_logits()
    scene = make_scene(array)
    out = tmp_path / "map.tif"
    paths = map_scene(
        make_run(scene), scene, out, confidence=True, probabilities=tmp_path / "p.tif", quiet=True
    )
    assert paths == [out, tmp_path / "map_confidence.tif", tmp_path / "p.tif"]
    has_data = np.isfinite(array[0])
    codes = np.array([3, 7, 12])[array.argmax(axis=0)]
    with rasterio.open(out) as file:
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.crs == UTM
        assert file.transform == scene.parts[0].grid.transform
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.colormap(1)[7] == (0, 205, 0, 255)
        np.testing.assert_array_equal(file.read(1), np.where(has_data, codes, 0))
    aux = ElementTree.parse(tmp_path / "map.tif.aux.xml")
    assert [name.text or "" for name in aux.iter("Category")][7] == "stressed grass"
    entries = ElementTree.parse(tmp_path / "map.qml").iter("paletteEntry")
    assert [entry.get("label") for entry in entries] == ["water", "stressed grass", "roof & wall"]
    odds = np.exp(array.astype(np.float64))
    expected = odds / odds.sum(axis=0)
    with rasterio.open(tmp_path / "map_confidence.tif") as file:
        assert file.dtypes == ("float32",)
        assert np.isnan(file.nodata)
        np.testing.assert_allclose(file.read(1), expected.max(axis=0), rtol=1e-5)
    with rasterio.open(tmp_path / "p.tif") as file:
        assert file.descriptions == ("water", "stressed grass", "roof & wall")
        np.testing.assert_allclose(file.read(), expected, rtol=1e-5)
    assert not list(tmp_path.glob(".*"))


def test_map_with_uncertainty(tmp_path):
    array = random_logits()
    array[:, 0, 0], array[:, 0, 1] = 5, [2000, 0, 0]  # all alike; and one that leaves no other
    scene, out = make_scene(array), tmp_path / "map.tif"
    both = {"uncertainty": True, "probabilities": True}
    paths = map_scene(make_run(scene), scene, out, **both, quiet=True)
    beside = [tmp_path / f"map_{kind}.tif" for kind in ("probabilities", "uncertainty")]
    assert sorted(paths) == sorted([out, *beside])
    with rasterio.open(beside[0]) as file:
        odds = file.read().astype(np.float64)
    with rasterio.open(beside[1]) as file:
        assert file.dtypes == ("float32",)
        assert file.descriptions == ("uncertainty",)
        found = file.read(1)
    terms = np.where(odds == 0, 0, odds * np.log(np.maximum(odds, 1e-300)))
    np.testing.assert_allclose(found, -terms.sum(0) / np.log(3), rtol=1e-4, atol=1e-6)
    assert found[0, :2] == pytest.approx([1, 0])
    assert np.isnan(found).any()
    alone = map_scene(make_run(scene), scene, tmp_path / "a.tif", uncertainty=True, quiet=True)
    with rasterio.open(alone[1]) as file:
        np.testing.assert_array_equal(file.read(1), found)


def test_finer_output_lies_on_the_same_ground(tmp_path):
    array = random_logits(9, 11)
    scene = make_scene(array)
    map_scene(make_run(scene, ratio=4), scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.shape == (36, 44)
        assert file.res == (0.5, 0.5)
        assert file.bounds == (500_000, 4_000_000 - 18, 500_022, 4_000_000)
        values = file.read(1)
    np.testing.assert_array_equal(values[::4, ::4], values[3::4, 3::4])
    np.testing.assert_array_equal(values[::4, ::4] == 0, np.isnan(array[0]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1)])
def test_scenes_of_one_pixel_or_one_row(tmp_path, height, width):
    array = random_logits(height, width, holes=False)
    scene = make_scene(array)
    map_scene(make_run(scene), scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), np.array([3, 7, 12])[array.argmax(axis=0)])


@pytest.mark.parametrize(
    ("codes", "dtype", "nodata"),
    [
        ((1, 2), "uint8", 0),
        ((0, 255 - 1), "uint8", 255),
        ((1, 255), "uint8", 0),
        ((0, 255), "uint16", 65535),
        ((1, 256), "uint16", 0),
        ((0, 65534), "uint16", 65535),
    ],
)
def test_codes_choose_type_and_nodata(tmp_path, codes, dtype, nodata):
    scene = make_scene(random_logits(bands=2), wavelengths=None)
    classes = tuple(ClassInfo(code, f"class {code}", "#123456") for code in codes)
    map_scene(make_run(scene, classes), scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.dtypes == (dtype,)
        assert file.nodata == nodata
        assert set(np.unique(file.read(1))) == {*codes, nodata}


@pytest.mark.parametrize(("codes", "message"), [((-1, 2), "from -1 to 2"), ((0, 65535), "both")])
def test_codes_that_no_map_holds(tmp_path, codes, message):
    scene = make_scene(random_logits(bands=2), wavelengths=None)
    classes = tuple(ClassInfo(code, f"class {code}", "#123456") for code in codes)
    with pytest.raises(OutputError, match=message):
        map_scene(make_run(scene, classes), scene, tmp_path / "map.tif", quiet=True)
    assert files(tmp_path) == []


def test_scene_of_another_kind(tmp_path):
    run = make_run(make_scene(random_logits()))
    other = make_scene(random_logits(), wavelengths=(503.0, 596.0, 700.0))
    with pytest.raises(SceneMismatch, match="wavelengths"):
        map_scene(run, other, tmp_path / "map.tif", quiet=True)
    assert files(tmp_path) == []
    backwards = make_scene(random_logits()[::-1], wavelengths=(703.0, 596.0, 500.0))
    map_scene(run, backwards, tmp_path / "back.tif", match_bands=True, quiet=True)
    map_scene(run, make_scene(random_logits()), tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "back.tif") as one, rasterio.open(tmp_path / "map.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        map_scene(tmp_path / "none", make_scene(random_logits()), tmp_path / "map.tif", quiet=True)


def test_scene_without_any_data(tmp_path):
    scene = make_scene(np.full((3, 9, 9), np.nan))
    (tmp_path / "map.tif").write_text("an older map")
    with pytest.raises(FileError, match="'hsi' of scene 'plots' has no valid pixel"):
        map_scene(make_run(scene), scene, tmp_path / "map.tif", overwrite=True, quiet=True)
    assert files(tmp_path) == ["map.tif"]
    assert (tmp_path / "map.tif").read_text() == "an older map"


def test_older_maps_are_replaced(tmp_path):
    scene = make_scene(random_logits())
    (tmp_path / "map.tif").write_text("an older map")
    with pytest.raises(OutputError, match="exists; replace it with --overwrite"):
        map_scene(make_run(scene), scene, tmp_path / "map.tif", quiet=True)
    map_scene(make_run(scene), scene, tmp_path / "map.tif", overwrite=True, quiet=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.shape == (20, 30)


@pytest.mark.parametrize("moment", ["write", "finish"])
@pytest.mark.parametrize("many", [False, True])
def test_full_disk_leaves_nothing(tmp_path, monkeypatch, moment, many):
    scene = make_scene(*[random_logits(seed=seed) for seed in range(1 + 2 * many)])
    original, calls = getattr(MapWriter, moment), []

    def fails(self, *rest):
        calls.append(self)
        if len(calls) > 3 * many + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, *rest)

    monkeypatch.setattr(MapWriter, moment, fails)
    out = tmp_path / ("maps" if many else "map.tif")
    with pytest.raises((OutputError, OSError), match=r"No space|full"):
        map_scene(make_run(scene), scene, out, confidence=True, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_writing_is_an_output_error(tmp_path, monkeypatch):
    scene = make_scene(random_logits())
    original, calls = MapWriter._write_bytes, []

    def fails(self, *rest):
        calls.append(self)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, *rest)

    monkeypatch.setattr(MapWriter, "_write_bytes", fails)
    with pytest.raises(OutputError, match="disk is full"):
        map_scene(make_run(scene), scene, tmp_path / "map.tif", confidence=True, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_parts_become_a_folder(tmp_path, caplog):
    arrays = [random_logits(seed=seed) for seed in range(3)]
    arrays[1][:] = np.nan
    scene = make_scene(*arrays)
    with caplog.at_level(logging.WARNING, "bandweave"):
        paths = map_scene(make_run(scene), scene, tmp_path / "maps", confidence=True, quiet=True)
    assert "part 'plot 1' has no data in layer 'hsi'" in caplog.text
    for number, array in enumerate(arrays):
        with rasterio.open(tmp_path / "maps" / f"plot_{number}.tif") as file:
            expected = np.array([3, 7, 12])[np.nan_to_num(array).argmax(axis=0)]
            expected[np.isnan(array[0])] = 0
            np.testing.assert_array_equal(file.read(1), expected)
        assert tmp_path / "maps" / "confidence" / f"plot_{number}.tif" in paths
    with rasterio.open(tmp_path / "maps" / "map.vrt") as file:
        whole = file.read(1)
        assert file.shape == (20, 130)  # parts are 50 px apart and 30 px wide
        assert file.crs == UTM
        assert file.transform == scene.parts[0].grid.transform
        assert file.colormap(1)[12] == (255, 128, 0, 255)
    with rasterio.open(tmp_path / "maps" / "plot_2.tif") as file:
        np.testing.assert_array_equal(whole[:, 100:], file.read(1))
    assert not whole[:, 30:100].any()
    with rasterio.open(tmp_path / "maps" / "confidence" / "confidence.vrt") as file:
        assert np.isnan(file.read(1)[:, 30:100]).all()
        assert (file.read(1)[:, :4] >= 1 / 3).all()
    assert all(path.is_file() for path in paths)
    tif = [f"plot_{number}.tif" for number in range(3)]
    sidecars = [name + ".aux.xml" for name in tif] + [name[:-3] + "qml" for name in tif]
    inside = [f"confidence/{name}" for name in [*tif, "confidence.vrt"]]
    assert files(tmp_path / "maps") == sorted([*tif, *sidecars, *inside, "map.vrt", "map.qml"])
    assert not list(tmp_path.rglob(".*"))


def test_parts_of_several_crs_or_of_no_place(tmp_path, caplog):
    one, other = make_scene(random_logits()), make_scene(random_logits(), crs=CRS.from_epsg(32618))
    nowhere = Part("nowhere", Grid(20, 30, PIXELS), {"hsi": one.parts[0].layers["hsi"]})
    parts = (one.parts[0], replace(other.parts[0], name="other"), nowhere)
    scene = replace(one, parts=parts)
    paths = map_scene(make_run(scene), scene, tmp_path / "maps", quiet=True)
    names = [path.name for path in paths]
    assert names[-2:] == ["map_EPSG32617.vrt", "map_EPSG32618.vrt"]
    assert names[:3] == ["plot_0.tif", "other.tif", "nowhere.tif"]
    assert "1 of 3 parts are in no mosaic" in caplog.text
    with rasterio.open(paths[-1]) as file:
        assert file.crs == CRS.from_epsg(32618)
        assert file.shape == (20, 30)


def test_places_that_cannot_be(tmp_path):
    scene = make_scene(random_logits())
    run = make_run(scene)
    with pytest.raises(OutputError, match="is a folder"):
        map_scene(run, scene, tmp_path, quiet=True)
    with pytest.raises(OutputError, match="no folder"):
        map_scene(run, scene, tmp_path / "nowhere" / "map.tif", quiet=True)
    with pytest.raises(OutputError, match="asked for twice"):
        map_scene(run, scene, tmp_path / "a.tif", confidence=tmp_path / "a.tif", quiet=True)
    many = make_scene(random_logits(), random_logits())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"is a file.*2 parts"):
        map_scene(run, many, tmp_path / "file", quiet=True)
    with pytest.raises(ConfigError, match="'cubic'"):
        map_scene(run, scene, tmp_path / "a.tif", overviews="cubic", quiet=True)
    assert files(tmp_path) == ["file"]


def test_overviews_of_classes_hold_classes_alone(tmp_path):
    array = random_logits(700, 600, holes=False)
    scene = make_scene(array)
    run = make_run(scene)
    run.window = 128
    for overviews in ("nearest", "mode"):
        out = tmp_path / f"{overviews}.tif"
        map_scene(run, scene, out, overviews=overviews, quiet=True)
        with rasterio.open(out, overview_level=0) as file:
            assert file.shape == (350, 300)
            assert set(np.unique(file.read(1))) == {3, 7, 12}


def test_progress_is_told_unless_quiet(tmp_path, capsys):
    scene = make_scene(random_logits())
    map_scene(make_run(scene), scene, tmp_path / "map.tif")
    assert "mapping plots, px 600/600" in capsys.readouterr().err
    map_scene(make_run(scene), scene, tmp_path / "map.tif", overwrite=True, quiet=True)
    assert capsys.readouterr().err == ""
