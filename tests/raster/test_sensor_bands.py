"""Bands of known sensors by their names, in files that state no wavelengths."""

import math

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.raster.bands import stack_bands
from bandweave.raster.open import open_source
from bandweave.raster.sensor_bands import nominal_wavelengths


@pytest.mark.parametrize(
    ("names", "file", "found"),
    [
        (["B01", "B02", "B8A"], "clip.tif", (443, 492, 865)),
        (["B2", "B3", "B4"], "S2B_MSIL2A_20240101.tif", (492, 560, 665)),
        (["SR_B2", "SR_B3", "SR_B4"], "LC09_L2SP_193027.tif", (482, 561, 655)),
        (["SR_B1", "SR_B2", "SR_B3"], "LE07_L2SP_193027.tif", (485, 560, 660)),
        ([""], "LC08_L1TP_193027_B10.TIF", (10895,)),
        ([""], "T32UPU_20240101T101010_B04_10m.jp2", (665,)),
        (["Band 5"], "landsat_8.tif", (865,)),
        (["Blue", "Green", "Red", "NIR"], "drone.tif", (482, 560, 660, 840)),
        (["red edge", "swir-1"], "drone.tif", (720, 1610)),
    ],
)
def test_known_names(names, file, found):
    assert nominal_wavelengths(names, file) == found


@pytest.mark.parametrize(
    ("names", "file"),
    [
        (["B1", "B2", "B3"], "of_several_sensors.tif"),
        (["", ""], "LC08_L1TP.tif"),
        ([""], "dsm.tif"),
        (["VV", "VH"], "S1A_IW_GRDH.tif"),
        (["height"], "flight_b2.tif"),
    ],
)
def test_names_that_tell_nothing(names, file):
    assert nominal_wavelengths(names, file) is None


def test_a_band_of_no_sensor_is_nan():
    first, second = nominal_wavelengths(["B4", "clouds"], "S2A.tif")
    assert first == 665
    assert math.isnan(second)


def test_a_file_a_band(tmp_path):
    """Names stay the file's own, and a file states no wavelengths by what it is called."""
    paths = [tmp_path / f"LC08_x_B{band}.tif" for band in (4, 3)]
    for path in paths:
        place = {"transform": from_origin(0, 8, 2, 2), "crs": "EPSG:32632"}
        with rasterio.open(path, "w", "GTiff", 4, 4, 1, dtype="uint8", **place) as file:
            file.write(np.ones((1, 4, 4), np.uint8))
    infos = [open_source(path).info for path in paths]
    assert [info.wavelengths for info in infos] == [None, None]
    assert stack_bands(infos, [1, 1]).nominal == (655, 561)
