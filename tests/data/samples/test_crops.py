import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.data.samples.augment import AugmentConfig, jitter, orient
from bandweave.data.samples.crops import CropSampler, SampleConfig
from bandweave.data.scaling import fit
from bandweave.data.scene import HIDDEN, IGNORED, ClassInfo, Labels, Layer, Part, Scene
from bandweave.data.splits.splitting import GUARD, TEST, TRAIN, VALIDATION, split
from bandweave.errors import ConfigError, SplitError
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid

PLAIN = AugmentConfig(False, False, 0, 0, 0, 0, 0, 0, 0)
TURNED = AugmentConfig(True, True, 0, 0, 0, 0, 0, 0, 0)


def make_scene(*shapes, ratio=2, classes=3, hole=None, seed=0) -> Scene:
    """Parts with a 4-band layer and a finer one whose only band is the number of its pixel.

    The first band of the 4-band layer is the number of its pixel as well.
    """
    rng = np.random.default_rng(seed)
    parts, first, first_fine = [], 1, 1
    for number, (height, width) in enumerate(shapes):
        grid, size = Grid(height, width, PIXELS), height * width
        hsi = rng.normal(5, 1, (4, height, width)).astype(np.float32)
        hsi[0] = first + np.arange(size).reshape(height, width)
        fine = first_fine + np.arange(size * ratio**2).reshape(1, height * ratio, width * ratio)
        first, first_fine = first + size, first_fine + size * ratio**2
        if hole is not None:
            hsi[:, hole[0], hole[1]] = np.nan
        labels = rng.integers(-1, classes, (height, width)).repeat(ratio, 0).repeat(ratio, 1)
        parts.append(
            Part(
                f"part{number}",
                grid,
                {
                    "hsi": Layer(ArraySource(hsi, grid)),
                    "fine": Layer(ArraySource(fine.astype(np.float32), grid.finer(ratio)), ratio),
                },
                Labels(labels.astype(np.int16), ratio),
            )
        )
    infos = tuple(ClassInfo(index, f"class{index}", "#000000") for index in range(classes))
    return Scene("test", tuple(parts), "hsi", infos)


def make_sampler(scene, name="all", augment=PLAIN, seed=0, pca=None, options=None, **config):
    made = split(scene, name, **(options or {}))
    config = {"crop": 6, "batch": 3, "augment": augment, **config}
    return CropSampler(scene, made, fit(scene, made, pca), SampleConfig(**config), seed)


def numbers(sampler: CropSampler, batch: dict, name: str) -> np.ndarray:
    """The pixel numbers (B, h, w) that stand behind scaled values; 0 where there is nothing."""
    layer, values = sampler.scaling.layers[name], batch["layers"][name][:, 0]
    return np.where(values == 0, 0, np.rint(values * layer.std[0] + layer.mean[0])).astype(int)


def assert_same(one: dict, two: dict) -> None:
    np.testing.assert_array_equal(one["labels"], two["labels"])
    for name in one["layers"]:
        np.testing.assert_array_equal(one["layers"][name], two["layers"][name])


def test_unlabelled_patches_are_for_models_of_patches():
    with pytest.raises(ConfigError, match="unlabelled is 2, and this model takes no patches"):
        make_sampler(make_scene((20, 30)), unlabelled=2)
    with pytest.raises(ConfigError, match="unlabelled is -1"):
        SampleConfig(unlabelled=-1)


def test_shapes_types_and_order_of_memory():
    batch = make_sampler(make_scene((20, 30)), augment=AugmentConfig()).batch(0)
    assert batch["labels"].shape == (3, 12, 12)
    assert batch["labels"].dtype == np.int64
    assert {name: array.shape for name, array in batch["layers"].items()} == {
        "hsi": (3, 4, 6, 6),
        "fine": (3, 1, 12, 12),
    }
    for array in (*batch["layers"].values(), batch["labels"]):
        assert array.flags["C_CONTIGUOUS"]
    assert all(array.dtype == np.float32 for array in batch["layers"].values())


@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    crop=st.integers(1, 9),
    step=st.integers(0, 10**6),
    turned=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_layers_and_labels_of_a_crop_show_the_same_ground(height, width, crop, step, turned):
    scene = make_scene((height, width), (3, 4), classes=2, seed=height)
    try:
        sampler = make_sampler(scene, augment=TURNED if turned else PLAIN, crop=crop)
    except SplitError:
        return  # not one label by chance
    batch = sampler.batch(step)
    fine = numbers(sampler, batch, "fine")
    coarse = numbers(sampler, batch, "hsi").repeat(2, 1).repeat(2, 2)
    of_fine, of_coarse = {0: IGNORED}, {}
    for part in scene.parts:
        rows, cols = (slice(None), slice(None))
        pixels = part.layers["fine"].source._values[0, rows, cols].astype(int)
        cells = part.layers["hsi"].source._values[0].astype(int).repeat(2, 0).repeat(2, 1)
        of_fine |= dict(zip(pixels.ravel(), part.labels.values.ravel(), strict=True))
        of_coarse |= dict(zip(pixels.ravel(), cells.ravel(), strict=True))
    # a value at the mean looks like a hole: leave it out
    for at in zip(*np.nonzero(fine), strict=True):
        assert batch["labels"][at] == of_fine[fine[at]]
        assert coarse[at] in (of_coarse[fine[at]], 0)
    assert (batch["labels"] >= 0).any(axis=(1, 2)).all()


def test_a_small_part_is_padded_and_a_large_one_never():
    small = make_sampler(make_scene((3, 40)), crop=8).batch(0)
    full_rows = (small["layers"]["hsi"][:, 1] != 0).all(axis=2).sum(axis=1)
    assert (full_rows == 3).all()
    assert ((small["labels"] >= 0).any(axis=2).sum(axis=1) <= 6).all()
    outside = (small["labels"] == HIDDEN).all(axis=2).sum(axis=1)
    assert (outside == 16 - 6).all()  # 8 rows of the grid, 3 of them there, labels twice as fine
    large = make_sampler(make_scene((20, 40)), crop=8)
    for step in range(20):
        assert (large.batch(step)["layers"]["hsi"][:, 1] != 0).all()


@pytest.mark.parametrize("shape", [(1, 50), (50, 1)])
def test_a_scene_one_pixel_wide(shape):
    batch = make_sampler(make_scene(shape), augment=AugmentConfig(modality_dropout=0)).batch(0)
    assert (batch["layers"]["hsi"][:, 1] != 0).any(axis=(1, 2)).all()
    assert (batch["labels"] >= 0).any(axis=(1, 2)).all()


def test_a_batch_follows_from_seed_step_and_place_alone():
    scene = make_scene((30, 30), (9, 9))
    one = make_sampler(scene, augment=AugmentConfig(), seed=1)
    two = make_sampler(scene, augment=AugmentConfig(), seed=1)
    two.batch(3)
    assert_same(one.batch(7), two.batch(7))
    other = make_sampler(scene, augment=AugmentConfig(), seed=2)
    assert (one.batch(7)["layers"]["hsi"] != other.batch(7)["layers"]["hsi"]).any()
    assert (one.batch(7)["layers"]["hsi"] != one.batch(8)["layers"]["hsi"]).any()


def test_two_processes_draw_what_one_with_twice_the_batch_would():
    scene = make_scene((30, 30))
    whole = make_sampler(scene, augment=AugmentConfig(), batch=6).batch(5)
    halves = [make_sampler(scene, augment=AugmentConfig()).batch(5, rank, 2) for rank in (0, 1)]
    assert_same(
        whole,
        {
            "labels": np.concatenate([half["labels"] for half in halves]),
            "layers": {
                name: np.concatenate([half["layers"][name] for half in halves])
                for name in whole["layers"]
            },
        },
    )


@pytest.mark.parametrize("context", ["transductive", "inductive"])
@pytest.mark.parametrize("pca", [None, {"hsi": 2}])
def test_windows_give_what_the_cache_gives(context, pca):
    scene = make_scene((30, 25), (4, 9), hole=(2, 3))
    options = {"size": 8, "guard": 2, "context": context}
    cached, read = (
        make_sampler(scene, "blocks", AugmentConfig(), pca=pca, options=options, cache_mb=megabytes)
        for megabytes in (100, 0)
    )
    assert cached.megabytes == pytest.approx(
        (750 + 36) * ((pca or {}).get("hsi", 4) * 4 + 1 + 5 * 4) / 2**20
    )
    for step in range(10):
        one, two = cached.batch(step), read.batch(step)
        np.testing.assert_array_equal(one["labels"], two["labels"])
        for name in one["layers"]:
            np.testing.assert_allclose(one["layers"][name], two["layers"][name], atol=1e-5)


@pytest.mark.parametrize("name", ["blocks", "random"])
def test_no_label_but_those_of_training_pixels_is_ever_shown(name):
    scene = make_scene((40, 40))
    options = {"size": 10, "guard": 2, "validation": 0.3} if name == "blocks" else {"train": 0.2}
    sampler = make_sampler(scene, name, TURNED, options=options)
    roles = dict(
        zip(
            scene.parts[0].layers["fine"].source._values.ravel().astype(int),
            sampler.split.roles[0].ravel(),
            strict=True,
        )
    )
    seen = set()
    for step in range(40):
        batch = sampler.batch(step)
        shown = numbers(sampler, batch, "fine")[batch["labels"] >= 0]
        seen |= {roles[number] for number in shown if number}
        assert (batch["labels"] >= 0).any(axis=(1, 2)).all()
    assert seen == {TRAIN}


def test_inductive_crops_are_blind_where_the_test_is():
    scene = make_scene((40, 40))
    for context, expected in (("inductive", {TRAIN}), ("transductive", {TRAIN, GUARD, TEST})):
        options = {"size": 10, "guard": 2, "context": context}
        sampler = make_sampler(
            scene, "blocks", AugmentConfig(modality_dropout=0), options=options, crop=12
        )
        plain = make_sampler(scene, "blocks", TURNED, options=options, crop=12)
        values = scene.parts[0].layers["fine"].source._values.ravel().astype(int)
        roles = dict(zip(values, sampler.split.roles[0].ravel(), strict=True))
        seen = set()
        for step in range(30):
            shown = numbers(plain, plain.batch(step), "fine")
            seen |= {roles[number] for number in shown[shown != 0]} - {0}
            batch = sampler.batch(step)
            hidden = sampler.split.hidden(0)
            assert hidden.any() == (context == "inductive")
            if context == "inductive":  # noise and offsets do not fill what is hidden
                assert (batch["layers"]["fine"] == 0).any()
                assert (batch["labels"] == HIDDEN).any()
            else:
                assert not (batch["labels"] == HIDDEN).any()
        assert seen == expected


def test_validation_labels_take_no_part():
    scene = make_scene((40, 40))
    options = {"size": 10, "guard": 2, "validation": 0.4}
    sampler = make_sampler(scene, "blocks", options=options)
    assert (sampler.split.roles[0] == VALIDATION).any()
    assert sum(pixels.size for pixels in sampler._pixels) == (sampler.split.roles[0] == TRAIN).sum()


def test_balance_moves_draws_from_frequency_to_equality():
    scene = make_scene((60, 60), ratio=1)
    values = scene.parts[0].labels.values
    values[:] = 0
    values[:, ::20] = 1
    values[::30, ::30] = 2
    shares = {}
    for balance in (0.0, 0.5, 1.0):
        sampler = make_sampler(scene, crop=1, batch=600, balance=balance)
        shares[balance] = np.bincount(sampler.batch(0)["labels"].ravel(), minlength=3) / 600
    counts = np.bincount(values.ravel())
    for balance, share in shares.items():
        expected = counts ** (1 - balance) / (counts ** (1 - balance)).sum()
        np.testing.assert_allclose(share, expected, atol=0.07)


def test_the_drawn_pixel_lies_anywhere_in_the_crop():
    scene = make_scene((60, 60), ratio=1)
    values = scene.parts[0].labels.values
    values[:] = IGNORED
    values[30, 30] = 0
    batch = make_sampler(scene, crop=4, batch=200).batch(0)
    places = batch["labels"].reshape(200, -1).argmax(axis=1)
    assert set(places) == set(range(16))


def test_all_eight_orientations_occur_and_are_different():
    square = np.arange(9).reshape(3, 3)
    views = {orient(square, bool(m), t).tobytes() for m in (0, 1) for t in range(4)}
    assert len(views) == 8
    scene = make_scene((6, 6), classes=1)
    sampler = make_sampler(scene, augment=TURNED)
    seen = {array.tobytes() for step in range(30) for array in sampler.batch(step)["layers"]["hsi"]}
    assert len(seen) == 8


@pytest.mark.parametrize(
    "option", ["illumination", "band_gain", "offset", "tilt", "noise", "band_dropout"]
)
def test_each_change_acts_alone_on_a_spectrum_and_never_on_holes(option):
    values = np.random.default_rng(0).normal(size=(30, 9, 9)).astype(np.float32)
    valid = np.ones((9, 9), bool)
    valid[0] = False
    values[:, 0] = 0
    changed = values.copy()
    config = AugmentConfig(**{**vars(PLAIN), option: 0.3})
    jitter(changed, valid, np.full(30, -2.0), True, config, np.random.default_rng(1))
    assert (changed[:, 0] == 0).all()
    assert (changed != values).any()
    assert changed.dtype == np.float32
    difference = (changed - values)[:, valid]
    per_band = difference.std(axis=1)
    if option in ("offset", "tilt"):
        np.testing.assert_allclose(per_band, 0, atol=1e-5)
        bend = np.diff(difference.mean(axis=1), 3)
        np.testing.assert_allclose(bend, 0, atol=1e-4)  # no sharper than a parabola
    if option == "illumination":  # a gain about zero radiance
        ratio = (changed + 2)[:, valid] / (values + 2)[:, valid]
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-2)
    if option == "noise":
        np.testing.assert_allclose(per_band, 0.3, atol=0.1)
    if option == "band_dropout":
        lost = (changed == 0).all(axis=(1, 2))
        assert 0 < lost.sum() < 20
        np.testing.assert_array_equal(changed[~lost], values[~lost])


def test_a_single_band_is_not_lost_nor_lit_nor_tilted():
    values = np.random.default_rng(0).normal(size=(1, 5, 5)).astype(np.float32)
    changed = values.copy()
    config = AugmentConfig(**{**vars(PLAIN), "illumination": 1, "tilt": 1, "band_dropout": 0.99})
    jitter(
        changed, np.ones((5, 5), bool), np.array([-50.0]), True, config, np.random.default_rng(1)
    )
    np.testing.assert_array_equal(changed, values)


def test_components_are_not_tilted():
    values = np.ones((6, 5, 5), np.float32)
    config = AugmentConfig(**{**vars(PLAIN), "tilt": 1})
    jitter(values, np.ones((5, 5), bool), np.zeros(6), False, config, np.random.default_rng(1))
    assert (values == 1).all()


def test_a_layer_is_lost_as_often_as_asked_but_never_both():
    config = AugmentConfig(**{**vars(PLAIN), "modality_dropout": 0.5})
    sampler = make_sampler(make_scene((20, 20)), augment=config, batch=400)
    layers = sampler.batch(0)["layers"]
    lost = {name: (array == 0).all(axis=(1, 2, 3)) for name, array in layers.items()}
    assert not (lost["hsi"] & lost["fine"]).any()
    for kind in lost.values():
        assert 0.15 < kind.mean() < 0.35
    alone = make_scene((20, 20))
    made = split(alone, "all")
    sampler = CropSampler(
        alone, made, fit(alone, made, layers=["hsi"]), SampleConfig(6, 200, augment=config)
    )
    assert not (sampler.batch(0)["layers"]["hsi"] == 0).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize(
    "option", [{"crop": -1}, {"batch": 0}, {"balance": 1.5}, {"balance": -1}, {"cache_mb": -1}]
)
def test_impossible_samples_are_refused(option):
    with pytest.raises(ConfigError):
        SampleConfig(**option)


def test_a_whole_part_is_no_crop():
    alone = make_scene((20, 20))
    made = split(alone, "all")
    with pytest.raises(ConfigError, match="crop 0 is a whole part"):
        CropSampler(alone, made, fit(alone, made, layers=["hsi"]), SampleConfig(0))


@pytest.mark.parametrize("option", [{"noise": -1}, {"band_dropout": 1.0}, {"tilt": float("nan")}])
def test_impossible_changes_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        AugmentConfig(**option)


def test_crops_of_several_sides_come_in_turn_with_as_many_pixels():
    sampler = make_sampler(make_scene((40, 30)), scales=[1, 2, 4, 10.5], batch=8)
    assert sampler.sides == [6, 12, 24, 40]  # none longer than the scene's longest
    shapes = [sampler.batch(step)["labels"].shape for step in range(5)]
    assert shapes == [(8, 12, 12), (2, 24, 24), (1, 48, 48), (1, 80, 80), (8, 12, 12)]


def test_sides_that_are_cut_to_the_same_come_once():
    assert make_sampler(make_scene((9, 7), (5, 5)), scales=[1, 2, 4, 8]).sides == [6, 9]


def test_crops_of_the_usual_side_are_those_of_a_sampler_of_one_side():
    scene = make_scene((40, 30))
    one, turning = make_sampler(scene), make_sampler(scene, scales=[2, 1])
    for turn in range(3):
        assert_same(turning.batch(2 * turn + 1), one.batch(turn))


def test_several_processes_draw_the_crops_of_one_with_a_larger_batch():
    scene = make_scene((40, 30))
    two = [make_sampler(scene, scales=[1, 2], batch=4).batch(3, rank, 2) for rank in (0, 1)]
    whole = make_sampler(scene, scales=[1, 2], batch=8).batch(3)
    np.testing.assert_array_equal(np.concatenate([each["labels"] for each in two]), whole["labels"])


def test_every_side_draws_other_places():
    sampler = make_sampler(make_scene((40, 40), ratio=1), scales=[1, 1.2], batch=1)
    small, large = (numbers(sampler, sampler.batch(step), "hsi")[0] for step in (0, 1))
    assert not np.isin(small, large).all()


def test_sides_of_crops_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"scales \[1, 0\] must be above 0"):
        SampleConfig(scales=[1, 0])
    with pytest.raises(ConfigError, match="crop 0 is a whole part"):
        SampleConfig(crop=0, scales=[1])
    with pytest.raises(ConfigError, match="crop 0 is a whole part"):
        SampleConfig(crop=0, window=8)


def test_maps_are_made_with_the_third_smallest_side():
    assert SampleConfig(crop=16).map_window == 16
    assert SampleConfig(crop=16, scales=[4, 1, 2, 1.5]).map_window == 32
    assert SampleConfig(crop=16, scales=[1, 1.5]).map_window == 24
    assert SampleConfig(crop=16, scales=[2]).map_window == 32
    assert SampleConfig(crop=16, scales=[1, 2], window=20).map_window == 20
    assert SampleConfig(crop=0).map_window == 0


def test_windows_of_several_scales_share_a_quarter():
    assert SampleConfig(crop=16).map_overlap is None
    assert SampleConfig(crop=16, scales=[1, 2]).map_overlap == 8
    assert SampleConfig(crop=16, scales=[1, 2], overlap=0).map_overlap == 0
    with pytest.raises(ConfigError, match="overlap is 16; it must be at least 0 and less than"):
        SampleConfig(crop=16, overlap=16)
    with pytest.raises(ConfigError, match="overlap is -1"):
        SampleConfig(crop=0, overlap=-1)


def test_of_small_crops_a_batch_has_as_many_as_fill_it():
    sampler = make_sampler(make_scene((40, 30)), scales=[1, 2], batch=1, fill=100)
    assert [len(sampler.batch(step)["labels"]) for step in (0, 1)] == [3, 1]
    with pytest.raises(ConfigError, match="fill -1"):
        SampleConfig(fill=-1)
