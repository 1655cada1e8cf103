"""The features that a comparison pictures are those before the last layer, of any kind of model."""

import numpy as np
import pytest

import bandweave as bw
from bandweave.landcover.comparison.features import choose_pixels, compute_features


@pytest.mark.parametrize(
    ("name", "options", "width"),
    [
        ("m3amba_tiny", {"width": 8, "depth": 1, "state": 2, "crop": 8}, 8),
        ("cnn2d", {"width": 4, "depth": 2, "patch": 5, "crop": 5}, 8),  # one vector for a patch
        ("s2mamba", {"width": 8, "state": 2, "patch": 3, "crop": 3}, 8),
        ("unet", {"width": 4, "depth": 1, "crop": 8}, 4),
    ],
)
def test_features_of_the_test_pixels(name, options, width, tmp_path):
    scene = bw.simulated_scene(seed=0, height=24, width=20, bands=4)
    split = bw.split(scene, "blocks", size=4, guard=1)
    run = bw.train(scene, split, name, tmp_path / "run", steps=1, batch=2, quiet=True, **options)
    features = compute_features(run, scene, split)
    assert features.what == "penultimate features"
    assert features.values.shape == (sum(mask.sum() for mask in choose_pixels(split)), width)
    assert np.isfinite(features.values).all()
    assert np.ptp(features.values, axis=0).any()
