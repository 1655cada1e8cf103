"""Seconds to read a whole scene by windows, for the ways in which files are laid out.

    python benchmarks/speed/reading.py [--bands 64] [--side 768] [--rounds 5] [--out FILE.json]

The same cube of int16 is written tiled and with one chunk or strip a band, as GeoTIFF, HDF5 and
MATLAB 7.3, compressed alike, and beside them as ENVI, NumPy and MATLAB v5. Each is then read by
windows of 64×64 px row by row, as a map is, from the first opening on and with GDAL's cache as
small as it is while a map is made. The layouts take turns; what is reported is the median over the
rounds, and its ratio to the tiled file of the same format.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import rasterio
import scipy.io
from rasterio.transform import from_origin

from bandweave.raster.grid import Window
from bandweave.raster.open import open_source
from bandweave.raster.writing.outputs import CACHE_BYTES

RESULTS = Path(__file__).parents[1] / "results" / "reading.json"
WINDOW = 64
BASES = {"GeoTIFF": "GeoTIFF tiled", "HDF5": "HDF5 tiled", "MATLAB": "MATLAB 7.3 tiled"}


def make_cube(bands: int, side: int) -> np.ndarray:
    """Smooth spectra with noise, (bands, rows, columns), as a sensor's whole numbers."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:side, :side]
    fields = np.stack([np.sin(rows / 37), np.cos(cols / 23), np.sin((rows + cols) / 91)])
    cube = np.einsum("bf,fhw->bhw", rng.uniform(200, 900, (bands, 3)), fields) + 3000
    return (cube + rng.normal(0, 8, cube.shape)).astype(np.int16)


def write_layouts(folder: Path, cube: np.ndarray) -> dict[str, Path]:
    """All layouts of a cube, by name."""
    bands, height, width = cube.shape
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": "int16",
        "crs": "EPSG:32617",
        "transform": from_origin(5e5, 4e6, 1, 1),
        "compress": "deflate",
    }
    whole = {"blockysize": height}
    tiles = {"tiled": True, "blockxsize": WINDOW, "blockysize": WINDOW}
    files = {}
    for name, layout in {
        "GeoTIFF tiled": tiles,
        "GeoTIFF, strips of rows": {"interleave": "band"},
        "GeoTIFF, one strip a band": whole | {"interleave": "band"},
        "GeoTIFF, one strip for all": whole | {"interleave": "pixel"},
    }.items():
        files[name] = folder / f"{len(files)}.tif"
        with rasterio.open(files[name], "w", **profile, **layout) as out:
            out.write(cube)
    for name, chunks in {
        "HDF5 tiled": (bands, WINDOW, WINDOW),
        "HDF5, one chunk a band": (1, height, width),
        "HDF5, contiguous": None,
    }.items():
        files[name] = folder / f"{len(files)}.h5"
        with h5py.File(files[name], "w") as out:
            out.create_dataset("cube", data=cube, chunks=chunks, compression=chunks and "gzip")
    for name, chunks in {
        "MATLAB 7.3 tiled": (bands, WINDOW, WINDOW),
        "MATLAB 7.3, one chunk a band": (1, height, width),
    }.items():
        files[name] = folder / f"{len(files)}.mat"
        with h5py.File(files[name], "w", userblock_size=512) as out:
            stored = cube.transpose(0, 2, 1)  # MATLAB shows rows, columns, bands
            saved = out.create_dataset("cube", data=stored, chunks=chunks, compression="gzip")
            saved.attrs["MATLAB_class"] = np.bytes_("int16")
        with files[name].open("r+b") as out:
            out.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    files["MATLAB v5"] = folder / "v5.mat"
    scipy.io.savemat(files["MATLAB v5"], {"cube": cube}, do_compression=True)
    files["NumPy"] = folder / "cube.npy"
    np.save(files["NumPy"], cube)
    files["ENVI"] = folder / "cube.img"
    with rasterio.open(
        files["ENVI"], "w", **(profile | {"driver": "ENVI", "compress": None})
    ) as out:
        out.write(cube)
    return files


def read_by_windows(path: Path, side: int) -> float:
    """Seconds from opening a file to its last window."""
    start = time.perf_counter()
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        source = open_source(path, shape=(side, side))
        for row in range(0, side, WINDOW):
            for col in range(0, side, WINDOW):
                source.read(Window(row, col, WINDOW, WINDOW))
    return time.perf_counter() - start


def main() -> None:
    """Measure all layouts in turn and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bands", type=int, default=64)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_layouts(Path(folder), make_cube(args.bands, args.side))
        seconds: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(args.rounds):
            for name, path in files.items():
                with ThreadPoolExecutor(1) as pool:  # what a thread kept of a file ends with it
                    seconds[name].append(pool.submit(read_by_windows, path, args.side).result())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {}
    for name, median in medians.items():
        base = BASES.get(name.split()[0].rstrip(","))
        ratio = median / medians[base] if base and name != "MATLAB v5" else None
        rows[name] = {"seconds": round(median, 4), "of_tiled": ratio and round(ratio, 2)}
        print(f"{name:32} {median:8.3f} s  {'' if ratio is None else f'{ratio:.2f} × tiled'}")
    report = {"bands": args.bands, "side": args.side, "rounds": args.rounds, "layouts": rows}
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
