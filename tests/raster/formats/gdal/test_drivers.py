"""Nothing but what the user named is opened: no network, no other file, no program."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from bandweave.cli.main import main
from bandweave.errors import FileError
from bandweave.raster.open import open_source

CUBE = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)


@pytest.fixture
def server():
    """The address of a server of this machine, and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.tif", asked
    server.shutdown()
    server.server_close()


def vrt(source, relative=1, band='band="1"', inside=""):
    return (
        f'<VRTDataset rasterXSize="6" rasterYSize="4"><VRTRasterBand dataType="Float32" {band}>'
        f'{inside}<SimpleSource><SourceFilename relativeToVRT="{relative}">{source}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize(
    "form",
    [
        "ftp://{url}",
        "/vsicurl/{url}",
        "/vsicurl?url={url}",
        "/vsicurl_streaming/{url}",
        "/vsizip//vsicurl/{url}",
        "/vsigzip//vsicurl/{url}",
        "/vsis3/bucket/a.tif",
    ],
)
def test_addresses_are_refused_and_nobody_is_asked(server, form, tmp_path):
    url, asked = server
    path = form.format(url=url)
    with pytest.raises(FileError, match="address"):
        open_source(path)
    scene = tmp_path / "s.yaml"
    scene.write_text(f"layers:\n  a: {path!r}\n")
    assert main(["scenes", "check", str(scene)]) == 1
    assert main(["info", path]) == 2
    assert asked == []


@pytest.mark.parametrize("name", ["a.vrt", "a.img", "a.tif", "a.dat"])
@pytest.mark.parametrize(
    "text",
    [
        vrt("/vsicurl/URL", 0),
        vrt("URL", 0),
        vrt("/etc/passwd", 0),
        vrt("../outside.tif"),
        vrt("a.tif", band='band="1" subClass="VRTRawRasterBand"'),
        vrt(
            "inside.tif",
            band='band="1" subClass="VRTDerivedRasterBand"',
            inside="<PixelFunctionLanguage>Python</PixelFunctionLanguage>",
        ),
        "<GDAL_WMS><Service name='TMS'><ServerUrl>URL</ServerUrl></Service></GDAL_WMS>",
        "<VRTDataset",
    ],
)
def test_files_that_lead_elsewhere_are_refused_under_any_name(
    server, name, text, tmp_path, write_geotiff
):
    url, asked = server
    write_geotiff("inside.tif", CUBE)
    write_geotiff("../outside.tif", CUBE)
    (tmp_path / name).write_text(text.replace("URL", url))
    with pytest.raises(FileError, match=name):
        open_source(tmp_path / name)
    assert asked == []


def test_a_vrt_of_files_beside_it_is_read(tmp_path, write_geotiff):
    write_geotiff("inside.tif", CUBE)
    (tmp_path / "a.vrt").write_text(vrt("inside.tif"))
    (tmp_path / "b.vrt").write_text(vrt("a.vrt"))
    for name in ("a.vrt", "b.vrt"):
        source = open_source(tmp_path / name)
        np.testing.assert_array_equal(source.read(source.grid.window)[0], CUBE[:1])


STAC = (
    '{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [{"type": "Feature", '
    '"stac_version": "1.0.0", "id": "a", "collection": "c", "properties": {"proj:epsg": 32617}, '
    '"assets": {"b": {"href": "URL", "proj:transform": [1, 0, 0, 0, -1, 0, 0, 0, 1], '
    '"proj:shape": [4, 6], "proj:epsg": 32617}}}]}'
)


@pytest.mark.parametrize(
    "text",
    [
        vrt("URL", 0).replace("SourceFilename", "sourcefilename"),
        vrt("/vsicurl/URL", 0).replace("SourceFilename", "SOURCEFILENAME"),
        vrt("URL", 0).replace("<SourceFilename", '<SourceFilename xmlns="x"'),
        vrt("URL", 0)
        .replace("SourceFilename", "a:SourceFilename")
        .replace("<SimpleSource", '<SimpleSource xmlns:a="x"'),
        vrt("").replace("<SimpleSource", '<SimpleSource SourceFilename="URL"'),
        vrt(
            "inside.tif", inside='<Metadata><MDI key="OVERVIEW_FILE">/vsicurl/URL</MDI></Metadata>'
        ),
        vrt("inside.tif", inside='<Metadata><MDI key="OVERVIEW_FILE">URL</MDI></Metadata>'),
        vrt("inside.tif", band='band="1" subclass="VRTDerivedRasterBand"'),
        vrt("stac.img"),
        vrt("HDF5:'/vsicurl/URL'://x", 0),
    ],
)
def test_a_vrt_is_read_as_gdal_reads_it(server, text, tmp_path, write_geotiff):
    url, asked = server
    write_geotiff("inside.tif", CUBE)
    (tmp_path / "stac.img").write_text(STAC.replace("URL", url))
    (tmp_path / "a.vrt").write_text(text.replace("URL", url))
    with pytest.raises(FileError, match=r"a\.vrt"):
        open_source(tmp_path / "a.vrt")
    assert asked == []


def test_a_subdataset_that_a_sidecar_invents_is_not_followed(server, tmp_path, write_geotiff):
    url, asked = server
    path = write_geotiff("a.tif", CUBE)
    for name in (f"/vsicurl/{url}", f'HDF5:"/vsicurl/{url}"://x'):
        (tmp_path / "a.tif.aux.xml").write_text(
            '<PAMDataset><Metadata domain="SUBDATASETS"><MDI key="SUBDATASET_1_NAME">'
            f'{name}</MDI><MDI key="SUBDATASET_1_DESC">x</MDI></Metadata></PAMDataset>'
        )
        with pytest.raises(FileError):
            open_source(path, key=name[-5:].replace('"', ""))
    assert asked == []


def test_a_vrt_that_draws_on_itself_ends(tmp_path):
    (tmp_path / "a.vrt").write_text(vrt("a.vrt"))
    with pytest.raises(FileError, match=r"a\.vrt"):
        open_source(tmp_path / "a.vrt")


def test_a_source_that_is_a_vrt_under_another_name_is_found(tmp_path, server):
    url, asked = server
    (tmp_path / "b.tif").write_text(vrt(f"/vsicurl/{url}", 0))
    (tmp_path / "a.vrt").write_text(vrt("b.tif"))
    with pytest.raises(FileError, match=r"b\.tif"):
        open_source(tmp_path / "a.vrt")
    assert asked == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.mat", "a.hdr", "a.img"])
def test_a_pipe_is_refused_at_once(tmp_path, name, capsys):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match="pipe"):
        open_source(tmp_path / name)
    assert main(["info", str(tmp_path / name)]) == 2
    assert "pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "name"), [(b"\x0e\x03\x13\x01", "HDF4"), (b"ecwp", "ECW"), (b"msid", "MrSID")]
)
def test_a_format_that_this_build_lacks_is_named(tmp_path, head, name):
    (tmp_path / "a.hdf").write_bytes(head + bytes(600))
    with pytest.raises(FileError, match=f"this build of GDAL reads no {name}"):
        open_source(tmp_path / "a.hdf")
