"""A run folder of an earlier version opens, maps and scores as it did then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import rasterio

import bandweave as bw

KEPT = Path(__file__).parent / "kept_run"


def test_a_run_of_an_earlier_version(tmp_path):
    """It was made before folders had locks, checkpoints checksums, and models a contract."""
    folder = tmp_path / "run"
    shutil.copytree(KEPT, folder)
    scene = bw.simulated_scene(seed=0, height=24, width=32, bands=4)
    run = bw.Run.open(folder)
    bw.map_scene(run, scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as now, rasterio.open(KEPT / "map.tif") as then:
        assert now.profile["transform"] == then.profile["transform"]
        assert np.mean(now.read() == then.read()) > 0.99  # processors round differently
    scores = bw.score(run, scene, quiet=True)
    stored = json.loads((KEPT / "scores.json").read_text())["pixels"]
    assert scores.pixels.protocol["hash"] == stored["protocol"]["hash"]
    assert abs(scores.overall_accuracy - stored["overall_accuracy"]) < 0.02
