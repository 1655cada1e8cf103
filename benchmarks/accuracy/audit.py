"""What shortcuts of a protocol are worth on a simulated scene, whose parcels are spatially alike.

    python benchmarks/accuracy/audit.py [--seeds 5] [--models m3amba_tiny] [--work DIR]

The scene is the demo's, in four times the area; crops are small, so that a guard as wide as the
model looks leaves training pixels. An interrupted audit goes on where it stopped, in the folder
--work. The result is benchmarks/results/audit.json, model by model, and the table is printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results" / "audit.json"
SCENE = {"seed": 0, "height": 384, "width": 512, "bands": 72}
SAMPLES = {"crop": 8, "batch": 32}
STEPS, BLOCK = 200, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["m3amba_tiny"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "audits")
    options = parser.parse_args()
    from bandweave.cli.process import set_up_process

    set_up_process()
    import bandweave as bw
    from bandweave.landcover.audit.shortcuts import audit
    from bandweave.landcover.config import LandCoverConfig
    from bandweave.training.folder import machine

    scene = bw.simulated_scene(**SCENE)
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in options.models:
        config = LandCoverConfig.read(
            {"model": {"name": model}, "samples": SAMPLES, "train": {"steps": STEPS}}
        )
        found = audit(
            config, scene, options.work / model, seeds=options.seeds, name="blocks", size=BLOCK
        )
        print(found.table(), found.paragraph(), sep="\n\n")
        stored[model] = {**found.to_dict(), "scene_options": SCENE, "machine": machine()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    main()
