"""bandweave: land cover and sharp images from co-registered rasters, by state-space models.

>>> import bandweave as bw
>>> scene = bw.simulated_scene(seed=0, height=64, width=64)
>>> split = bw.split(scene, "blocks", size=8, guard=1)
>>> sorted(scene.layers)
['hsi', 'lidar']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandweave.data.benchmarks.scenes import benchmark_scene
    from bandweave.data.scenefile.open import open_scene
    from bandweave.data.simulation.scene import simulated_scene
    from bandweave.data.splits.splitting import split
    from bandweave.landcover.areas.parcels import classify_parcels
    from bandweave.landcover.comparison.comparing import compare
    from bandweave.landcover.ensemble import join_runs
    from bandweave.landcover.mapping import map_scene
    from bandweave.landcover.run import Run
    from bandweave.landcover.scoring import score
    from bandweave.landcover.training import train
    from bandweave.landcover.tuning import tune
    from bandweave.pansharp.comparison.comparing import compare_sharpeners
    from bandweave.pansharp.run import SharpenRun
    from bandweave.pansharp.scoring import score_sharpeners
    from bandweave.pansharp.sharpening import sharpen, super_resolve
    from bandweave.pansharp.training import train_sharpener

_HOME = {
    "Run": "bandweave.landcover.run",
    "SharpenRun": "bandweave.pansharp.run",
    "benchmark_scene": "bandweave.data.benchmarks.scenes",
    "classify_parcels": "bandweave.landcover.areas.parcels",
    "compare": "bandweave.landcover.comparison.comparing",
    "compare_sharpeners": "bandweave.pansharp.comparison.comparing",
    "join_runs": "bandweave.landcover.ensemble",
    "map_scene": "bandweave.landcover.mapping",
    "open_scene": "bandweave.data.scenefile.open",
    "score": "bandweave.landcover.scoring",
    "score_sharpeners": "bandweave.pansharp.scoring",
    "sharpen": "bandweave.pansharp.sharpening",
    "simulated_scene": "bandweave.data.simulation.scene",
    "split": "bandweave.data.splits.splitting",
    "super_resolve": "bandweave.pansharp.sharpening",
    "train": "bandweave.landcover.training",
    "train_sharpener": "bandweave.pansharp.training",
    "tune": "bandweave.landcover.tuning",
}

__all__ = [
    "Run",
    "SharpenRun",
    "benchmark_scene",
    "classify_parcels",
    "compare",
    "compare_sharpeners",
    "join_runs",
    "map_scene",
    "open_scene",
    "score",
    "score_sharpeners",
    "sharpen",
    "simulated_scene",
    "split",
    "super_resolve",
    "train",
    "train_sharpener",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for, so that `import bandweave` takes no second."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bandweave' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
