"""The speed of GSA, file to file, beside reading and writing the same files and beside GDAL.

    python benchmarks/speed/sharpening_speed.py [--side 10000] [--rounds 3]

sharpen          PAN and four MS bands of 11 bits to a cloud-optimised GeoTIFF, as a user has it
files            both files read once and the sharp image written as such a file, by rasterio
arithmetic       GSA's statistics and GSA itself, of windows that are in memory, as many threads
gdal             GDAL's weighted Brovey through rasterio, to the same kind of file
gdal_pansharpen  the same by GDAL's own tool, where it is installed

All ways in turn, each time in a process of its own. The mark is 1.5 times the files and the
arithmetic. What is measured is in benchmarks/results/sharpening_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "sharpening_speed.json"
BANDS, RATIO = 4, 4  # of the simulated scene
BLOCK = 1024  # PAN pixels read, computed and written at a time, by every way
MARK = 1.5  # times the files and the arithmetic


def make(folder: Path, side: int) -> None:
    """Write pan.tif and ms.tif, 11 bits, tiled, by blocks of one simulated texture."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)

    def texture() -> np.ndarray:
        noises = rng.normal(size=(3, BLOCK, BLOCK))
        return sum(
            weight * sigma * gaussian_filter(noise, sigma, mode="wrap")
            for noise, sigma, weight in zip(noises, (1, 4, 20), (60, 120, 250), strict=True)
        )

    layers = np.stack([texture() for _ in range(BANDS)])
    shared = layers[0]
    truth = np.clip(
        600 + 150 * np.arange(BANDS)[:, None, None] + 0.7 * shared + 0.5 * layers, 1, 2047
    )
    coarse = truth.reshape(BANDS, BLOCK // RATIO, RATIO, BLOCK // RATIO, RATIO).mean(axis=(2, 4))
    images = {"pan": (truth.mean(axis=0, keepdims=True), 0.5), "ms": (coarse, 0.5 * RATIO)}
    for name, (tile, pixel) in images.items():
        tile = np.round(tile).astype(np.uint16)
        length, size = round(side * 0.5 / pixel), tile.shape[-1]
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", height=length, width=length,
            count=len(tile), dtype="uint16", tiled=True, blockxsize=256, blockysize=256,
            compress="deflate", predictor=2, crs="EPSG:32632", bigtiff="if_safer",
            transform=from_origin(676_000, 5_338_000, pixel, pixel), num_threads="all_cpus",
        ) as out:  # fmt: skip
            for window in blocks(length, size):
                noise = rng.integers(-6, 7, (len(tile), window.height, window.width))
                part = tile[:, : window.height, : window.width] + noise
                out.write(np.clip(part, 1, 2047).astype(np.uint16), window=window)


def blocks(side: int, step: int) -> Iterator[Any]:
    """Windows of rasterio that tile a square."""
    from rasterio.windows import Window

    for row in range(0, side, step):
        for col in range(0, side, step):
            yield Window(col, row, min(step, side - col), min(step, side - row))


def sharpen(folder: Path) -> Callable[[], None]:
    """What is measured: GSA, file to file."""
    from bandweave.pansharp.sharpening import sharpen

    return lambda: sharpen(
        folder / "pan.tif", folder / "ms.tif", folder / "gsa.tif", method="gsa",
        sensor="quickbird", quiet=True,
    ) and None  # fmt: skip


COG = {"compress": "DEFLATE", "predictor": "YES", "overview_resampling": "AVERAGE",
       "blocksize": 512, "bigtiff": "IF_SAFER", "num_threads": "ALL_CPUS"}  # fmt: skip


def files(folder: Path) -> Callable[[], None]:
    """Both files read once, and the sharp image written as a COG of the same kind, by rasterio."""
    import rasterio
    import rasterio.shutil

    with rasterio.open(folder / "gsa.tif") as dataset:
        sharp, profile = dataset.read(), dataset.profile
    plain = {key: profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform")}

    def run() -> None:
        for name in ("pan", "ms"):
            with rasterio.open(folder / f"{name}.tif") as dataset:
                step = BLOCK if name == "pan" else BLOCK // RATIO
                for window in blocks(dataset.width, step):
                    dataset.read(window=window)
        flat = folder / "flat.tif"
        with rasterio.open(
            flat, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512,
            bigtiff="if_safer", **plain,
        ) as out:  # fmt: skip
            for window in blocks(plain["width"], BLOCK):
                rows, cols = window.toslices()
                out.write(sharp[:, rows, cols], window=window)
        rasterio.shutil.copy(flat, folder / "files.tif", driver="COG", **COG)

    return run


def arithmetic(folder: Path) -> Callable[[], None]:
    """GSA's statistics and GSA itself, of windows that are in memory, on as many threads."""
    import numpy as np

    from bandweave.pansharp.classical.methods import CLASSICAL
    from bandweave.pansharp.pair.open import open_pair
    from bandweave.pansharp.sensors import find_sensor
    from bandweave.pansharp.storage import Storage
    from bandweave.pansharp.threads import map_ordered

    pair = open_pair(folder / "pan.tif", folder / "ms.tif")
    method = CLASSICAL["gsa"](pair, find_sensor("quickbird", pair.bands))
    storage = Storage(pair.ms_dtype)
    places = list(pair.grid.window.divide(BLOCK))
    shapes = {place[2:]: pair.read(place, method.margin) for place in places}

    def compute(place: Any) -> None:
        seen = shapes[place[2:]]
        values = method.apply(seen)[:, *seen.core]
        storage.encode(values, np.ones(values.shape[1:], bool))

    def run() -> None:
        method.fit(shapes[place[2:]] for place in places)
        for _ in map_ordered(compute, places):
            pass

    return run


def gdal(folder: Path) -> Callable[[], None]:
    """GDAL's weighted Brovey, which gdal_pansharpen runs, to a COG of the same kind."""
    import rasterio.shutil

    bands = "\n".join(
        f'<SpectralBand dstBand="{i}"><SourceFilename relativeToVRT="1">ms.tif</SourceFilename>'
        f"<SourceBand>{i}</SourceBand></SpectralBand>"
        for i in range(1, BANDS + 1)
    )
    vrt = folder / "brovey.vrt"
    vrt.write_text(
        '<VRTDataset subClass="VRTPansharpenedDataset"><PansharpeningOptions>'
        "<Algorithm>WeightedBrovey</Algorithm><Resampling>Cubic</Resampling>"
        "<NumThreads>ALL_CPUS</NumThreads><PanchroBand>"
        '<SourceFilename relativeToVRT="1">pan.tif</SourceFilename><SourceBand>1</SourceBand>'
        f"</PanchroBand>{bands}</PansharpeningOptions></VRTDataset>"
    )
    return lambda: rasterio.shutil.copy(vrt, folder / "gdal.tif", driver="COG", **COG) and None


def gdal_pansharpen(folder: Path) -> Callable[[], None]:
    """The tool, with its own process and that process's memory."""
    out = folder / "tool.tif"
    words = [tool() or "", folder / "pan.tif", folder / "ms.tif", out, "-of", "COG", "-q"]
    words += ["-r", "cubic", "-threads", "ALL_CPUS"]
    words += [part for key, value in COG.items() for part in ("-co", f"{key.upper()}={value}")]
    return lambda: subprocess.run([str(word) for word in words], check=True) and None


def tool() -> str | None:
    """GDAL's command, by either of its names."""
    return shutil.which("gdal_pansharpen") or shutil.which("gdal_pansharpen.py")


WAYS = {"sharpen": sharpen, "files": files, "arithmetic": arithmetic, "gdal": gdal}
if tool():
    WAYS["gdal_pansharpen"] = gdal_pansharpen


def measure(way: str, folder: Path) -> dict[str, float]:
    """Seconds of a way, and the peak memory of its process in MiB."""
    run = WAYS[way](folder)
    began, used = time.perf_counter(), sum(os.times()[:4])
    run()
    seconds, processor = time.perf_counter() - began, sum(os.times()[:4]) - used
    who = resource.RUSAGE_CHILDREN if way == "gdal_pansharpen" else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss / 1024
    return {"seconds": seconds, "processor_seconds": processor, "peak_mib": peak}


def speed(side: int, rounds: int, out: Path) -> None:
    """All ways in turn, each time in a process of its own; medians and the mark."""
    from bandweave.training.folder import machine

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="sharpening-") as folder:
        make(Path(folder), side)
        for _ in range(rounds):
            for way, times in found.items():
                done = subprocess.run(
                    [sys.executable, __file__, "--step", way, folder],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                if done.returncode:
                    raise SystemExit(f"{way} failed: {done.stderr.strip()[-400:]}")
                times.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        way: {key: round(statistics.median(t[key] for t in times), 3) for key in times[0]}
        for way, times in found.items()
    }
    base = medians["files"]["seconds"] + medians["arithmetic"]["seconds"]
    ratio = medians["sharpen"]["seconds"] / base
    report = {
        "side": side, "bands": BANDS, "ratio": RATIO, "rounds": rounds, "medians": medians,
        "all": found, "over_files_and_arithmetic": round(ratio, 3),
        "over_gdal": round(medians["sharpen"]["seconds"] / medians["gdal"]["seconds"], 3),
        "mark": MARK, "met": ratio <= MARK, "load": os.getloadavg(), "machine": machine(),
    }  # fmt: skip
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    for way, values in medians.items():
        print(
            f"{way:10} {values['seconds']:8.2f} s  {side**2 / 1e6 / values['seconds']:7.1f} Mpx/s  "
            f"{values['peak_mib']:6.0f} MiB"
        )
    print(
        f"GSA takes {ratio:.2f} times the files and the arithmetic (mark {MARK}: "
        f"{'met' if ratio <= MARK else 'NOT MET'}), {report['over_gdal']:.2f} times GDAL's Brovey"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000, help="of the simulated PAN, px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step[0], Path(options.step[1]))))
        return
    speed(options.side, options.rounds, options.out)


if __name__ == "__main__":
    main()
