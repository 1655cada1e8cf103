"""How fast a map is made by two workers, beside one process that has as many threads.

    python benchmarks/speed/sharing.py [--repeats 3] [--pixels 512]

The scene is simulated, so many pixels wide and twice as high; the net is trained for a step, since
what it says does not change how long it takes. Ways are timed in turn, by the wall: one process of
two threads, two processes of this machine, and two workers of a Dask cluster that stands already.
Each round gives a ratio; results go to benchmarks/results/sharing.json with their median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results" / "sharing.json"


def main() -> None:
    """Time the ways in turn."""
    import torch
    from distributed import LocalCluster

    import bandweave as bw

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(2)
    scene = bw.simulated_scene(seed=0, height=2 * args.pixels, width=args.pixels, bands=48)
    split = bw.split(scene, "blocks", size=64, guard=8, drop=True)
    found: list[dict[str, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        options = {"steps": 1, "hold_out": 0.0, "quiet": True}
        run = bw.train(scene, split, "m3amba_small", f"{folder}/run", **options)
        ways: dict[str, dict[str, object]] = {
            "one process, two threads": {},
            "two processes": {"workers": 2},
            "two Dask workers": {"dask": cluster.scheduler_address},
        }

        def make(name: str) -> Callable[[], None]:
            return lambda: bw.map_scene(
                run, scene, f"{folder}/map.tif", overwrite=True, quiet=True, **ways[name]
            )

        for number in range(args.repeats + 1):
            seconds = {}
            for name in ways:
                began = time.perf_counter()
                make(name)()
                seconds[name] = round(time.perf_counter() - began, 2)
            print(seconds)
            if number:  # the first one compiles and imports
                found.append(seconds)
    first = next(iter(found[0]))
    ratios = {
        name: round(statistics.median(one[first] / one[name] for one in found), 3)
        for name in found[0]
    }
    print("speed beside one process:", ratios)
    pixels = 2 * args.pixels**2
    RESULTS.write_text(
        json.dumps({"pixels": pixels, "seconds": found, "speed": ratios}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
