"""Profiles of pictures that one can follow by eye."""

import numpy as np
import pytest
from skimage.morphology import disk

import bandweave as bw
from bandweave.errors import ConfigError
from bandweave.landcover.baselines.inputs import Profiles
from bandweave.landcover.baselines.options import ProfileOptions
from bandweave.landcover.baselines.radii import RADII, radii_for
from bandweave.raster.deriving.profiles import opening, profile


def test_an_opening_removes_what_no_disk_fits_into_and_keeps_the_rest_whole():
    image = np.zeros((24, 24), np.float32)
    image[2:4, 2:4] = 5  # too small for a radius of 2
    image[10:20, 8:20] = 3  # wide enough, corners too
    known = np.ones(image.shape, bool)
    expected = np.where(image == 3, image, 0)
    np.testing.assert_array_equal(opening(image, known, 2), expected)


def test_a_closing_is_the_opening_of_the_negative():
    rng = np.random.default_rng(0)
    image = rng.random((20, 17)).astype(np.float32)
    known = np.ones(image.shape, bool)
    found = profile(image, known, (1, 2))
    assert found.shape == (20, 17, 5)
    np.testing.assert_array_equal(found[..., 2], image)
    np.testing.assert_array_equal(profile(-image, known, (1, 2)), -found[..., ::-1])
    assert (np.diff(found, axis=-1) <= 0).all(), "from the largest closing down to the opening"


def test_unknown_pixels_are_as_if_the_image_ended():
    rng = np.random.default_rng(1)
    image = rng.random((16, 20)).astype(np.float32)
    known = np.zeros(image.shape, bool)
    known[:, :11] = True
    alone = profile(image[:, :11], known[:, :11], RADII)
    for outside in (0, -50, 50):
        found = profile(np.where(known, image, outside).astype(np.float32), known, RADII)
        np.testing.assert_array_equal(found[:, :11], alone)
        assert not found[:, 11:].any()
    assert not profile(image, np.zeros_like(known), RADII).any()


def test_a_piece_is_not_rebuilt_through_unknown_pixels():
    image = np.zeros((11, 21), np.float32)
    image[3:8, 2:7] = 1  # holds a disk of 2 px
    image[5, 7:] = 1  # a line that hangs on it
    known = np.ones(image.shape, bool)
    assert opening(image, known, 2)[5, 20] == 1
    known[:, 10] = False
    assert opening(image, known, 2)[5, 20] == 0
    assert disk(2).sum() == 13


@pytest.mark.parametrize(
    ("side", "radii"),
    [(1, (1,)), (8, (1,)), (20, (1, 2)), (40, (1, 2, 3, 5)), (64, RADII), (5000, RADII)],
)
def test_radii_fit_the_smallest_part_and_stay_as_they_are_in_large_ones(side, radii):
    assert radii_for(side) == radii


def test_profiles_of_tiny_parts_keep_what_the_wide_disks_erase():
    scene = bw.simulated_scene(seed=0, height=20, width=20, parts=4, bands=6)
    drawn = bw.split(scene, "parts", drop=True)
    name = scene.reference
    own, wide = (
        Profiles.fit(scene, drawn, [name], ProfileOptions(radii=[*radii])) for radii in ((), RADII)
    )
    assert own.sizes == (1, 2)
    values = own.values(scene.parts[0])
    assert values.shape == (20, 20, 4 * 5)
    assert wide.values(scene.parts[0]).shape == (20, 20, 4 * 9)
    erased = [opening(values[..., 2], np.ones((20, 20), bool), r).std() for r in (2, 8)]
    assert erased[1] < erased[0]


def test_radii_below_a_pixel_are_refused():
    with pytest.raises(ConfigError, match="radii=0 must be 1 or more"):
        ProfileOptions(radii=[0, 2])
