"""Whole inputs, tiny: what the campaigns damage, and what their commands read."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 20, 24  # rows and columns
UTM = "EPSG:32632"
CORNER = 676_000.0, 5_338_000.0
TINY = (
    *("--model", "m3amba_tiny", "--width", "8", "--depth", "1", "--crop", "8", "--batch", "2"),
    *("--size", "8", "--guard", "1"),
)
TINY_SHARPENER = ("--model", "mmmamba_tiny", "--patch", "4", "--batch", "1")


def values(bands: int, kind: str = "float32") -> np.ndarray:
    """(bands, *SIZE) of smooth values of 1 to 200, the same every time."""
    row, col = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    waves = [100 + 90 * np.sin(row / (3 + b) + b) * np.cos(col / (4 + b)) for b in range(bands)]
    return np.stack(waves).astype(kind)


def codes() -> np.ndarray:
    """(*SIZE) uint8 of the classes 1 to 3 in fields, and 0 between them."""
    row, col = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.where((row % 5 == 0) | (col % 6 == 0), 0, 1 + (row // 5 + col // 6) % 3).astype("u1")


def call(*words: object) -> int:
    """A command in this process, silent: its exit status."""
    from bandweave.cli.main import main

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return main([str(word) for word in words])


# Rasters ------------------------------------------------------------------------------------------


def write_tiff(path: Path, array: np.ndarray, **profile: Any) -> None:
    """A GeoTIFF of a metre a pixel."""
    import rasterio
    from rasterio.transform import Affine

    transform = Affine(1, 0, CORNER[0], 0, -1, CORNER[1])
    bands, height, width = array.shape
    options = {"driver": "GTiff", "crs": UTM, "transform": transform, "photometric": "MINISBLACK"}
    options |= {"height": height, "width": width, "count": bands, "dtype": array.dtype} | profile
    with rasterio.open(path, "w", **options) as dataset:
        dataset.write(array)


def write_cog(path: Path) -> None:
    """A cloud-optimised GeoTIFF with overviews, of the same pixels ten times along each side."""
    import rasterio.shutil

    plain = path.with_name("plain.tif")
    write_tiff(plain, values(2, "uint16").repeat(10, 1).repeat(10, 2), nodata=0)
    rasterio.shutil.copy(plain, path, driver="COG", BLOCKSIZE=128)
    plain.unlink()


def write_tagged(path: Path) -> None:
    """A GeoTIFF with names, scales, offsets, units, tags and a mask inside."""
    import rasterio

    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tiff(path, values(3, "int16"), tiled=True, blockxsize=16, blockysize=16)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = ("blue", "green", "red")
            dataset.scales, dataset.offsets = (0.5, 0.5, 0.5), (1, 1, 1)
            dataset.units = ("reflectance",) * 3
            dataset.update_tags(WAVELENGTH="480", sensor="none")
            dataset.update_tags(1, wavelength="480", wavelength_units="Nanometers")
            dataset.write_mask(codes() > 0)


def write_envi(header: Path) -> None:
    """An ENVI header and its data."""
    array = values(4)
    lines = ["ENVI", "description = {a cube}", "samples = 24", "lines = 20", "bands = 4"]
    lines += ["header offset = 0", "file type = ENVI Standard", "data type = 4"]
    lines += ["interleave = bil", "byte order = 0", "wavelength units = Nanometers"]
    lines += [
        "wavelength = {450.0, 550.5, 650, 850}",
        "fwhm = {10, 10, 10, 10}",
        "bbl = {1, 1, 1, 1}",
    ]
    lines += ["band names = {blue, green, red, nir}", "data ignore value = -9999"]
    lines += [f"map info = {{UTM, 1, 1, {CORNER[0]}, {CORNER[1]}, 1, 1, 32, North, WGS-84}}"]
    header.write_text("\n".join(lines) + "\n")
    header.with_suffix(".img").write_bytes(array.transpose(1, 0, 2).tobytes())


def write_vrt(path: Path) -> None:
    """A VRT of two bands of the file `source.tif` beside it."""
    write_tiff(path.with_name("source.tif"), values(2, "uint16"))
    band = """  <VRTRasterBand dataType="UInt16" band="{n}">
    <NoDataValue>0</NoDataValue><ColorInterp>Gray</ColorInterp>
    <SimpleSource><SourceFilename relativeToVRT="1">source.tif</SourceFilename>
      <SourceBand>{n}</SourceBand>
      <SourceProperties RasterXSize="24" RasterYSize="20" DataType="UInt16"/>
      <SrcRect xOff="0" yOff="0" xSize="24" ySize="20"/>
      <DstRect xOff="0" yOff="0" xSize="24" ySize="20"/></SimpleSource>
  </VRTRasterBand>"""
    text = '<VRTDataset rasterXSize="24" rasterYSize="20">\n  <SRS>EPSG:32632</SRS>\n'
    text += f"  <GeoTransform>{CORNER[0]}, 1, 0, {CORNER[1]}, 0, -1</GeoTransform>\n"
    text += "\n".join(band.format(n=n) for n in (1, 2)) + "\n</VRTDataset>\n"
    path.write_text(text)


# Arrays -------------------------------------------------------------------------------------------


def write_mat(path: Path, packed: bool = False) -> None:
    """A .mat of MATLAB 5, the time in its header left out."""
    from scipy.io import savemat

    cube = values(3).transpose(1, 2, 0)
    content = {"cube": cube, "gt": codes(), "info": {"name": "a", "bands": np.arange(3.0)}}
    savemat(path, content, do_compression=packed)
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(116))


def write_packed_mat(path: Path) -> None:
    """The same, compressed."""
    write_mat(path, packed=True)


def write_mat73(path: Path) -> None:
    """A .mat of MATLAB 7.3: HDF5 behind MATLAB's header."""
    write_hdf5(path, matlab=True)


def write_hdf5(path: Path, matlab: bool = False) -> None:
    """HDF5 with a cube, labels and attributes; behind MATLAB's header where it is MATLAB's."""
    import h5py

    with h5py.File(path, "w", userblock_size=512 if matlab else 0) as file:
        cube, labels = values(3), codes()
        for name, array in (("cube", cube), ("gt", labels)):
            stored = np.ascontiguousarray(array.T if matlab else array)
            chunks = tuple(max(1, size // 2) for size in stored.shape)
            packed = {} if matlab else {"chunks": chunks, "compression": "gzip"}
            kept = file.create_dataset(name, data=stored, track_times=False, **packed)
            if matlab:
                kept.attrs["MATLAB_class"] = np.bytes_("single" if name == "cube" else "uint8")
            else:
                kept.attrs.update({"scale_factor": 0.5, "_FillValue": array.dtype.type(0)})
    if matlab:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def write_netcdf(path: Path) -> None:
    """NetCDF-4 with dimensions, as h5py writes them."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, size in (("bands", 3), ("y", SIZE[0]), ("x", SIZE[1])):
            axis = file.create_dataset(name, data=np.arange(size, dtype="f8"), track_times=False)
            axis.make_scale(name)
        cube = file.create_dataset("cube", data=values(3), track_times=False)
        for i, name in enumerate(("bands", "y", "x")):
            cube.dims[i].attach_scale(file[name])
        cube.attrs["units"] = "1"


# Labels -------------------------------------------------------------------------------------------


def write_polygons(path: Path, driver: str, crs: str = UTM) -> None:
    """Six fields with a number and a name of their class."""
    import pyogrio
    import shapely

    left, top = CORNER
    shapes, kinds = [], []
    for i in range(6):
        x, y = left + 1 + 4 * (i % 3) * 2, top - 2 - 9 * (i // 3)
        shapes.append(shapely.box(x, y - 6, x + 5, y))
        kinds.append(("fir", "oak", "grass")[i % 3])
    if crs != UTM:
        shapes = [shapely.transform(shape, lambda xy: _moved(xy, crs)) for shape in shapes]
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z"})
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes, object)),
        [np.arange(1, 7), np.array([1, 2, 3, 1, 2, 3]), np.array(kinds, object)],
        ["id", "code", "kind"],
        geometry_type="Polygon",
        crs=crs,
        driver=driver,
        encoding="UTF-8",
    )


def _moved(xy: np.ndarray, crs: str) -> np.ndarray:
    from rasterio.warp import transform

    return np.column_stack(transform(UTM, crs, *xy.T))


def write_scene_file(path: Path, labelled: bool = True, **layers: Any) -> None:
    """A scene of layers and the labels `gt.tif`."""
    from bandweave.yaml_files import yaml_text

    scene: dict[str, Any] = {"name": "tiny", "grid": next(iter(layers)), "layers": layers}
    if labelled:
        scene |= {"labels": {"path": "gt.tif"}, "ignore": [0]}
        classes = {1: "fir", 2: {"name": "oak", "color": "#1b6e28"}, 3: "grass"}
        scene["classes"] = classes
    path.write_text(yaml_text(scene))


# Runs ---------------------------------------------------------------------------------------------


def write_run(folder: Path, scene: Path, *more: object) -> None:
    """A tiny land-cover run of two steps; `more` options may add to its checkpoint."""
    words = ("train", "--scene", scene, "--out", folder, *TINY, "--steps", 2, *more)
    if call(*words):
        raise SystemExit(f"{' '.join(map(str, words))} failed")


def write_sharpener(folder: Path, pair: Path) -> None:
    """A tiny sharpening run of one step."""
    files = "--pan", pair / "pan.tif", "--ms", pair / "ms.tif"
    words = ("sharpen-train", *files, "--out", folder, *TINY_SHARPENER, "--steps", 1)
    if call(*words):
        raise SystemExit(f"{' '.join(map(str, words))} failed")
