"""The simulated pair is what it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from bandweave.errors import ConfigError
from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.simulate import LARGEST, simulated_pair


def values(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize(
    ("ratio", "bands", "offset", "dtype"),
    [(4, 4, (0, 0), "uint16"), (2, 6, (0.5, -0.5), "uint8"), (3, 8, (1.25, 4), "float32")],
)
def test_relations_hold(tmp_path, ratio, bands, offset, dtype):
    pair = simulated_pair(tmp_path / "new", 3, (96, 84), ratio, bands, offset=offset, dtype=dtype)
    pan, ms, truth = (values(path).astype(float) for path in (pair.pan, pair.ms, pair.truth))
    assert truth.shape == (bands, 96, 84)
    half = 0 if dtype == "float32" else 1  # rounded both before and after
    np.testing.assert_allclose(
        pan[0], np.tensordot(pair.weights, truth, 1), atol=half + 1e-5, rtol=0
    )
    again = degrade(truth, pair.nesting, ms.shape[1:], pair.gains)
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(again[inner], ms[inner], atol=half + 1e-4)
    assert truth.std(axis=(1, 2)).min() > 0.02 * LARGEST.get(dtype, 0.7)


def test_files_lie_where_they_should(tmp_path):
    pair = simulated_pair(tmp_path, size=(64, 80), offset=(1.5, 2))
    with rasterio.open(pair.pan) as pan, rasterio.open(pair.ms) as ms:
        assert pan.crs == ms.crs == "EPSG:32632"
        assert tuple(~pan.transform @ ms.transform)[2:6:3] == pytest.approx((2, 1.5))
        assert ms.res == (2, 2)
        assert ms.descriptions == ("blue", "green", "red", "nir")
    with rasterio.open(simulated_pair(tmp_path / "bare", size=(64, 80), crs=None).pan) as bare:
        assert bare.crs is None


def test_seeds(tmp_path):
    one, same, other = (
        values(simulated_pair(tmp_path / str(i), seed, (64, 64)).ms)
        for i, seed in enumerate((1, 1, 2))
    )
    assert (one == same).all()
    assert not (one == other).all()


@pytest.mark.parametrize(
    "wrong", [{"ratio": 1}, {"bands": 9}, {"size": (8, 64)}, {"dtype": "int8"}]
)
def test_impossible_arguments(tmp_path, wrong):
    with pytest.raises(ConfigError):
        simulated_pair(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
