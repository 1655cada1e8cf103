"""The sensor table, and which of a sensor's bands a file has."""

from __future__ import annotations

import numpy as np
import pytest

from bandweave.errors import ConfigError
from bandweave.pansharp.sensors import SENSORS, find_sensor

ALL = {"worldview-2", "worldview-3", "quickbird", "ikonos", "geoeye-1", "gaofen-2", "landsat-7"}
ALL |= {"landsat-8", "landsat-9", "spot-6", "spot-7", "pleiades", "generic"}


def test_the_table_has_the_sensors_it_promises():
    assert set(SENSORS) == ALL


@pytest.mark.parametrize("name", sorted(ALL - {"generic"}))
def test_every_entry_fits_together(name):
    sensor = SENSORS[name]
    count = len(sensor.bands)
    assert len(set(sensor.bands)) == count == len(sensor.mtf) == len(sensor.numbers)
    assert all(0 < gain < 1 for gain in (*sensor.mtf, sensor.mtf_pan))
    assert all(low < high for low, high in (*sensor.edges, sensor.pan_edges))
    assert sensor.weights.sum() == pytest.approx(1)
    assert ((sensor.weights > 0) == np.array(sensor.covered)).all()
    assert sensor.source
    assert sensor.ratio == (2 if "landsat" in name else 4)
    assert find_sensor(name, count) == sensor
    assert find_sensor(name, sensor.bands) == sensor
    assert find_sensor(name, sensor.bands[::-1]).bands == sensor.bands[::-1]


def test_gains_of_the_toolbox():
    assert find_sensor("WV2", 8).mtf == (0.35,) * 7 + (0.27,)
    assert SENSORS["quickbird"].mtf == (0.34, 0.32, 0.30, 0.22)
    assert find_sensor("WorldView-3", 4).mtf == (0.355, 0.360, 0.365, 0.335)
    assert (SENSORS["ikonos"].mtf_pan, SENSORS["geoeye-1"].mtf_pan) == (0.17, 0.16)
    assert SENSORS["landsat-8"].source.startswith("no MTF published")


def test_landsat_7_without_its_thermal_band():
    sensor = find_sensor("Landsat 7", 6)
    assert sensor.covered == (False, True, True, True, False, False)
    assert sensor.weights == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0, 0])
    (note,) = sensor.notes
    assert "does not see blue, swir1 and swir2" in note


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (["B5", "B4"], ("nir", "red")),
        (["LC08_L1TP_1_B04.TIF", "LC08_L1TP_1_B3.TIF"], ("red", "green")),
        (["SR_B2", "band 3"], ("blue", "green")),
        (["Band 4 - Red", "near-infrared"], ("red", "nir")),
        (["Band 1", "Band 2", "Band 3", "Band 4"], ("blue", "green", "red", "nir")),
        (["x", "y", "z", "u"], ("blue", "green", "red", "nir")),
        (["B1", "B2", "B3", "B4"], ("coastal", "blue", "green", "red")),
        (["B2", "B3", "B4", "B5", "B6", "B7"], ("blue", "green", "red", "nir", "swir1", "swir2")),
    ],
)
def test_bands_are_known_by_name_or_by_count(names, bands):
    assert find_sensor("landsat-8", names).bands == bands


def test_one_band_outside_pan_still_has_an_intensity():
    sensor = find_sensor("landsat-7", ["swir1"])
    assert sensor.uncovered == ("swir1",)
    assert sensor.weights == pytest.approx([1])


def test_generic_takes_any_bands():
    sensor = find_sensor("generic", 3)
    assert sensor.mtf == (0.3,) * 3
    assert sensor.mtf_pan == 0.15
    assert sensor.covered == (True,) * 3
    assert sensor.notes == ()
    assert find_sensor("generic", ["a", "b"]).bands == ("a", "b")


@pytest.mark.parametrize(
    ("name", "bands", "message"),
    [
        ("wordview-2", 8, "did you mean 'worldview-2'"),
        ("sputnik", 4, "there are: gaofen-2"),
        ("landsat-7", 5, r"landsat-7 has 6 bands .*the file has 5: .* for 4 or 6 bands"),
        ("quickbird", ["a", "b", "c"], r"has 4 bands \(blue, .*the file has 3 \(a, b, c\)"),
        ("landsat-8", ["red", "red"], r"the file has 2 \(red, red\)"),
        ("generic", 0, "without bands"),
    ],
)
def test_what_does_not_fit_is_said(name, bands, message):
    with pytest.raises(ConfigError, match=message):
        find_sensor(name, bands)


@pytest.mark.parametrize("name", ["Pléiades", "PLEIADES", "phr", "Pleiades-1A"])
def test_names_are_written_many_ways(name):
    assert find_sensor(name, 4) == SENSORS["pleiades"]
