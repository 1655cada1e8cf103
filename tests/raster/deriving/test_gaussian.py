"""Gaussian means of pictures that one can follow by eye."""

import numpy as np

from bandweave.raster.deriving.gaussian import mean_of, reach_of


def test_a_constant_stays_up_to_the_edge_and_around_holes():
    known = np.ones((12, 15), bool)
    known[4:7, 5:9] = False
    image = np.where(known, 3, 1000)[..., None].astype(np.float32)
    means = mean_of(image, known, 2.0)
    np.testing.assert_allclose(means[known], 3, rtol=1e-5)
    assert not means[~known].any()


def test_a_mean_reaches_as_far_as_it_says():
    image = np.zeros((1, 41, 1), np.float32)
    image[0, 20] = 1
    found = np.flatnonzero(mean_of(image, np.ones((1, 41), bool), 1.3)[0, :, 0])
    assert (found[0], found[-1]) == (20 - reach_of(1.3), 20 + reach_of(1.3))
