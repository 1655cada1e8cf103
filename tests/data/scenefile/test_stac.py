"""Layers at addresses, and layers that are assets of a STAC item."""

import json
import socket
import sys
import time

import numpy as np
import pytest

from bandweave.data.scenefile.open import open_scene
from bandweave.errors import ConfigError, FileError
from bandweave.raster.grid import Window

VALUES = np.arange(3 * 8 * 10, dtype=np.uint16).reshape(3, 8, 10)
CENTRES = {"blue": 0.49, "red": 0.665, "nir": 0.842}


@pytest.fixture
def item(tmp_path, write_geotiff):
    """item.json of three assets of one band, and one of three bands."""
    assets = {}
    for name, values in zip(CENTRES, VALUES, strict=True):
        write_geotiff(f"{name}.tif", values[None])
        assets[name] = {
            "href": f"./{name}.tif",
            "eo:bands": [{"name": name, "center_wavelength": CENTRES[name]}],
            "raster:bands": [{"scale": 0.001, "offset": -0.1, "nodata": 0}],
        }
    write_geotiff("all.tif", VALUES)
    assets["all"] = {  # as version 1.1 has it
        "href": "./all.tif",
        "raster:scale": 0.01,
        "bands": [{"name": n, "eo:center_wavelength": c} for n, c in CENTRES.items()],
    }
    write_geotiff("own.tif", VALUES[:1], scales=[0.5], nodata=7)
    assets["own"] = {"href": "./own.tif", "raster:bands": [{"scale": 3, "nodata": 0}]}
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": "scene", "properties": {
            "datetime": "2026-01-01T00:00:00Z"}, "geometry": None, "links": [], "assets": assets,
    }  # fmt: skip
    path = tmp_path / "item.json"
    path.write_text(json.dumps(content))
    return path


def read(layer):
    return layer.read(Window(0, 0, 8, 10))[0]


@pytest.mark.parametrize("away", [False, True])
def test_assets_of_an_item(item, serve, away):
    place = str(item)
    if away:
        server = serve(item.parent)
        place = f"{server.address}/item.json"
    scene = open_scene({"layers": {"ms": {"path": place, "asset": ["blue", "nir"]}}})
    layer = scene.parts[0].layers["ms"]
    expected = VALUES[[0, 2]] * 0.001 - 0.1
    expected[VALUES[[0, 2]] == 0] = 0
    np.testing.assert_allclose(read(layer), expected, rtol=1e-5)
    assert layer.source.info.wavelengths == (490, 842)
    assert layer.source.info.names == ("blue", "nir")
    assert "wavelength, scale, offset and nodata as the STAC item says" in scene.notes[0]
    folder = server.address if away else str(item.parent)
    assert set(scene.files) == {place, f"{folder}/blue.tif", f"{folder}/nir.tif"}


def test_bands_of_one_asset(item):
    entry = {"path": "item.json", "asset": "all", "bands": [3, 1]}
    layer = open_scene({"layers": {"ms": entry}}, item.parent).parts[0].layers["ms"]
    np.testing.assert_allclose(read(layer), VALUES[[2, 0]] * 0.01, rtol=1e-6)
    assert layer.source.info.wavelengths == (842, 490)


def test_what_a_file_states_itself_counts(item):
    entry = {"path": "item.json", "asset": "own"}
    values, valid = (
        open_scene({"layers": {"ms": entry}}, item.parent).parts[0].layers["ms"].read(
            Window(0, 0, 8, 10)
        )
    )  # fmt: skip
    np.testing.assert_array_equal(valid, VALUES[0] != 7)
    np.testing.assert_allclose(values[0], np.where(valid, VALUES[0] * 0.5, 0))


def test_items_that_say_nothing(item, serve, monkeypatch):
    def refuse(error, match, **entry):
        with pytest.raises(error, match=match):
            open_scene({"layers": {"ms": entry}}, item.parent)

    refuse(ConfigError, "no asset 'rod'; did you mean 'red'", path="item.json", asset="rod")
    refuse(ConfigError, "assets of one STAC item", path=["a.json", "b.json"], asset="red")
    refuse(FileError, "does not exist", path="none.json", asset="red")
    (item.parent / "text.json").write_text("[1, 2")
    refuse(FileError, "layer 'ms': .*text.json is no STAC item", path="text.json", asset="red")
    (item.parent / "other.json").write_text('{"type": "FeatureCollection"}')
    refuse(FileError, "other.json is no STAC item", path="other.json", asset="red")
    refuse(FileError, "give its https", path="s3://bucket/item.json", asset="red")
    content = json.loads(item.read_text())
    content["assets"]["red"]["href"] = "file:///etc/passwd.tif"
    (item.parent / "leads.json").write_text(json.dumps(content))
    address = serve(item.parent).address
    refuse(FileError, "which is no address", path=f"{address}/leads.json", asset="red")
    refuse(FileError, r"no such file \(404\)", path=f"{address}/none.json", asset="red")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, begun = f"127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        monkeypatch.setattr("bandweave.data.scenefile.stac.WAIT", 1)
        refuse(FileError, f"{host} does not answer", path=f"http://{host}/i.json", asset="red")
        assert time.monotonic() - begun < 5
    refuse(FileError, "nothing answers at", path=f"http://{host}/i.json", asset="red")
    monkeypatch.setitem(sys.modules, "pystac", None)
    refuse(ConfigError, r"pip install 'bandweave\[stac\]'", path="item.json", asset="red")


def test_what_may_lie_elsewhere(item, serve):
    address = serve(item.parent).address
    scene = open_scene({"layers": {"ms": f"{address}/all.tif"}})
    np.testing.assert_array_equal(read(scene.parts[0].layers["ms"]), VALUES)
    assert scene.files == (f"{address}/all.tif",)
    with pytest.raises(FileError, match=rf"layer 'ms': {address}/none\.tif cannot be read"):
        open_scene({"layers": {"ms": f"{address}/none.tif"}})
    with pytest.raises(FileError, match=r"labels\.path: .*an address that is not read"):
        open_scene({"layers": {"ms": f"{address}/all.tif"}, "labels": f"{address}/red.tif"})
    parts = {"layers": {"ms": f"{address}/{{part}}.tif"}}
    with pytest.raises(ConfigError, match="cannot be listed; name the parts"):
        open_scene(parts)
    both = open_scene(parts | {"parts": ["red", "nir"]}).parts
    np.testing.assert_array_equal(read(both[1].layers["ms"]), VALUES[2:])
