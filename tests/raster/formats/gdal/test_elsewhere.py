"""Rasters at addresses: little is read of them, and those that do not answer are told of soon."""

import socket
import time

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.errors import FileError
from bandweave.raster.formats.gdal import elsewhere
from bandweave.raster.grid import Window
from bandweave.raster.open import open_source

NOISE = np.random.default_rng(0).integers(0, 255, (2, 1024, 1024)).astype(np.uint8)


def write_cog(path, values=NOISE):
    with rasterio.open(
        path, "w", driver="COG", height=values.shape[1], width=values.shape[2], blocksize=128,
        count=len(values), dtype=values.dtype, crs="EPSG:32617", overviews="NONE",
        transform=from_origin(500_000, 4_000_000, 2, 2), compress="DEFLATE",
    ) as file:  # fmt: skip
        file.write(values)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with big.tif, a page, and a text."""
    folder = tmp_path_factory.mktemp("served")
    write_cog(folder / "big.tif")
    (folder / "page.tif").write_text("<html>Log in</html>" * 100)
    return folder


def test_a_window_takes_a_small_part_of_a_file(serve, folder):
    server = serve(folder)
    source = open_source(f"{server.address}/big.tif?signed=yes")
    assert source.grid.crs.to_epsg() == 32617
    assert server.sent <= 2**16
    window = Window(300, 500, 64, 64)
    np.testing.assert_array_equal(source.read(window)[0], NOISE[:, 300:364, 500:564])
    assert server.sent < (folder / "big.tif").stat().st_size / 8
    assert {path for path, _ in server.asked} == {"/big.tif"}, "no list, no sidecar"
    assert [span for _, span in server.asked].count(None) == 1, "its size alone"
    before = len(server.asked)
    source.read(window)
    assert len(server.asked) == before, "blocks are kept"


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_buckets(serve, folder, monkeypatch, scheme):
    server = serve(folder)
    monkeypatch.setenv("AWS_S3_ENDPOINT", server.host)
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("CPL_GS_ENDPOINT", f"{server.address}/")
    monkeypatch.setenv("GS_NO_SIGN_REQUEST", "YES")
    (folder / scheme).mkdir(exist_ok=True)
    write_cog(folder / scheme / "a.tif", NOISE[:1, :64, :64])
    source = open_source(f"{scheme}://{scheme}/a.tif")
    np.testing.assert_array_equal(source.read(source.grid.window)[0], NOISE[:1, :64, :64])
    with pytest.raises(FileError, match=f"{scheme}://{scheme}/b.tif cannot be read: .*404"):
        open_source(f"{scheme}://{scheme}/b.tif")


def test_what_cannot_be_read_is_said_soon(serve, folder):
    server, begun = serve(folder), time.monotonic()
    server.status |= {"/secret.tif": 403, "/broken.tif": 500}
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    closed = f"http://127.0.0.1:{free.getsockname()[1]}/a.tif"
    free.close()
    for address, said in (
        (closed, "nothing answers at 127.0.0.1:"),
        ("https://no-such-host.invalid/a.tif", "no host no-such-host.invalid is known here"),
        (f"{server.address}/none.tif", r"no such file \(404\); check the address"),
        (f"{server.address}/secret.tif", r"refuses access \(403\)"),
        (f"{server.address}/broken.tif", "the server answers 500"),
        (f"{server.address}/page.tif", "no GeoTIFF or JPEG 2000; .*page to log in"),
    ):
        with pytest.raises(FileError, match=f"cannot be read: .*{said}") as raised:
            open_source(address)
        assert str(raised.value).startswith(address)
        assert "\n" not in str(raised.value)
    assert time.monotonic() - begun < 10


def test_a_server_that_says_nothing(monkeypatch):
    monkeypatch.setitem(elsewhere._IMPATIENT, "GDAL_HTTP_LOW_SPEED_TIME", 1)
    assert elsewhere.CONNECT + elsewhere.SILENCE <= 10
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(FileError, match=f"cannot be read: {host} does not answer"):
            open_source(f"http://{host}/a.tif")


def test_without_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    with pytest.raises(FileError, match="it needs credentials; set AWS_ACCESS_KEY_ID"):
        open_source("s3://bucket/never.tif")


def test_a_file_that_breaks_off_while_it_is_read(serve, folder, monkeypatch):
    monkeypatch.setitem(elsewhere._PATIENT, "GDAL_HTTP_MAX_RETRY", 0)
    server = serve(folder)
    source = open_source(f"{server.address}/big.tif")
    server.status["/big.tif"] = 500
    with pytest.raises(FileError, match=r"/big\.tif cannot be read"):
        source.read(Window(800, 800, 64, 64))
