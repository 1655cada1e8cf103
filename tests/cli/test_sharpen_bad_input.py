"""Bad input to `sharpen`: one clear line, exit status 2, nothing half-written."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandweave.pansharp.simulate import simulated_pair

LEFT, TOP = 483_277.5, 5_628_517.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pair of ratio 4 with two bands."""
    return simulated_pair(tmp_path_factory.mktemp("pair"), size=(48, 64), ratio=4, bands=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on such a pair, of one step."""
    from bandweave.pansharp.training import train_sharpener

    pair = simulated_pair(tmp_path_factory.mktemp("train"), size=(48, 64), ratio=4, bands=2)
    out = tmp_path_factory.mktemp("runs") / "run"
    options = {"steps": 1, "patch": 2, "batch": 1, "quiet": True}
    train_sharpener([(pair.pan, pair.ms)], "mmmamba_tiny", out, **options)
    return out


@pytest.fixture
def raster(tmp_path):
    """raster("pan", 48, 1.0): a file of so many pixels along a side, of this size in metres."""

    def make(name, side, pixel, bands=1, values=None, crs="EPSG:32632", right=0.0, **options):
        path = tmp_path / f"{name}.tif"
        random = np.random.default_rng(0).integers(1, 2000, (bands, side, side))
        values = (random if values is None else values).astype(options.pop("dtype", "uint16"))
        with rasterio.open(
            path, "w", driver="GTiff", height=side, width=side, count=len(values), crs=crs,
            dtype=values.dtype, transform=from_origin(LEFT + right, TOP, pixel, pixel), **options,
        ) as file:  # fmt: skip
            file.write(values)
        return path

    return make


@pytest.fixture
def not_sharpened(refused, tmp_path):
    """not_sharpened(pan, ms, *options): the line; what stood in OUT's place stays."""

    def call(*words: object) -> str:
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        (folder / "sharp.tif").write_text("mine")
        pan, ms, *options = words
        told = refused("sharpen", pan, ms, folder / "sharp.tif", *options)
        assert [file.name for file in folder.iterdir()] == ["sharp.tif"]
        assert (folder / "sharp.tif").read_text() == "mine"
        return told

    return call


@pytest.mark.parametrize(
    ("pan", "ms", "told"),
    [
        ((12, 4.0), (48, 1.0), "PAN is coarser than MS: PAN is 12×12 px at 4 m, MS 48×48 px"),
        ((50, 10.0), (20, 25.0), "2.5 PAN pixels wide (PAN is 50×50 px at 10 m, MS 20×20 px at 25 m"
         "); warp the MS to 2 PAN pixels first: gdalwarp -tr 20 20"),
        ((48, 1.0), (12, 4.0, {"right": 900}), "PAN and MS do not overlap: PAN covers x 483277.5"),
        ((48, 1.0), (12, 4.0, {"crs": "EPSG:32633"}), "PAN is in EPSG:32632 and MS in EPSG:32633"),
        ((48, 1.0), (12, 4.0, {"crs": None}), "MS has no CRS and the other file is in EPSG:32632"),
        ((48, 1.0, {"crs": None}), (12, 4.0), "PAN has no CRS and the other file is in EPSG:32632"),
        ((48, 1.0), (48, 1.0), "MS already has PAN's pixel size"),
        ((48, 1.0, {"bands": 3}), (12, 4.0), "has 3 bands and a PAN image one; are the two files"),
    ],
)  # fmt: skip
def test_files_that_are_no_pair(not_sharpened, raster, pan, ms, told):
    made = []
    for name, (side, pixel, *options) in (("pan", pan), ("ms", ms)):
        made.append(raster(name, side, pixel, **(options[0] if options else {})))
    assert told in not_sharpened(*made)


def test_a_crs_that_one_file_lacks_may_be_stated(call, raster, tmp_path):
    pan, ms = raster("pan", 48, 1.0), raster("ms", 12, 4.0, crs=None)
    out = tmp_path / "o.tif"
    assert call("sharpen", pan, ms, out, "--crs", "EPSG:32632", "--quiet").status == 0
    with rasterio.open(out) as file:
        assert file.crs.to_epsg() == 32632


def test_a_method_that_has_to_be_trained(not_sharpened, made):
    told = not_sharpened(made.pan, made.ms, "--method", "mmmamba")
    assert "mmmamba is a model that has to be trained: give the folder of a run" in told
    assert "did you mean 'gsa'" in not_sharpened(made.pan, made.ms, "--method", "gsaa")


def test_files_that_are_not_the_runs(not_sharpened, made, run, raster, tmp_path):
    three = raster("three", 12, 4.0, bands=3)
    pan = raster("pan", 48, 1.0)
    told = not_sharpened(pan, three, "--run", run)
    assert "MS has 3 bands (band 1, band 2, band 3)" in told
    assert "trained on 2 (blue, green); choose these with --bands" in told
    assert "2 PAN pixels wide" in not_sharpened(pan, raster("r2", 24, 2.0, bands=2), "--run", run)
    told = not_sharpened(made.pan, made.ms, "--run", run, "--bands", "2", "1")
    assert "MS has the bands green, blue" in told
    assert "no such run folder" in not_sharpened(made.pan, made.ms, "--run", str(tmp_path / "x"))


def test_windows_without_data(call, not_sharpened, raster, tmp_path):
    """Most windows are empty: no data there, and no harm elsewhere; all of them: it is said."""
    ms = np.zeros((2, 12, 12))
    pan = raster("pan", 48, 1.0)
    empty = raster("empty", 12, 4.0, values=ms, nodata=0)
    assert "no valid pixel in common" in not_sharpened(pan, empty, "--quiet")
    ms[:, 8:, 8:] = np.random.default_rng(1).integers(5, 90, (2, 4, 4))
    some, out = raster("some", 12, 4.0, values=ms, nodata=0), tmp_path / "o.tif"
    for method in ("gsa", "mtf-glp-hpm", "cnmf"):
        words = ("--method", method, "--window", "8", "--quiet")
        assert call("sharpen", pan, some, out, "--overwrite", *words).status == 0
        with rasterio.open(out) as file:
            sharp = file.read()
            assert file.nodata == 0
        assert (sharp[:, :32] == 0).all()
        assert (sharp[:, 32:, 32:] > 0).all()


def test_constant_bands(call, raster, tmp_path):
    """They stay what they are, whatever PAN shows."""
    ms = np.stack([np.full((12, 12), 500), np.full((12, 12), 0)])
    pan, flat = raster("pan", 48, 1.0), raster("flat", 12, 4.0, values=ms)
    for method in ("gsa", "pca", "sfim", "mtf-glp"):
        assert (
            call("sharpen", pan, flat, tmp_path / "o.tif", "--overwrite", "--method", method).status
            == 0
        )
        with rasterio.open(tmp_path / "o.tif") as file:
            sharp = file.read()
        assert (sharp[1] == 0).all(), method
        assert method == "sfim" or (sharp[0] == 500).all(), method


def test_bright_detail_is_clipped_never_wrapped(call, raster, tmp_path):
    """Near both ends of the type: a wrapped value would lie at the other one."""
    rng = np.random.default_rng(2)
    checks = np.kron(np.indices((12, 12)).sum(axis=0) % 2, np.ones((4, 4)))
    pan = np.clip(checks * 200 + rng.integers(0, 50, (48, 48)), 0, 255)[None]
    high = 250 + 5 * (pan[:, 2::4, 2::4] > 150)
    low = 255 - high
    ms = np.concatenate([high, low])
    files = (
        raster("pan", 48, 1.0, values=pan, dtype="uint8"),
        raster("ms", 12, 4.0, values=ms, dtype="uint8"),
    )
    for method in ("gsa", "hpf", "mtf-glp"):
        assert (
            call("sharpen", *files, tmp_path / "o.tif", "--overwrite", "--method", method).status
            == 0
        )
        with rasterio.open(tmp_path / "o.tif") as file:
            sharp = file.read()
        assert (sharp[0].max(), sharp[1].min()) == (255, 0), method
        assert sharp[0].min() > 200, method
        assert sharp[1].max() < 55, method


def test_an_input_is_never_replaced(refused, made, run, tmp_path):
    """Nor by another name of it."""
    pan, ms, link = tmp_path / "pan.tif", tmp_path / "ms.tif", tmp_path / "link.tif"
    for path, source in ((pan, made.pan), (ms, made.ms)):
        path.write_bytes(source.read_bytes())
    link.symlink_to(ms)
    before = pan.read_bytes(), ms.read_bytes()
    for words in ((pan, ms, pan), (pan, ms, ms), (pan, ms, link), (pan, link, ms)):
        assert "is an input" in refused("sharpen", *words)
    assert "is an input" in refused("sharpen", ms, link, "--ms-only", "--run", run)
    assert (pan.read_bytes(), ms.read_bytes()) == before
