"""Sharpening methods on real pairs, and the speed of GSA beside reading and writing the same files.

landsat7               pairs 25 to 30 of 30, ratio 2, 6 bands, registered; a model is trained on 1
                       to 24
landsat7-unregistered  the same as they are: PAN lies a pixel off, which a model would learn
wv2                    WorldView-2, 8 bands, ratio 4
quickbird-toulouse     4 bands, without georeference, MS already resampled by 4
landsat8-chip          6 bands in files of their own, half a PAN pixel off

    BANDWEAVE_DATA=folder python benchmarks/sharpening.py [--only landsat7] [--run RUN …]
    python benchmarks/sharpening.py --speed [--side 4096]

Every finished method is a line of benchmarks/results/sharpening.jsonl for each pair and protocol
and is not repeated; the tables are printed at the end. What is measured of speed is in
benchmarks/results/sharpening_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sharpening.jsonl"
SPEED = HERE / "results" / "sharpening_speed.json"
TRAIN, TEST = range(1, 25), range(25, 31)  # of the 30 pairs of Landsat 7
BANDS, RATIO = 4, 4  # of the simulated scene
BLOCK = 1024  # PAN pixels read, computed and written at a time, by every way
MARK = 1.5  # times the files and the arithmetic


@dataclass(frozen=True)
class Table:
    """Pairs that are scored alike."""

    folder: str
    sensor: str
    pairs: dict[str, tuple[str, list[str]]]
    register: bool = True
    ratio: int | None = None


LANDSAT7 = {f"{n}": (f"{n}_pan.mat", [f"{n}_ms.mat"]) for n in TEST}
CHIP = "LC08_L1TP_195025_20130707_20170503_01_T1_B{}.TIF"
TABLES = {
    "landsat7": Table("landsat7", "landsat-7", LANDSAT7),
    "landsat7-unregistered": Table("landsat7", "landsat-7", LANDSAT7, register=False),
    "wv2": Table("wv2", "worldview-2", {"wv2": ("imgWV2.mat:I_PAN", ["imgWV2.mat:I_MS"])}),
    "quickbird-toulouse": Table(
        "quickbird-toulouse",
        "quickbird",
        {"toulouse": ("QB_Toulouse_Ortho_PAN.tif", ["QB_Toulouse_Ortho_XS.tif"])},
        ratio=4,
    ),
    "landsat8-chip": Table(
        "landsat8-chip",
        "landsat-8",
        {"chip": (CHIP.format(8), [CHIP.format(n) for n in range(2, 8)])},
    ),
}


# Scores ------------------------------------------------------------------------------------------


def score(name: str, scene: str, method: str, run: str | None) -> list[dict[str, Any]]:
    """The rows of a method on a pair, one a protocol."""
    from bandweave.pansharp.pair import open_pair
    from bandweave.pansharp.run import SharpenRun
    from bandweave.pansharp.score_names import plain
    from bandweave.pansharp.scoring import score_sharpeners, trained

    table = TABLES[name]
    folder = Path(os.environ["BANDWEAVE_DATA"]) / table.folder
    pan, ms = table.pairs[scene]
    pair = open_pair(folder / pan, [folder / file for file in ms], ratio=table.ratio)
    runs = {method: trained(SharpenRun.open(run))} if run else {}
    scores = score_sharpeners(
        {scene: pair},
        ["bicubic"] if run else [method],  # none would be all
        runs=runs,
        sensor=table.sensor,
        register=table.register,
        samples=0,
        quiet=True,
    )
    (facts,) = scores.scenes
    return [
        {
            "table": name,
            "scene": scene,
            "method": method,
            "protocol": row.protocol,
            **plain(row.scores),
            "seconds": round(row.seconds, 2),
            "peak": facts.peak,
            "registered": facts.registered,
            "shift": [round(facts.shift_rows, 3), round(facts.shift_cols, 3)],
        }
        for row in scores.rows
        if row.method == method
    ]


def finished() -> list[dict[str, Any]]:
    """The rows of the results file."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines() if line.strip()]


def score_all(only: str | None, runs: list[str]) -> None:
    """What is not finished yet, a line for each pair and protocol as it is."""
    from bandweave.pansharp.classical import CLASSICAL

    methods: dict[str, str | None] = dict.fromkeys(CLASSICAL)
    methods |= {Path(run).resolve().name: run for run in runs}
    done = {(row["table"], row["scene"], row["method"]) for row in finished()}
    RESULTS.parent.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        if only not in (None, name):
            continue
        for scene in table.pairs:
            for method, run in methods.items():
                if (name, scene, method) not in done:
                    rows = score(name, scene, method, run)
                    with open(RESULTS, "a") as file:
                        file.writelines(json.dumps(row) + "\n" for row in rows)
            print(f"{name} {scene}: done", file=sys.stderr, flush=True)


def tables(rows: list[dict[str, Any]]) -> str:
    """Means over the pairs of each table, the best of a column in bold."""
    from bandweave.pansharp.score_names import SCORES
    from bandweave.pansharp.score_tables import NAMES, shown

    lines = []
    for name in TABLES:
        own = [row for row in rows if row["table"] == name]
        names = [key for protocol in ("reduced", "full") for key in NAMES[protocol]]
        means: dict[str, dict[str, float]] = {}
        for method in dict.fromkeys(row["method"] for row in own):
            means[method] = {}
            for key in names:
                values = [
                    float(row[key])
                    for row in own
                    if row["method"] == method and row.get(key) is not None
                ]
                means[method][key] = statistics.fmean(values) if values else float("nan")
        if not means:
            continue
        count = len({row["scene"] for row in own})
        heads = [f"{SCORES[key].symbol} {SCORES[key].unit}".rstrip() for key in names]
        lines += [f"{name}, {count} pair{'s' * (count > 1)}", ""]
        lines += [f"| method | {' | '.join(heads)} |", f"|---|{'---|' * len(names)}"]
        for method, values in means.items():
            cells = []
            for key in names:
                column = [other[key] for other in means.values()]
                best = max(column) if SCORES[key].higher else min(column)
                text = shown(key, values[key])
                cells.append(f"**{text}**" if values[key] == best else text)
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


# Speed -------------------------------------------------------------------------------------------


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

    from bandweave.pansharp.pair import open_pair
    from bandweave.pansharp.sensors import sensor_of
    from bandweave.pansharp.sharpening import Classical, in_turn, partition, stored

    pair = open_pair(folder / "pan.tif", folder / "ms.tif")
    method = Classical("gsa", sensor_of("quickbird", pair.bands), pair)
    places = list(partition(pair.grid.height, pair.grid.width, BLOCK))
    shapes = {place[2:]: pair.read(place, method.margin) for place in places}

    def compute(place: Any) -> None:
        seen = shapes[place[2:]]
        values = method.apply(seen)[:, *seen.core]
        stored(values, np.ones(values.shape[1:], bool), pair.ms_dtype, None)

    def run() -> None:
        method.fit(shapes[place[2:]] for place in places)
        for _ in in_turn(compute, places):
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


WAYS = {"sharpen": sharpen, "files": files, "arithmetic": arithmetic, "gdal": gdal}


def measure(way: str, folder: Path) -> dict[str, float]:
    """Seconds of a way, and the peak memory of this process in MiB."""
    run = WAYS[way](folder)
    began, used = time.perf_counter(), time.process_time()
    run()
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "processor_seconds": processor, "peak_mib": peak}


def speed(side: int, rounds: int, out: Path) -> None:
    """All ways in turn, each time in a process of its own; medians and the mark."""
    from bandweave.run.folder import machine

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
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    parser.add_argument("--run", nargs="+", default=[], help="runs to score too; with --only")
    parser.add_argument("--fresh", action="store_true", help="score anew what is finished")
    parser.add_argument("--speed", action="store_true", help="measure the speed of GSA instead")
    parser.add_argument("--side", type=int, default=4096, help="of the simulated PAN, px")
    parser.add_argument("--rounds", type=int, default=3, help="of the measurement of speed")
    parser.add_argument("--out", type=Path, default=SPEED, help="JSON of the speed")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step[0], Path(options.step[1]))))
        return
    if options.speed:
        speed(options.side, options.rounds, options.out)
        return
    if options.run and not options.only:
        parser.error("a run was trained on the bands of one table: name that by --only")
    if options.fresh and RESULTS.exists():
        kept = [row for row in finished() if options.only not in (None, row["table"])]
        RESULTS.write_text("".join(json.dumps(row) + "\n" for row in kept))
    if "BANDWEAVE_DATA" not in os.environ:
        parser.error("BANDWEAVE_DATA names no folder of data")
    score_all(options.only, options.run)
    print(tables(finished()))


if __name__ == "__main__":
    main()
