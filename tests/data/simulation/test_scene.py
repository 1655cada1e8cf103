"""The simulated scene: deterministic, plausible, and hard in the ways it claims to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.data.scene import IGNORED, Scene
from bandweave.data.scenefile.open import open_scene
from bandweave.data.simulation.canvas import SUN_ELEVATION, cast_shadow
from bandweave.data.simulation.noise import smooth_field
from bandweave.data.simulation.scene import simulated_scene
from bandweave.data.simulation.spectra import MATERIALS, spectra, wavelengths
from bandweave.data.splits.roles import TEST, TRAIN
from bandweave.data.write_scene import write_scene
from bandweave.errors import BandweaveError, OutputError
from bandweave.raster.grid import Window


def pixels(scene: Scene, layer: str, part: int = 0) -> np.ndarray:
    place = scene.parts[part]
    values, valid = place.layers[layer].read(place.grid.window)
    assert valid.all()
    return values


def labels(scene: Scene, part: int = 0) -> np.ndarray:
    found = scene.parts[part].labels
    assert found is not None
    return found.values


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulated_scene(seed=0)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return labels(simulated_scene(seed=0, labelled=1.0))


@pytest.fixture(scope="module")
def small() -> Scene:
    return simulated_scene(seed=3, height=48, width=60, bands=64, rgb=4)


def test_what_it_is_made_of(scene: Scene) -> None:
    (part,) = scene.parts
    assert (part.grid.height, part.grid.width) == (256, 320)
    assert part.grid.crs is not None
    assert part.grid.crs.to_epsg() == 32632
    assert part.grid.pixel_size == (2.0, 2.0)
    assert {name: layer.bands for name, layer in scene.layers.items()} == {"hsi": 72, "lidar": 1}
    assert scene.layers["hsi"].info.units == "reflectance"
    assert scene.layers["lidar"].info.units == "m"
    assert scene.reference == "hsi"
    assert not scene.official
    assert len({entry.name for entry in scene.classes}) == 10
    assert len({entry.color for entry in scene.classes}) == 10
    assert [entry.code for entry in scene.classes] == list(range(1, 11))


def test_the_same_seed_gives_the_same_scene_whatever_else_is_asked_for(small: Scene) -> None:
    plain = simulated_scene(seed=3, height=48, width=60, bands=64)
    full = simulated_scene(seed=3, height=48, width=60, bands=5, labelled=1.0)
    other = simulated_scene(seed=4, height=48, width=60, bands=64)
    np.testing.assert_array_equal(pixels(plain, "hsi"), pixels(small, "hsi"))
    np.testing.assert_array_equal(pixels(full, "lidar"), pixels(small, "lidar"))
    np.testing.assert_array_equal(labels(plain), labels(small))
    assert (pixels(other, "hsi") != pixels(small, "hsi")).mean() > 0.9
    assert full.origin != small.origin


def test_labels_are_sparse_pieces_of_one_class_and_agree_with_the_truth(
    scene: Scene, truth: np.ndarray
) -> None:
    found = scene.parts[0].labels
    assert found is not None
    assert found.objects is not None
    known = found.values != IGNORED
    assert 0.25 < known.mean() < 0.40
    np.testing.assert_array_equal(found.objects > 0, known)
    np.testing.assert_array_equal(found.values[known], truth[known])
    assert set(np.unique(found.values)) == set(range(-1, 10))
    for index in range(10):
        assert len(np.unique(found.objects[found.values == index])) >= 10
    pairs = np.unique(np.stack([found.objects[known], found.values[known]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]  # an object has one class
    assert (truth != IGNORED).all()


def test_ground_is_low_and_roofs_and_trees_stand_equally_high(
    scene: Scene, truth: np.ndarray
) -> None:
    height = pixels(scene, "lidar")[0]
    middle = {c.name: np.median(height[truth == i]) for i, c in enumerate(scene.classes)}
    for name in ("grass", "bare soil", "water", "asphalt", "pavement"):
        assert abs(middle[name]) < 0.6
    assert 0.5 < middle["shrubs"] < 3
    for name in ("trees", "tiled roof", "flat roof"):
        assert 3 < middle[name] < 14


def test_spectra_look_like_what_they_are(scene: Scene, truth: np.ndarray) -> None:
    nm = np.array(scene.layers["hsi"].info.wavelengths)
    cube = pixels(scene, "hsi")
    assert cube.min() > -0.05
    assert cube.max() < 1.2

    def mean(name: str, wavelength: float) -> float:
        index = [entry.name for entry in scene.classes].index(name)
        return float(cube[np.abs(nm - wavelength).argmin()][truth == index].mean())

    for name in ("grass", "crops", "shrubs", "trees"):
        assert mean(name, 850) > 2 * mean(name, 670)  # red edge
        assert mean(name, 1650) < mean(name, 850)  # leaf water
        assert mean(name, 550) > mean(name, 670)  # green peak
    assert mean("water", 850) < 0.05
    assert mean("bare soil", 1650) > mean("bare soil", 650) > mean("bare soil", 450)
    assert abs(mean("asphalt", 1000) - mean("flat roof", 1000)) < 0.12


@given(st.integers(1, 300))
def test_bands_lie_in_the_atmospheric_windows(bands: int) -> None:
    nm = wavelengths(bands)
    assert nm.shape == (bands,)
    assert nm.min() >= 400
    assert nm.max() <= 2450
    assert (np.diff(nm) > 0).all()
    assert not (((nm > 1340) & (nm < 1460)) | ((nm > 1790) & (nm < 1960))).any()


def test_materials_reflect_between_nothing_and_all() -> None:
    basis = spectra(np.linspace(400, 2500, 211))
    assert basis.shape == (len(MATERIALS), 3, 211)
    assert (basis[:, 0] > 0).all()
    assert (basis[:, 0] < 0.7).all()


def test_finer_rgb_shows_the_same_ground(small: Scene) -> None:
    nm = np.array(small.layers["hsi"].info.wavelengths)
    red = pixels(small, "hsi")[np.abs(nm - 640).argmin()]
    photo = pixels(small, "rgb")
    assert photo.shape == (3, 192, 240)
    assert small.layers["rgb"].ratio == 4
    linear = (photo[0] / 255) ** (1 / 0.6)
    coarse = linear.reshape(48, 4, 60, 4).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), red.ravel())[0, 1] > 0.85


def test_parts_are_different_places_with_the_same_layers() -> None:
    scene = simulated_scene(seed=1, height=32, width=40, bands=8, parts=3)
    assert [part.name for part in scene.parts] == ["place_1", "place_2", "place_3"]
    lefts = [part.grid.transform.c for part in scene.parts]
    assert min(np.diff(lefts)) >= 40 * 2
    assert (pixels(scene, "lidar", 0) != pixels(scene, "lidar", 1)).any()
    alone = simulated_scene(seed=1, height=32, width=40, bands=8)
    np.testing.assert_array_equal(pixels(scene, "hsi", 0), pixels(alone, "hsi", 0))


@settings(max_examples=8, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40), st.integers(1, 4), st.integers(0, 99))
def test_any_size_can_be_simulated(height: int, width: int, bands: int, seed: int) -> None:
    scene = simulated_scene(seed, height, width, bands)
    assert pixels(scene, "hsi").shape == (bands, height, width)
    assert labels(scene).shape == (height, width)


def test_shadow_falls_away_from_the_sun_and_is_as_long_as_it_should_be() -> None:
    height = np.zeros((60, 60), np.float32)
    height[40, 30] = 10.0
    shade = cast_shadow(height, 0.5)
    rows, cols = np.nonzero(shade)
    assert rows.max() < 40  # the sun stands in the south
    assert cols.max() <= 30  # and in the east
    length = np.hypot(rows - 40, cols - 30).max() * 0.5
    assert length == pytest.approx(10 / np.tan(SUN_ELEVATION), abs=1.0)
    assert not cast_shadow(np.zeros((9, 9), np.float32), 1.0).any()


def test_a_smooth_field_does_not_depend_on_its_sampling() -> None:
    fine = smooth_field(np.random.default_rng(5), (100.0, 80.0), 20.0, (200, 160))
    coarse = smooth_field(np.random.default_rng(5), (100.0, 80.0), 20.0, (50, 40))
    blocks = fine.reshape(50, 4, 40, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(blocks, coarse, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"height": 8}, "8×320"),
        ({"bands": 0}, "bands=0"),
        ({"rgb": 3}, "rgb=3"),
        ({"labelled": 0.0}, "labelled=0"),
        ({"pixel": 30.0}, "pixel=30"),
    ],
)
def test_impossible_arguments_are_named(arguments: dict, said: str) -> None:
    with pytest.raises(BandweaveError, match=said):
        simulated_scene(**arguments)


def test_height_and_spectrum_are_each_ambiguous_alone(scene: Scene) -> None:
    """A random forest by pixel, on blocks of 64 px: both layers together are clearly better."""
    from sklearn.ensemble import RandomForestClassifier

    cube, height, y = pixels(scene, "hsi")[::4], pixels(scene, "lidar"), labels(scene)
    row, col = np.indices(y.shape) // 64
    train = ((row + col) % 2 == 0) & (y != IGNORED)
    test = ((row + col) % 2 == 1) & (y != IGNORED)
    score = {}
    inputs = {"hsi": cube, "lidar": height, "both": np.concatenate([cube, height])}
    for name, values in inputs.items():
        forest = RandomForestClassifier(25, min_samples_leaf=2, random_state=0)
        forest.fit(values[:, train].T[::4], y[train][::4])
        score[name] = forest.score(values[:, test].T, y[test])
    assert 0.76 < score["both"] < 0.93, score
    assert score["hsi"] < score["both"] - 0.06, score
    assert score["lidar"] < score["both"] - 0.30, score


def test_written_files_open_as_the_same_scene(small: Scene, tmp_path) -> None:
    opened = open_scene(write_scene(small, tmp_path / "new" / "folder"))
    assert opened.classes == small.classes
    assert opened.parts[0].grid == small.parts[0].grid
    for name, layer in small.layers.items():
        np.testing.assert_array_equal(pixels(opened, name), pixels(small, name))
        assert opened.layers[name].ratio == layer.ratio
        assert opened.layers[name].info.units == layer.info.units
        assert opened.layers[name].info.wavelengths == layer.info.wavelengths
    np.testing.assert_array_equal(labels(opened), labels(small))
    assert opened.parts[0].layers["rgb"].source.dtype == np.uint8


def test_written_parts_and_roles_open_again(tmp_path) -> None:
    scene = simulated_scene(seed=1, height=32, width=40, bands=8, parts=2)
    parts = []
    for part in scene.parts:
        assert part.labels is not None
        given = np.zeros(part.labels.values.shape, np.uint8)
        given[:, :20], given[:, 20:] = TRAIN, TEST
        given[part.labels.values == IGNORED] = 0
        parts.append(replace(part, labels=replace(part.labels, given=given)))
    scene = replace(scene, parts=tuple(parts))
    opened = open_scene(write_scene(scene, tmp_path))
    assert [part.name for part in opened.parts] == ["place_1", "place_2"]
    for before, after in zip(scene.parts, opened.parts, strict=True):
        assert before.labels is not None
        assert after.labels is not None
        np.testing.assert_array_equal(after.labels.values, before.labels.values)
        np.testing.assert_array_equal(after.labels.given, before.labels.given)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    scene = simulated_scene(height=16, width=16, bands=2)
    with pytest.raises(OutputError, match="file"):
        write_scene(scene, tmp_path / "file" / "below")


def test_windows_reach_outside(small: Scene) -> None:
    values, valid = small.parts[0].layers["rgb"].read(Window(-1, 58, 4, 4))
    assert values.shape == (3, 16, 16)
    assert valid.sum() == 12 * 8
    assert (values[:, ~valid] == 0).all()
