import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

import bandweave as bw
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.masks import distance, labels_with_data, regrid
from bandweave.data.splits.protocols import SPLITS, Protocol, SplitConfig
from bandweave.data.splits.splitting import GUARD, ROLES, TEST, TRAIN, UNUSED, VALIDATION, split
from bandweave.errors import ConfigError, GridMismatch, LabelError, SplitError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import Grid

UTM = CRS.from_epsg(32615)


def make_scene(
    *values: np.ndarray, ratio=1, objects=None, given=None, holes=None, official=False, crs=UTM
) -> Scene:
    """A scene of one part for each label array; `holes` (H, W) is where the first has no data."""
    parts = []
    for number, value in enumerate(values):
        height, width = value.shape[0] // ratio, value.shape[1] // ratio
        grid = Grid(height, width, Affine(2, 0, 0, 0, -2, 0), crs)
        pixels = np.ones((3, height, width), np.float32)
        if holes is not None and number == 0:
            pixels[:, holes] = np.nan
        parts.append(
            Part(
                f"part{number}",
                grid,
                {"hsi": Layer(ArraySource(pixels, grid))},
                Labels(
                    value.astype(np.int16),
                    ratio,
                    None if objects is None else objects[number],
                    None if given is None else given[number],
                ),
            )
        )
    number = max(int(value.max()) for value in values) + 1
    classes = tuple(ClassInfo(i + 1, chr(ord("a") + i), "#000000") for i in range(max(number, 1)))
    return Scene("test", tuple(parts), "hsi", classes, official)


def patches(height=96, width=80, classes=4, size=5, seed=0) -> np.ndarray:
    """Label patches, a fifth of them without a label."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-height // size), -(-width // size)))
    coarse[rng.random(coarse.shape) < 0.2] = IGNORED
    return coarse.repeat(size, 0).repeat(size, 1)[:height, :width]


def crowns(height=60, width=60) -> tuple[np.ndarray, np.ndarray]:
    """Labels and objects: 6×6 px crowns, 10 px apart, three classes."""
    objects = np.zeros((height, width), np.int32)
    values = np.full((height, width), IGNORED)
    for number, (row, col) in enumerate(np.ndindex(height // 10, width // 10)):
        place = np.s_[row * 10 : row * 10 + 6, col * 10 : col * 10 + 6]
        objects[place], values[place] = number + 1, number % 3
    return values, objects


SCENES = {
    "official": lambda: make_scene(
        patches(),
        given=[np.where(np.arange(80) < 30, TRAIN, TEST) * np.ones((96, 1))],
        official=True,
    ),
    "given": lambda: make_scene(
        patches(), given=[np.where(np.arange(80) < 30, TRAIN, TEST) * np.ones((96, 1))]
    ),
    "blocks": lambda: make_scene(patches()),
    "objects": lambda: make_scene(crowns()[0], objects=[crowns()[1]]),
    "parts": lambda: make_scene(*(patches(20, 20, seed=seed) for seed in range(12))),
    "random": lambda: make_scene(patches()),
    "all": lambda: make_scene(patches()),
}
OPTIONS = {"blocks": {"size": 16, "guard": 2}, "objects": {"guard": 3}}


@pytest.mark.parametrize("name", SCENES)
def test_every_labelled_pixel_has_one_role_and_is_counted(name):
    scene = SCENES[name]()
    result = split(scene, name, **OPTIONS.get(name, {}))
    for role, part in zip(result.roles, scene.parts, strict=True):
        labelled = part.labels.values != IGNORED
        assert role.dtype == np.uint8
        assert role.shape == labelled.shape
        assert (role[~labelled] == UNUSED).all()
        assert (role[labelled] != UNUSED).all()
    values = np.concatenate([part.labels.values.ravel() for part in scene.parts])
    roles = np.concatenate([role.ravel() for role in result.roles])
    for role in range(len(ROLES)):
        expected = np.bincount(
            values[(roles == role) & (values >= 0)], minlength=len(scene.classes)
        )
        np.testing.assert_array_equal(result.counts[role], expected)
    has_test = name != "all"
    assert ((result.counts[TEST] > 0) == has_test).all()
    assert (result.counts[TRAIN] > 0).all()


@pytest.mark.parametrize("name", SCENES)
def test_the_same_seed_gives_the_same_split_and_another_gives_another(name):
    options = OPTIONS.get(name, {})
    one, two = (split(SCENES[name](), name, seed=3, **options) for _ in range(2))
    other = split(SCENES[name](), name, seed=4, **options)
    assert one.hash == two.hash
    assert one.hash != other.hash
    assert len(one.hash) == 64
    if name in ("blocks", "objects", "parts", "random"):
        assert any((a != b).any() for a, b in zip(one.roles, other.roles, strict=True))


@given(
    height=st.integers(20, 70),
    width=st.integers(20, 70),
    size=st.integers(4, 20),
    guard=st.integers(0, 5),
    seed=st.integers(0, 5),
    validation=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=40, deadline=None)
def test_blocks_stay_together_and_the_guard_keeps_its_distance(
    height, width, size, guard, seed, validation
):
    scene = make_scene(patches(height, width, classes=2, seed=seed))
    try:
        result = split(
            scene, "blocks", size=size, guard=guard, seed=seed, validation=validation, drop=True
        )
    except SplitError:
        assume(False)  # too few blocks for this guard
    role = result.roles[0]
    for row in range(0, height, size):
        for col in range(0, width, size):
            block = role[row : row + size, col : col + size]
            assert len({int(kind) for kind in np.unique(block)} & {TRAIN, VALIDATION, TEST}) <= 1
    for other in (TEST, VALIDATION):
        if (role == other).any():
            assert distance(role == other)[role == TRAIN].min() > guard
    if (role == VALIDATION).any():
        assert distance(role == TEST)[role == VALIDATION].min() > guard


def test_distance_is_chebyshev_and_huge_without_pixels():
    mask = np.zeros((7, 9), bool)
    mask[2, 3] = True
    rows, cols = np.indices(mask.shape)
    np.testing.assert_array_equal(distance(mask), np.maximum(abs(rows - 2), abs(cols - 3)))
    assert distance(np.zeros((3, 3), bool)).min() > 10**6


def test_the_guard_takes_training_pixels_up_to_its_width_and_no_test_pixel():
    values = np.zeros((1, 20), np.int16)
    given = np.full((1, 20), TRAIN, np.uint8)
    given[0, 10:] = TEST
    result = split(make_scene(values, given=[given]), "given", guard=3)
    np.testing.assert_array_equal(result.roles[0][0], [TRAIN] * 7 + [GUARD] * 3 + [TEST] * 10)
    assert split(make_scene(values, given=[given]), "given").counts[GUARD].sum() == 0


@given(
    height=st.integers(1, 6), width=st.integers(1, 6), ratio=st.integers(1, 4), to=st.integers(1, 4)
)
@settings(max_examples=40, deadline=None)
def test_regridding_a_mask_keeps_what_it_touches(height, width, ratio, to):
    mask = np.random.default_rng(0).random((height * ratio, width * ratio)) < 0.3
    touched, full = regrid(mask, ratio, to), regrid(mask, ratio, to, every=True)
    assert touched.shape == (height * to, width * to)
    for row, col in np.ndindex(touched.shape):
        rows = slice(row * ratio // to, -(-(row + 1) * ratio // to))
        cols = slice(col * ratio // to, -(-(col + 1) * ratio // to))
        assert touched[row, col] == mask[rows, cols].any()
        assert full[row, col] == mask[rows, cols].all()


def test_stratified_blocks_come_near_the_fraction_of_every_class():
    scene = make_scene(patches(256, 256, classes=5, size=8))
    for fraction in (0.3, 0.5, 0.7):
        counts = split(scene, "blocks", size=32, guard=0, train=fraction).counts
        assert np.abs(counts[TRAIN] / counts[1:].sum(axis=0) - fraction).max() < 0.06


def test_a_wide_guard_finds_sides_in_larger_pieces():
    scene = make_scene(patches(128, 128, classes=3, size=4))
    result = split(scene, "blocks", size=16, guard=14)
    assert (result.counts[TRAIN] > 0).all()
    assert (result.counts[TEST] > 0).all()


def test_an_object_stays_together():
    values, objects = crowns()
    result = split(make_scene(values, objects=[objects]), "objects", guard=0, validation=0.3)
    for number in range(1, objects.max() + 1):
        assert len(np.unique(result.roles[0][objects == number])) == 1
    assert (
        result.counts[[TRAIN, VALIDATION, TEST]] == [[36 * 4] * 3, [36 * 2] * 3, [36 * 6] * 3]
    ).all()


def test_objects_of_the_same_number_in_two_parts_are_two():
    values, objects = crowns(30, 30)
    scene = make_scene(values, values, objects=[objects, objects])
    assert split(scene, "objects", guard=0).units == 18


def test_validation_by_part_comes_from_whole_training_parts():
    scene = SCENES["parts"]()
    result = split(scene, "parts", train=0.7, validation=0.4)
    kinds = [set(np.unique(role)) - {UNUSED} for role in result.roles]
    assert all(len(kind) == 1 for kind in kinds)
    assert set.union(*kinds) == {TRAIN, VALIDATION, TEST}


@pytest.mark.parametrize("name", ["given", "random", "all"])
def test_validation_by_block_keeps_a_guard_even_where_the_test_has_none(name):
    result = split(SCENES[name](), name, validation=0.3, size=24)
    role = result.roles[0]
    assert (role == VALIDATION).any()
    assert distance(role == VALIDATION)[role == TRAIN].min() > 8


def test_random_takes_a_count_or_a_fraction_of_each_class():
    scene = SCENES["random"]()
    assert (split(scene, "random", per_class=7).counts[TRAIN] == 7).all()
    counts = split(scene, "random", train=0.1).counts
    np.testing.assert_allclose(counts[TRAIN], counts.sum(axis=0) * 0.1, atol=0.5)


def test_labels_without_data_are_unused_and_counted():
    holes = np.zeros((20, 20), bool)
    holes[3, 4] = True
    scene = make_scene(np.zeros((40, 40)), ratio=2, holes=holes)
    result = split(scene, "all")
    assert (result.roles[0] == UNUSED).sum() == 4
    assert (result.roles[0][6:8, 8:10] == UNUSED).all()
    assert result.notes[0].startswith("4 of 1600 labelled pixels")


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_windows_find_every_hole(height, width, size):
    holes = np.random.default_rng(height).random((height, width)) < 0.2
    scene = make_scene(np.zeros((height, width)), holes=holes)
    values = labels_with_data(scene.parts[0], "hsi", 1, size)
    np.testing.assert_array_equal(values == IGNORED, holes)


def test_the_protocol_says_widths_in_pixels_and_metres():
    scene = make_scene(patches(96, 80), ratio=4)  # grid of 2 m, labels of 0.5 m
    result = split(scene, "blocks", size=16, guard=4)
    facts = result.protocol(reach=1)
    assert (facts["guard_label_px"], facts["guard_px"], facts["guard_m"]) == (4, 1, 2)
    assert (facts["size_label_px"], facts["size_px"], facts["size_m"]) == (16, 4, 8)
    assert (facts["reach_px"], facts["reach_m"]) == (1, 2)
    assert facts["test_share_within_reach"] == 0
    assert facts["units"] == 30
    assert facts["pixels"]["test"] == result.counts[TEST].sum()
    assert facts["pixels_per_class"]["b"]["train"] == result.counts[TRAIN, 1]
    assert 0 < result.share_within(2) < result.share_within(4) <= 1


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(4326)])
def test_metres_are_unknown_without_a_projected_crs(crs):
    result = split(make_scene(patches(), crs=crs), "blocks", size=16, guard=2)
    assert result.metres is None
    assert result.protocol()["guard_m"] is None


def test_inductive_hides_the_test_its_guard_and_what_lies_within():
    values = np.zeros((1, 20), np.int16)
    values[0, [8, 13]] = IGNORED
    given = np.full((1, 20), TRAIN, np.uint8)
    given[0, 10:] = TEST
    scene = make_scene(values, given=[given])
    hidden = split(scene, "given", guard=3, context="inductive").hidden(0)
    np.testing.assert_array_equal(hidden[0], np.arange(20) >= 7)
    assert not split(scene, "given", guard=3).hidden(0).any()


def test_official_is_refused_where_none_exists():
    with pytest.raises(SplitError, match="no official masks"):
        split(SCENES["given"](), "official")


def test_given_without_roles_is_refused():
    with pytest.raises(SplitError, match="no training role"):
        split(SCENES["blocks"](), "given")


def test_objects_without_polygons_are_refused():
    with pytest.raises(SplitError, match="no objects"):
        split(SCENES["blocks"](), "objects")


def test_a_class_that_cannot_stand_on_both_sides_is_named_or_dropped():
    values = patches(classes=2)
    values[3:5, 3:6] = 2
    with pytest.raises(SplitError, match=r"class 'c' has its 6 pixels in one block of 16 px"):
        split(make_scene(values), "blocks", size=16, guard=0)
    result = split(make_scene(values), "blocks", size=16, guard=0, drop=True)
    assert result.dropped == (2,)
    assert result.counts[UNUSED, 2] == 6
    assert (result.roles[0][values == 2] == UNUSED).all()
    assert result.protocol()["dropped"] == ["c"]
    assert any("class 'c' dropped" in note for note in result.notes)


def test_a_class_that_the_guard_swallows_is_named():
    with pytest.raises(SplitError, match="guard of 60 px"):
        split(make_scene(patches(64, 64, classes=2)), "blocks", size=16, guard=60)


def test_too_few_pixels_of_a_class_are_named():
    values = patches()
    values[values == 2] = IGNORED
    values[0, :5] = 2
    with pytest.raises(SplitError, match=r"class 'c' has 5 labelled pixel\(s\), 5 are asked"):
        split(make_scene(values), "random", per_class=5)
    assert split(make_scene(values), "random", per_class=5, drop=True).dropped == (2,)


def test_no_class_left_is_refused():
    values = np.full((8, 8), IGNORED)
    values[0, 0] = 0
    with pytest.raises(SplitError, match="every class"):
        split(make_scene(values), "blocks", size=4, drop=True)


def test_no_labelled_pixel_is_refused():
    empty = make_scene(np.full((8, 8), IGNORED))
    with pytest.raises(LabelError, match="no labelled pixel"):
        split(empty, "all")
    with pytest.raises(LabelError, match="no data"):
        split(make_scene(np.zeros((8, 8)), holes=np.ones((8, 8), bool)), "all")


def test_labels_on_two_grids_are_refused():
    one, two = make_scene(np.zeros((8, 8)), ratio=2), make_scene(np.zeros((8, 8)))
    both = Scene("two", one.parts + two.parts, "hsi", one.classes)
    with pytest.raises(GridMismatch, match="1 times finer"):
        split(both, "all")


def test_validation_of_one_unit_is_refused():
    with pytest.raises(SplitError, match="holds 1 block"):
        split(make_scene(np.zeros((8, 8))), "all", validation=0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("checkerboard", {}),
        ("blocks", {"sizes": 3}),
        ("blocks", {"size": 0}),
        ("blocks", {"train": 1.0}),
        ("blocks", {"guard": -1}),
        ("blocks", {"validation": 1.0}),
        ("blocks", {"context": "both"}),
        ("blocks", {"per_class": 5}),
        ("random", {"per_class": 0}),
        ("random", {"size": 5}),
        ("parts", {"size": 5}),
        ("all", {"train": 0.3}),
        ("official", {"drop": True}),
    ],
)
def test_impossible_and_idle_options_are_refused(name, options):
    with pytest.raises(ConfigError):
        split(SCENES["blocks"](), name, **options)


@pytest.mark.parametrize("shape", [(1, 200), (200, 1)])
def test_a_scene_one_pixel_wide(shape):
    scene = make_scene(patches(200, 200, classes=2)[: shape[0], : shape[1]])
    result = split(scene, "blocks", size=10, guard=2, validation=0.3)
    assert (result.counts[TRAIN] > 0).all()
    assert (result.counts[TEST] > 0).all()


DATA = os.environ.get("BANDWEAVE_DATA")
real = pytest.mark.skipif(DATA is None, reason="BANDWEAVE_DATA names no folder of real scenes")


@real
def test_houston2013_masks_lie_as_near_as_the_literature_counts():
    from scipy.io import loadmat

    masks = loadmat(Path(DATA) / "houston2013" / "houston_gt.mat")
    train, test = masks["houston_gt_tr"], masks["houston_gt_te"]
    given = np.where(train > 0, TRAIN, np.where(test > 0, TEST, UNUSED)).astype(np.uint8)
    values = np.maximum(train, test).astype(np.int16) - 1
    scene = make_scene(values, given=[given], official=True)
    result = split(scene, "official")
    assert result.counts[TRAIN].sum() == 2832
    assert result.counts[TEST].sum() == 12197
    assert round(result.share_within(16), 2) == 0.53
    assert round(result.share_within(31), 2) == 0.81


@real
def test_houston2018_crop_splits_into_halves_of_every_class_in_ten_ways():
    from scipy.io import loadmat

    labels = loadmat(Path(DATA) / "houston2018-crop" / "houston_dataset.mat")["clasLabs"]
    codes = [code for code in range(1, 13) if code not in (4, 8)]
    values = np.full(labels.shape, IGNORED)
    for index, code in enumerate(codes):
        values[labels == code] = index
    scene = make_scene(values, ratio=4)
    results = [split(scene, "blocks", seed=seed) for seed in range(10)]
    assert len({result.hash for result in results}) == 10
    for result in results:
        share = result.counts[TEST] / result.counts.sum(axis=0)
        assert ((share > 0.35) & (share < 0.65)).all()
        assert (result.counts[TRAIN] > 0.4 * (result.counts[TRAIN] + result.counts[GUARD])).all()
        assert result.share_within(2) == 0


def test_slivers_as_a_side_are_told_with_a_size_to_try():
    small = split(make_scene(patches(70, 70, classes=2)), "blocks", size=64, guard=0, drop=True)
    (note,) = [note for note in small.notes if "a side is small" in note]
    assert "some only 6 px wide" in note
    assert "size 11" in note
    large = split(make_scene(patches(70, 70, classes=2)), "blocks", size=11, guard=0)
    assert not [note for note in large.notes if "a side is small" in note]


def test_a_pixel_in_degrees_is_told_in_metres():
    grid = Grid(10, 20, Affine(8.98e-05, 0, 30, 0, -8.98e-05, 60), CRS.from_epsg(4326))
    assert str(grid) == "10×20 px at 8.98e-05 ° (about 5 m × 10 m at latitude 60°)"


def test_a_small_scene_has_smaller_blocks_by_default():
    scene = make_scene(patches(70, 70, classes=2))
    result = split(scene, "blocks")
    assert result.config.size == 24
    assert result.protocol()["size_label_px"] == 24
    assert result.hash == split(scene, "blocks", size=24).hash
    assert not [note for note in result.notes if "a side is small" in note]
    shares = result.counts[[TRAIN, TEST]].sum(axis=1) / result.counts.sum()
    assert shares.min() > 0.1


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(192, 128)], 64),  # six whole blocks
        ([(160, 224)], 64),  # six, of which some are half a block high or wide
        ([(130, 250)], 64),  # eight, and slivers beside them
        ([(130, 130)], 48),  # four whole blocks and five slivers of 2 px
        ([(145, 145)], 48),
        ([(30, 30)] * 6, 64),  # parts that are smaller than a block are whole ones
        ([(30, 30)] * 3, 16),
    ],
)
def test_blocks_are_of_64_px_where_six_of_them_hold_labels(shapes, size):
    values = [patches(*shape, classes=2, seed=seed) for seed, shape in enumerate(shapes)]
    scene = make_scene(*values)
    result = split(scene, "blocks", guard=2)
    assert result.config.size == size
    assert result.hash == split(scene, "blocks", guard=2, size=size).hash


def test_labels_in_a_corner_of_a_large_scene_have_smaller_blocks():
    values = np.full((400, 400), IGNORED)
    values[:70, :70] = patches(70, 70, classes=2)
    assert split(make_scene(values), "blocks").config.size == 24


def test_a_refusal_names_a_size_that_can_be_drawn():
    values = patches(70, 70, classes=2)
    values[values == 1] = 0
    values[20:30, 5:60] = 1
    scene = make_scene(values)
    with pytest.raises(SplitError, match=r"in one block of 64 px .* a size of (\d+) px") as refused:
        split(scene, "blocks", size=64)
    size = int(re.search(r"a size of (\d+) px can be drawn", str(refused.value))[1])
    assert not split(scene, "blocks", size=size).dropped


def test_a_refusal_says_where_no_size_can_be_drawn():
    values = patches(70, 70, classes=2)
    values[values == 1] = 0
    values[0, 0] = 1
    with pytest.raises(SplitError, match=r"class 'b' .*4, 6, .* px cannot be drawn either"):
        split(make_scene(values), "blocks")


def test_a_split_without_blocks_takes_the_size_that_older_runs_state():
    scene = make_scene(patches())
    assert split(scene, "random", size=64).hash == split(scene, "random").hash
    with pytest.raises(ConfigError, match="no use for size=32"):
        split(scene, "random", size=32)


def test_the_names_that_are_offered_are_those_of_the_table():
    with pytest.raises(ConfigError, match=f"there are: {', '.join(sorted(SPLITS))}$"):
        SplitConfig("xyz")


def test_a_split_of_ones_own_is_a_row(monkeypatch):
    """Its guard, unit and options are read from the row; every third row of pixels is tested."""
    scene = bw.simulated_scene(seed=0, height=24, width=24, bands=3)

    def assign_stripes(drawing):
        roles = [np.where(value == IGNORED, UNUSED, TRAIN) for value in drawing.values]
        for role in roles:
            role[::3][role[::3] == TRAIN] = TEST
        return [role.astype(np.uint8) for role in roles]

    monkeypatch.setitem(SPLITS, "stripes", Protocol(assign_stripes, guard=1))
    drawn = bw.split(scene, "stripes")
    assert set(np.flatnonzero((drawn.roles[0] == TEST).any(axis=1)) % 3) == {0}
    near = distance(drawn.roles[0] == TEST) <= 1
    assert not (drawn.roles[0][near] == TRAIN).any()
    assert (bw.split(scene, "stripes", guard=0).roles[0][near] == TRAIN).any()
    with pytest.raises(ConfigError, match="'stripes' has no use for train"):
        bw.split(scene, "stripes", train=0.2)
