"""Peak memory of mapping a scene and one ten times larger.

    python benchmarks/speed/mapping_memory.py [--small 1024] [--factor 10] [--out FILE.json]

Each scene is a tiled, compressed GeoTIFF of 128 simulated bands and one of heights. Each is mapped,
with its confidence, in a process of its own by a small convolutional model, so that what is
measured is the mapping. Reported are the peak resident memory of each process, what of it came on
top of the imported libraries, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

RESULTS = Path(__file__).parents[1] / "results" / "mapping_memory.json"
BANDS, CLASSES, WINDOW = 128, 8, 64
MIB = 2**20


def make(folder: Path, height: int, width: int) -> None:
    """Write hsi.tif and dsm.tif by blocks, and scene.yaml."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    rng = np.random.default_rng(0)
    spectra = rng.uniform(500, 4000, (CLASSES, BANDS))
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "crs": "EPSG:32617",
        "transform": from_origin(500_000, 4_000_000, 1, 1),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "lzw",
    }
    with (
        rasterio.open(folder / "hsi.tif", "w", count=BANDS, dtype="uint16", **profile) as hsi,
        rasterio.open(folder / "dsm.tif", "w", count=1, dtype="float32", **profile) as dsm,
    ):
        for _, window in hsi.block_windows(1):
            rows = window.row_off + np.arange(window.height)[:, None]
            cols = window.col_off + np.arange(window.width)[None]
            fields = np.sin(rows / 37) + np.cos(cols / 23) + np.sin((rows + cols) / 91)
            kinds = np.clip((fields + 3) / 6 * CLASSES, 0, CLASSES - 1).astype(int)
            noise = rng.normal(0, 40, (1, window.height, window.width))
            values = spectra[kinds].transpose(2, 0, 1) + noise
            place = Window(window.col_off, window.row_off, window.width, window.height)
            hsi.write(values.astype(np.uint16), window=place)
            dsm.write((10 * fields).astype(np.float32)[None], window=place)
    (folder / "scene.yaml").write_text(
        "grid: hsi\nlayers:\n  hsi: {path: hsi.tif}\n  lidar: {path: dsm.tif}\n"
    )


def map_once(folder: Path) -> dict[str, float]:
    """Map the scene of a folder; seconds and bytes of this process."""
    import numpy as np
    import torch

    from bandweave.data.match import describe_layers
    from bandweave.data.scaling import LayerScaling, Scaling
    from bandweave.data.scene import ClassInfo
    from bandweave.data.scenefile.open import open_scene
    from bandweave.landcover.mapping import map_scene
    from bandweave.nn.output import Output

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Conv2d(BANDS + 1, 16, 1),
                torch.nn.GELU(),
                torch.nn.Conv2d(16, CLASSES, 3, padding=1),
            )

        def forward(self, layers: dict[str, torch.Tensor]) -> Output:
            return Output(self.body(torch.cat([layers["hsi"], layers["lidar"]], dim=1)))

    torch.manual_seed(0)
    scene = open_scene(folder / "scene.yaml")
    bands = {name: layer.bands for name, layer in scene.layers.items()}
    run = SimpleNamespace(
        model=Convolutions(),
        scaling=Scaling(
            {
                name: LayerScaling(np.full(n, 2000.0), np.full(n, 1000.0))
                for name, n in bands.items()
            }
        ),
        classes=[ClassInfo(i + 1, f"class {i + 1}", "#808080") for i in range(CLASSES)],
        layers=describe_layers(scene),
        window=WINDOW,
        output_ratio=1,
    )
    before = peak_bytes()
    start, used = time.perf_counter(), time.process_time()
    map_scene(run, scene, folder / "map.tif", confidence=True, device="cpu", quiet=True)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "before": before,
        "peak": peak_bytes(),
    }


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", type=int, default=1024, help="side of the small scene, px")
    parser.add_argument(
        "--factor", type=float, default=10, help="pixels of the large over the small"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.step:
        name, folder, *size = options.step
        if name == "make":
            make(Path(folder), *(int(value) for value in size))
        elif name == "machine":
            from bandweave.training.folder import machine

            print(json.dumps(machine()))
        else:
            print(json.dumps(map_once(Path(folder))))
        return

    side = round(options.small * math.sqrt(options.factor))
    results = {}
    for name, pixels in (("small", options.small), ("large", side)):
        with tempfile.TemporaryDirectory(prefix="mapping-memory-") as folder:
            step("make", folder, str(pixels), str(pixels))
            results[name] = {"height": pixels, "width": pixels, **json.loads(step("map", folder))}
        print(
            f"{name}: {pixels}×{pixels} px, {results[name]['seconds']} s "
            f"({results[name]['cpu_seconds']} s of processors), "
            f"peak {results[name]['peak'] / MIB:.0f} MiB, "
            f"{results[name]['before'] / MIB:.0f} MiB of it before mapping",
            flush=True,
        )
    small, large = results["small"], results["large"]
    pixels = large["height"] * large["width"] / (small["height"] * small["width"])
    own = [result["peak"] - result["before"] for result in (large, small)]
    ratios = {"pixels": pixels, "peak": large["peak"] / small["peak"], "mapping": own[0] / own[1]}
    print(
        f"{ratios['pixels']:.1f} times the pixels take {ratios['peak']:.2f} times the memory "
        f"({ratios['mapping']:.2f} times what mapping adds)"
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"bands": BANDS + 1, "window": WINDOW, **results, "ratios": ratios}
    report["machine"] = json.loads(step("machine", "."))
    options.out.write_text(json.dumps(report, indent=2) + "\n")


def step(*arguments: str) -> str:
    """Run a step in a new process; this one stays small, since a child's peak counts from it."""
    command = [sys.executable, __file__, "--step", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
