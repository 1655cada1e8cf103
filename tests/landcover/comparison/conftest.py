"""A tiny comparison, and results made up for tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bandweave as bw
from bandweave.comparison.plan import Cell
from bandweave.comparison.results import Result
from bandweave.landcover.comparison.comparing import SceneComparison
from bandweave.landcover.comparison.plan import Plan
from bandweave.landcover.comparison.task import LandCoverTask
from bandweave.landcover.metrics import Scores

SCENE = "simulated_scene(seed=0, height=32, width=48, bands=4)"
TINY = {"width": 8, "depth": 1, "crop": 8, "batch": 2, "steps": 3, "checkpoint_every": 1}
TWO: dict[str, Any] = {
    "models": {"tiny": {"model": "m3amba_tiny", **TINY}, "knn": {}},
    "scenes": [SCENE],
    "splits": {"blocks": {"size": 8, "guard": 1, "drop": True}},
    "seeds": 2,
    "quiet": True,
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SceneComparison:
    """Two models, two seeds; for reading only."""
    return bw.compare(**TWO, out=tmp_path_factory.mktemp("compare") / "made")


@pytest.fixture
def task() -> LandCoverTask:
    """What the tables of made-up results are written by."""
    return LandCoverTask(Plan({}, {}, {}, ()))


@pytest.fixture
def result(task: LandCoverTask) -> Callable[..., Result]:
    """result("a", seed=0, right=90): of 100 test pixels, of which so many are right."""

    def make(model: str, seed: int, right: int | None, **more: Any) -> Result:
        scene, split = more.pop("scene", "town"), more.pop("split", "blocks")
        options = {"name": more.pop("name", "blocks"), "seed": seed}
        cell = Cell((scene, split), model, seed, {"scene": "somewhere", "split": options})
        if right is None:
            return Result(cell, failed=more.pop("failed", "it broke"))
        confusion = np.array([[right // 2, 50 - right // 2, 0], [50 - (right + 1) // 2] * 2 + [0]])
        confusion[1, 1] = (right + 1) // 2
        confusion = np.vstack([confusion, [[0, 0, 0]]])
        protocol = {
            "split": "blocks",
            "seed": seed,
            "context": "transductive",
            "guard_label_px": 4,
            "guard_px": 4,
            "guard_m": 8.0,
            "reach_label_px": 7,
            "reach_px": 7,
            "test_share_within_reach": 0.25,
            "pixels": {"train": more.pop("train", 100), "test": 100},
            "pixels_per_class": {"a & b": {"train": 60, "test": 50}},
            "notes": [f"guard: {30 + seed} pixels unused"],
        }
        facts = {
            "split_hash": f"{seed:064d}",
            "protocol": protocol,
            "parameters": more.pop("parameters", 1234),
            "seconds": {"train": 2.0},
            "machine": {"threads": 1, "cpu": "c", "gpu": None},
            "versions": {"bandweave": "0"},
            "command": "bandweave compare",
        }
        names = ("a & b", "b_c", "absent")
        scores = {"pixels": Scores(confusion, names, protocol).to_dict()}
        return task.read_result(cell, facts, scores)

    return make


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """files(folder): what stands in it, but for locks."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".writer.lock")
    }
